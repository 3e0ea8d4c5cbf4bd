import type { Bytes } from '../../base/bytes.ts';
import type { CellReader, Cells } from '../value-module.ts';
import type { CellHost, Edited } from './cell-host.ts';
import { cellOf, fieldOf } from './hash-fields.ts';
import { parseInteger } from './integer.ts';
import { SET_BASE_BYTES, type SetValue } from './value.ts';

// The members of a set lie in the cells of its key as the fields of a hash do (see hash-fields.ts), with empty values: in the order of a hash,
// one cell a member, so that a command costs the same on ten members and on a million.

const NO_BYTES: Bytes = new Uint8Array(0);
/** What Redis keeps as an intset: so many members, all whole numbers. */
const NARROW_MEMBERS = 512;

export function hasMember(cells: CellReader, member: Bytes): boolean {
  return cells.has(cellOf(member));
}

/** All members in the order of their places. O(members). */
export function* membersOf(cells: CellReader): IterableIterator<Bytes> {
  for (const { cell } of cells.scan()) yield fieldOf(cell);
}

/** Changes to one set, summed up for the result. */
export class SetEdit {
  readonly #cells: Cells;
  readonly #before: SetValue | undefined;
  #memberCount: number;
  #isWide: boolean;
  #sizeBytes: number;

  constructor(host: CellHost, value: SetValue | undefined) {
    this.#cells = host.cells;
    this.#before = value;
    this.#memberCount = value?.memberCount ?? 0;
    this.#isWide = value?.isWide ?? false;
    this.#sizeBytes = value === undefined ? SET_BASE_BYTES : host.sizeBytes;
  }

  get memberCount(): number {
    return this.#memberCount;
  }

  /** True when the member is new. */
  add(member: Bytes): boolean {
    const cell = cellOf(member);
    if (this.#memberCount > 0 && this.#cells.has(cell)) return false;
    this.#cells.set(cell, NO_BYTES);
    this.#memberCount++;
    this.#sizeBytes += cell.length;
    this.#isWide ||= this.#memberCount > NARROW_MEMBERS || parseInteger(member) === undefined;
    return true;
  }

  /** True when the member was there. */
  remove(member: Bytes): boolean {
    const cell = cellOf(member);
    if (this.#memberCount === 0 || !this.#cells.has(cell)) return false;
    this.#cells.delete(cell);
    this.#memberCount--;
    this.#sizeBytes -= cell.length;
    return true;
  }

  finish(): Edited {
    if (this.#memberCount === 0) return { value: undefined, sizeBytes: 0 };
    const before = this.#before;
    const isSame = before !== undefined && before.memberCount === this.#memberCount && before.isWide === this.#isWide;
    const value = isSame ? before : { kind: 'set' as const, memberCount: this.#memberCount, isWide: this.#isWide };
    return { value, sizeBytes: this.#sizeBytes };
  }
}
