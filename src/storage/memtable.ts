import type { Bytes } from '../base/bytes.ts';
import type { DeadRuns } from './dead-runs.ts';
import { DELETE, OPERATION_HEADER_BYTES } from './journal-format.ts';
import { keyHash } from './key-hash.ts';
import { fromLatin1, latin1 } from './latin1.ts';
import { type KeyCursor, OrderedKeys } from './ordered-keys.ts';
import type { CommitNumber, ValueViewer } from './storage.ts';

// The newest writes, in memory, laid over what is below: other memtables and at the bottom LMDB.
//
// Neither key nor value is an object of its own: both lie where they were written for the journal, as operations of its format, in one of the
// memtable's chunks, and a cell says where. So a put allocates nothing, the garbage collector has nothing to trace, and the journal writes
// straight from the chunks. A reader gets a copy, as chunks are pinned memory and a rollback uses its bytes again.
//
//   cells   [hash │ slot + 1 │ chunk │ operation at] …    open addressing, linear probing, at most half full; the hash is compared before the key
//   chunks  … kind, lengths │ key │ value …
//   slots   [chunk │ operation at] …                      the first operation of each key, in the order in which keys were new
//
// A look-up so meets memory in two places, the cell and the operation, which is what it costs when there are more keys than the processor
// caches. When the cells are half full, twice as many take over: each new key brings some of the old cells along, and a look-up the one that
// it finds there, so that no single write waits for all of them (262,144 at once took 29 ms). Every key has its cell in
// one of the two. A slot goes only when its first write is rolled back, and then it is the last one.
// Keys in order: see ordered-keys.ts; the first `#ordered` slots are there.

const NONE = -1;
const FIRST_SLOTS = 256;
const SLOT = 2;
/** Slots lie in blocks, so that more of them move none. */
const BLOCK_SLOTS = 4_096;
const CELL = 4;
const SLOT_OF = 1;
const CHUNK = 2;
const AT = 3;
/** In an old cell, in place of its slot: it has been brought over. */
const GONE = -1;
/** Old cells that each new key brings over. There are two of them for each key to come before the new ones are half full. */
const BRING_CELLS = 4;
/** Room for each key beyond its bytes, for the bound on memory: cells, slot, and the string in the order, which the flush makes at the latest. */
const KEY_OVERHEAD_BYTES = 104;

/** What a memtable knows of a key: a value, a deletion, or nothing (then look below). */
export type Found = Bytes | 'deleted' | undefined;

export class Memtable {
  /** The chunks that operations lie in; the writer of the open batch adds to them. */
  readonly chunks: Buffer[] = [];
  /** The last closed batch in it. */
  lastNumber: CommitNumber;
  readonly #order = new OrderedKeys();
  readonly #dead: DeadRuns | undefined;
  #ordered = 0;
  #count = 0;
  readonly #slots: Int32Array<ArrayBuffer>[] = [];
  #cells: Int32Array<ArrayBuffer>;
  /** One less than the number of cells. */
  #mask: number;
  /** The cells before they were doubled; those below `#brought` have all been brought over. */
  #old: Int32Array<ArrayBuffer> | undefined;
  #brought = 0;
  #keyBytes = 0;

  /** Room for `expected` keys is made at once; it grows beyond. Keys that come to life are cut out of `dead`. */
  constructor(lastNumber: CommitNumber, expected = 0, dead?: DeadRuns) {
    this.lastNumber = lastNumber;
    this.#dead = dead;
    let slots = FIRST_SLOTS;
    while (slots < expected) slots *= 2;
    this.#cells = new Int32Array(slots * 2 * CELL);
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

  /** `hash`: the {@link keyHash} of `key`. Cost: two looks into memory, one copy. */
  find(key: Bytes, hash: number): Found {
    const cell = this.#cellOf(key, 0, key.length, hash);
    if (cell === NONE) return undefined;
    const chunk = this.chunks[this.#cells[cell + CHUNK]!]!;
    const at = this.#cells[cell + AT]!;
    return isDeletion(chunk, at) ? 'deleted' : copyOf(chunk, valueAt(chunk, at), valueBytes(chunk, at));
  }

  /** As `find`, without the value: true for a value, false for a deletion. */
  knows(key: Bytes, hash: number): boolean | undefined {
    const cell = this.#cellOf(key, 0, key.length, hash);
    return cell === NONE ? undefined : !isDeletion(this.chunks[this.#cells[cell + CHUNK]!]!, this.#cells[cell + AT]!);
  }

  /** As `knows`; the value is shown to `viewer`, where it lies. */
  show(key: Bytes, hash: number, viewer: ValueViewer): boolean | undefined {
    const cell = this.#cellOf(key, 0, key.length, hash);
    if (cell === NONE) return undefined;
    const chunk = this.chunks[this.#cells[cell + CHUNK]!]!;
    const at = this.#cells[cell + AT]!;
    if (isDeletion(chunk, at)) return false;
    const from = valueAt(chunk, at);
    viewer.view(chunk, from, from + valueBytes(chunk, at));
    return true;
  }

  /** As `find`, for a key as the order has it; the value is a view of the chunk, see {@link copyOf}. */
  peek(name: string): Buffer | 'deleted' | undefined {
    const key = fromLatin1(name);
    const cell = this.#cellOf(key, 0, key.length, keyHash(key));
    if (cell === NONE) return undefined;
    const chunk = this.chunks[this.#cells[cell + CHUNK]!]!;
    const at = this.#cells[cell + AT]!;
    if (isDeletion(chunk, at)) return 'deleted';
    const from = valueAt(chunk, at);
    return chunk.subarray(from, from + valueBytes(chunk, at));
  }

  /** Takes note of the operation that was written at `at` of the last chunk. What was there before goes to `undo`. */
  set(at: number, undo?: UndoLog): void {
    const chunk = this.chunks.length - 1;
    const bytes = this.chunks[chunk]!;
    const keyAt = at + OPERATION_HEADER_BYTES;
    const length = keyBytes(bytes, at);
    const hash = keyHash(bytes, keyAt, keyAt + length);
    const cell = this.#cellOf(bytes, keyAt, length, hash);
    if (cell === NONE) {
      const slot = this.#newSlot(chunk, at, length, hash);
      undo?.push(slot, 0, NOTHING);
      return;
    }
    const cells = this.#cells;
    undo?.push(cells[cell + SLOT_OF]! - 1, cells[cell + CHUNK]!, cells[cell + AT]!);
    this.#revive(cell);
    cells[cell + CHUNK] = chunk;
    cells[cell + AT] = at;
  }

  /** Makes a slot what it was before a {@link set}, the last one not yet taken back. */
  restore(slot: number, chunk: number, at: number): void {
    const cell = this.#cellOfSlot(slot);
    const cells = this.#cells;
    this.#revive(cell);
    if (at !== NOTHING) {
      cells[cell + CHUNK] = chunk;
      cells[cell + AT] = at;
      return;
    }
    this.#keyBytes -= keyBytes(this.chunks[cells[cell + CHUNK]!]!, cells[cell + AT]!) + KEY_OVERHEAD_BYTES;
    this.#removeCell(cell);
    this.#count--;
    // The order keeps the key: whoever meets it there finds nothing here.
    if (this.#ordered > slot) this.#ordered = slot;
  }

  /** Puts up to `limit` new keys in their places; true when all are. */
  settle(limit = Number.POSITIVE_INFINITY): boolean {
    const end = Math.min(this.#count, this.#ordered + limit);
    for (; this.#ordered < end; this.#ordered++) {
      const { chunk, at } = this.#firstOf(this.#ordered);
      const name = latin1(chunk, at + OPERATION_HEADER_BYTES, valueAt(chunk, at));
      this.#order.add(name);
      if (this.#dead?.isEmpty === false && !this.#isDeleted(this.#cellOfSlot(this.#ordered))) this.#dead.cut(name);
    }
    this.#order.settle();
    return this.#ordered === this.#count;
  }

  cursor(reverse: boolean): KeyCursor {
    return this.#order.cursor(reverse);
  }

  #isDeleted(cell: number): boolean {
    return isDeletion(this.chunks[this.#cells[cell + CHUNK]!]!, this.#cells[cell + AT]!);
  }

  /** What the cell says is about to change: a key that is deleted here will live, or what is below. */
  #revive(cell: number): void {
    if (this.#dead?.isEmpty !== false || !this.#isDeleted(cell)) return;
    const chunk = this.chunks[this.#cells[cell + CHUNK]!]!;
    const at = this.#cells[cell + AT]!;
    this.#dead.cut(latin1(chunk, at + OPERATION_HEADER_BYTES, valueAt(chunk, at)));
  }

  /** Where in the cells that of a key begins, or NONE. */
  #cellOf(key: Bytes, from: number, length: number, hash: number): number {
    const cell = this.#find(this.#cells, this.#mask, key, from, length, hash);
    if (cell !== NONE || this.#old === undefined) return cell;
    const old = this.#find(this.#old, this.#mask >>> 1, key, from, length, hash);
    return old === NONE ? NONE : this.#bring(this.#old, old);
  }

  #find(cells: Int32Array<ArrayBuffer>, mask: number, key: Bytes, from: number, length: number, hash: number): number {
    for (let index = hash & mask; ; index = (index + 1) & mask) {
      const cell = index * CELL;
      const slot = cells[cell + SLOT_OF]!;
      if (slot === 0) return NONE;
      if (cells[cell] === hash && slot !== GONE && isKey(this.chunks[cells[cell + CHUNK]!]!, cells[cell + AT]!, key, from, length))
        return cell;
    }
  }

  #cellOfSlot(slot: number): number {
    const { chunk, at } = this.#firstOf(slot);
    const keyAt = at + OPERATION_HEADER_BYTES;
    const length = keyBytes(chunk, at);
    return this.#cellOf(chunk, keyAt, length, keyHash(chunk, keyAt, keyAt + length));
  }

  /** The first operation of a slot's key. */
  #firstOf(slot: number): { readonly chunk: Buffer; readonly at: number } {
    const block = this.#slots[Math.floor(slot / BLOCK_SLOTS)]!;
    const index = (slot % BLOCK_SLOTS) * SLOT;
    return { chunk: this.chunks[block[index]!]!, at: block[index + 1]! };
  }

  #newSlot(chunk: number, at: number, length: number, hash: number): number {
    if (this.#old) this.#bringSome(this.#old);
    else if (this.#count * 2 > this.#mask) this.#doubleCells();
    const slot = this.#count++;
    const index = (slot % BLOCK_SLOTS) * SLOT;
    if (index === 0 && this.#slots.length * BLOCK_SLOTS === slot) this.#slots.push(new Int32Array(BLOCK_SLOTS * SLOT));
    const block = this.#slots[Math.floor(slot / BLOCK_SLOTS)]!;
    block[index] = chunk;
    block[index + 1] = at;
    this.#enter(hash, slot + 1, chunk, at);
    this.#keyBytes += length + KEY_OVERHEAD_BYTES;
    return slot;
  }

  /** Returns where the cell is. */
  #enter(hash: number, slotPlusOne: number, chunk: number, at: number): number {
    const cells = this.#cells;
    let index = hash & this.#mask;
    while (cells[index * CELL + SLOT_OF] !== 0) index = (index + 1) & this.#mask;
    const cell = index * CELL;
    cells[cell] = hash;
    cells[cell + SLOT_OF] = slotPlusOne;
    cells[cell + CHUNK] = chunk;
    cells[cell + AT] = at;
    return cell;
  }

  /** Empties a cell, and moves up those behind it that are there only because it was taken (Knuth, TAOCP 3, 6.4, algorithm R). */
  #removeCell(cell: number): void {
    const cells = this.#cells;
    const mask = this.#mask;
    let hole = cell / CELL;
    for (let index = (hole + 1) & mask; cells[index * CELL + SLOT_OF] !== 0; index = (index + 1) & mask) {
      const home = cells[index * CELL]! & mask;
      if (((index - home) & mask) < ((index - hole) & mask)) continue;
      cells.copyWithin(hole * CELL, index * CELL, (index + 1) * CELL);
      hole = index;
    }
    cells.fill(0, hole * CELL, (hole + 1) * CELL);
  }

  /** The new cells are memory that the system hands out when it is first touched, so making them takes no time. */
  #doubleCells(): void {
    this.#old = this.#cells;
    this.#brought = 0;
    this.#cells = new Int32Array(this.#old.length * 2);
    this.#mask = 2 * this.#mask + 1;
  }

  #bringSome(old: Int32Array<ArrayBuffer>): void {
    const end = Math.min(this.#brought + BRING_CELLS * CELL, old.length);
    for (let cell = this.#brought; cell < end; cell += CELL) if (old[cell + SLOT_OF]! > 0) this.#bring(old, cell);
    this.#brought = end;
    if (end === old.length) this.#old = undefined;
  }

  /** Brings an old cell over; returns where it is now. */
  #bring(old: Int32Array<ArrayBuffer>, cell: number): number {
    const slotPlusOne = old[cell + SLOT_OF]!;
    old[cell + SLOT_OF] = GONE;
    return this.#enter(old[cell]!, slotPlusOne, old[cell + CHUNK]!, old[cell + AT]!);
  }
}

function keyBytes(chunk: Buffer, at: number): number {
  return chunk[at + 1]! | (chunk[at + 2]! << 8);
}

function valueAt(chunk: Buffer, at: number): number {
  return at + OPERATION_HEADER_BYTES + keyBytes(chunk, at);
}

function valueBytes(chunk: Buffer, at: number): number {
  return (chunk[at + 3]! | (chunk[at + 4]! << 8) | (chunk[at + 5]! << 16) | (chunk[at + 6]! << 24)) >>> 0;
}

function isDeletion(chunk: Buffer, at: number): boolean {
  return chunk[at] === DELETE;
}

/** Whether the operation at `at` of `chunk` is about the key at `from` of `key`. */
function isKey(chunk: Buffer, at: number, key: Bytes, from: number, length: number): boolean {
  if (keyBytes(chunk, at) !== length) return false;
  const keyAt = at + OPERATION_HEADER_BYTES;
  for (let i = 0; i < length; i++) if (chunk[keyAt + i] !== key[from + i]) return false;
  return true;
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

/** In place of where an operation lies: there was none. */
const NOTHING = -1;

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

  push(slot: number, chunk: number, operationAt: number): void {
    const at = this.#count++ * STRIDE;
    if (at === this.#entries.length) this.#entries = grown(this.#entries);
    const entries = this.#entries;
    entries[at] = slot;
    entries[at + 1] = chunk;
    entries[at + 2] = operationAt;
    entries[at + 3] = this.used;
    entries[at + 4] = this.closed;
  }

  clear(): void {
    this.#count = 0;
  }

  /** Undoes the last write in `memtable`; leaves where the batch ended before it in `used` and `closed`. */
  pop(memtable: Memtable): void {
    const at = --this.#count * STRIDE;
    const entries = this.#entries;
    memtable.restore(entries[at]!, entries[at + 1]!, entries[at + 2]!);
    this.used = entries[at + 3]!;
    this.closed = entries[at + 4]!;
  }
}

const STRIDE = 5;
