import { assert } from '../base/assert.ts';
import type { Bytes } from '../base/bytes.ts';

// The storage port: ordered bytes -> bytes, read synchronously, written in atomic batches that are visible at once and durable a little later.
//
// Writing happens in the *open batch*: `put` and `delete` show in every later read at once; `commit` closes the batch, gives it the next
// commit number and hands it on; from then on it is whole or absent on disk, and batches become durable in the order of their numbers.
// Nobody outside may be told of a batch's effects before it is durable: callers hold back their answers until `durable` has reached the
// number that was current when they read (`openNumber` if the open batch has writes, else `committed`).
// One writer: the process that opened the storage. All calls come from one thread.

/** The number of a batch, from 1, without gaps. 0 stands before the first. */
export type CommitNumber = number;

/** A key of the storage has 1 to this many bytes. Whoever has longer ones shortens them by a digest. */
export const MAX_KEY_BYTES = 1024;

/** Stops on a key that no adapter can keep. */
export function checkKey(key: Bytes): void {
  assert(key.length > 0 && key.length <= MAX_KEY_BYTES, () => `a storage key has 1 to ${MAX_KEY_BYTES} bytes, this one ${key.length}`);
}

/** Whoever wants to look at a value without having it copied. */
export interface ValueViewer {
  /** The value is `bytes[from … to)`, as long as the call lasts: what is kept must be copied. It must not read from the storage. */
  view(bytes: Bytes, from: number, to: number): void;
}

/** What reads offer, over the live state or over a snapshot. */
export interface StorageReader {
  /** The value of `key`, or undefined. The bytes must not be changed, and are the caller's to keep. */
  get(key: Bytes): Bytes | undefined;
  /** Shows the value of `key` to `viewer` where it lies, before it returns: a read without a copy. False when there is none. */
  show(key: Bytes, viewer: ValueViewer): boolean;
  has(key: Bytes): boolean;
  /**
   * The pairs with `from <= key < to`, in byte-wise order (backwards with `reverse`), at most `limit`.
   * Sees the state as of each step: a pair changed behind the cursor is not visited again, one changed ahead is seen as changed.
   * Closes itself at its end; a scan left early is closed by `return` (a `for … of` with `break` does that).
   */
  scan(options: ScanOptions): IterableIterator<StoragePair>;
}

export interface ScanOptions {
  readonly from: Bytes;
  /** Exclusive; absent: to the end. */
  readonly to?: Bytes;
  readonly reverse?: boolean;
  readonly limit?: number;
  /** The values are not read: those of the pairs are empty. */
  readonly keysOnly?: boolean;
}

export interface StoragePair {
  readonly key: Bytes;
  readonly value: Bytes;
}

export interface Storage extends StorageReader {
  /** Adds to the open batch. Key and value are copied. @throws KF_DISK_FULL, KF_STORAGE_FAILED; then nothing changed. */
  put(key: Bytes, value: Bytes): void;
  delete(key: Bytes): void;
  /** Where the open batch stands now; for {@link rollback}. */
  savepoint(): number;
  /** Undoes what the open batch did after `savepoint`, reads included. */
  rollback(savepoint: number): void;
  /** Closes the open batch and gives it to the disk; returns its number (the last number again when the batch is empty). */
  commit(): CommitNumber;
  /** The number that the open batch will have. */
  readonly openNumber: CommitNumber;
  /** The number of the last closed batch. */
  readonly committed: CommitNumber;
  /** All batches up to this number keep the promise of the storage's durability. */
  readonly durable: CommitNumber;
  /** Calls `listener(durable)` after each advance of `durable`; returns the call that ends it. */
  onDurable(listener: (durable: CommitNumber) => void): () => void;
  /** Calls `listener` once when the storage can no longer keep its promises; batches above `durable` then have an unknown outcome. */
  onFailed(listener: (error: Error) => void): () => void;
  /** Resolves when `durable >= number`. @throws KF_STORAGE_FAILED: the outcome is unknown. */
  whenDurable(number: CommitNumber): Promise<void>;
  /** Undefined while writes are taken; else why they are refused for now (KF_DISK_FULL, KF_STORAGE_FAILED). */
  readonly refusal: Error | undefined;
  /** The state as of the last closed batch, readable until released, however much is written meanwhile. @throws when the open batch has writes. */
  snapshot(): StorageSnapshot;
  stats(): StorageStats;
  /** Makes everything durable and lets go of the files. The open batch must be empty. */
  close(): Promise<void>;
}

export interface StorageSnapshot extends StorageReader {
  readonly number: CommitNumber;
  release(): void;
}

/**
 * When an answer may be given: `sync` after fdatasync of the journal (the default), `os` after the operating system has the bytes (a power
 * loss may take the last second), `none` at once (a crash of the process may take the last moments too).
 */
export type Durability = 'sync' | 'os' | 'none';

/** Numbers for `status`, INFO and metrics; each adapter fills what it has. */
export interface StorageStats {
  readonly durability: Durability;
  readonly diskBytes: number;
  readonly journalBytes: number;
  readonly memtableBytes: number;
  readonly memtableEntries: number;
  readonly syncCount: number;
  readonly syncSeconds: number;
  readonly flushCount: number;
  /** Of the file system that the data are on. */
  readonly space?: DiskSpace;
}

export interface DiskSpace {
  readonly freeBytes: number;
  readonly totalBytes: number;
}
