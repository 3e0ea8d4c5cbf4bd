import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { lstat, mkdir, opendir, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { Bytes } from '../../base/bytes.ts';
import { KeyfleetError } from '../../base/errors.ts';
import { MIB, showBytes, showCount, showDuration } from '../../base/units.ts';
import { inParallel } from '../../volume/in-turns.ts';
import { MasterClient } from '../../volume/master-client.ts';
import { Progress } from '../terminal/progress.ts';
import { ODD_FOLDER, OUR_NAMES, oddPath, placesOf, readOddIndex, writeOddIndex } from './odd-keys.ts';

/** Where a master is when nobody says otherwise. */
export const MASTER_URL = 'http://127.0.0.1:3000';
const PARALLEL = 16;
const FILE_COST_BYTES = 256 * 1024;
const SLASH = Buffer.from('/');
/** Names of files that are being written. */
const PARTIAL = `${OUR_NAMES}partial-`;

interface TreeFile {
  /** Path below the directory, as bytes: file names need not be UTF-8. */
  readonly path: Buffer;
  /** What its key is, after the prefix. */
  readonly key: Buffer;
  readonly sizeBytes: number;
}

/**
 * Stores every regular file below `dir` under its path (after `prefix`) and compares digests. Files that the master has already, byte for
 * byte, are not sent again: an import that was interrupted goes on where it was. Links and special files are left out and counted.
 */
export async function importTree(options: { readonly dir: string; readonly url: string; readonly prefix: string }): Promise<void> {
  const root = Buffer.from(options.dir);
  const client = new MasterClient(options.url, { connections: PARALLEL });
  try {
    const there = new Map<string, string>();
    for await (const { key, sha256 } of client.keys(options.prefix)) there.set(Buffer.from(key).toString('latin1'), sha256);
    const { files, leftOut } = await filesBelow(root);
    const totalBytes = files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    // A file costs about as much as these bytes, however small it is.
    const bar = new Progress('importing', totalBytes + files.length * FILE_COST_BYTES);
    let doneBytes = 0;
    let doneFiles = 0;
    let unchanged = 0;
    try {
      await inParallel(files.length, PARALLEL, async (index) => {
        const { path, key: rest, sizeBytes } = files[index]!;
        const key = Buffer.concat([Buffer.from(options.prefix), rest]);
        const known = there.get(key.toString('latin1'));
        const sent = await sendFile(client, key, Buffer.concat([root, SLASH, path]), sizeBytes, known);
        if (!sent) unchanged++;
        doneBytes += sizeBytes;
        bar.update(doneBytes + ++doneFiles * FILE_COST_BYTES, doneFiles);
      });
    } finally {
      bar.stop();
    }
    const rate = (doneBytes / MIB / Math.max(0.001, bar.elapsedMs / 1_000)).toFixed(1);
    process.stdout.write(
      `${showCount(files.length)} files, ${showBytes(totalBytes)}: ${showCount(files.length - unchanged)} stored and compared, ${showCount(unchanged)} were there already` +
        `${leftOut > 0 ? `; ${showCount(leftOut)} links and special files left out` : ''} (${showDuration(bar.elapsedMs)}, ${rate} MiB/s)\n`,
    );
  } finally {
    await client.close();
  }
}

/**
 * Writes every value whose key begins with `prefix` to a file below `dir`, its digest compared. Keys that cannot be a path go to files of
 * their own (odd-keys.ts), from which {@link importTree} has them back.
 */
export async function exportTree(options: { readonly dir: string; readonly url: string; readonly prefix: string }): Promise<void> {
  const root = Buffer.from(options.dir);
  const client = new MasterClient(options.url, { connections: PARALLEL });
  try {
    const keys: { key: Bytes; sha256: string; sizeBytes: number }[] = [];
    for await (const listed of client.keys(options.prefix)) keys.push(listed);
    const prefixBytes = Buffer.byteLength(options.prefix);
    const places = placesOf(
      keys.map(({ key }) => key.subarray(prefixBytes)),
      root.length,
    );
    const odd = places.filter(({ path }) => path === undefined).map(({ key }) => key);
    await mkdir(options.dir, { recursive: true });
    await removePartials(options.dir);
    const totalBytes = keys.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    const bar = new Progress('exporting', totalBytes + keys.length * FILE_COST_BYTES);
    let doneBytes = 0;
    let doneFiles = 0;
    try {
      await inParallel(keys.length, PARALLEL, async (index) => {
        const { key, sha256, sizeBytes } = keys[index]!;
        const { path = Buffer.from(oddPath(places[index]!.key)) } = places[index]!;
        const partial = join(options.dir, `${PARTIAL}${index}`);
        await fetchFile(client, { key, sha256 }, { file: Buffer.concat([root, SLASH, path]), partial });
        doneBytes += sizeBytes;
        bar.update(doneBytes + ++doneFiles * FILE_COST_BYTES, doneFiles);
      });
    } finally {
      bar.stop();
    }
    await writeOddIndex(options.dir, odd);
    const note = odd.length === 0 ? '' : `; ${showCount(odd.length)} of the keys cannot be paths: they are in ${ODD_FOLDER}, with an index`;
    process.stdout.write(`${showCount(keys.length)} files, ${showBytes(totalBytes)} (${showDuration(bar.elapsedMs)})${note}\n`);
  } finally {
    await client.close();
  }
}

/** What an export that was killed has left half written. */
async function removePartials(dir: string): Promise<void> {
  for (const name of await readdir(dir)) if (name.startsWith(PARTIAL)) await rm(join(dir, name), { force: true });
}

async function filesBelow(root: Buffer): Promise<{ readonly files: TreeFile[]; readonly leftOut: number }> {
  const files: TreeFile[] = [];
  let leftOut = 0;
  const sizeOf = async (path: Buffer): Promise<number> => (await lstat(Buffer.concat([root, SLASH, path]))).size;
  const odd = await readOddIndex(root.toString());
  for (const { key, path } of odd) files.push({ key, path, sizeBytes: await sizeOf(path) });
  const folders: (Buffer | undefined)[] = [undefined];
  while (folders.length > 0) {
    const folder = folders.pop();
    const at = folder === undefined ? root : Buffer.concat([root, SLASH, folder]);
    // Node's types know names as text only; with this encoding they are bytes.
    for await (const entry of await opendir(at, { encoding: 'buffer' as BufferEncoding })) {
      const name = entry.name as unknown as Buffer;
      const path = folder === undefined ? name : Buffer.concat([folder, SLASH, name]);
      if (folder === undefined && isOurs(name, odd.length > 0)) continue;
      if (entry.isDirectory()) folders.push(path);
      else if (entry.isFile()) files.push({ path, key: path, sizeBytes: await sizeOf(path) });
      else leftOut++;
    }
  }
  return { files, leftOut };
}

/** At the top of an export: its index and the files that it names, or what was half written. */
function isOurs(name: Buffer, hasIndex: boolean): boolean {
  const text = name.toString('latin1');
  return (hasIndex && text === ODD_FOLDER) || text.startsWith(PARTIAL);
}

/** Whether the file had to be sent. */
async function sendFile(client: MasterClient, key: Buffer, file: Buffer, sizeBytes: number, known: string | undefined): Promise<boolean> {
  if (sizeBytes <= MIB) {
    const body = await readFile(file);
    const digest = createHash('sha256').update(body).digest('hex');
    if (digest === known) return false;
    requireSame(key, digest, await client.put(key, body, body.length));
    return true;
  }
  if (known !== undefined && known === (await digestOf(file))) return false;
  const hash = createHash('sha256');
  const body = createReadStream(file, { highWaterMark: MIB });
  body.on('data', (piece) => hash.update(piece));
  requireSame(key, hash, await client.put(key, body, sizeBytes));
  return true;
}

async function digestOf(file: Buffer): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(file, { highWaterMark: MIB })) hash.update(piece as Buffer);
  return hash.digest('hex');
}

function requireSame(key: Buffer, sent: string | ReturnType<typeof createHash>, stored: string): void {
  const digest = typeof sent === 'string' ? sent : sent.digest('hex');
  if (digest !== stored)
    throw new KeyfleetError(
      'KF_CHECKSUM_MISMATCH',
      `${key.toString()}: the file has SHA-256 ${digest} and the master ${stored}; did it change meanwhile?`,
    );
}

async function fetchFile(
  client: MasterClient,
  { key, sha256 }: { readonly key: Bytes; readonly sha256: string },
  { file, partial }: { readonly file: Buffer; readonly partial: string },
): Promise<void> {
  await mkdir(file.subarray(0, file.lastIndexOf(0x2f)), { recursive: true });
  const hash = createHash('sha256');
  const value = await client.get(key);
  value.on('data', (piece: Buffer) => hash.update(piece));
  await pipeline(value, createWriteStream(partial));
  requireSame(Buffer.from(key), hash, sha256);
  await rename(partial, file);
}
