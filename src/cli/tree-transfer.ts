import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { lstat, mkdir, opendir, readFile, rename } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import type { Bytes } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import { MIB, showBytes, showCount, showDuration } from '../base/units.ts';
import { MasterClient } from '../volume/master-client.ts';
import { inParallel } from '../volume/value-directory.ts';
import { Progress } from './progress.ts';

/** Where a master is when nobody says otherwise. */
export const MASTER_URL = 'http://127.0.0.1:3000';
const PARALLEL = 16;
const FILE_COST_BYTES = 256 * 1024;
const SLASH = Buffer.from('/');

interface TreeFile {
  /** Path below the directory, as bytes: file names need not be UTF-8. */
  readonly path: Buffer;
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
        const { path, sizeBytes } = files[index]!;
        const key = Buffer.concat([Buffer.from(options.prefix), path]);
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

/** Writes every value whose key begins with `prefix` to a file below `dir`, its digest compared. */
export async function exportTree(options: { readonly dir: string; readonly url: string; readonly prefix: string }): Promise<void> {
  const root = Buffer.from(options.dir);
  const client = new MasterClient(options.url, { connections: PARALLEL });
  try {
    const keys: { key: Bytes; sha256: string; sizeBytes: number }[] = [];
    for await (const listed of client.keys(options.prefix)) keys.push(listed);
    const totalBytes = keys.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    const bar = new Progress('exporting', totalBytes + keys.length * FILE_COST_BYTES);
    let doneBytes = 0;
    let doneFiles = 0;
    try {
      await inParallel(keys.length, PARALLEL, async (index) => {
        const { key, sha256, sizeBytes } = keys[index]!;
        await fetchFile(client, { key, sha256 }, root, Buffer.from(options.prefix).length);
        doneBytes += sizeBytes;
        bar.update(doneBytes + ++doneFiles * FILE_COST_BYTES, doneFiles);
      });
    } finally {
      bar.stop();
    }
    process.stdout.write(`${showCount(keys.length)} files, ${showBytes(totalBytes)} (${showDuration(bar.elapsedMs)})\n`);
  } finally {
    await client.close();
  }
}

async function filesBelow(root: Buffer): Promise<{ readonly files: TreeFile[]; readonly leftOut: number }> {
  const files: TreeFile[] = [];
  let leftOut = 0;
  const folders: (Buffer | undefined)[] = [undefined];
  while (folders.length > 0) {
    const folder = folders.pop();
    const at = folder === undefined ? root : Buffer.concat([root, SLASH, folder]);
    // Node's types know names as text only; with this encoding they are bytes.
    for await (const entry of await opendir(at, { encoding: 'buffer' as BufferEncoding })) {
      const name = entry.name as unknown as Buffer;
      const path = folder === undefined ? name : Buffer.concat([folder, SLASH, name]);
      if (entry.isDirectory()) folders.push(path);
      else if (entry.isFile()) files.push({ path, sizeBytes: (await lstat(Buffer.concat([root, SLASH, path]))).size });
      else leftOut++;
    }
  }
  return { files, leftOut };
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
  root: Buffer,
  prefixLength: number,
): Promise<void> {
  const path = Buffer.from(key).subarray(prefixLength);
  const parts = path.toString('latin1').split('/');
  if (parts.some((part) => part === '' || part === '.' || part === '..') || path.includes(0)) {
    throw new KeyfleetError(
      'KF_USAGE',
      `the key ${JSON.stringify(Buffer.from(key).toString())} is no path below a directory; fetch it by itself`,
    );
  }
  const file = Buffer.concat([root, SLASH, path]);
  await mkdir(file.subarray(0, file.lastIndexOf(0x2f)), { recursive: true });
  const partial = Buffer.concat([file, Buffer.from('.keyfleet-partial')]);
  const hash = createHash('sha256');
  const value = await client.get(key);
  value.on('data', (piece: Buffer) => hash.update(piece));
  await pipeline(value, createWriteStream(partial));
  requireSame(Buffer.from(key), hash, sha256);
  await rename(partial, file);
}
