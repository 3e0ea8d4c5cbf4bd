import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Bytes } from '../../base/bytes.ts';
import { isKeyfleetError, KeyfleetError } from '../../base/errors.ts';
import { BACKUP_FORMAT, BackupFolder, type BackupManifest, type BackupPart, checkTiling, PartFile, partFile } from './backup-folder.ts';
import type { BackupOrigin, BackupSource, OriginKeyspace } from './backup-source.ts';
import { DiskPace } from './disk-pace.ts';
import { type RangeEnd, rangePieces } from './range-file.ts';
import type { RangeHead } from './range-reading.ts';
import { sideBySide, type Work } from './side-by-side.ts';

// Takes a backup while the store runs. What is wanted is a list of ranges of positions, at first those of the shards. Each is asked for by itself; what
// comes says how far it goes, and what is missing behind it is wanted again. So shards may be split, merged and moved meanwhile: the parts cover each
// position once, whoever had it when it was read.

export interface BackupOptions {
  /** Only these. Default: all. */
  readonly keyspaces?: readonly string[] | undefined;
  /** Shards that are read at a time. Default: 4. */
  readonly concurrency?: number | undefined;
  /** How long a part is asked for again when it cannot be had. Default: 30,000. */
  readonly retryForMs?: number | undefined;
  /**
   * Writes as fast as it can, for a folder on a disk that nobody else needs. Default: false; at most a third of the disk's time is taken, so that journals and
   * logs on the same disk wait little for it.
   */
  readonly fullSpeed?: boolean | undefined;
  /** Of Keyfleet, to be written down. */
  readonly release?: string | undefined;
  /** Ends it early; it may be gone on with. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: BackupProgress) => void) | undefined;
}

export interface BackupProgress {
  readonly records: number;
  /** As the store counted them at the beginning. */
  readonly expectedRecords: number;
  readonly bytes: number;
  readonly parts: number;
  /** Parts that were asked for once more. */
  readonly retries: number;
  /** Ranges that another shard had when they were read. */
  readonly moved: number;
  /** Records that an earlier run had written. */
  readonly earlierRecords: number;
}

interface Wanted {
  readonly keyspace: string;
  readonly from: number;
  readonly to: number;
}

const RETRY_MS = 200;

/**
 * Writes a backup of `source` to the folder `dir`, or goes on with one. It holds all that was answered before the call, and each shard's records as of one moment.
 * @throws KF_BACKUP_EXISTS, KF_BACKUP_WRITE_FAILED, KF_NO_KEYSPACE, KF_MODULE_MISSING, KF_INTERRUPTED; what the source throws. What was written stays,
 *   and the same call goes on with it.
 */
export async function takeBackup(dir: string, source: BackupSource, options: BackupOptions = {}): Promise<BackupManifest> {
  const { concurrency = 4, retryForMs = 30_000, signal, release = '', fullSpeed = false } = options;
  const pace = fullSpeed ? undefined : new DiskPace();
  const origin = await source.origin();
  const keyspaces = chosen(origin, options.keyspaces);
  const of = JSON.stringify([origin.cluster ?? origin.node, keyspaces.map(({ name, id }) => [name, id])]);
  const folder = await BackupFolder.open(dir, { id: randomBytes(9).toString('base64url'), startedMs: Date.now(), of });
  const tally = {
    records: folder.parts.reduce((sum, { records }) => sum + records, 0),
    expectedRecords: keyspaces.reduce((sum, { shards }) => sum + shards.reduce((of, { keyCount }) => of + keyCount, 0), 0),
    bytes: folder.parts.reduce((sum, { bytes }) => sum + bytes, 0),
    parts: folder.parts.length,
    retries: 0,
    moved: 0,
    earlierRecords: folder.parts.reduce((sum, { records }) => sum + records, 0),
  };
  const tell = (): void => options.onProgress?.(tally);
  const queue = keyspaces.flatMap((keyspace) => stillWanted(keyspace, folder.parts));
  const insist = async (wanted: Wanted, all: Work): Promise<BackupPart> => {
    const sinceMs = Date.now();
    while (true) {
      let [partRecords, partBytes] = [0, 0];
      try {
        return await readPart({ folder, source, wanted, pace }, (records, bytes) => {
          if (all.failure !== undefined) throw all.failure;
          if (signal?.aborted) throw new KeyfleetError('KF_INTERRUPTED', 'the backup was interrupted; the same command goes on with it');
          partRecords += records;
          partBytes += bytes;
          tally.records += records;
          tally.bytes += bytes;
          tell();
        });
      } catch (error) {
        tally.records -= partRecords;
        tally.bytes -= partBytes;
        const mayRetry = isKeyfleetError(error) && error.retryable && Date.now() - sinceMs < retryForMs && !signal?.aborted;
        if (!mayRetry || all.failure !== undefined) throw error;
        tally.retries++;
        await sleep(RETRY_MS);
      }
    }
  };
  try {
    tell();
    await sideBySide(queue, concurrency, async (wanted, all) => {
      const { keyspace, to } = wanted;
      const part = await insist(wanted, all);
      await folder.add(part);
      tally.parts++;
      if (part.to < to) {
        tally.moved++;
        queue.push({ keyspace, from: part.to, to });
      }
      tell();
    });
    return await finish(folder, origin, keyspaces, release);
  } catch (error) {
    await folder.close();
    throw error;
  }
}

/** @throws KF_NO_KEYSPACE, KF_MODULE_MISSING. */
function chosen({ keyspaces }: BackupOrigin, names: readonly string[] | undefined): readonly OriginKeyspace[] {
  const stranger = names?.find((name) => !keyspaces.some((keyspace) => keyspace.name === name));
  if (stranger !== undefined) {
    throw new KeyfleetError(
      'KF_NO_KEYSPACE',
      `there is no keyspace ${stranger}; there are ${keyspaces.map(({ name }) => name).join(', ') || 'none'}`,
    );
  }
  const wanted = keyspaces.filter(({ name }) => names?.includes(name) ?? true);
  const unserved = wanted.find(({ isServed }) => !isServed);
  if (unserved) {
    const { name, module } = unserved;
    const others = 'or name the keyspaces to back up without it';
    throw new KeyfleetError(
      'KF_MODULE_MISSING',
      `keyspace ${name} cannot be read: the server was not given its value module ${module}; give it, ${others}`,
    );
  }
  return wanted;
}

/** What of a keyspace no part covers yet: its shards, less what is there. */
function stillWanted({ name: keyspace, shards }: OriginKeyspace, parts: readonly BackupPart[]): Wanted[] {
  const have = parts.filter((part) => part.keyspace === keyspace).sort((a, b) => a.from - b.from);
  return shards.flatMap(({ from, to }) => {
    const missing: Wanted[] = [];
    let at = from;
    for (const part of have) {
      if (part.to <= at || part.from >= to) continue;
      if (part.from > at) missing.push({ keyspace, from: at, to: part.from });
      at = Math.max(at, part.to);
    }
    if (at < to) missing.push({ keyspace, from: at, to });
    return missing;
  });
}

async function readPart(
  what: { readonly folder: BackupFolder; readonly source: BackupSource; readonly wanted: Wanted; readonly pace: DiskPace | undefined },
  onRead: (records: number, bytes: number) => void,
): Promise<BackupPart> {
  const { folder, source, pace } = what;
  const { keyspace, from, to } = what.wanted;
  const takenMs = Date.now();
  const chunks = await source.part(keyspace, from, to);
  const file = await PartFile.create(folder.dir, partFile(keyspace, from, to), pace);
  let head: RangeHead | undefined;
  let end: RangeEnd | undefined;
  try {
    for await (const piece of rangePieces(written(chunks, file))) {
      if (piece.kind === 'head') head = piece.head;
      else if (piece.kind === 'end') end = piece.end;
      else onRead(piece.block.records, piece.block.bytes.length);
    }
    const { shard, range, seq, epoch, hash, sessionsExpiredBeforeMs } = head!;
    if (range.from !== from || range.to > to || range.to <= from) {
      throw new KeyfleetError('KF_BACKUP_DAMAGED', `[${from}, ${to}) of ${keyspace} was asked for, and [${range.from}, ${range.to}) came`);
    }
    const { bytes } = file;
    const { records, sessions } = end!;
    const name = partFile(keyspace, from, range.to);
    const sha256 = await file.finish(name);
    return {
      ...{ keyspace, file: name, from, to: range.to, shard, seq, epoch, hash, takenMs },
      sessionsExpiredBeforeMs,
      records,
      sessions,
      bytes,
      sha256,
    };
  } catch (error) {
    await file.discard();
    throw error;
  }
}

async function* written(chunks: AsyncIterable<Bytes>, file: PartFile): AsyncGenerator<Bytes, void, undefined> {
  for await (const chunk of chunks) {
    await file.write(chunk);
    yield chunk;
  }
}

async function finish(
  folder: BackupFolder,
  origin: BackupOrigin,
  keyspaces: readonly OriginKeyspace[],
  release: string,
): Promise<BackupManifest> {
  const { id, startedMs } = folder.beginning;
  const manifest: BackupManifest = {
    kind: 'keyfleet-backup',
    format: BACKUP_FORMAT,
    id,
    release,
    cluster: origin.cluster,
    node: origin.node,
    startedMs,
    finishedMs: Date.now(),
    keyspaces: keyspaces.map(({ name, id, module, scheme, policy }) => {
      const parts = folder.parts.filter(({ keyspace }) => keyspace === name).sort((a, b) => a.from - b.from);
      checkTiling(folder.dir, name, parts);
      const records = parts.reduce((sum, part) => sum + part.records, 0);
      const bytes = parts.reduce((sum, part) => sum + part.bytes, 0);
      return { name, id, module, scheme, policy, records, bytes, parts };
    }),
  };
  await folder.finish(manifest);
  return manifest;
}
