import fs from 'node:fs';
import { join } from 'node:path';
import { type Database, open, type RootDatabase, type Transaction } from 'lmdb';
import type { Bytes } from '../base/bytes.ts';
import type { KeyfleetError } from '../base/errors.ts';
import { MIB } from '../base/units.ts';
import { storageFailed } from './commit-progress.ts';
import { areSettled, hear, lmdbFailure, withSystemCode } from './lmdb-failure.ts';
import { checkLmdbFile } from './lmdb-file.ts';
import type { Memtable } from './memtable.ts';
import { type CommitNumber, MAX_KEY_BYTES, type ValueViewer } from './storage.ts';

// The bottom of the storage: one LMDB environment, read synchronously, written only by flushing whole memtables.
//
// A flush goes through a memtable in key order, in slices: each slice is one batch, made ready here in about a millisecond and carried out
// by LMDB's own thread. Slices of a sorted whole touch each leaf page once, so small transactions cost no more than one large one (1.1 µs a
// pair in slices of 2,000 sorted pairs, 2.1 µs unsorted). The last slice writes the number of the last memtable's batch, and only after the
// sync that follows is the journal let go. A crash in between leaves a part of the memtable in LMDB under the old number: the journal still
// has all of it and is played over it again.
//
// When a transaction fails (a full disk), LMDB itself goes on as if it had not been; the `lmdb` package keeps a promise that never resolves,
// for which its `flushed` and its `close` wait. An empty transaction, which needs no room, makes it forget. One failure LMDB does not
// survive, that of writing its own first pages: from then on it is not touched any more.

const SLICE_MS = 1;
const SLICE_CHECK = 64;
/** Slices given to LMDB's thread and not carried out. */
const MAX_SLICES_WAITING = 8;
const SMALL_BYTES = 512;
/**
 * Address space to map the file into. Left to itself LMDB maps anew whenever the file has doubled and keeps the old maps, so that the same
 * pages of the file are counted as resident many times over, and faulted in as often. A larger file is mapped anew as before.
 */
const MAP_BYTES = 64 * 1024 * MIB;
const FLUSHED = 'flushed';
/** A name in `meta` that nothing has. */
const MISSING = 'missing';
/** How long LMDB may take for what it was given once one transaction of it has failed. */
const SETTLE_MS = 30_000;
/** Below all others, as keys are not empty. */
const LOWEST = '\0';
const NO_VALUE = Buffer.alloc(0);
/** Above all keys, for scans that go backwards from the very end. */
const BEYOND = '\xff'.repeat(MAX_KEY_BYTES + 1);

interface KeyBuffer extends Uint8Array {
  latin1Write(text: string, at: number): number;
  latin1Slice(start: number, end: number): string;
}

const keyEncoder = {
  writeKey(key: string | Bytes, target: KeyBuffer, at: number): number {
    if (typeof key === 'string') return at + target.latin1Write(key, at);
    target.set(key, at);
    return at + key.length;
  },
  readKey: (source: KeyBuffer, start: number, end: number): string => source.latin1Slice(start, end),
};

export interface TableRange {
  next(): { done?: boolean | undefined; value?: { key: string; value: Buffer } | undefined };
  return?(): unknown;
}

export interface TableRangeOptions {
  readonly from: string;
  readonly to: string | undefined;
  readonly reverse: boolean;
  readonly exclusive: boolean;
  /** Values are not read, and told as empty. */
  readonly keysOnly: boolean;
}

/** What the types of the `lmdb` package leave out: keys as our encoder takes them, and reading in a transaction. */
interface BinaryReads {
  getBinary(key: string | Bytes, options?: { readonly transaction: Transaction }): Buffer | undefined;
  getBinaryFast(key: string | Bytes, options?: { readonly transaction: Transaction }): Buffer | undefined;
  readonly lastSize: number;
}

/** The environment behind the `lmdb` package, whose `sync` reports what its promise `flushed` does not: a disk that says no. */
interface Environment {
  sync(done: (error?: Error) => void): void;
}

export class LmdbTable {
  readonly #dir: string;
  readonly #root: RootDatabase<Buffer, string>;
  readonly #pairs: Database<Buffer, string>;
  readonly #meta: Database<Buffer, string>;
  readonly #reads: BinaryReads;
  /** Why it is beyond help. */
  #failure: KeyfleetError | undefined;

  private constructor(dir: string, root: RootDatabase<Buffer, string>, pairs: Database<Buffer, string>, meta: Database<Buffer, string>) {
    this.#dir = dir;
    this.#root = root;
    this.#pairs = pairs;
    this.#meta = meta;
    this.#reads = pairs as unknown as BinaryReads;
  }

  /** Opens or makes the table in `dir`. @throws KF_STORAGE_DAMAGED, and what LMDB says. */
  static open(dir: string): LmdbTable {
    checkLmdbFile(LmdbTable.dataPath(dir));
    try {
      const root = open<Buffer, string>({
        path: dir,
        keyEncoding: 'binary',
        encoding: 'binary',
        cache: false,
        maxReaders: 1_024,
        ...(canMapAhead() ? { mapSize: MAP_BYTES } : {}),
        // Else `lmdb` makes batches of its own, with promises nobody can hear.
        eventTurnBatching: false,
      });
      const binary = { keyEncoder, encoding: 'binary', cache: false } as const;
      return new LmdbTable(
        dir,
        root,
        root.openDB<Buffer, string>({ name: 'pairs', ...binary }),
        root.openDB<Buffer, string>({ name: 'meta', ...binary }),
      );
    } catch (error) {
      throw withSystemCode(dir, error);
    }
  }

  /** The number of the last batch that is wholly in here. */
  get flushed(): CommitNumber {
    return this.#meta.getBinary(FLUSHED)?.readDoubleLE(0) ?? 0;
  }

  get(key: string | Bytes, transaction?: Transaction): Buffer | undefined {
    const options = transaction ? { transaction } : undefined;
    const shared = this.#reads.getBinaryFast(key, options);
    if (shared === undefined) return undefined;
    // LMDB leaves the value in a buffer that the next read overwrites. Copying a small one here takes half the time of `getBinary`.
    const bytes = this.#reads.lastSize;
    if (bytes > SMALL_BYTES) return this.#reads.getBinary(key, options);
    const copy = Buffer.allocUnsafe(bytes);
    for (let i = 0; i < bytes; i++) copy[i] = shared[i]!;
    return copy;
  }

  /** As {@link StorageReader.show}. */
  show(key: string | Bytes, viewer: ValueViewer, transaction?: Transaction): boolean {
    const options = transaction ? { transaction } : undefined;
    const shared = this.#reads.getBinaryFast(key, options);
    if (shared === undefined) return false;
    const bytes = this.#reads.lastSize;
    viewer.view(bytes > SMALL_BYTES ? this.#reads.getBinary(key, options)! : shared, 0, bytes);
    return true;
  }

  has(key: string | Bytes, transaction?: Transaction): boolean {
    return this.#reads.getBinaryFast(key, transaction ? { transaction } : undefined) !== undefined;
  }

  /** Pairs with `from <= key < to` (`from` left out when `exclusive`), or backwards the pairs with `to > key >= from`. */
  range({ from, to, reverse, exclusive, keysOnly }: TableRangeOptions, transaction?: Transaction): TableRange {
    const chosen = transaction ? { transaction } : {};
    const range = reverse
      ? // Backwards LMDB's start is inclusive and its end exclusive: the other way round than ours.
        { start: to ?? BEYOND, exclusiveStart: true, end: from || LOWEST, inclusiveEnd: true, reverse: true, ...chosen }
      : { start: from || LOWEST, exclusiveStart: exclusive, end: to ?? BEYOND, ...chosen };
    if (!keysOnly) return this.#pairs.getRange(range)[Symbol.iterator]() as TableRange;
    const keys = this.#pairs.getKeys(range)[Symbol.iterator]();
    return {
      next() {
        const { done, value: key } = keys.next();
        return done ? { done } : { value: { key: key as string, value: NO_VALUE } };
      },
      return: () => keys.return?.(),
    };
  }

  /** A transaction that goes on reading what is here now, until `done()`. */
  hold(): Transaction {
    this.#pairs.resetReadTxn();
    return this.#pairs.useReadTransaction();
  }

  /** Makes later reads see what was flushed. */
  refresh(): void {
    this.#pairs.resetReadTxn();
  }

  /**
   * Writes all of `memtable`, durably when the promise resolves to true; `goOn` is asked before each slice. After an error a part of it may
   * be there, and it can be tried again. @throws KF_STORAGE_FAILED for good, else what LMDB says, with the system's code ENOSPC for a full disk
   */
  async flush(memtable: Memtable, goOn: () => boolean): Promise<boolean> {
    while (!memtable.settle(512)) {
      await nextTurn();
      if (!goOn()) return false;
    }
    if (this.#failure) throw this.#failure;
    const waiting: Promise<unknown>[] = [];
    try {
      return await this.#writeSlices(memtable, goOn, waiting);
    } catch (error) {
      throw await this.#afterFailure(error, waiting);
    } finally {
      if (!this.#failure) this.refresh();
    }
  }

  async #writeSlices(memtable: Memtable, goOn: () => boolean, waiting: Promise<unknown>[]): Promise<boolean> {
    const cursor = memtable.cursor(false);
    cursor.seek('');
    while (cursor.key !== undefined) {
      const untilMs = performance.now() + SLICE_MS;
      const slice = this.#pairs.batch(() => {
        for (let count = 1; cursor.key !== undefined; count++) {
          const found = memtable.peek(cursor.key);
          if (found === 'deleted') this.#pairs.remove(cursor.key);
          else if (found) this.#pairs.put(cursor.key, found as Buffer);
          cursor.advance();
          if (count % SLICE_CHECK === 0 && performance.now() >= untilMs) break;
        }
      });
      waiting.push(heard(slice));
      if (waiting.length >= MAX_SLICES_WAITING) await waiting.shift();
      // In any case: the oldest may have been written while this one was made, and then waiting for it is no turn of the event loop.
      await nextTurn();
      if (!goOn()) {
        await Promise.all(waiting);
        return false;
      }
    }
    await Promise.all(waiting);
    const number = Buffer.alloc(8);
    number.writeDoubleLE(memtable.lastNumber);
    await heard(this.#meta.put(FLUSHED, number));
    await this.#sync();
    return true;
  }

  #sync(): Promise<void> {
    const { env } = this.#root as unknown as { readonly env: Environment };
    return new Promise((resolve, reject) => env.sync((error) => (error ? reject(error) : resolve())));
  }

  /** What `flush` throws after `error`: its reason, or that nothing can be written any more. */
  async #afterFailure(error: unknown, waiting: readonly Promise<unknown>[]): Promise<Error> {
    const reason = await lmdbFailure(this.#dir, error);
    if ((await areSettled(waiting, SETTLE_MS)) && (await this.#forgetFailure())) return reason;
    this.#failure = storageFailed(`LMDB in ${this.#dir} cannot go on: ${reason.message}; restart once the disk is well`, reason);
    return this.#failure;
  }

  /** False when LMDB refuses even to read. */
  async #forgetFailure(): Promise<boolean> {
    try {
      this.refresh();
      this.#meta.getBinary(FLUSHED);
      await heard(this.#meta.remove(MISSING));
      return true;
    } catch {
      return false;
    }
  }

  async close(): Promise<void> {
    // Beyond help, it would wait for ever; its files go with the process.
    if (!this.#failure) await this.#root.close();
  }

  static dataPath(dir: string): string {
    return join(dir, 'data.mdb');
  }
}

/** Whether address space costs nothing: not where `ulimit -v` limits it (LMDB would crash), nor on Windows (it makes the file as long). */
function canMapAhead(): boolean {
  if (process.platform === 'darwin') return true;
  if (process.platform !== 'linux' || !['x64', 'arm64'].includes(process.arch)) return false;
  try {
    return /^Max address space +unlimited/m.test(fs.readFileSync('/proc/self/limits', 'latin1'));
  } catch {
    return false;
  }
}

/** The same promise, whose failure may come before anybody waits for it. */
function heard<T>(promise: Promise<T>): Promise<T> {
  promise.catch(hear);
  return promise;
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
