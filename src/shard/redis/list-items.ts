import { type Bytes, equalBytes } from '../../base/bytes.ts';
import type { CellReader, Cells } from '../value-module.ts';
import type { CellHost, Edited } from './cell-host.ts';
import { LIST_BASE_BYTES, type ListValue } from './value.ts';

// The items of a list lie in the cells of its key, one cell an item, under consecutive indexes without a gap.
//
//   cell = 2^52 + index, most significant byte first, 8 bytes        value = the item
//   item i of the list = index head + i
//
// So pushes and pops at either end write one cell, and an item is found by its place in one read: the same on ten items as on a million.
// What changes the middle closes the gap from the side that has fewer items: LINSERT and LREM write up to half the list.

const CELL_BYTES = 8;
const ORIGIN = 2 ** 52;

function cellAt(index: number): Bytes {
  const cell = new Uint8Array(CELL_BYTES);
  const view = new DataView(cell.buffer);
  const place = ORIGIN + index;
  view.setUint32(0, Math.floor(place / 0x1_0000_0000));
  view.setUint32(4, place >>> 0);
  return cell;
}

export function itemAt(cells: CellReader, list: ListValue, place: number): Bytes {
  return cells.get(cellAt(list.head + place))!;
}

/** Items `from` to `to`, the latter left out, in order or from the last to the first. */
export function* itemsOf(
  cells: CellReader,
  list: ListValue,
  { from = 0, to = list.length, reverse = false }: { readonly from?: number; readonly to?: number; readonly reverse?: boolean } = {},
): IterableIterator<Bytes> {
  for (const { value } of cells.scan({ from: cellAt(list.head + from), to: cellAt(list.head + to), reverse })) yield value;
}

/** Changes to one list, summed up for the result. */
export class ListEdit {
  readonly #cells: Cells;
  readonly #before: ListValue | undefined;
  #head: number;
  #length: number;
  #sizeBytes: number;

  constructor(host: CellHost, value: ListValue | undefined) {
    this.#cells = host.cells;
    this.#before = value;
    this.#head = value?.head ?? 0;
    this.#length = value?.length ?? 0;
    this.#sizeBytes = value === undefined ? LIST_BASE_BYTES : host.sizeBytes;
  }

  get length(): number {
    return this.#length;
  }

  push(isLeft: boolean, item: Bytes): void {
    if (isLeft) this.#head--;
    this.#length++;
    this.#put(isLeft ? 0 : this.#length - 1, item);
  }

  /** Undefined when the list is empty. */
  pop(isLeft: boolean): Bytes | undefined {
    if (this.#length === 0) return undefined;
    const item = this.#take(isLeft ? 0 : this.#length - 1);
    this.#length--;
    if (isLeft) this.#head++;
    return item;
  }

  replace(place: number, item: Bytes): void {
    this.#take(place);
    this.#put(place, item);
  }

  /** Puts `item` before what is at `place`; moves the shorter side. */
  insert(place: number, item: Bytes): void {
    if (place < this.#length - place) {
      this.#head--;
      for (let i = 0; i < place; i++) this.#move(i + 1, i);
    } else for (let i = this.#length; i > place; i--) this.#move(i - 1, i);
    this.#length++;
    this.#put(place, item);
  }

  /** Removes the items at `places`, which ascend; moves the side with fewer items. */
  removeAll(places: readonly number[]): void {
    if (places.length === 0) return;
    for (const place of places) this.#take(place);
    const removed = new Set(places);
    const first = places[0]!;
    const last = places.at(-1)!;
    if (last < this.#length - first) {
      let to = last;
      for (let from = last; from >= 0; from--) if (!removed.has(from)) this.#move(from, to--);
      this.#head += places.length;
    } else {
      let to = first;
      for (let from = first; from < this.#length; from++) if (!removed.has(from)) this.#move(from, to++);
    }
    this.#length -= places.length;
  }

  /** Keeps the items `from` to `to`, the latter left out. Writes those removed, or those kept if they are fewer. */
  trim(from: number, to: number): void {
    const kept = Math.max(0, to - from);
    if (kept < this.#length - kept) {
      const now: ListValue = { kind: 'list', head: this.#head, length: this.#length, isWide: false };
      const items = kept === 0 ? [] : [...itemsOf(this.#cells, now, { from, to })];
      this.#cells.clear();
      this.#head = 0;
      this.#length = 0;
      this.#sizeBytes = LIST_BASE_BYTES;
      for (const item of items) this.push(false, item);
      return;
    }
    for (let place = 0; place < from; place++) this.#take(place);
    for (let place = to; place < this.#length; place++) this.#take(place);
    this.#head += from;
    this.#length = kept;
  }

  finish(): Edited {
    if (this.#length === 0) return { value: undefined, sizeBytes: 0 };
    const before = this.#before;
    const isSame = before !== undefined && before.head === this.#head && before.length === this.#length;
    const value = isSame ? before : { kind: 'list' as const, head: this.#head, length: this.#length, isWide: false as const };
    return { value, sizeBytes: this.#sizeBytes };
  }

  #put(place: number, item: Bytes): void {
    this.#cells.set(cellAt(this.#head + place), item);
    this.#sizeBytes += CELL_BYTES + item.length;
  }

  #take(place: number): Bytes {
    const cell = cellAt(this.#head + place);
    const item = this.#cells.get(cell)!;
    this.#cells.delete(cell);
    this.#sizeBytes -= CELL_BYTES + item.length;
    return item;
  }

  #move(from: number, to: number): void {
    if (from !== to) this.#put(to, this.#take(from));
  }
}

/** The places at which `item` stands: those between `from` and `to`, up to `limit`, in the order of the search. O(items looked at). */
export function placesOf(
  cells: CellReader,
  list: ListValue,
  item: Bytes,
  options: { readonly reverse: boolean; readonly limit: number; readonly lookedAt?: number; readonly skipped?: number },
): number[] {
  const { reverse, limit, lookedAt = list.length, skipped = 0 } = options;
  const places: number[] = [];
  const range = reverse ? { from: Math.max(0, list.length - lookedAt), reverse } : { to: Math.min(list.length, lookedAt) };
  let left = skipped;
  let place = reverse ? list.length - 1 : 0;
  for (const found of itemsOf(cells, list, range)) {
    if (equalBytes(found, item) && --left < 0 && places.push(place) >= limit) break;
    place += reverse ? -1 : 1;
  }
  return places;
}
