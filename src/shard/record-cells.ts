import { type Bytes, compareBytes } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import { behindPrefix, cellKey, cellOf, cellPrefix, garbageKey, MAX_CELL_BYTES } from './key-layout.ts';
import type { ShardReader, ShardStorage } from './shard-storage.ts';
import type { Cell, CellReader, Cells } from './value-module.ts';

// The cells of one record, straight in storage under the record's key and its *generation*. Leaving cells behind is leaving their
// generation: a few are deleted on the spot, many are noted as garbage for the node to remove at leisure, so that removing a value
// of a million cells costs what removing a small one costs. What is noted can no longer be seen, so no replica need agree on when it goes.

/** So many cells are deleted on the spot. */
const SWEPT_AT_ONCE = 64;

/** The record that cells belong to, as far as cells care. */
export interface CellOwner {
  storageKey: Bytes;
  /** Which cells are the record's; 0: none yet. */
  generation: number;
}

/** Reads cells of whichever record `owner` holds at the moment. */
export class StoredCellReader implements CellReader {
  protected readonly reader: ShardReader;
  protected readonly owner: CellOwner;
  #prefix: Bytes | undefined;
  #prefixGeneration = 0;

  constructor(reader: ShardReader, owner: CellOwner) {
    this.reader = reader;
    this.owner = owner;
  }

  /** The owner has become another record. */
  forget(): void {
    this.#prefix = undefined;
  }

  get(cell: Bytes): Bytes | undefined {
    if (this.owner.generation === 0) return undefined;
    const stored = this.reader.get(cellKey(this.prefix(), cell));
    return stored && cell.length > MAX_CELL_BYTES ? splitCut(stored).value : stored;
  }

  has(cell: Bytes): boolean {
    return this.owner.generation !== 0 && this.reader.has(cellKey(this.prefix(), cell));
  }

  *scan(
    options: { readonly from?: Bytes; readonly to?: Bytes; readonly reverse?: boolean; readonly limit?: number } = {},
  ): IterableIterator<Cell> {
    const { from, to, reverse, limit } = options;
    if (this.owner.generation === 0 || (from && to && compareBytes(from, to) >= 0)) return;
    const prefix = this.prefix();
    const pairs = this.reader.scan({
      from: from ? cellKey(prefix, from) : prefix,
      to: to ? cellKey(prefix, to) : behindPrefix(prefix),
      ...(reverse === undefined ? {} : { reverse }),
      ...(limit === undefined ? {} : { limit }),
    });
    for (const { key, value } of pairs) {
      const cell = cellOf(prefix, key);
      yield cell ? { cell, value } : splitCut(value);
    }
  }

  protected prefix(): Bytes {
    const { storageKey, generation } = this.owner;
    if (this.#prefix && this.#prefixGeneration === generation) return this.#prefix;
    this.#prefixGeneration = generation;
    return (this.#prefix = cellPrefix(storageKey, generation));
  }
}

export interface CellWriterOptions {
  readonly storage: ShardStorage;
  readonly owner: CellOwner;
  readonly maxValueBytes: number;
  /** A generation that the record never had. */
  readonly newGeneration: () => number;
  readonly onWrite: () => void;
  readonly onGarbage: () => void;
}

export class StoredCells extends StoredCellReader implements Cells {
  readonly #options: CellWriterOptions;

  constructor(options: CellWriterOptions) {
    super(options.storage, options.owner);
    this.#options = options;
  }

  set(cell: Bytes, value: Bytes): void {
    const { storage, maxValueBytes } = this.#options;
    if (value.length > maxValueBytes || cell.length > maxValueBytes) throw tooLarge(Math.max(value.length, cell.length), maxValueBytes);
    if (this.owner.generation === 0) this.owner.generation = this.#options.newGeneration();
    this.#options.onWrite();
    putCell(storage, this.prefix(), cell, value);
  }

  delete(cell: Bytes): void {
    if (this.owner.generation === 0) return;
    const key = cellKey(this.prefix(), cell);
    if (!this.#options.storage.has(key)) return;
    this.#options.onWrite();
    this.#options.storage.delete(key);
  }

  clear(): void {
    if (this.owner.generation === 0) return;
    this.#options.onWrite();
    if (dropGeneration(this.#options.storage, this.owner.storageKey, this.owner.generation)) this.#options.onGarbage();
    this.owner.generation = 0;
  }
}

/** Writes a cell of the generation with that {@link cellPrefix}. */
export function putCell(storage: ShardStorage, prefix: Bytes, cell: Bytes, value: Bytes): void {
  storage.put(cellKey(prefix, cell), cell.length > MAX_CELL_BYTES ? joinCut(cell, value) : value);
}

/** Takes a generation of cells out of sight for good. True when garbage was noted. O(1). */
export function dropGeneration(storage: ShardStorage, recordStorageKey: Bytes, generation: number): boolean {
  const from = cellPrefix(recordStorageKey, generation);
  const to = behindPrefix(from);
  const found: Bytes[] = [];
  for (const { key } of storage.scan({ from, to, limit: SWEPT_AT_ONCE + 1 })) found.push(key);
  if (found.length <= SWEPT_AT_ONCE) {
    for (const key of found) storage.delete(key);
    return false;
  }
  storage.put(garbageKey(from), to);
  return true;
}

export function tooLarge(length: number, maxValueBytes: number): KeyfleetError {
  return new KeyfleetError('KF_VALUE_TOO_LARGE', `a value of ${length} bytes; the limit is ${maxValueBytes} (maxValueBytes)`);
}

/** The value of a cell whose key was cut: [cell length u32][cell][value]. */
function joinCut(cell: Bytes, value: Bytes): Bytes {
  const out = new Uint8Array(4 + cell.length + value.length);
  new DataView(out.buffer).setUint32(0, cell.length);
  out.set(cell, 4);
  out.set(value, 4 + cell.length);
  return out;
}

/** A cell whose key was cut, and its value. */
export function splitCut(stored: Bytes): Cell {
  const length = new DataView(stored.buffer, stored.byteOffset, stored.length).getUint32(0);
  return { cell: stored.slice(4, 4 + length), value: stored.slice(4 + length) };
}
