import { setTimeout as sleep } from 'node:timers/promises';
import { isKeyfleetError, KeyfleetError } from '../../base/errors.ts';
import { evenStarts, positionScheme } from '../../shard/position-scheme.ts';
import type { BackupBlock } from '../../shard/range-reader.ts';
import { type BackedUpKeyspace, type BackupManifest, partBytes, readManifest } from './backup-folder.ts';
import type { BackupTarget } from './backup-target.ts';
import { PutWindow } from './put-window.ts';
import { type RangePiece, rangePieces } from './range-file.ts';
import { sideBySide, type Work } from './side-by-side.ts';
import { keyspacesOf, verifyBackup } from './verify-backup.ts';

// Puts a backup into a store: first all of it is read and found whole, then the keyspaces are begun, filled and ended one after the other. A keyspace that
// is begun answers nobody before it is ended; when the restore dies it stays so, and the same restore, given again, goes on: what was put is put again
// over it.

export interface RestoreOptions {
  /** Only these. Default: all. */
  readonly keyspaces?: readonly string[] | undefined;
  /** Of a single keyspace: its name in the store. Default: as it was called. */
  readonly as?: string | undefined;
  /** Of keyspaces that are made. Default: as many as the backup has parts of it. */
  readonly shards?: number | undefined;
  /** Parts that are read at a time. Default: 4. */
  readonly concurrency?: number | undefined;
  /** How long a block is sent again when it is not taken. Default: 30,000. */
  readonly retryForMs?: number | undefined;
  /** Gives up what an earlier restore into the keyspace has left. Default: false. */
  readonly restart?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: RestoreProgress) => void) | undefined;
}

export interface RestoreProgress {
  readonly phase: 'verifying' | 'restoring';
  readonly bytes: number;
  readonly expectedBytes: number;
  readonly records: number;
  readonly retries: number;
}

export interface RestoredKeyspace {
  readonly name: string;
  /** What the keyspace was called when it was backed up. */
  readonly from: string;
  readonly records: number;
  /** As the store counts them once all was there. Fewer than `records`: the others had expired. */
  readonly keyCount: number;
  readonly goesOn: boolean;
}

const RETRY_MS = 200;

/**
 * Restores the backup in `dir` into `target`.
 * @throws as verifyBackup and BackupTarget.begin, before anything is changed; KF_COUNT_MISMATCH; KF_INTERRUPTED and what the target throws: then the
 *   keyspace answers nobody until the same call has gone through, or it is cleared.
 */
export async function restoreBackup(dir: string, target: BackupTarget, options: RestoreOptions = {}): Promise<readonly RestoredKeyspace[]> {
  const { signal, as } = options;
  const tally = { phase: 'verifying' as RestoreProgress['phase'], bytes: 0, expectedBytes: 0, records: 0, retries: 0 };
  const tell = (): void => options.onProgress?.(tally);
  const onRead = (bytes: number): void => {
    tally.bytes += bytes;
    tell();
  };
  const manifest = await readManifest(dir);
  const wanted = keyspacesOf(manifest, options.keyspaces);
  if (as !== undefined && wanted.length !== 1) {
    throw new KeyfleetError('KF_BAD_OPTION', `one keyspace can be given another name, not ${wanted.length}: say which`);
  }
  const keyspaces = await stillToRestore(manifest, wanted, target, options);
  tally.expectedBytes = keyspaces.reduce((sum, { bytes }) => sum + bytes, 0);
  tell();
  const names = keyspaces.map(({ name }) => name);
  const { longestItemBytes } = await verifyBackup(dir, { keyspaces: names, signal, onRead });
  Object.assign(tally, { phase: 'restoring', bytes: 0 });
  tell();
  const restored: RestoredKeyspace[] = [];
  for (const keyspace of keyspaces) {
    const name = as ?? keyspace.name;
    const longest = longestItemBytes.get(keyspace.name) ?? 0;
    const behindBytes = tally.bytes + keyspace.bytes;
    restored.push(await restoreKeyspace({ dir, manifest, keyspace, name, longest, target, options, tally, tell }));
    // What stands around blocks in a file counts too.
    tally.bytes = behindBytes;
    tell();
  }
  return restored;
}

/**
 * Those of the keyspaces that an interrupted restore of the same backup has not restored to the end. Nobody is to wait for a backup to be read that is refused
 * then. @throws as BackupTarget.check; KF_KEYSPACE_NOT_EMPTY when all have been.
 */
async function stillToRestore(
  { id: backup }: BackupManifest,
  wanted: readonly BackedUpKeyspace[],
  target: BackupTarget,
  options: RestoreOptions,
): Promise<readonly BackedUpKeyspace[]> {
  const { as, restart = false } = options;
  const left: BackedUpKeyspace[] = [];
  for (const keyspace of wanted) {
    const { name, module, scheme } = keyspace;
    const check = () => target.check(as ?? name, { backup, module, scheme, restart });
    const { isDone } = await insistOn(check, options, { ifInterrupted: 'interrupted before the backup had been read' });
    if (!isDone) left.push(keyspace);
  }
  // Of a keyspace without keys nobody can tell.
  if (left.length === wanted.length || left.some(({ records }) => records > 0)) return left;
  const names = wanted.map(({ name }) => as ?? name).join(', ');
  throw new KeyfleetError(
    'KF_KEYSPACE_NOT_EMPTY',
    `the backup has been restored into ${names} already; clear that (FLUSHALL) to restore it again`,
  );
}

async function restoreKeyspace(job: {
  readonly dir: string;
  readonly manifest: BackupManifest;
  readonly keyspace: BackedUpKeyspace;
  readonly name: string;
  readonly longest: number;
  readonly target: BackupTarget;
  readonly options: RestoreOptions;
  readonly tally: { bytes: number; records: number; retries: number };
  readonly tell: () => void;
}): Promise<RestoredKeyspace> {
  const { dir, manifest, keyspace, name, longest, target, options, tally, tell } = job;
  const { shards, concurrency = 4, restart = false } = options;
  const { module, scheme, parts } = keyspace;
  const starts = shards === undefined ? parts.map(({ from }) => from) : evenStarts(positionScheme(scheme), shards);
  const { minShards, maxShards } = keyspace.policy;
  const policy = {
    ...keyspace.policy,
    maxShards: Math.max(maxShards, starts.length),
    ...(shards === undefined ? {} : { minShards: Math.min(minShards, shards) }),
  };
  const insist = <T>(work: () => Promise<T>): Promise<T> =>
    insistOn(work, options, {
      ifInterrupted: `keyspace ${name} is restored in part and answers nobody; the same restore goes on with it`,
      onRetry: () => {
        tally.retries++;
      },
    });
  const what = { backup: manifest.id, module, scheme, starts, policy, longestItemBytes: longest, restart };
  // Once only: what was begun by an attempt whose answer was lost is gone on with.
  let isFirst = true;
  const { id, goesOn } = await insist(() => {
    const attempt = target.begin(name, { ...what, restart: restart && isFirst });
    isFirst = false;
    return attempt;
  });
  const window = new PutWindow();
  const put = async ({ bytes, records }: BackupBlock): Promise<void> => {
    await insist(async () => {
      const beganMs = performance.now();
      try {
        await target.put(name, id, bytes);
        window.took(bytes.length, beganMs, performance.now());
      } catch (error) {
        window.failed(beganMs, performance.now());
        throw error;
      }
    });
    tally.bytes += bytes.length;
    tally.records += records;
    tell();
  };
  await sideBySide([...parts], concurrency, (part, all) => putBlocks(rangePieces(partBytes(dir, part)), { window, all, put }));
  const sessionsExpiredBeforeMs = Math.max(0, ...parts.map((part) => part.sessionsExpiredBeforeMs));
  const { keyCount } = await insist(() => target.end(name, id, { sessionsExpiredBeforeMs, records: keyspace.records }));
  return { name, from: keyspace.name, records: keyspace.records, keyCount, goesOn };
}

/** Puts the blocks of a part, as many at a time as the window has room for. @throws the first failure, once none is under way any more. */
async function putBlocks(
  pieces: AsyncIterable<RangePiece>,
  { window, all, put }: { readonly window: PutWindow; readonly all: Work; readonly put: (block: BackupBlock) => Promise<void> },
): Promise<void> {
  const underWay = new Set<Promise<void>>();
  let failure: unknown;
  const begin = (block: BackupBlock): void => {
    const one = put(block)
      .catch((error: unknown) => {
        failure ??= error;
      })
      .finally(() => {
        window.leave(block.bytes.length);
        underWay.delete(one);
      });
    underWay.add(one);
  };
  try {
    for await (const piece of pieces) {
      if (piece.kind !== 'block') continue;
      await window.enter(piece.block.bytes.length);
      begin(piece.block);
      if (all.failure !== undefined || failure !== undefined) break;
    }
  } finally {
    await Promise.all(underWay);
  }
  if (failure !== undefined) throw failure;
}

/** Does `work` again while what it fails with may pass. @throws what it failed with last; KF_INTERRUPTED. */
async function insistOn<T>(
  work: () => Promise<T>,
  { retryForMs = 30_000, signal }: RestoreOptions,
  { ifInterrupted, onRetry }: { readonly ifInterrupted: string; readonly onRetry?: () => void },
): Promise<T> {
  const sinceMs = Date.now();
  while (true) {
    if (signal?.aborted) throw new KeyfleetError('KF_INTERRUPTED', ifInterrupted);
    try {
      return await work();
    } catch (error) {
      const isPassing = isKeyfleetError(error) && (error.retryable || error.code === 'KF_OUTCOME_UNKNOWN');
      if (!isPassing || Date.now() - sinceMs >= retryForMs) throw error;
      onRetry?.();
      await sleep(RETRY_MS);
    }
  }
}
