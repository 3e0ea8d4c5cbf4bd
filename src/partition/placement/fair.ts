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
import { expMinus, ln } from './logarithm.ts';
import { Matching } from './matching.ts';
import { Offers } from './offers.ts';
import { evenPrimaries } from './primaries.ts';
import { type ReplicaRule, spreadOut } from './replica-rule.ts';
import { checkShape, type SlotTable } from './slot-table.ts';
import { fillAnyhow } from './sticky.ts';
import { shares } from './targets.ts';
import { Topology, VACANT } from './topology.ts';

export const DEFAULT_SLOT_COUNT = 65_536;
const DEFAULT_SLACK = 0.01;

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
  const { slotCount = DEFAULT_SLOT_COUNT, replicaCount = 3, rule = spreadOut(), slack = DEFAULT_SLACK } = options;
  checkShape(slotCount, replicaCount);
  if (!(slack >= 0)) throw new KeyfleetError('KF_BAD_SLACK', `slack is a number from 0, not ${slack}`);
  const topology = new Topology(nodes, replicaCount, rule);
  const share = shares(topology, slotCount);
  const caps = Int32Array.from(share, (one) => Math.min(slotCount, Math.max(Math.ceil(one), Math.floor(one * (1 + slack)))));
  const offers = new Offers(topology, slotCount, rates(topology, share, slotCount, slack), options.nodeHasher);
  const cells = new Acceptance(topology, offers, caps, slotCount).settle();
  repair(topology, cells, caps);
  evenPrimaries(topology, cells);
  return { slotCount, replicaCount, nodeIds: topology.nodes.map((node) => node.id), cells: new Uint16Array(cells) };
}

/** A zone's rate may be off by this part of its share at most, however great the slack. */
const MOST_DRIFT = 0.1;

/**
 * How fast a node's clock runs. A node alone is among the scores below 1 in `share` of the slots at the rate −ln(1 − share / slots).
 * Where a zone takes `limit` replicas at most, its nodes compete for those places: then the zone's whole rate is the one at which the mean
 * of min(limit, arrivals) is its share, divided among its nodes.
 *
 * That rate depends on how many nodes every zone has: one node more would speed up its zone and slow down all others, and slots would move
 * between nodes that were there before. So a zone runs at the pace common to all zones as long as this brings it to within `drift` of
 * its share, and at the nearest pace that does otherwise.
 */
export function rates(topology: Topology, share: Float64Array, slotCount: number, drift = DEFAULT_SLACK): Float64Array {
  const { zoneOf, zoneLimit, replicaCount } = topology;
  const alone = share.map((one) => -ln(1 - Math.min(one, slotCount - 0.5) / slotCount));
  const zoneShare = new Float64Array(zoneLimit.length);
  const zoneAlone = new Float64Array(zoneLimit.length);
  const zoneSize = new Int32Array(zoneLimit.length);
  for (const [node, zone] of zoneOf.entries()) {
    zoneShare[zone]! += share[node]!;
    zoneAlone[zone]! += alone[node]!;
    zoneSize[zone]!++;
  }
  /** The pace at which `part` of its share comes to a zone: how much faster its nodes run than each would alone. */
  const paceFor = (zone: number, part: number): number => {
    const limit = zoneLimit[zone]!;
    if (limit > 1 && limit >= Math.min(replicaCount, zoneSize[zone]!)) return part;
    const mean = Math.min(zoneShare[zone]! * part, limit * slotCount - 0.5) / slotCount;
    return rateOfZone(mean, limit) / (limit === 1 ? zoneShare[zone]! / slotCount : zoneAlone[zone]!);
  };
  let paceSum = 0;
  let shareSum = 0;
  for (const [zone, own] of zoneShare.entries()) {
    paceSum += paceFor(zone, 1) * own;
    shareSum += own;
  }
  const least = 1 - Math.min(drift, MOST_DRIFT);
  const most = 1 + Math.min(drift, MOST_DRIFT);
  const pace = zoneShare.map((_, zone) => Math.min(paceFor(zone, most), Math.max(paceFor(zone, least), paceSum / shareSum)));
  return share.map((one, node) => pace[zoneOf[node]!]! * (zoneLimit[zoneOf[node]!] === 1 ? one / slotCount : alone[node]!));
}

/** The rate at which the mean of min(limit, arrivals of a Poisson clock up to 1) is `mean`. */
function rateOfZone(mean: number, limit: number): number {
  if (limit === 1) return -ln(1 - mean);
  let low = 0;
  let high = 64;
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2;
    let chance = expMinus(middle);
    let taken = 0;
    let rest = 1;
    for (let arrivals = 0; arrivals < limit; arrivals++) {
      taken += arrivals * chance;
      rest -= chance;
      chance *= middle / (arrivals + 1);
    }
    if (taken + limit * rest < mean) low = middle;
    else high = middle;
  }
  return low;
}

/** Fills what deferred acceptance left vacant, every node it may have being full, by shortest chains of exchanges. */
function repair(topology: Topology, cells: Int32Array, caps: Int32Array): void {
  if (!cells.includes(VACANT)) return;
  const matching = new Matching(topology, cells, cells.slice(), caps);
  matching.settle('anyhow');
  fillAnyhow(matching);
}
