import fs from 'node:fs';
import { join } from 'node:path';
import { assert } from '../base/assert.ts';
import type { Bytes } from '../base/bytes.ts';
import { isKeyfleetError, KeyfleetError } from '../base/errors.ts';
import { MIB, showBytes } from '../base/units.ts';
import { BatchWriter } from './batch-writer.ts';
import { CommitProgress } from './commit-progress.ts';
import { DeadRuns } from './dead-runs.ts';
import { isDiskFull, type LockedDirectory, lockDirectory, unreadable } from './directory.ts';
import { spaceOf } from './disk-space.ts';
import { type Files, realFiles } from './files.ts';
import { Flusher } from './flusher.ts';
import { Journal } from './journal.ts';
import { replayJournal } from './journal-replay.ts';
import { keyHash } from './key-hash.ts';
import { LayeredScan, type Layers } from './layered-scan.ts';
import { LmdbSnapshot } from './lmdb-snapshot.ts';
import { LmdbTable } from './lmdb-table.ts';
import { Memtable } from './memtable.ts';
import {
  type CommitNumber,
  checkKey,
  type Durability,
  type ScanOptions,
  type Storage,
  type StoragePair,
  type StorageSnapshot,
  type StorageStats,
  type ValueViewer,
} from './storage.ts';

// The storage port on disk. The argument, the drawing and the crash points: docs/protocol/storage.md.
//
//   put ─→ open batch ─commit─→ journal ─fdatasync─→ durable
//            └─→ memtable ─full─→ frozen ─flush, in the background─→ LMDB ─fdatasync─→ its journal segments go
//   get ─→ memtable, frozen memtables from the newest on, LMDB
//
// A write costs about half a microsecond here (encoding, the map); everything that touches the disk happens in other threads.

export interface StorageOptions {
  /** Made when missing. One process at a time. */
  readonly dir: string;
  /** Default: `sync`. */
  readonly durability?: Durability;
  /** Memory after which a memtable is frozen and flushed. Default 64 MiB; with three of them waiting writes are slowed down, with eight refused. */
  readonly memtableBytes?: number;
  /** Size of a journal file; two spare ones are kept ready. Default 16 MiB. */
  readonly segmentBytes?: number;
  /** The file system under the journal; tests put their own here. */
  readonly files?: Files;
}

const MEMTABLE_BYTES = 64 * MIB;
const SEGMENT_BYTES = 16 * MIB;
/**
 * Bytes in frozen memtables, in units of a full one, after which acknowledgements are held back, and after which writes are refused. A memtable
 * with a value larger than itself counts as so many: others need not wait until one large value has reached the disk.
 */
const SLOW_AT_FROZEN = 3;
const REFUSE_AT_FROZEN = 8;
const LARGE_COUNTS_AS = 2;
/** For each unit beyond. */
const HOLD_BACK_MS = 5;
/** New keys that may wait for their place in the order, and how many take theirs after each commit beyond that. */
const UNSETTLED_KEYS = 4_096;
const SETTLE_KEYS = 64;

const DURABILITIES: readonly Durability[] = ['sync', 'os', 'none'];

/**
 * Opens the storage in `options.dir`, playing the journal's tail over LMDB.
 *
 * @throws KF_STORAGE_LOCKED, KF_STORAGE_VERSION, KF_STORAGE_DAMAGED, KF_STORAGE_UNREADABLE, KF_DISK_FULL, KF_BAD_OPTION
 */
export async function openStorage(options: StorageOptions): Promise<LmdbStorage> {
  const { durability = 'sync' } = options;
  if (!DURABILITIES.includes(durability))
    throw new KeyfleetError('KF_BAD_OPTION', `durability is ${DURABILITIES.join(', ')}, not ${JSON.stringify(durability)}`);
  const locked = await lockDirectory(options.dir);
  try {
    return await LmdbStorage.open(locked, options);
  } catch (error) {
    locked.unlock();
    throw isKeyfleetError(error) ? error : unreadable(options.dir, error);
  }
}

export class LmdbStorage implements Storage {
  readonly #directory: LockedDirectory;
  readonly #durability: Durability;
  readonly #memtableBytes: number;
  readonly #table: LmdbTable;
  readonly #journal: Journal;
  readonly #writer: BatchWriter;
  readonly #progress: CommitProgress;
  readonly #flusher: Flusher;
  /** The newest first; the first one takes the writes. */
  #memtables: Memtable[];
  #active: Memtable;
  #committed: CommitNumber;
  #frozenBytes = 0;
  /** The same, large ones counted as {@link LARGE_COUNTS_AS} says. */
  #countedBytes = 0;
  #generation = 0;
  #announceIsDue = false;
  #sinceSizeCheck = 0;
  #isOpen = true;
  readonly #dead = new DeadRuns();
  readonly #layers: Layers;

  static async open(directory: LockedDirectory, options: StorageOptions): Promise<LmdbStorage> {
    const journalDir = join(directory.dir, 'journal');
    const files = options.files ?? realFiles;
    const table = LmdbTable.open(join(directory.dir, 'lmdb'));
    try {
      const flushed = table.flushed;
      const memtableBytes = options.memtableBytes ?? MEMTABLE_BYTES;
      let active = new Memtable(flushed);
      const memtables = [active];
      let replayedBytes = 0;
      const replayed = replayJournal({
        files,
        dir: journalDir,
        flushed,
        apply: (bytes, at, length) => {
          if (active.chunks.at(-1) !== bytes) active.chunks.push(bytes);
          active.set(at);
          replayedBytes += length;
        },
        onBatch: (number) => {
          active.lastNumber = number;
          if (replayedBytes < memtableBytes) return;
          replayedBytes = 0;
          active = new Memtable(number);
          memtables.unshift(active);
        },
      });
      // What a crashed process wrote may still be in memory only; from here on we build on it.
      for (const { path } of replayed.segments) files.syncSync(path);
      if (replayed.abandoned.length > 0) await files.remove(replayed.abandoned);
      const storage = new LmdbStorage(directory, options, { table, files, journalDir, memtables, replayed });
      await storage.#journal.start();
      return storage;
    } catch (error) {
      await table.close();
      throw error;
    }
  }

  private constructor(
    directory: LockedDirectory,
    options: StorageOptions,
    found: {
      readonly table: LmdbTable;
      readonly files: Files;
      readonly journalDir: string;
      readonly memtables: Memtable[];
      readonly replayed: ReturnType<typeof replayJournal>;
    },
  ) {
    const { table, files, journalDir, memtables, replayed } = found;
    this.#directory = directory;
    this.#durability = options.durability ?? 'sync';
    this.#memtableBytes = options.memtableBytes ?? MEMTABLE_BYTES;
    this.#table = table;
    this.#committed = replayed.last;
    this.#progress = new CommitProgress(replayed.last);
    this.#journal = new Journal({
      files,
      dir: journalDir,
      segmentBytes: options.segmentBytes ?? SEGMENT_BYTES,
      synced: this.#durability === 'sync',
      nextId: replayed.nextId,
      number: replayed.last,
      sealed: replayed.segments,
      recyclable: [],
      holdBackMs: () => HOLD_BACK_MS * Math.max(0, Math.floor(this.#countedBytes / this.#memtableBytes) - SLOW_AT_FROZEN),
      onWritten: (number) => {
        if (this.#durability === 'os') this.#progress.advance(number);
      },
      onSynced: (number) => this.#progress.advance(number),
      onFailed: (error) => this.#progress.fail(error),
    });
    if (replayed.unused.length > 0) files.remove(replayed.unused).catch(() => {});
    // Replayed values lie in the bytes of their files; new ones go to a memtable of their own.
    this.#active = new Memtable(replayed.last, 0, this.#dead);
    this.#memtables = [this.#active, ...memtables.filter((memtable) => memtable.entryCount > 0)];
    for (const memtable of this.#memtables) if (memtable !== this.#active) this.#countFrozen(memtable, 1);
    this.#writer = new BatchWriter(this.#journal, this.#active);
    this.#flusher = new Flusher({
      oldest: () => (this.#memtables.length > 1 && !this.#progress.failure ? this.#memtables.at(-1) : undefined),
      flush: async (memtable, goOn) => {
        // LMDB must never be ahead of the journal: after a crash the journal's numbers go on from its own end.
        await this.#journal.sync(memtable.lastNumber);
        return this.#table.flush(memtable, goOn);
      },
      onFlushed: (memtable) => {
        this.#memtables = this.#memtables.slice(0, -1);
        this.#countFrozen(memtable, -1);
        this.#generation++;
        this.#journal.release(memtable.lastNumber);
      },
      onFailed: (error) => this.#progress.fail(error),
    });
    const self = this;
    this.#layers = {
      dead: this.#dead,
      get memtables() {
        return self.#memtables;
      },
      range: (options) => self.#table.range(options),
      get generation() {
        return self.#generation;
      },
      get isOpen() {
        return self.#isOpen;
      },
    };
    this.#flusher.start();
  }

  get(key: Bytes): Bytes | undefined {
    const hash = keyHash(key);
    for (const memtable of this.#memtables) {
      const found = memtable.find(key, hash);
      if (found !== undefined) return found === 'deleted' ? undefined : found;
    }
    return key.length === 0 ? undefined : this.#table.get(key);
  }

  show(key: Bytes, viewer: ValueViewer): boolean {
    const hash = keyHash(key);
    for (const memtable of this.#memtables) {
      const known = memtable.show(key, hash, viewer);
      if (known !== undefined) return known;
    }
    return key.length > 0 && this.#table.show(key, viewer);
  }

  has(key: Bytes): boolean {
    const hash = keyHash(key);
    for (const memtable of this.#memtables) {
      const known = memtable.knows(key, hash);
      if (known !== undefined) return known;
    }
    return key.length > 0 && this.#table.has(key);
  }

  scan(options: ScanOptions): IterableIterator<StoragePair> {
    return new LayeredScan(this.#layers, options);
  }

  put(key: Bytes, value: Bytes): void {
    this.#checkWrite(key);
    this.#writer.write(key, value);
  }

  delete(key: Bytes): void {
    this.#checkWrite(key);
    this.#writer.write(key, undefined);
  }

  savepoint(): number {
    return this.#writer.writeCount;
  }

  rollback(savepoint: number): void {
    assert(savepoint <= this.#writer.writeCount, () => `rollback to ${savepoint} of ${this.#writer.writeCount} writes`);
    this.#writer.rollback(savepoint);
  }

  commit(): CommitNumber {
    assert(this.#isOpen, () => 'commit on a closed storage');
    const writeCount = this.#writer.writeCount;
    if (writeCount === 0) return this.#committed;
    const number = ++this.#committed;
    this.#writer.commit(number);
    if (this.#durability === 'none') this.#announceSoon();
    if (this.#active.waiting > UNSETTLED_KEYS) this.#active.settle(SETTLE_KEYS + 2 * writeCount);
    this.#sinceSizeCheck += writeCount;
    if (this.#sinceSizeCheck >= 64 || writeCount > 8) {
      this.#sinceSizeCheck = 0;
      if (this.#active.bytes >= this.#memtableBytes) this.#freeze();
    }
    return number;
  }

  get openNumber(): CommitNumber {
    return this.#committed + 1;
  }

  get committed(): CommitNumber {
    return this.#committed;
  }

  get durable(): CommitNumber {
    return this.#progress.durable;
  }

  onDurable(listener: (durable: CommitNumber) => void): () => void {
    return this.#progress.onDurable(listener);
  }

  onFailed(listener: (error: Error) => void): () => void {
    return this.#progress.onFailed(listener);
  }

  whenDurable(number: CommitNumber): Promise<void> {
    return this.#progress.whenDurable(number);
  }

  get refusal(): Error | undefined {
    const refusal = this.#progress.failure ?? this.#journal.refusal;
    if (refusal || !this.#isBehind) return refusal;
    const { error } = this.#flusher;
    const why = error ? `: ${error.message}` : '';
    return new KeyfleetError(
      isDiskFull(error) ? 'KF_DISK_FULL' : 'KF_STORAGE_BEHIND',
      `${showBytes(this.#frozenBytes)} wait to be written to ${this.#directory.dir}${why}; writes are refused until some are`,
      { retryable: true },
    );
  }

  snapshot(): StorageSnapshot {
    assert(this.#isOpen, () => 'snapshot of a closed storage');
    assert(this.#writer.writeCount === 0, () => 'snapshot while the open batch has writes');
    if (this.#active.entryCount > 0) this.#freeze();
    return new LmdbSnapshot(this.#committed, this.#memtables.slice(1), this.#table);
  }

  stats(): StorageStats {
    let memtableBytes = 0;
    let memtableEntries = 0;
    for (const memtable of this.#memtables) {
      memtableBytes += memtable.bytes;
      memtableEntries += memtable.entryCount;
    }
    const journalBytes = this.#journal.diskBytes;
    const space = spaceOf(this.#directory.dir);
    return {
      durability: this.#durability,
      diskBytes: journalBytes + sizeOf(LmdbTable.dataPath(join(this.#directory.dir, 'lmdb'))),
      journalBytes,
      memtableBytes,
      memtableEntries,
      syncCount: this.#journal.syncCount,
      syncSeconds: this.#journal.syncSeconds,
      flushCount: this.#flusher.count,
      ...(space && { space }),
    };
  }

  /** Writes everything to LMDB now; for tests, and before a backup. The open batch must be empty. @throws what keeps it from doing so. */
  async flush(): Promise<void> {
    assert(this.#writer.writeCount === 0, () => 'flush while the open batch has writes');
    if (this.#active.entryCount > 0) this.#freeze();
    const wanted = new Set(this.#memtables.slice(1));
    while (this.#memtables.some((memtable) => wanted.has(memtable))) {
      const wasTried = await this.#flusher.tried();
      const error = this.#progress.failure ?? this.#flusher.error;
      if (error) throw isKeyfleetError(error) ? error : unreadable(this.#directory.dir, error);
      if (!wasTried) return;
    }
  }

  /** Ends within seconds, whatever the disk does: the journal has what cannot be flushed now. */
  async close(): Promise<void> {
    if (!this.#isOpen) return;
    assert(this.#writer.writeCount === 0, () => 'close while the open batch has writes');
    try {
      if (!this.#progress.failure) await this.flush().catch(() => {});
      await this.#flusher.stop();
      await this.#journal.close();
    } finally {
      this.#isOpen = false;
      await this.#table.close();
      this.#directory.unlock();
    }
  }

  get #isBehind(): boolean {
    return this.#countedBytes >= REFUSE_AT_FROZEN * this.#memtableBytes;
  }

  #countFrozen({ bytes }: Memtable, sign: 1 | -1): void {
    this.#frozenBytes += sign * bytes;
    this.#countedBytes += sign * Math.min(bytes, LARGE_COUNTS_AS * this.#memtableBytes);
  }

  #checkWrite(key: Bytes): void {
    checkKey(key);
    assert(this.#isOpen, () => 'write to a closed storage');
    if (this.#isBehind || this.#journal.refusal || this.#progress.failure) throw this.refusal!;
  }

  #announceSoon(): void {
    if (this.#announceIsDue) return;
    this.#announceIsDue = true;
    queueMicrotask(() => {
      this.#announceIsDue = false;
      this.#progress.advance(this.#committed);
    });
  }

  /** Puts an empty memtable over the one that took the writes, which from now on is only read and flushed. */
  #freeze(): void {
    this.#countFrozen(this.#active, 1);
    this.#active = new Memtable(this.#committed, this.#active.entryCount, this.#dead);
    this.#memtables = [this.#active, ...this.#memtables];
    this.#generation++;
    this.#writer.use(this.#active);
    this.#flusher.start();
  }
}

function sizeOf(path: string): number {
  try {
    return fs.statSync(path).size;
  } catch {
    return 0;
  }
}
