import { join } from 'node:path';
import { type Database, open, type RootDatabase, type Transaction } from 'lmdb';
import type { Bytes } from '../base/bytes.ts';
import type { Memtable } from './memtable.ts';
import { type CommitNumber, MAX_KEY_BYTES } from './storage.ts';

// The bottom of the storage: one LMDB environment, read synchronously, written only by flushing whole memtables.
//
// A flush goes through a memtable in key order, in slices: each slice is one LMDB transaction, made ready here in about a millisecond and
// carried out by LMDB's own thread. Slices of a sorted whole touch each leaf page once, so small transactions cost no more than one large
// one (1.1 µs a pair in slices of 2,000 sorted pairs, 2.1 µs unsorted). The last slice writes the number of the last batch. A crash in
// between leaves a part of the memtable in LMDB under the old number: the journal still has all of it and is played over it again.
// LMDB's commit promise comes before its fdatasync; only `flushed` is durable, so the journal is let go after that.

const SLICE_MS = 1;
const SLICE_CHECK = 64;
/** Slices given to LMDB's thread and not carried out. */
const MAX_SLICES_WAITING = 8;
const SMALL_BYTES = 512;
const FLUSHED = 'flushed';
/** Below all others, as keys are not empty. */
const LOWEST = '\0';
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

/** What the types of the `lmdb` package leave out: keys as our encoder takes them, and reading in a transaction. */
interface BinaryReads {
  getBinary(key: string | Bytes, options?: { readonly transaction: Transaction }): Buffer | undefined;
  getBinaryFast(key: string | Bytes, options?: { readonly transaction: Transaction }): Buffer | undefined;
  readonly lastSize: number;
}

export class LmdbTable {
  readonly #root: RootDatabase<Buffer, string>;
  readonly #pairs: Database<Buffer, string>;
  readonly #meta: Database<Buffer, string>;
  readonly #reads: BinaryReads;

  private constructor(root: RootDatabase<Buffer, string>, pairs: Database<Buffer, string>, meta: Database<Buffer, string>) {
    this.#root = root;
    this.#pairs = pairs;
    this.#meta = meta;
    this.#reads = pairs as unknown as BinaryReads;
  }

  /** Opens or makes the table in `dir`. */
  static open(dir: string): LmdbTable {
    const root = open<Buffer, string>({ path: dir, keyEncoding: 'binary', encoding: 'binary', cache: false, maxReaders: 1_024 });
    const binary = { keyEncoder, encoding: 'binary', cache: false } as const;
    return new LmdbTable(
      root,
      root.openDB<Buffer, string>({ name: 'pairs', ...binary }),
      root.openDB<Buffer, string>({ name: 'meta', ...binary }),
    );
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

  has(key: string | Bytes, transaction?: Transaction): boolean {
    return this.#reads.getBinaryFast(key, transaction ? { transaction } : undefined) !== undefined;
  }

  /** Pairs with `from <= key < to` (`from` left out when `exclusive`), or backwards the pairs with `to > key >= from`. */
  range(from: string, to: string | undefined, reverse: boolean, exclusive: boolean, transaction?: Transaction): TableRange {
    const chosen = transaction ? { transaction } : {};
    const range = reverse
      ? // Backwards LMDB's start is inclusive and its end exclusive: the other way round than ours.
        { start: to ?? BEYOND, exclusiveStart: true, end: from || LOWEST, inclusiveEnd: true, reverse: true, ...chosen }
      : { start: from || LOWEST, exclusiveStart: exclusive, end: to ?? BEYOND, ...chosen };
    return this.#pairs.getRange(range)[Symbol.iterator]() as TableRange;
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

  /** Writes all of `memtable`, durably when the promise resolves; `goOn` is asked before each slice. @throws what LMDB says. */
  async flush(memtable: Memtable, goOn: () => boolean): Promise<boolean> {
    while (!memtable.settle(512)) {
      await nextTurn();
      if (!goOn()) return false;
    }
    const cursor = memtable.cursor(false);
    cursor.seek('');
    const waiting: Promise<unknown>[] = [];
    while (cursor.key !== undefined) {
      const untilMs = performance.now() + SLICE_MS;
      let last: Promise<unknown> | undefined;
      for (let count = 1; cursor.key !== undefined; count++) {
        const found = memtable.peek(cursor.key);
        if (found === 'deleted') last = this.#pairs.remove(cursor.key);
        else if (found) last = this.#pairs.put(cursor.key, found as Buffer);
        cursor.advance();
        if (count % SLICE_CHECK === 0 && performance.now() >= untilMs) break;
      }
      if (last) waiting.push(heard(last));
      if (waiting.length >= MAX_SLICES_WAITING) await waiting.shift();
      else await nextTurn();
      if (!goOn()) {
        await Promise.all(waiting);
        return false;
      }
    }
    const number = Buffer.alloc(8);
    number.writeDoubleLE(memtable.lastNumber);
    await Promise.all(waiting);
    try {
      // Only awaited: a handler of our own on these promises would keep `flushed` from resolving.
      await this.#meta.put(FLUSHED, number);
      await this.#root.flushed;
    } catch (error) {
      hear(error as LmdbError);
      throw error;
    }
    this.#pairs.resetReadTxn();
    return true;
  }

  async close(): Promise<void> {
    await this.#root.close();
  }

  static dataPath(dir: string): string {
    return join(dir, 'data.mdb');
  }
}

interface LmdbError extends Error {
  /** The promise of the error behind this one; nobody else would hear it. */
  readonly commitError?: Promise<unknown>;
}

function hear(error: LmdbError): void {
  error.commitError?.catch(() => {});
}

/** The same promise, whose failure may come before anybody waits for it. */
function heard<T>(promise: Promise<T>): Promise<T> {
  promise.catch(hear);
  return promise;
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
