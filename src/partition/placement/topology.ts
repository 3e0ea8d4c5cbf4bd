import { KeyfleetError } from '../../base/errors.ts';
import { checkNodes, compareIds, type PartitionNode, weightOf } from '../node.ts';
import { checkLimit, type ReplicaRule } from './replica-rule.ts';
import { MAX_NODE_COUNT } from './slot-table.ts';

export const VACANT = -1;

/**
 * Nodes in order of id, with their zones and racks as numbers and the rule as a limit for each. Limits per node, rack and zone
 * nest, which is why targets, feasibility and exchanges are all simple: see docs/placement.md.
 */
export class Topology {
  readonly nodes: readonly PartitionNode[];
  readonly replicaCount: number;
  readonly rule: ReplicaRule;
  readonly zoneOf: Uint16Array;
  readonly rackOf: Uint16Array;
  readonly zoneOfRack: readonly number[];
  readonly zoneNames: readonly string[];
  /** Most replicas of one slot, for each zone and rack; never more than there are nodes. */
  readonly zoneLimit: Int32Array;
  readonly rackLimit: Int32Array;
  /** No limit can be broken by different nodes, so exchanges need no check. */
  readonly isFree: boolean;

  /** @throws KF_DUPLICATE_NODE, KF_BAD_WEIGHT, KF_TOO_FEW_NODES, KF_TOO_MANY_NODES, KF_BAD_REPLICA_RULE, KF_RULE_UNSATISFIABLE */
  constructor(nodes: readonly PartitionNode[], replicaCount: number, rule: ReplicaRule) {
    checkNodes(nodes);
    if (nodes.length > MAX_NODE_COUNT)
      throw new KeyfleetError('KF_TOO_MANY_NODES', `${nodes.length} nodes; a slot table holds at most ${MAX_NODE_COUNT}`);
    if (nodes.length < replicaCount)
      throw new KeyfleetError('KF_TOO_FEW_NODES', `${replicaCount} replicas need as many nodes; there are ${nodes.length}`);
    for (const limit of [rule.perZone, rule.perRack]) if (typeof limit === 'number') checkLimit(limit, 'replicas per zone or rack');
    this.nodes = [...nodes].sort(compareIds);
    this.replicaCount = replicaCount;
    this.rule = rule;
    const zones = new Map<string, number>();
    const racks = new Map<string, number>();
    const zoneOfRack: number[] = [];
    this.zoneOf = Uint16Array.from(this.nodes, (node) => numberOf(zones, node.zone ?? ''));
    this.rackOf = Uint16Array.from(this.nodes, (node, index) => {
      const zone = this.zoneOf[index]!;
      const rack = numberOf(racks, `${zone}/${node.rack ?? ''}`);
      zoneOfRack[rack] = zone;
      return rack;
    });
    this.zoneOfRack = zoneOfRack;
    this.zoneNames = [...zones.keys()];
    this.rackLimit = new Int32Array(racks.size);
    this.zoneLimit = new Int32Array(zones.size);
    const inZone = tally(this.zoneOf, zones.size);
    const inRack = tally(this.rackOf, racks.size);
    this.#setLimits(inRack);
    const zoneBinds = this.zoneLimit.some((limit, zone) => limit < Math.min(replicaCount, inZone[zone]!));
    const rackBinds = this.rackLimit.some((limit, rack) => limit < Math.min(replicaCount, inRack[rack]!));
    this.isFree = !zoneBinds && !rackBinds && rule.admits === undefined;
  }

  /** Weights, scaled so that the largest is 1. */
  weights(): Float64Array {
    const weights = Float64Array.from(this.nodes, weightOf);
    const largest = weights.reduce((most, weight) => (weight > most ? weight : most), 0);
    return weights.map((weight) => weight / largest);
  }

  /**
   * May `node` be in the slot whose cells start at `base`, in place of the cell at `at` (which may be vacant)?
   * False when it is there already.
   */
  canReplace(cells: Int32Array, base: number, at: number, node: number): boolean {
    const end = base + this.replicaCount;
    if (this.isFree) {
      for (let i = base; i < end; i++) if (cells[i] === node) return false;
      return true;
    }
    const zone = this.zoneOf[node]!;
    const rack = this.rackOf[node]!;
    let inZone = 1;
    let inRack = 1;
    for (let i = base; i < end; i++) {
      const other = cells[i]!;
      if (other === node) return false;
      if (other === VACANT || i === at) continue;
      if (this.zoneOf[other] === zone) {
        inZone++;
        if (this.rackOf[other] === rack) inRack++;
      }
    }
    if (inZone > this.zoneLimit[zone]! || inRack > this.rackLimit[rack]!) return false;
    return this.rule.admits === undefined || this.#admitted(cells, base, at, node);
  }

  /** Every replica of the new set beside all the others. */
  #admitted(cells: Int32Array, base: number, at: number, node: number): boolean {
    const set: PartitionNode[] = [this.nodes[node]!];
    for (let i = base; i < base + this.replicaCount; i++) if (i !== at && cells[i] !== VACANT) set.push(this.nodes[cells[i]!]!);
    for (let i = 0; i < set.length; i++) {
      const others = set.filter((_, other) => other !== i);
      if (!this.rule.admits!(set[i]!, others)) return false;
    }
    return true;
  }

  #setLimits(inRack: Int32Array): void {
    const { replicaCount, rule, zoneOfRack } = this;
    const racksIn: number[][] = this.zoneNames.map(() => []);
    for (let rack = 0; rack < inRack.length; rack++) racksIn[zoneOfRack[rack]!]!.push(rack);
    const sizesIn = racksIn.map((racks) => racks.map((rack) => inRack[rack]!));
    // What a zone can hold of one slot when only its racks limit it, then the limit of zones, then that of racks inside them.
    const strictRack = typeof rule.perRack === 'number' ? rule.perRack : replicaCount;
    const room = sizesIn.map((sizes) => sumOfLeast(sizes, strictRack));
    const perZone = rule.perZone === 'spread' ? leastLimit(room, replicaCount) : (rule.perZone ?? replicaCount);
    for (let zone = 0; zone < room.length; zone++) {
      this.zoneLimit[zone] = Math.min(room[zone]!, perZone, replicaCount);
      const perRack = rule.perRack === 'spread' ? leastLimit(sizesIn[zone]!, this.zoneLimit[zone]!) : strictRack;
      for (const rack of racksIn[zone]!) this.rackLimit[rack] = Math.min(inRack[rack]!, perRack, replicaCount);
    }
    const possible = this.zoneLimit.reduce((sum, limit) => sum + limit, 0);
    if (possible < replicaCount)
      throw new KeyfleetError(
        'KF_RULE_UNSATISFIABLE',
        `${rule.name} lets at most ${possible} of ${replicaCount} replicas be placed on ${this.nodes.length} nodes in ${room.length} zones`,
      );
  }
}

function numberOf(numbers: Map<string, number>, name: string): number {
  let known = numbers.get(name);
  if (known === undefined) {
    known = numbers.size;
    numbers.set(name, known);
  }
  return known;
}

function tally(numbers: Uint16Array, size: number): Int32Array {
  const counts = new Int32Array(size);
  for (const one of numbers) counts[one]!++;
  return counts;
}

function sumOfLeast(sizes: Iterable<number>, limit: number): number {
  let sum = 0;
  for (const size of sizes) sum += Math.min(size, limit);
  return sum;
}

/** The least limit under which `sizes` have room for `wanted`; `wanted` when even that is not enough. */
function leastLimit(sizes: readonly number[], wanted: number): number {
  for (let limit = 1; limit < wanted; limit++) if (sumOfLeast(sizes, limit) >= wanted) return limit;
  return wanted;
}
