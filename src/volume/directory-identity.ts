import { randomUUID } from 'node:crypto';
import { open, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { KeyfleetError } from '../base/errors.ts';

const IDENTITY_FILE = 'keyfleet-volume.json';
const FORMAT = 1;

/** What `keyfleet-volume.json` says: who the volume in this directory is, whatever its address. */
export interface DirectoryIdentity {
  readonly format: number;
  readonly id: string;
  /** The fleet of the master that took the volume in; absent: it is free. */
  readonly fleet?: string;
}

/** A volume is never begun among somebody's files. @throws KF_VOLUME_UNUSABLE */
export async function requireVolumeOrEmpty(dir: string): Promise<void> {
  const names = await readdir(dir);
  if (names.includes(IDENTITY_FILE)) return;
  const stranger = names.find((name) => name !== 'tmp' && name !== 'values' && name !== 'lost+found' && !name.startsWith('keyfleet-'));
  if (stranger !== undefined)
    throw new KeyfleetError('KF_VOLUME_UNUSABLE', `${dir} is not a volume and not empty (it has ${stranger}); name an empty directory`);
}

/** Who the volume in `dir` is; made, durably, when nobody is there yet. @throws KF_VOLUME_UNUSABLE */
export async function readIdentity(dir: string): Promise<DirectoryIdentity> {
  const path = join(dir, IDENTITY_FILE);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    const identity: DirectoryIdentity = { format: FORMAT, id: randomUUID() };
    await writeIdentity(dir, identity);
    return identity;
  }
  const identity = parseIdentity(text);
  if (identity === undefined) throw new KeyfleetError('KF_VOLUME_UNUSABLE', `${path} is damaged: it should read {"format":1,"id":"…"}`);
  if (identity.format > FORMAT)
    throw new KeyfleetError('KF_VOLUME_UNUSABLE', `${path} has format ${identity.format}; this version of Keyfleet knows ${FORMAT}`);
  return identity;
}

/** Durable when the directory is synced. */
export async function writeIdentity(dir: string, identity: DirectoryIdentity): Promise<void> {
  const path = join(dir, IDENTITY_FILE);
  const handle = await open(`${path}.new`, 'w');
  try {
    await writeFile(handle, `${JSON.stringify(identity)}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(`${path}.new`, path);
}

function parseIdentity(text: string): DirectoryIdentity | undefined {
  try {
    const { format, id, fleet } = JSON.parse(text) as Partial<DirectoryIdentity>;
    if (typeof format !== 'number' || typeof id !== 'string' || id === '') return undefined;
    return typeof fleet === 'string' ? { format, id, fleet } : { format, id };
  } catch {
    return undefined;
  }
}
