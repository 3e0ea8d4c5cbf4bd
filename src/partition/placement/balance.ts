import type { KeyInput } from '../hasher.ts';
import type { PartitionNode } from '../node.ts';
import type { Plan } from './plan.ts';
import type { ReplicaRule } from './replica-rule.ts';
import { heldCounts, primaryCounts, type SlotTable } from './slot-table.ts';
import { shares } from './targets.ts';
import { Topology } from './topology.ts';

/** How even a table is. */
export interface Balance {
  readonly nodes: readonly NodeBalance[];
  /** Largest held / share. */
  readonly peak: number;
  /** Smallest held / share. */
  readonly trough: number;
  /** Largest primaries / (share / RF). */
  readonly primaryPeak: number;
}

export interface NodeBalance {
  readonly id: string;
  /** Slots it should hold by weight, zone and rack: seldom a whole number. */
  readonly share: number;
  readonly held: number;
  readonly primaries: number;
}

/** What a change would cost, and how even things are before and after. */
export interface Simulation {
  readonly plan: Plan;
  readonly before: Balance;
  readonly after: Balance;
  /** For the keys given, if any were. */
  readonly keys?: KeySimulation;
}

export interface KeySimulation {
  readonly keyCount: number;
  /** Keys whose primary changes. */
  readonly ownersMoved: number;
  /** Copies of keys that are made. */
  readonly replicasMoved: number;
  /** Keys for each node, as replica and as primary, before and after. */
  readonly nodes: readonly KeyLoad[];
}

export interface KeyLoad {
  readonly id: string;
  readonly before: number;
  readonly after: number;
  readonly primaryBefore: number;
  readonly primaryAfter: number;
}

/** Measures `table` against what `nodes` should hold under `rule`. */
export function balanceOf<N extends PartitionNode>(table: SlotTable, nodes: readonly N[], rule: ReplicaRule<N>): Balance {
  const topology = new Topology(nodes, table.replicaCount, rule);
  const share = shares(topology, table.slotCount);
  const place = new Map(table.nodeIds.map((id, index) => [id, index]));
  const held = heldCounts(table);
  const led = primaryCounts(table);
  const rows = topology.nodes.map(({ id }, node) => {
    const index = place.get(id);
    return { id, share: share[node]!, held: index === undefined ? 0 : held[index]!, primaries: index === undefined ? 0 : led[index]! };
  });
  const ratio = (row: NodeBalance): number => row.held / row.share;
  return {
    nodes: rows,
    peak: rows.reduce((most, row) => Math.max(most, ratio(row)), 0),
    trough: rows.reduce((least, row) => Math.min(least, ratio(row)), Infinity),
    primaryPeak: rows.reduce((most, row) => Math.max(most, (row.primaries * table.replicaCount) / row.share), 0),
  };
}

/** Where each of `keys` is in both tables. One pass; keys may be a stream of millions. */
export function simulateKeys(
  before: SlotTable,
  after: SlotTable,
  keys: Iterable<KeyInput>,
  slotOf: (key: KeyInput) => number,
): KeySimulation {
  const ids = [...new Set([...before.nodeIds, ...after.nodeIds])];
  const number = new Map(ids.map((id, index) => [id, index]));
  const loads = ids.map((id) => ({ id, before: 0, after: 0, primaryBefore: 0, primaryAfter: 0 }));
  const row = (table: SlotTable, slot: number): number[] =>
    Array.from(
      table.cells.subarray(slot * table.replicaCount, (slot + 1) * table.replicaCount),
      (node) => number.get(table.nodeIds[node]!)!,
    );
  let keyCount = 0;
  let ownersMoved = 0;
  let replicasMoved = 0;
  for (const key of keys) {
    const slot = slotOf(key);
    const was = row(before, slot);
    const now = row(after, slot);
    keyCount++;
    loads[was[0]!]!.primaryBefore++;
    loads[now[0]!]!.primaryAfter++;
    if (was[0] !== now[0]) ownersMoved++;
    for (const node of was) loads[node]!.before++;
    for (const node of now) {
      loads[node]!.after++;
      if (!was.includes(node)) replicasMoved++;
    }
  }
  return { keyCount, ownersMoved, replicasMoved, nodes: loads };
}
