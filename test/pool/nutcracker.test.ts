import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Backend } from '../../src/pool/backend.ts';
import { createPool } from '../../src/pool/index.ts';
import { freePort, hasRedis, type RedisServer, startRedisServers } from './redis-servers.ts';

const binary = [...(process.env['PATH'] ?? '').split(':'), '/usr/sbin'].map((dir) => `${dir}/nutcracker`).find((path) => existsSync(path));

/** Pools as they stand in files from the wild: `servers` comes from the test. */
const POOLS: Readonly<Record<string, string>> = {
  'ketama, weights and names': 'hash: fnv1a_64\n  distribution: ketama\n  hash_tag: "{}"',
  'modula, no names': 'hash: murmur\n  distribution: modula',
  'ketama by crc32a': 'hash: crc32a\n  distribution: ketama',
  'ketama by jenkins, tags in dollars': 'hash: jenkins\n  distribution: ketama\n  hash_tag: "$$"',
};

describe.runIf(hasRedis && binary !== undefined)('with nutcracker over the same file and servers', () => {
  let servers: RedisServer[];
  const keys = Array.from({ length: 400 }, (_, i) =>
    ['user:{', ((i % 50) * 0x9e3779b1) >>> 0, '}:', i, i % 7 === 0 ? '$tag$é' : ''].join(''),
  );

  beforeAll(async () => {
    servers = await startRedisServers(3);
  });
  afterAll(() => Promise.all(servers.map((server) => server.stop())));

  test.each(Object.entries(POOLS))('every key lands on the same server: %s', async (name, settings) => {
    const dir = mkdtempSync(join(tmpdir(), 'keyfleet-nutcracker-'));
    const port = await freePort();
    const [weights, names] = name.includes('weights')
      ? [
          [1, 3, 2],
          [' alpha', ' beta', ' gamma'],
        ]
      : [
          [1, 1, 1],
          ['', '', ''],
        ];
    const lines = servers.map(({ address }, i) => `    - ${address}:${weights![i]}${names![i]}`).join('\n');
    const file = join(dir, 'nutcracker.yml');
    writeFileSync(file, `leaf:\n  listen: 127.0.0.1:${port}\n  ${settings}\n  redis: true\n  timeout: 2000\n  servers:\n${lines}\n`);
    const nutcracker: ChildProcess = spawn(binary!, ['-c', file, '-s', String(await freePort())], { stdio: 'ignore' });
    const through = new Backend({ name: 'nutcracker', address: { host: '127.0.0.1', port }, backoffMs: { first: 20, most: 50 } });
    const pool = createPool(file);
    try {
      await expect.poll(() => through.request('GET', 'x').catch(() => 'down'), { timeout: 5_000 }).toBeNull();
      await pool.flushall();
      await Promise.all(keys.map((key) => through.request('SET', key, 'theirs')));
      const theirs = await Promise.all(servers.map((server) => keysOf(server)));
      expect(await pool.mget(keys)).toEqual(keys.map(() => 'theirs'));
      await pool.flushall();
      await pool.mset(keys.map((key) => [key, 'ours']));
      expect(await Promise.all(servers.map((server) => keysOf(server)))).toEqual(theirs);
      expect(theirs.filter((some) => some.length > 0).length).toBeGreaterThan(1);
      const read = await Promise.all(keys.map((key) => through.request('GET', key)));
      expect(read.every((value) => Buffer.from(value as Uint8Array).toString() === 'ours')).toBe(true);
    } finally {
      pool.close();
      through.close();
      nutcracker.kill('SIGKILL');
      rmSync(dir, { recursive: true, force: true });
    }
  });
});

async function keysOf(server: RedisServer): Promise<string[]> {
  const keys = (await server.client.request('KEYS', '*')) as Uint8Array[];
  return keys.map((key) => Buffer.from(key).toString()).sort();
}
