import { type Bytes, freshBytes } from '../../base/bytes.ts';
import type { CellReader } from '../value-module.ts';
import type { CellHost } from './cell-host.ts';
import type { RedisResult } from './handler.ts';
import type { Reply } from './reply.ts';
import { HASH_BASE_BYTES, type HashValue } from './value.ts';

// The fields of a hash lie in the cells of its key, one cell a field, so that a command costs the same on ten fields and on a million.
//
//   cell = hash32(field), most significant byte first ‖ field        value = the field's value, as it is
//
// Cells therefore lie in the order of a hash. That makes HSCAN's cursor a number, a u32 place in that order, which stays right however
// the hash changes meanwhile; and makes a place picked by chance nearly fair to all fields (HRANDFIELD). hash32 is stored data: it never changes.

const PREFIX_BYTES = 4;

/** FNV-1a, then the finish of murmur3, since neighbouring names must not be neighbours here. */
export function fieldHash(field: Bytes): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < field.length; i++) hash = Math.imul(hash ^ field[i]!, 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

export function cellOf(field: Bytes): Bytes {
  const hash = fieldHash(field);
  const cell = freshBytes(PREFIX_BYTES + field.length);
  cell[0] = hash >>> 24;
  cell[1] = hash >>> 16;
  cell[2] = hash >>> 8;
  cell[3] = hash;
  cell.set(field, PREFIX_BYTES);
  return cell;
}

export function fieldOf(cell: Bytes): Bytes {
  return cell.subarray(PREFIX_BYTES);
}

/** Where a field stands in the order of the cells: its hash. */
export function placeOf(cell: Bytes): number {
  return ((cell[0]! << 24) | (cell[1]! << 16) | (cell[2]! << 8) | cell[3]!) >>> 0;
}

/** The least cell at `place` or behind. */
export function cellAtPlace(place: number): Bytes {
  return Uint8Array.of(place >>> 24, place >>> 16, place >>> 8, place);
}

export interface Field {
  readonly field: Bytes;
  readonly value: Bytes;
}

/** All fields in the order of their places. O(fields). */
export function allFields(cells: CellReader): Field[] {
  const fields: Field[] = [];
  for (const { cell, value } of cells.scan()) fields.push({ field: fieldOf(cell), value });
  return fields;
}

/** What Redis keeps as a listpack: so many fields, and fields and values of so many bytes. */
const NARROW_FIELDS = 512;
const NARROW_BYTES = 64;

/** Changes to one hash, summed up for the result: fields come and go, and with them its size. */
export class HashEdit {
  readonly #ctx: CellHost;
  readonly #before: HashValue | undefined;
  #fieldCount: number;
  #isWide: boolean;
  #sizeBytes: number;

  constructor(ctx: CellHost, value: HashValue | undefined) {
    this.#ctx = ctx;
    this.#before = value;
    this.#fieldCount = value?.fieldCount ?? 0;
    this.#isWide = value?.isWide ?? false;
    this.#sizeBytes = value === undefined ? HASH_BASE_BYTES : ctx.sizeBytes;
  }

  get(field: Bytes): Bytes | undefined {
    return this.#before === undefined && this.#fieldCount === 0 ? undefined : this.#ctx.cells.get(cellOf(field));
  }

  has(field: Bytes): boolean {
    return this.#before === undefined && this.#fieldCount === 0 ? false : this.#ctx.cells.has(cellOf(field));
  }

  /** True when the field is new. */
  set(field: Bytes, value: Bytes): boolean {
    const cell = cellOf(field);
    const previous = this.#fieldCount === 0 ? undefined : this.#ctx.cells.get(cell);
    this.#ctx.cells.set(cell, value);
    if (previous === undefined) {
      this.#fieldCount++;
      this.#sizeBytes += cell.length + value.length;
    } else this.#sizeBytes += value.length - previous.length;
    if (this.#fieldCount > NARROW_FIELDS || field.length > NARROW_BYTES || value.length > NARROW_BYTES) this.#isWide = true;
    return previous === undefined;
  }

  /** True when the field was there. */
  delete(field: Bytes): boolean {
    const cell = cellOf(field);
    const previous = this.#fieldCount === 0 ? undefined : this.#ctx.cells.get(cell);
    if (previous === undefined) return false;
    this.#ctx.cells.delete(cell);
    this.#fieldCount--;
    this.#sizeBytes -= cell.length + previous.length;
    return true;
  }

  /** The result with `reply`. A hash without fields is no more; one whose summary is as before is not written again. */
  result(reply: Reply): RedisResult {
    if (this.#fieldCount === 0) return { reply, value: undefined };
    const before = this.#before;
    const isSame = before !== undefined && before.fieldCount === this.#fieldCount && before.isWide === this.#isWide;
    const value = isSame ? before : { kind: 'hash' as const, fieldCount: this.#fieldCount, isWide: this.#isWide };
    return { reply, value, sizeBytes: this.#sizeBytes };
  }
}
