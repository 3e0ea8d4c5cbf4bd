import { type Bytes, concatBytes } from '../../base/bytes.ts';
import type { CellReader, Cells } from '../value-module.ts';
import { fieldHash } from './hash-fields.ts';
import { ORDER, placeInOrder, type Scored, scoredOf } from './sorted-set-cells.ts';

// The members of a sorted set in order, with counts: a skip list that lies in ordered cells.
//
//   level 0   ORDER ‖ score ‖ member                    every member
//   level k   COUNTS ‖ k ‖ score ‖ member → count       the members whose hash ends in 5k zero bits: one of 32 of those one level below
//             COUNTS ‖ k → count                        stands before all members
//
// A count says how many members there are from its own (included; none before all members) to the next of its level. To rank a member, walk
// level by level down to it, adding up the counts of all that is passed: about 16 cells a level, log32(n) levels. Which levels a member is on
// depends on its name alone, so that a set looks the same whichever way it came about. A member comes or goes with one count a level changed.

const COUNTS = 0x63;
const LEVEL_BITS = 5;
const COUNT_BYTES = 6;
const NOTHING: Bytes = new Uint8Array(0);

/** The highest level that a member is on, 0 to 6. */
function levelOf(member: Bytes): number {
  const hash = fieldHash(member);
  return hash === 0 ? 6 : Math.floor((31 - Math.clz32(hash & -hash)) / LEVEL_BITS);
}

/** The cell of level `level` for what stands at `place`; without a place, the one before all members. */
function levelCell(level: number, place: Bytes = NOTHING): Bytes {
  return level === 0 ? concatBytes(ORDER, place) : concatBytes(Uint8Array.of(COUNTS, level), place);
}

function encodeCount(count: number): Bytes {
  const bytes = new Uint8Array(COUNT_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, Math.floor(count / 0x1_0000_0000));
  view.setUint32(2, count >>> 0);
  return bytes;
}

function decodeCount(bytes: Bytes): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return view.getUint16(0) * 0x1_0000_0000 + view.getUint32(2);
}

function afterPrefix(cell: Bytes, level: number): Bytes {
  return cell.subarray(level === 0 ? ORDER.length : 2);
}

/** How many members stand before `place`, one of a member or between members. O(log n). */
export function rankOf(cells: CellReader, height: number, place: Bytes): number {
  let rank = 0;
  descend(cells, height, place, (_level, _passed, before) => {
    rank = before;
  });
  return rank;
}

/**
 * Walks from the top to level 0. At each level tells of the last cell before `place`, and how many members stand before that; at level 0
 * how many stand before `place`.
 */
function descend(cells: CellReader, height: number, place: Bytes, visit: (level: number, passed: Bytes, before: number) => void): void {
  let from: Bytes = NOTHING;
  let before = 0;
  for (let level = height; level > 0; level--) {
    let last: { readonly cell: Bytes; readonly value: Bytes } | undefined;
    for (const one of cells.scan({ from: levelCell(level, from), to: levelCell(level, place) })) {
      if (last !== undefined) before += decodeCount(last.value);
      last = one;
    }
    // Where `place` is that of the cell we came from, there is none before it.
    if (last === undefined) continue;
    visit(level, last.cell, before);
    from = afterPrefix(last.cell, level);
  }
  for (const _ of cells.scan({ from: levelCell(0, from), to: levelCell(0, place) })) before++;
  visit(0, NOTHING, before);
}

/** The place of the member of this rank, which there must be. O(log n). */
function placeOfRank(cells: CellReader, height: number, rank: number): Bytes {
  let from: Bytes = NOTHING;
  let left = rank;
  for (let level = height; level > 0; level--) {
    let passed = 0;
    let count = 0;
    for (const one of cells.scan({ from: levelCell(level, from), to: endOf(level) })) {
      if (passed + count > left) break;
      passed += count;
      count = decodeCount(one.value);
      from = afterPrefix(one.cell, level);
    }
    left -= passed;
  }
  for (const { cell } of cells.scan({ from: levelCell(0, from), to: endOf(0), limit: left + 1 }))
    if (left-- === 0) return afterPrefix(cell, 0);
  throw new RangeError(`no member of rank ${rank}`);
}

function endOf(level: number): Bytes {
  return level === 0 ? Uint8Array.of(ORDER[0]! + 1) : Uint8Array.of(COUNTS, level + 1);
}

/** The members from rank `from` to rank `to`, the latter left out; with `reverse` the last of them first. O(log n + members answered). */
export function* scoredByRank(
  cells: CellReader,
  range: {
    readonly height: number;
    readonly memberCount: number;
    readonly from: number;
    readonly to: number;
    readonly reverse?: boolean;
  },
): IterableIterator<Scored> {
  const { height, memberCount, from, to, reverse = false } = range;
  if (from >= to) return;
  const start = reverse || from === 0 ? NOTHING : placeOfRank(cells, height, from);
  const end = reverse && to < memberCount ? levelCell(0, placeOfRank(cells, height, to)) : endOf(0);
  for (const { cell } of cells.scan({ from: levelCell(0, start), to: end, reverse, limit: to - from })) yield scoredOf(cell);
}

/** The members from place `from` to place `to`, the latter left out; absent: from the first, to the last. */
export function* scoredByPlace(
  cells: CellReader,
  {
    from,
    to,
    reverse = false,
    limit,
  }: { readonly from?: Bytes | undefined; readonly to?: Bytes | undefined; readonly reverse?: boolean; readonly limit?: number },
): IterableIterator<Scored> {
  const range = {
    from: levelCell(0, from),
    to: to === undefined ? endOf(0) : levelCell(0, to),
    reverse,
    ...(limit === undefined ? {} : { limit }),
  };
  for (const { cell } of cells.scan(range)) yield scoredOf(cell);
}

/** What happened to the cells of the order: bytes more or less, and the height now. */
export interface OrderChange {
  readonly height: number;
  readonly bytes: number;
}

/** Puts a member in, which must not be there; `memberCount` counts those that were. O(log n). */
export function insertInOrder(cells: Cells, height: number, memberCount: number, scored: Scored): OrderChange {
  const place = placeInOrder(scored);
  const own = levelOf(scored.member);
  let bytes = 0;
  const put = (cell: Bytes, value: Bytes): void => {
    cells.set(cell, value);
    bytes += cell.length + value.length;
  };
  // Levels that nobody was on yet begin with a count of all.
  for (let level = height + 1; level <= own; level++) put(levelCell(level), encodeCount(memberCount));
  const top = Math.max(height, own);
  if (own === 0) for (let level = 1; level <= top; level++) addToCount(cells, level, place, 1);
  else {
    const before: number[] = [];
    const passed: Bytes[] = [];
    descend(cells, top, place, (level, cell, count) => {
      passed[level] = cell;
      before[level] = count;
    });
    const rank = before[0]!;
    for (let level = 1; level <= top; level++) {
      const count = decodeCount(cells.get(passed[level]!)!);
      if (level > own) cells.set(passed[level]!, encodeCount(count + 1));
      else {
        cells.set(passed[level]!, encodeCount(rank - before[level]!));
        put(levelCell(level, place), encodeCount(count + 1 - (rank - before[level]!)));
      }
    }
  }
  put(levelCell(0, place), NOTHING);
  return { height: top, bytes };
}

/** Takes a member out, which must be there. O(log n). */
export function removeFromOrder(cells: Cells, height: number, scored: Scored): OrderChange {
  const place = placeInOrder(scored);
  const own = levelOf(scored.member);
  let bytes = 0;
  for (let level = 1; level <= height; level++) {
    if (level > own) {
      addToCount(cells, level, place, -1);
      continue;
    }
    const cell = levelCell(level, place);
    addToCount(cells, level, place, decodeCount(cells.get(cell)!) - 1);
    cells.delete(cell);
    bytes -= cell.length + COUNT_BYTES;
  }
  const cell = levelCell(0, place);
  cells.delete(cell);
  return { height, bytes: bytes - cell.length };
}

/** Adds to the count of the last cell of a level before `place`. */
function addToCount(cells: Cells, level: number, place: Bytes, added: number): void {
  for (const { cell, value } of cells.scan({ from: levelCell(level), to: levelCell(level, place), reverse: true, limit: 1 }))
    cells.set(cell, encodeCount(decodeCount(value) + added));
}
