import type { Bytes } from '../base/bytes.ts';
import { keyHash } from './key-hash.ts';
import { fromLatin1, latin1 } from './latin1.ts';
import { type KeyCursor, OrderedKeys } from './ordered-keys.ts';
import type { CommitNumber } from './storage.ts';

// The newest writes, in memory, laid over what is below: other memtables and at the bottom LMDB.
//
// Neither key nor value is an object of its own: both lie where they were written for the journal, one behind the other, in one of the
// memtable's chunks, and a slot says where. So a put allocates nothing, the garbage collector has nothing to trace, and the journal writes
// straight from the chunks. A reader gets a copy, as chunks are pinned memory and a rollback uses its bytes again.
//
//   cells   [hash │ slot + 1] …            open addressing, linear probing, at most half full; the hash is compared before the key
//   slots   [chunk │ key at │ key length │ value length] …      in the order in which keys were new
//   chunks  … key │ value …
//
// A slot goes only when its first write is rolled back, and then it is the last one: taking back insertions in reverse order leaves linear
// probing as it was before them. Keys in order: see ordered-keys.ts; the first `#ordered` slots are there.

/** Length of a value that is a deletion, and what a slot without an earlier write says of it. */
const DELETED = -1;
const NOTHING = -2;
const NONE = -1;
const FIRST_SLOTS = 256;
const SLOT = 4;
const KEY_AT = 1;
const KEY_BYTES = 2;
const VALUE_BYTES = 3;
/** Room for each key beyond its bytes, for the bound on memory: cells, slot, and the string in the order, which the flush makes at the latest. */
const KEY_OVERHEAD_BYTES = 96;

/** What a memtable knows of a key: a value, a deletion, or nothing (then look below). */
export type Found = Bytes | 'deleted' | undefined;

export class Memtable {
  /** The chunks that keys and values lie in; the writer of the open batch adds to them. */
  readonly chunks: Buffer[] = [];
  /** The last closed batch in it. */
  lastNumber: CommitNumber;
  readonly #order = new OrderedKeys();
  #ordered = 0;
  #count = 0;
  #slots: Int32Array<ArrayBuffer>;
  #cells: Int32Array<ArrayBuffer>;
  #mask: number;
  #keyBytes = 0;

  /** Room for `expected` keys is made at once; it grows beyond. */
  constructor(lastNumber: CommitNumber, expected = 0) {
    this.lastNumber = lastNumber;
    let slots = FIRST_SLOTS;
    while (slots < expected) slots *= 2;
    this.#slots = new Int32Array(slots * SLOT);
    this.#cells = new Int32Array(slots * 4);
    this.#mask = slots * 2 - 1;
  }

  get entryCount(): number {
    return this.#count;
  }

  /** Keys that have not taken their place in the order. */
  get waiting(): number {
    return this.#count - this.#ordered;
  }

  /** Memory it takes, about. */
  get bytes(): number {
    let bytes = this.#keyBytes;
    for (const chunk of this.chunks) bytes += chunk.length;
    return bytes;
  }

  /** `hash`: the {@link keyHash} of `key`. Cost: three or four looks into memory, one copy. */
  find(key: Bytes, hash: number): Found {
    const slot = this.#slotOf(key, 0, key.length, hash);
    if (slot === NONE) return undefined;
    const at = slot * SLOT;
    const length = this.#slots[at + VALUE_BYTES]!;
    if (length < 0) return 'deleted';
    return copyOf(this.chunks[this.#slots[at]!]!, this.#slots[at + KEY_AT]! + this.#slots[at + KEY_BYTES]!, length);
  }

  /** As `find`, without the value: true for a value, false for a deletion. */
  knows(key: Bytes, hash: number): boolean | undefined {
    const slot = this.#slotOf(key, 0, key.length, hash);
    return slot === NONE ? undefined : this.#slots[slot * SLOT + VALUE_BYTES]! >= 0;
  }

  /** As `find`, for a key as the order has it; the value is a view of the chunk, see {@link copyOf}. */
  peek(name: string): Buffer | 'deleted' | undefined {
    const key = fromLatin1(name);
    const slot = this.#slotOf(key, 0, key.length, keyHash(key));
    if (slot === NONE) return undefined;
    const at = slot * SLOT;
    const length = this.#slots[at + VALUE_BYTES]!;
    if (length < 0) return 'deleted';
    const valueAt = this.#slots[at + KEY_AT]! + this.#slots[at + KEY_BYTES]!;
    return this.chunks[this.#slots[at]!]!.subarray(valueAt, valueAt + length);
  }

  /**
   * Takes note of what was written at `keyAt` of the last chunk: a key, and right behind it a value of `valueBytes`, or (undefined) that it
   * is deleted. What was there before goes to `undo`.
   */
  set(keyAt: number, keyBytes: number, valueBytes: number | undefined, undo?: UndoLog): void {
    const chunk = this.chunks.length - 1;
    const bytes = this.chunks[chunk]!;
    const hash = keyHash(bytes, keyAt, keyAt + keyBytes);
    let slot = this.#slotOf(bytes, keyAt, keyBytes, hash);
    let slots = this.#slots;
    if (slot === NONE) {
      slot = this.#newSlot(keyBytes, hash);
      slots = this.#slots;
      undo?.push(slot, 0, 0, NOTHING);
    } else undo?.push(slot, slots[slot * SLOT]!, slots[slot * SLOT + KEY_AT]!, slots[slot * SLOT + VALUE_BYTES]!);
    const at = slot * SLOT;
    slots[at] = chunk;
    slots[at + KEY_AT] = keyAt;
    slots[at + KEY_BYTES] = keyBytes;
    slots[at + VALUE_BYTES] = valueBytes ?? DELETED;
  }

  /** Makes a slot what it was before a {@link set}, the last one not yet taken back. */
  restore(slot: number, chunk: number, keyAt: number, valueBytes: number): void {
    const slots = this.#slots;
    const at = slot * SLOT;
    if (valueBytes === NOTHING) {
      this.#dropLast();
      return;
    }
    slots[at] = chunk;
    slots[at + KEY_AT] = keyAt;
    slots[at + VALUE_BYTES] = valueBytes;
  }

  /** Puts up to `limit` new keys in their places; true when all are. */
  settle(limit = Number.POSITIVE_INFINITY): boolean {
    const end = Math.min(this.#count, this.#ordered + limit);
    for (; this.#ordered < end; this.#ordered++) {
      const at = this.#ordered * SLOT;
      const keyAt = this.#slots[at + KEY_AT]!;
      this.#order.add(latin1(this.chunks[this.#slots[at]!]!, keyAt, keyAt + this.#slots[at + KEY_BYTES]!));
    }
    this.#order.settle();
    return this.#ordered === this.#count;
  }

  cursor(reverse: boolean): KeyCursor {
    return this.#order.cursor(reverse);
  }

  #slotOf(key: Bytes, from: number, length: number, hash: number): number {
    const cells = this.#cells;
    const mask = this.#mask;
    for (let cell = hash & mask; ; cell = (cell + 1) & mask) {
      const slot = cells[2 * cell + 1]! - 1;
      if (slot < 0) return NONE;
      if (cells[2 * cell] === hash && this.#isKey(slot, key, from, length)) return slot;
    }
  }

  #isKey(slot: number, key: Bytes, from: number, length: number): boolean {
    const slots = this.#slots;
    const at = slot * SLOT;
    if (slots[at + KEY_BYTES] !== length) return false;
    const chunk = this.chunks[slots[at]!]!;
    const keyAt = slots[at + KEY_AT]!;
    for (let i = 0; i < length; i++) if (chunk[keyAt + i] !== key[from + i]) return false;
    return true;
  }

  #newSlot(keyBytes: number, hash: number): number {
    const slot = this.#count++;
    if (slot * SLOT === this.#slots.length) {
      this.#slots = grown(this.#slots);
      this.#growCells();
    }
    this.#enter(hash, slot);
    this.#keyBytes += keyBytes + KEY_OVERHEAD_BYTES;
    return slot;
  }

  #enter(hash: number, slot: number): void {
    const cells = this.#cells;
    let cell = hash & this.#mask;
    while (cells[2 * cell + 1] !== 0) cell = (cell + 1) & this.#mask;
    cells[2 * cell] = hash;
    cells[2 * cell + 1] = slot + 1;
  }

  /** In the order of the slots, so that the last one entered is the last slot. */
  #growCells(): void {
    const old = this.#cells;
    const hashes = new Int32Array(this.#count);
    for (let i = 0; i < old.length; i += 2) if (old[i + 1] !== 0) hashes[old[i + 1]! - 1] = old[i]!;
    this.#cells = new Int32Array(old.length * 2);
    this.#mask = old.length - 1;
    for (let slot = 0; slot < this.#count - 1; slot++) this.#enter(hashes[slot]!, slot);
  }

  #dropLast(): void {
    const slot = --this.#count;
    const at = slot * SLOT;
    const keyAt = this.#slots[at + KEY_AT]!;
    const keyBytes = this.#slots[at + KEY_BYTES]!;
    const cells = this.#cells;
    let cell = keyHash(this.chunks[this.#slots[at]!]!, keyAt, keyAt + keyBytes) & this.#mask;
    while (cells[2 * cell + 1] !== slot + 1) cell = (cell + 1) & this.#mask;
    cells[2 * cell] = 0;
    cells[2 * cell + 1] = 0;
    this.#keyBytes -= keyBytes + KEY_OVERHEAD_BYTES;
    // The order keeps the key: whoever meets it there finds nothing here.
    if (this.#ordered > slot) this.#ordered = slot;
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

  push(slot: number, chunk: number, keyAt: number, valueBytes: number): void {
    const at = this.#count++ * STRIDE;
    if (at === this.#entries.length) this.#entries = grown(this.#entries);
    const entries = this.#entries;
    entries[at] = slot;
    entries[at + 1] = chunk;
    entries[at + 2] = keyAt;
    entries[at + 3] = valueBytes;
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
