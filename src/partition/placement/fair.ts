/**
 * Placement that anyone can recompute: from the node set alone.
 *
 * Stratified rendezvous with capacity caps. Each node ranks the slots by a keyed permutation of its own; the score of a pair is the
 * rank's exponential clock divided by the node's rate, so that a node's best `share` slots are just those with a score below 1, whatever
 * its weight. Slots and nodes are then matched by deferred acceptance: a slot asks nodes best score first, a node above its cap drops the
 * slot it ranks worst. Such a matching is unique: no order of anything can change it. The few slots that are left with a vacancy
 * get it filled by the best node with room or by a chain of exchanges, and primaries are evened out among the replicas.
 */

import { KeyfleetError } from '../../base/errors.ts';
import type { Hasher } from '../hasher.ts';
import type { PartitionNode } from '../node.ts';
import { Acceptance } from './acceptance.ts';
import { ln } from './logarithm.ts';
import { Matching } from './matching.ts';
import { Offers } from './offers.ts';
import { evenPrimaries } from './primaries.ts';
import { type ReplicaRule, spreadOut } from './replica-rule.ts';
import { checkShape, type SlotTable } from './slot-table.ts';
import { fillAnyhow } from './sticky.ts';
import { shares } from './targets.ts';
import { Topology, VACANT } from './topology.ts';

export const DEFAULT_SLOT_COUNT = 65_536;

export interface FairOptions<N extends PartitionNode> {
  /** 65,536 when absent. */
  readonly slotCount?: number;
  /** 3 when absent. */
  readonly replicaCount?: number;
  readonly rule?: ReplicaRule<N>;
  /** How far above its share a node may be, as a part of it: 0.01 when absent. Less is more even, more moves less. */
  readonly slack?: number;
  /** Hashes node ids; murmur3_x86_128 when absent. */
  readonly nodeHasher?: Hasher;
}

/**
 * The table of a node set: depends on ids, weights, zones, racks, the rule, slot and replica count, and on nothing else.
 *
 * Every node holds at most its share × (1 + slack), rounded to the slot above its share at least. A change of nodes moves little more
 * than it must up to some hundred nodes; above, prefer {@link sticky} where the table before is at hand. Figures: docs/placement.md.
 *
 * Cost: about 0.2 s for 1,000 nodes, 65,536 slots, 3 replicas.
 *
 * @throws KF_TOO_FEW_NODES, KF_RULE_UNSATISFIABLE, KF_DUPLICATE_NODE, KF_BAD_WEIGHT, KF_BAD_SLOT_COUNT, KF_BAD_REPLICA_COUNT
 */
export function fair<N extends PartitionNode>(nodes: readonly N[], options: FairOptions<N> = {}): SlotTable {
  const { slotCount = DEFAULT_SLOT_COUNT, replicaCount = 3, rule = spreadOut(), slack = 0.01 } = options;
  checkShape(slotCount, replicaCount);
  if (!(slack >= 0)) throw new KeyfleetError('KF_BAD_SLACK', `slack is a number from 0, not ${slack}`);
  const topology = new Topology(nodes, replicaCount, rule);
  const share = shares(topology, slotCount);
  const caps = Int32Array.from(share, (one) => Math.min(slotCount, Math.max(Math.ceil(one), Math.floor(one * (1 + slack)))));
  const offers = new Offers(topology, slotCount, rates(topology, share, slotCount), options.nodeHasher);
  const cells = new Acceptance(topology, offers, caps, slotCount).settle();
  repair(topology, cells, caps);
  evenPrimaries(topology, cells);
  return { slotCount, replicaCount, nodeIds: topology.nodes.map((node) => node.id), cells: Uint16Array.from(cells) };
}

/**
 * How fast a node's clock runs. A node alone is among the scores below 1 in `share` of the slots at the rate −ln(1 − share / slots).
 * Where a zone takes one replica at most its nodes compete for one place: then the zone has that rate and the nodes their part of it.
 */
export function rates(topology: Topology, share: Float64Array, slotCount: number): Float64Array {
  const zoneShare = new Float64Array(topology.zoneLimit.length);
  for (const [node, one] of share.entries()) zoneShare[topology.zoneOf[node]!]! += one;
  const rate = (one: number): number => -ln(1 - Math.min(one, slotCount - 0.5) / slotCount);
  return share.map((one, node) => {
    const zone = topology.zoneOf[node]!;
    return topology.zoneLimit[zone] === 1 ? (rate(zoneShare[zone]!) * one) / zoneShare[zone]! : rate(one);
  });
}

/** Fills what deferred acceptance left vacant, every node it may have being full, by shortest chains of exchanges. */
function repair(topology: Topology, cells: Int32Array, caps: Int32Array): void {
  if (!cells.includes(VACANT)) return;
  const matching = new Matching(topology, cells, cells.slice(), caps);
  matching.settle('anyhow');
  fillAnyhow(matching);
}
