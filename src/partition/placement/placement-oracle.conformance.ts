import fc from 'fast-check';
import type { PartitionNode } from '../node.ts';
import type { ReplicaRule } from './replica-rule.ts';
import { anyNodes, atMostPerZone, distinctRacksWithinZones, spreadOut } from './replica-rule.ts';
import type { SlotTable } from './slot-table.ts';
import { Topology } from './topology.ts';

/** Slot → ids. */
export function rowsOf(table: SlotTable): string[][] {
  return Array.from({ length: table.slotCount }, (_, slot) =>
    [...table.cells.slice(slot * table.replicaCount, (slot + 1) * table.replicaCount)].map((node) => table.nodeIds[node]!),
  );
}

/** The plain reading of a rule: does every limit hold in this set? */
export function obeys(topology: Topology, ids: readonly string[]): boolean {
  const numbers = ids.map((id) => topology.nodes.findIndex((node) => node.id === id));
  if (new Set(ids).size !== ids.length || numbers.includes(-1)) return false;
  const within = (of: Uint16Array, limit: Int32Array): boolean =>
    numbers.every((node) => numbers.filter((other) => of[other] === of[node]).length <= limit[of[node]!]!);
  return within(topology.zoneOf, topology.zoneLimit) && within(topology.rackOf, topology.rackLimit);
}

/**
 * The slow twin of `sticky`: the fewest new replicas of any table with these counts, by trying every legal set for every slot.
 * Infinity when there is no such table.
 */
export function fewestMoves(topology: Topology, before: readonly (readonly string[])[], counts: readonly number[]): number {
  const ids = topology.nodes.map((node) => node.id);
  const sets = subsets(ids.length, topology.replicaCount).filter((set) =>
    obeys(
      topology,
      set.map((node) => ids[node]!),
    ),
  );
  let states = new Map<string, { left: number[]; moves: number }>([['', { left: [...counts], moves: 0 }]]);
  for (const row of before) {
    const next = new Map<string, { left: number[]; moves: number }>();
    for (const { left, moves } of states.values()) {
      for (const set of sets) {
        if (set.some((node) => left[node] === 0)) continue;
        const after = left.slice();
        for (const node of set) after[node]!--;
        const cost = moves + set.filter((node) => !row.includes(ids[node]!)).length;
        const key = after.join();
        const known = next.get(key);
        if (known === undefined || known.moves > cost) next.set(key, { left: after, moves: cost });
      }
    }
    states = next;
  }
  return Math.min(Infinity, ...[...states.values()].filter(({ left }) => left.every((one) => one === 0)).map(({ moves }) => moves));
}

/**
 * The plain twin of `sticky` for more than a handful of nodes: the same number as {@link fewestMoves}, by a flow of least cost from nodes
 * through (rack, slot) and (zone, slot) to slots, one unit at a time.
 */
export function fewestMovesByFlow(topology: Topology, before: readonly (readonly string[])[], counts: readonly number[]): number {
  const { nodes, rackOf, zoneOfRack, zoneLimit, rackLimit, replicaCount } = topology;
  const [nodeCount, rackCount, zoneCount] = [nodes.length, rackLimit.length, zoneLimit.length];
  const perSlot = rackCount + zoneCount + 1;
  const source = nodeCount + before.length * perSlot;
  const edges: { readonly to: number; readonly cost: number; room: number }[] = [];
  const edgesOf: number[][] = Array.from({ length: source + 2 }, () => []);
  const connect = (from: number, to: number, room: number, cost: number): void => {
    edgesOf[from]!.push(edges.push({ to, cost, room }) - 1);
    edgesOf[to]!.push(edges.push({ to: from, cost: -cost, room: 0 }) - 1);
  };
  for (const [node, count] of counts.entries()) connect(source, node, count, 0);
  for (const [slot, row] of before.entries()) {
    const base = nodeCount + slot * perSlot;
    for (const [node, { id }] of nodes.entries()) connect(node, base + rackOf[node]!, 1, row.includes(id) ? 0 : 1);
    for (const [rack, zone] of zoneOfRack.entries()) connect(base + rack, base + rackCount + zone, rackLimit[rack]!, 0);
    for (const [zone, limit] of zoneLimit.entries()) connect(base + rackCount + zone, base + rackCount + zoneCount, limit, 0);
    connect(base + rackCount + zoneCount, source + 1, replicaCount, 0);
  }
  let [placed, moves] = [0, 0];
  for (;;) {
    const price = new Float64Array(source + 2).fill(Infinity);
    const came = new Int32Array(source + 2).fill(-1);
    price[source] = 0;
    const queue = [source];
    for (const at of queue)
      for (const number of edgesOf[at]!) {
        const { to, cost, room } = edges[number]!;
        if (room === 0 || price[at]! + cost >= price[to]!) continue;
        price[to] = price[at]! + cost;
        came[to] = number;
        queue.push(to);
      }
    if (price[source + 1] === Infinity) return placed === before.length * replicaCount ? moves : Infinity;
    for (let at = source + 1; at !== source; at = edges[came[at]! ^ 1]!.to) {
      edges[came[at]!]!.room--;
      edges[came[at]! ^ 1]!.room++;
    }
    placed++;
    moves += price[source + 1]!;
  }
}

/**
 * The slow twin of `steadyPrimaries`: the fewest slots with another primary than before, over all choices of one replica of each row
 * in which every node leads floor or ceil of its part.
 */
export function fewestPrimaryChanges(rows: readonly (readonly string[])[], before: readonly string[]): number {
  const held = new Map<string, number>();
  for (const row of rows) for (const id of row) held.set(id, (held.get(id) ?? 0) + 1);
  const ids = [...held.keys()];
  const replicaCount = rows[0]!.length;
  let states = new Map<string, { led: number[]; changes: number }>([['', { led: ids.map(() => 0), changes: 0 }]]);
  for (const [slot, row] of rows.entries()) {
    const next = new Map<string, { led: number[]; changes: number }>();
    for (const { led, changes } of states.values()) {
      for (const id of row) {
        const now = led.slice();
        now[ids.indexOf(id)]!++;
        const all = changes + (id === before[slot] ? 0 : 1);
        const known = next.get(now.join());
        if (known === undefined || known.changes > all) next.set(now.join(), { led: now, changes: all });
      }
    }
    states = next;
  }
  const isEven = (led: readonly number[]): boolean =>
    led.every((count, node) => Math.abs(count - held.get(ids[node]!)! / replicaCount) < 1);
  return Math.min(Infinity, ...[...states.values()].filter(({ led }) => isEven(led)).map(({ changes }) => changes));
}

function subsets(size: number, take: number, from = 0): number[][] {
  if (take === 0) return [[]];
  const found: number[][] = [];
  for (let first = from; first <= size - take; first++) for (const rest of subsets(size, take - 1, first + 1)) found.push([first, ...rest]);
  return found;
}

export const aRule = fc.constantFrom<ReplicaRule>(anyNodes(), spreadOut(), distinctRacksWithinZones(), atMostPerZone(2));

/** Up to `most` nodes with few zones and racks and very different weights. */
export function someNodes(most: number): fc.Arbitrary<PartitionNode[]> {
  return fc
    .uniqueArray(
      fc.record({
        id: fc.integer({ min: 0, max: 3 * most }).map((number) => `n${number}`),
        weight: fc.constantFrom(1, 1, 1, 2, 3.7, 10),
        zone: fc.constantFrom('a', 'b', 'c'),
        rack: fc.constantFrom('1', '2'),
      }),
      { selector: (node) => node.id, minLength: 2, maxLength: most },
    )
    .map((nodes) => nodes);
}

/** The topology, or undefined where the rule cannot be kept with these nodes. */
export function possible(nodes: readonly PartitionNode[], replicaCount: number, rule: ReplicaRule): Topology | undefined {
  try {
    return new Topology(nodes, replicaCount, rule);
  } catch {
    return undefined;
  }
}
