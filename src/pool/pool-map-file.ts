import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { KeyfleetError, messageOf } from '../base/errors.ts';
import type { PoolConfig } from './pool-config.ts';
import { PoolMap, type PoolMapJson } from './pool-map.ts';

/** Writes the map so that after a crash at any point the file holds the old one or this one, whole. @throws KF_POOL_MAP. */
export function writePoolMap(path: string, map: PoolMap): void {
  const fresh = `${path}.new`;
  try {
    const file = openSync(fresh, 'w', 0o644);
    try {
      const bytes = Buffer.from(`${JSON.stringify(map.toJson())}\n`);
      for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(fresh, path);
    const folder = openSync(dirname(path), 'r');
    try {
      fsyncSync(folder);
    } finally {
      closeSync(folder);
    }
  } catch (error) {
    throw new KeyfleetError('KF_POOL_MAP', `the map of pool ${map.pool} cannot be written to ${path}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

/** The stored map of a pool; undefined when none was stored. @throws KF_POOL_MAP when it cannot be read or is damaged. */
export function readPoolMap(path: string, config: PoolConfig): PoolMap | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new KeyfleetError('KF_POOL_MAP', `the map of pool ${config.name} cannot be read from ${path}: ${messageOf(error)}`, {
      cause: error,
    });
  }
  let json: PoolMapJson;
  try {
    json = JSON.parse(text) as PoolMapJson;
  } catch (error) {
    throw new KeyfleetError('KF_POOL_MAP', `the map of pool ${config.name} in ${path} is damaged: ${messageOf(error)}`, { cause: error });
  }
  return PoolMap.fromJson(json, config);
}
