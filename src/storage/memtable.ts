import type { Bytes } from '../base/bytes.ts';
import { type KeyCursor, OrderedKeys } from './ordered-keys.ts';
import type { CommitNumber } from './storage.ts';

// The newest writes, in memory, laid over what is below: other memtables and at the bottom LMDB.
//
// A value is not an object of its own: it lies where it was written for the journal, in one of the memtable's chunks, and a slot says
// where (chunk, offset, length in three typed arrays). So a put allocates nothing but the name of a new key, the garbage collector has
// nothing to trace, and the journal writes straight from the chunks. A reader gets a copy, as chunks are pinned memory and a rollback
// uses its bytes again. Keys in order: see ordered-keys.ts.

/** Length of a value that is a deletion, and of a slot whose write was rolled back. */
const DELETED = -1;
const NOTHING = -2;
const FIRST_SLOTS = 256;
/** Room for each key beyond its bytes, for the bound on memory: the map's entry, the string's header, the slot, the place in the order. */
const KEY_OVERHEAD_BYTES = 96;

/** What a memtable knows of a key: a value, a deletion, or nothing (then look below). */
export type Found = Bytes | 'deleted' | undefined;

export class Memtable {
  /** The chunks that values lie in; the writer of the open batch adds to them. */
  readonly chunks: Buffer[] = [];
  /** The last closed batch in it. */
  lastNumber: CommitNumber;
  readonly #slots = new Map<string, number>();
  readonly #order = new OrderedKeys();
  #count = 0;
  #chunkOf = new Int32Array(FIRST_SLOTS);
  #offsetOf = new Int32Array(FIRST_SLOTS);
  #lengthOf = new Int32Array(FIRST_SLOTS);
  #keyBytes = 0;

  constructor(lastNumber: CommitNumber) {
    this.lastNumber = lastNumber;
  }

  get entryCount(): number {
    return this.#count;
  }

  get waiting(): number {
    return this.#order.waiting;
  }

  /** Memory it takes, about. */
  get bytes(): number {
    let bytes = this.#keyBytes;
    for (const chunk of this.chunks) bytes += chunk.length;
    return bytes;
  }

  find(key: string): Found {
    const slot = this.#slots.get(key);
    return slot === undefined ? undefined : this.#found(slot);
  }

  /** As `find`, without the value: true for a value, false for a deletion. */
  knows(key: string): boolean | undefined {
    const slot = this.#slots.get(key);
    if (slot === undefined) return undefined;
    const length = this.#lengthOf[slot]!;
    return length >= 0 ? true : length === DELETED ? false : undefined;
  }

  /** Points `key` to a value in a chunk, or (length undefined) marks it deleted. What was there before goes to `undo`. */
  set(key: string, chunk: number, offset: number, length: number | undefined, undo?: UndoLog): void {
    const slot = this.#slots.get(key) ?? this.#newSlot(key);
    undo?.push(slot, this.#chunkOf[slot]!, this.#offsetOf[slot]!, this.#lengthOf[slot]!);
    this.#chunkOf[slot] = chunk;
    this.#offsetOf[slot] = offset;
    this.#lengthOf[slot] = length ?? DELETED;
  }

  restore(slot: number, chunk: number, offset: number, length: number): void {
    this.#chunkOf[slot] = chunk;
    this.#offsetOf[slot] = offset;
    this.#lengthOf[slot] = length;
  }

  /** Puts up to `limit` new keys in their places; true when all are. */
  settle(limit?: number): boolean {
    return this.#order.settle(limit);
  }

  cursor(reverse: boolean): KeyCursor {
    return this.#order.cursor(reverse);
  }

  /** As `find`, but the value is a view of the chunk. */
  peek(key: string): Found {
    const slot = this.#slots.get(key)!;
    const length = this.#lengthOf[slot]!;
    if (length < 0) return length === DELETED ? 'deleted' : undefined;
    const offset = this.#offsetOf[slot]!;
    return this.chunks[this.#chunkOf[slot]!]!.subarray(offset, offset + length);
  }

  #found(slot: number): Found {
    const length = this.#lengthOf[slot]!;
    if (length < 0) return length === DELETED ? 'deleted' : undefined;
    return copyOf(this.chunks[this.#chunkOf[slot]!]!, this.#offsetOf[slot]!, length);
  }

  #newSlot(key: string): number {
    const slot = this.#count++;
    if (slot === this.#lengthOf.length) {
      this.#chunkOf = grown(this.#chunkOf);
      this.#offsetOf = grown(this.#offsetOf);
      this.#lengthOf = grown(this.#lengthOf);
    }
    this.#lengthOf[slot] = NOTHING;
    this.#slots.set(key, slot);
    this.#order.add(key);
    this.#keyBytes += key.length + KEY_OVERHEAD_BYTES;
    return slot;
  }
}

function grown(array: Int32Array<ArrayBuffer>): Int32Array<ArrayBuffer> {
  const twice = new Int32Array(array.length * 2);
  twice.set(array);
  return twice;
}

/** A copy of the caller's own, from Node's buffer pool when it is small. */
export function copyOf(source: Buffer, offset: number, length: number): Buffer {
  const copy = Buffer.allocUnsafe(length);
  if (length > 64) source.copy(copy, 0, offset, offset + length);
  else for (let i = 0; i < length; i++) copy[i] = source[offset + i]!;
  return copy;
}

/** What the open batch overwrote, oldest first: per write a slot with its old content, and where the batch ended before the write. */
export class UndoLog {
  #entries = new Int32Array(FIRST_SLOTS * STRIDE);
  #count = 0;
  /** Where the batch ends and how many records it has closed, set before each write. */
  used = 0;
  closed = 0;

  get length(): number {
    return this.#count;
  }

  push(slot: number, chunk: number, offset: number, length: number): void {
    const at = this.#count++ * STRIDE;
    if (at === this.#entries.length) this.#entries = grown(this.#entries);
    const entries = this.#entries;
    entries[at] = slot;
    entries[at + 1] = chunk;
    entries[at + 2] = offset;
    entries[at + 3] = length;
    entries[at + 4] = this.used;
    entries[at + 5] = this.closed;
  }

  clear(): void {
    this.#count = 0;
  }

  /** Undoes the last write in `memtable`; leaves where the batch ended before it in `used` and `closed`. */
  pop(memtable: Memtable): void {
    const at = --this.#count * STRIDE;
    const entries = this.#entries;
    memtable.restore(entries[at]!, entries[at + 1]!, entries[at + 2]!, entries[at + 3]!);
    this.used = entries[at + 4]!;
    this.closed = entries[at + 5]!;
  }
}

const STRIDE = 6;
