import type { Bytes } from '../../base/bytes.ts';
import type { Cells } from '../value-module.ts';
import type { CellHost, Edited } from './cell-host.ts';
import { encodeScore, memberCell, scoreOf } from './sorted-set-cells.ts';
import { insertInOrder, type OrderChange, removeFromOrder } from './sorted-set-order.ts';
import { SORTED_SET_BASE_BYTES, type SortedSetValue } from './value.ts';

/** What Redis keeps as a listpack: so many members of so many bytes. */
export const NARROW_MEMBERS = 128;
const NARROW_BYTES = 64;
const SCORE_BYTES = 8;

/** Changes to one sorted set, summed up for the result. */
export class SortedSetEdit {
  readonly #cells: Cells;
  readonly #before: SortedSetValue | undefined;
  #memberCount: number;
  #isWide: boolean;
  #height: number;
  #sizeBytes: number;

  constructor(host: CellHost, value: SortedSetValue | undefined) {
    this.#cells = host.cells;
    this.#before = value;
    this.#memberCount = value?.memberCount ?? 0;
    this.#isWide = value?.isWide ?? false;
    this.#height = value?.height ?? 0;
    this.#sizeBytes = value === undefined ? SORTED_SET_BASE_BYTES : host.sizeBytes;
  }

  get memberCount(): number {
    return this.#memberCount;
  }

  score(member: Bytes): number | undefined {
    return this.#memberCount === 0 ? undefined : scoreOf(this.#cells, member);
  }

  /** `before`: the member's score, undefined when it is not there. O(log n). */
  set(member: Bytes, givenScore: number, before: number | undefined): void {
    // Minus zero counts as zero.
    const score = givenScore + 0;
    const cell = memberCell(member);
    if (before !== undefined) {
      if (before === score) return;
      this.#take(removeFromOrder(this.#cells, this.#height, { score: before, member }));
      this.#memberCount--;
    }
    this.#cells.set(cell, encodeScore(score));
    if (before === undefined) this.#sizeBytes += cell.length + SCORE_BYTES;
    this.#take(insertInOrder(this.#cells, this.#height, this.#memberCount, { score, member }));
    this.#memberCount++;
    this.#isWide ||= this.#memberCount > NARROW_MEMBERS || member.length > NARROW_BYTES;
  }

  /** True when the member was there. O(log n). */
  remove(member: Bytes): boolean {
    const score = this.score(member);
    if (score === undefined) return false;
    const cell = memberCell(member);
    this.#cells.delete(cell);
    this.#sizeBytes -= cell.length + SCORE_BYTES;
    this.#take(removeFromOrder(this.#cells, this.#height, { score, member }));
    this.#memberCount--;
    return true;
  }

  finish(): Edited {
    if (this.#memberCount === 0) return { value: undefined, sizeBytes: 0 };
    const { memberCount, isWide, height } = { memberCount: this.#memberCount, isWide: this.#isWide, height: this.#height };
    const before = this.#before;
    const isSame = before !== undefined && before.memberCount === memberCount && before.isWide === isWide && before.height === height;
    return { value: isSame ? before : { kind: 'zset', memberCount, isWide, height }, sizeBytes: this.#sizeBytes };
  }

  #take(change: OrderChange): void {
    this.#height = change.height;
    this.#sizeBytes += change.bytes;
  }
}
