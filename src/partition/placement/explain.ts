import type { Hasher } from '../hasher.ts';
import type { PartitionNode } from '../node.ts';
import { rates } from './fair.ts';
import { clockTable } from './logarithm.ts';
import { permutationOf } from './offers.ts';
import type { ReplicaRule } from './replica-rule.ts';
import { heldCounts, type PositionRange, rangeOfSlots, type SlotTable } from './slot-table.ts';
import { shares } from './targets.ts';
import { Topology } from './topology.ts';

/** Why a key is where it is. */
export interface Explanation {
  readonly position: number;
  readonly slot: number;
  /** The positions of the slot. */
  readonly range: PositionRange;
  readonly version: number;
  /** The replicas, the primary first. */
  readonly replicas: readonly string[];
  /**
   * Every node by its score for the slot, best first: the order in which `fair` asks them. Under `sticky` it says who was asked for the
   * first table; later tables keep what is there.
   */
  readonly ranking: readonly RankedNode[];
  /** The same in words, one step a line. */
  readonly steps: readonly string[];
}

export interface RankedNode {
  readonly id: string;
  /** The node's own order of the slots: 0 is the slot it wants most. */
  readonly rank: number;
  /** Below 1 for about as many slots as its share, where no zone or rack limits it. */
  readonly score: number;
  readonly holds: boolean;
  /** Slots the node holds, and should. */
  readonly held: number;
  readonly share: number;
  readonly verdict: string;
}

interface Explained {
  readonly table: SlotTable;
  readonly nodes: readonly PartitionNode[];
  readonly rule: ReplicaRule;
  readonly hasher: Hasher;
  readonly nodeHasher: Hasher;
  readonly placement: { readonly name: string };
  readonly version: number;
}

export function explainSlot(keyspace: Explained, position: number, slot: number): Explanation {
  const { table, rule, nodeHasher } = keyspace;
  const { slotCount, replicaCount, cells, nodeIds } = table;
  const topology = new Topology(keyspace.nodes, replicaCount, rule);
  const share = shares(topology, slotCount);
  const rate = rates(topology, share, slotCount);
  const clock = clockTable(slotCount);
  const held = new Map(Array.from(heldCounts(table), (count, node) => [nodeIds[node]!, count]));
  const replicas = Array.from(cells.subarray(slot * replicaCount, (slot + 1) * replicaCount), (node) => nodeIds[node]!);
  const chosen = Int32Array.from(replicas, (id) => topology.nodes.findIndex((node) => node.id === id));
  const scored = topology.nodes
    .map(({ id }, node) => {
      const rank = permutationOf(id, slotCount, nodeHasher).rankOf(slot);
      return { id, node, rank, score: clock[rank]! / rate[node]! };
    })
    .sort((a, b) => a.score - b.score || a.node - b.node);
  const lastHolder = scored.findLastIndex(({ id }) => replicas.includes(id));
  const ranking = scored.map(({ id, node, rank, score }, place): RankedNode => {
    const holds = replicas.includes(id);
    const fits = chosen.some((_, at) => topology.canReplace(chosen, 0, at, node));
    const verdict = holds
      ? replicas[0] === id
        ? 'holds it, as primary'
        : 'holds it'
      : place > lastHolder
        ? 'not needed: better nodes hold it'
        : fits
          ? 'passed over: full with slots it wants more, or the table before had others'
          : `kept out by ${rule.name}`;
    return { id, rank, score, holds, held: held.get(id) ?? 0, share: share[node]!, verdict };
  });
  const range = rangeOfSlots(slot, slot + 1, slotCount);
  return {
    position,
    slot,
    range,
    version: keyspace.version,
    replicas,
    ranking,
    steps: [
      `${keyspace.hasher.name} puts the key at position ${position} of 4294967296`,
      `that is slot ${slot} of ${slotCount}: positions [${range.from}, ${range.to})`,
      `version ${keyspace.version} of the ${keyspace.placement.name} table has it on ${replicas.join(', ')}; the first is the primary`,
      ...ranking
        .slice(0, lastHolder + 1)
        .map((one) => `${one.id}: score ${one.score.toFixed(4)}, holds ${one.held} of ${one.share.toFixed(1)} slots: ${one.verdict}`),
    ],
  };
}
