import { type Bytes, compareBytes } from '../base/bytes.ts';
import type { PartitionNode } from './node.ts';
import type { NodeChange } from './partitioner.ts';
import type { RingTable } from './ring-table.ts';
import type { RingView } from './ring-view.ts';

/** Keys whose digest d is `after < d <= upTo` on the circle changed hands. */
export interface RingMove<N> {
  readonly after: Bytes;
  readonly upTo: Bytes;
  /** Who held them before, the owner first, and who holds them now. */
  readonly before: readonly N[];
  readonly now: readonly N[];
  /** Who must fetch them: in `now` and not in `before`. Any of `before` can give them. */
  readonly pullers: readonly N[];
  /** How much of the circle this is, 0 … 1, by the first 32 bits of the digests. */
  readonly share: number;
}

/** The difference between two versions of a ring. Nothing is computed until it is asked for. */
export class RingChange<N extends PartitionNode> implements NodeChange {
  readonly before: RingView<N>;
  readonly after: RingView<N>;
  #moves: readonly RingMove<N>[] | undefined;

  constructor(before: RingView<N>, after: RingView<N>) {
    this.before = before;
    this.after = after;
  }

  /** Arcs whose holders changed, none when the ring was or is empty, in order of digest; neighbours with the same holders are one. Cost: O(points of both × replication factor). */
  get moves(): readonly RingMove<N>[] {
    this.#moves ??= movesBetween(this.before, this.after);
    return this.#moves;
  }

  /** Share of the keys that have a new owner, 0 … 1. */
  get movedShare(): number {
    return this.moves.reduce((sum, move) => sum + (move.before[0]?.id === move.now[0]?.id ? 0 : move.share), 0);
  }

  /** Copies that must be fetched, in units of the whole set of keys: 0.3 of RF 3 means a tenth of all copies. */
  get pulledShare(): number {
    return this.moves.reduce((sum, move) => sum + move.share * move.pullers.length, 0);
  }
}

const CIRCLE = 2 ** 32;

function movesBetween<N extends PartitionNode>(before: RingView<N>, after: RingView<N>): readonly RingMove<N>[] {
  if (before.table.count === 0 || after.table.count === 0) return [];
  const points = boundaries(before.table, after.table);
  const moves: RingMove<N>[] = [];
  let last = points[points.length - 1]!;
  for (const point of points) {
    const arc = { after: last.digest, upTo: point.digest, share: shareOf(last.head, point.head, points.length) };
    last = point;
    const old = holders(before, point.inBefore);
    const now = holders(after, point.inAfter);
    if (sameNodes(old, now)) continue;
    const previous = moves.at(-1);
    if (previous && previous.upTo === arc.after && sameNodes(previous.before, old) && sameNodes(previous.now, now)) {
      moves[moves.length - 1] = { ...previous, upTo: arc.upTo, share: previous.share + arc.share };
      continue;
    }
    const held = new Set(old.map((node) => node.id));
    moves.push({ ...arc, before: old, now, pullers: now.filter((node) => !held.has(node.id)) });
  }
  return moves;
}

interface Boundary {
  readonly digest: Bytes;
  readonly head: number;
  /** The point that keys up to this digest belong to, in either table. */
  readonly inBefore: number;
  readonly inAfter: number;
}

/** Every digest at which a point stands in either table, in order. */
function boundaries(a: RingTable, b: RingTable): Boundary[] {
  const all: Boundary[] = [];
  let i = 0;
  let j = 0;
  while (i < a.count || j < b.count) {
    const order = i === a.count ? 1 : j === b.count ? -1 : compareBytes(digestIn(a, i), digestIn(b, j));
    const from = order <= 0 ? a : b;
    const point = order <= 0 ? i : j;
    all.push({ digest: digestIn(from, point), head: from.heads[point]!, inBefore: i % a.count, inAfter: j % b.count });
    if (order <= 0) i++;
    if (order >= 0) j++;
  }
  return all;
}

function digestIn(table: RingTable, point: number): Bytes {
  return table.digests.subarray(point * table.digestBytes, (point + 1) * table.digestBytes);
}

function shareOf(from: number, to: number, arcs: number): number {
  if (arcs === 1) return 1;
  return (to >= from ? to - from : to + CIRCLE - from) / CIRCLE;
}

function holders<N extends PartitionNode>(view: RingView<N>, point: number): N[] {
  const places: number[] = [];
  const found = view.table.ownersFrom(point, Math.min(view.replicationFactor, view.nodes.length), places);
  return places.slice(0, found).map((place) => view.nodes[place]!);
}

function sameNodes(a: readonly PartitionNode[], b: readonly PartitionNode[]): boolean {
  return a.length === b.length && a.every((node, i) => node.id === b[i]!.id);
}
