/**
 * Placement that remembers: from the table before and the nodes now, the table that is exactly balanced and moves the least.
 *
 * Each node gets its share (see targets.ts) rounded up or down; nodes with too few gain, the others keep or give. Three kinds of
 * chains of exchanges, tried cheapest first, bring every node to its target: chains over previous replicas alone (free), chains in which
 * only gaining nodes copy (one copy for each missing replica: the bound), and chains in order of price for what is left.
 * docs/placement.md has the argument, and the instances in which no table meets the bound.
 */
import { KeyfleetError } from '../../base/errors.ts';
import type { PartitionNode } from '../node.ts';
import { LeastChains } from './least-chains.ts';
import { Matching, tally } from './matching.ts';
import { type ReplicaRule, spreadOut } from './replica-rule.ts';
import { checkShape, indexById, type SlotTable } from './slot-table.ts';
import { steadyPrimaries } from './steady-primaries.ts';
import { roundShares, shares } from './targets.ts';
import { Topology, VACANT } from './topology.ts';

export interface StickyOptions<N extends PartitionNode> {
  /** Replicas of each slot; as before when absent. */
  readonly replicaCount?: number;
  readonly rule?: ReplicaRule<N>;
}

/** A table that says whether it is the nearest there is: see {@link SlotTable.isLeast}. */
export type StickyTable = SlotTable & { readonly isLeast: boolean };

/**
 * The balanced table nearest to `previous`.
 *
 * Every node ends within one slot of its exact share, and within one of a fair share of primaries. Moved replicas:
 * Σ max(0, target − held) wherever a table with these targets can have that, else the least that one can, where `held` counts the previous
 * replicas on nodes that are still there and in slots that still obey the rule. With a custom rule ({@link ReplicaRule.admits}) balance
 * is best effort. Searches have a budget: `isLeast` says whether it was enough.
 *
 * Cost: about 50 ms for one change of 1,000 nodes, 65,536 slots, 3 replicas; some 100 ms more where the sum is out of reach.
 *
 * @throws KF_TOO_FEW_NODES, KF_RULE_UNSATISFIABLE, KF_DUPLICATE_NODE, KF_BAD_WEIGHT; `previous` is never changed.
 */
export function sticky<N extends PartitionNode>(previous: SlotTable, nodes: readonly N[], options: StickyOptions<N> = {}): StickyTable {
  const replicaCount = options.replicaCount ?? previous.replicaCount;
  checkShape(previous.slotCount, replicaCount);
  const topology = new Topology(nodes, replicaCount, options.rule ?? spreadOut());
  const nodeIds = topology.nodes.map((node) => node.id);
  const indexOf = indexById(nodeIds);
  const numbers = Int32Array.from(previous.nodeIds, (id) => indexOf.get(id) ?? VACANT);
  // Large arrays are copied by loops: Array.from and its like take as long as the search.
  const before = new Int32Array(previous.cells.length);
  for (let at = 0; at < before.length; at++) before[at] = numbers[previous.cells[at]!]!;
  const { cells, someLeft } = keepLegal(topology, before, previous.slotCount);
  const held = tally(cells, nodeIds.length);
  const target = roundShares(topology, previous.slotCount, shares(topology, previous.slotCount), held);
  const matching = new Matching(topology, cells, before, target);
  const chains = new LeastChains(matching);
  let isLeast = !someLeft || matching.settle('kept') || chains.settle(0);
  handOver(matching);
  matching.settle('direct');
  isLeast = chains.settle() && isLeast;
  matching.settle('anyhow');
  fillAnyhow(matching);
  steadyPrimaries({
    cells,
    replicaCount,
    nodeCount: nodeIds.length,
    previous: matching.previousPrimaries(),
    wasIn: (slot, node) => matching.wasIn(slot, node),
  });
  return {
    slotCount: previous.slotCount,
    replicaCount,
    nodeIds,
    cells: new Uint16Array(cells),
    isLeast: isLeast && topology.rule.admits === undefined,
  };
}

/** The previous replicas that still have their node and that obey the rule beside the ones before them. */
function keepLegal(topology: Topology, before: Int32Array, slotCount: number): { cells: Int32Array; someLeft: boolean } {
  const { replicaCount } = topology;
  const beforeCount = before.length / slotCount;
  const cells = new Int32Array(slotCount * replicaCount).fill(VACANT);
  let someLeft = false;
  for (let slot = 0; slot < slotCount; slot++) {
    const base = slot * replicaCount;
    let at = base;
    for (let i = slot * beforeCount; i < (slot + 1) * beforeCount; i++) {
      const node = before[i]!;
      if (node === VACANT) continue;
      if (at < base + replicaCount && topology.canReplace(cells, base, at, node)) cells[at++] = node;
      else someLeft = true;
    }
  }
  return { cells, someLeft };
}

/**
 * Most of the work, in one sweep over the slots in a scattered order: a vacant cell, or the replica whose node has most to give, goes to
 * a node that must gain; one of the same zone if there is one, so that zones stay settled.
 */
function handOver(matching: Matching): void {
  const { topology, cells, held, target, slotCount, replicaCount } = matching;
  const needy: number[][] = topology.zoneNames.map(() => []);
  let missing = 0;
  for (let node = 0; node < target.length; node++) {
    if (held[node]! >= target[node]!) continue;
    needy[topology.zoneOf[node]!]!.push(node);
    missing += target[node]! - held[node]!;
  }
  let turn = 0;
  /** Some node of `zone` that may enter; taken off the list once it has enough. */
  const enter = (zone: number, base: number, at: number): boolean => {
    const list = needy[zone]!;
    for (let tries = Math.min(list.length, 8); tries > 0; tries--) {
      turn++;
      const place = turn % list.length;
      const node = list[place]!;
      if (!topology.canReplace(cells, base, at, node)) continue;
      matching.set(at, node);
      missing--;
      if (held[node]! >= target[node]!) {
        list[place] = list.at(-1)!;
        list.pop();
      }
      return true;
    }
    return false;
  };
  const zoneCount = needy.length;
  const otherZones = Math.min(zoneCount, 16);
  const handOverCell = (base: number, at: number): boolean => {
    const out = cells[at]!;
    const home = out === VACANT ? VACANT : topology.zoneOf[out]!;
    if (home !== VACANT && enter(home, base, at)) return true;
    const first = turn;
    for (let i = 0; i < otherZones; i++) {
      const zone = (first + i) % zoneCount;
      if (zone !== home && needy[zone]!.length > 0 && enter(zone, base, at)) return true;
    }
    return false;
  };
  // Primaries a node has more than it may keep: where it has none, it gives slots it does not lead, as long as there are any.
  const primaries = matching.previousPrimaries();
  const spareLead = target.map((count) => -Math.ceil(count / replicaCount));
  for (let slot = 0; slot < slotCount; slot++) if (primaries[slot] !== VACANT) spareLead[primaries[slot]!]!++;
  // Small functions: a process seldom changes a table twice in a row, and they are compiled long before one great loop is.
  /** The cell whose node has most to give, or one that is vacant; −1 when there is none that `sweep` allows. */
  const giverOf = (slot: number, sweep: 'vacant' | 'not led' | 'any'): number => {
    const base = slot * replicaCount;
    let giver = -1;
    let most = 0;
    for (let at = base; at < base + replicaCount; at++) {
      const node = cells[at]!;
      if ((node === VACANT) !== (sweep === 'vacant')) continue;
      if (sweep === 'not led' && primaries[slot] === node && spareLead[node]! <= 0) continue;
      const spare = node === VACANT ? FIRST : held[node]! - target[node]!;
      if (spare > most) {
        most = spare;
        giver = at;
      }
    }
    return giver;
  };
  const handOverSlot = (slot: number, sweep: 'vacant' | 'not led' | 'any'): void => {
    for (let giver = giverOf(slot, sweep); giver >= 0; giver = giverOf(slot, sweep)) {
      const out = cells[giver]!;
      if (!handOverCell(slot * replicaCount, giver)) return;
      if (out !== VACANT && primaries[slot] === out) spareLead[out]!--;
    }
  };
  const stride = scatteringStride(slotCount);
  for (const sweep of cells.includes(VACANT) ? (['vacant', 'not led', 'any'] as const) : (['not led', 'any'] as const)) {
    let slot = 0;
    for (let done = 0; done < slotCount && missing > 0; done++) {
      handOverSlot(slot, sweep);
      slot += stride;
      if (slot >= slotCount) slot -= slotCount;
    }
  }
}

const FIRST = 0x7fff_ffff;

/** A step by which one comes to every slot once, neighbours far apart: it has no divisor in common with the slot count. */
function scatteringStride(slotCount: number): number {
  let stride = Math.max(1, Math.floor(slotCount * 0.618034));
  while (greatestDivisor(stride, slotCount) !== 1) stride++;
  return stride % slotCount;
}

function greatestDivisor(a: number, b: number): number {
  while (b !== 0) [a, b] = [b, a % b];
  return a;
}

/** Under a custom rule the targets may be out of reach: then any legal node takes a vacant cell, the relatively emptiest first. */
export function fillAnyhow(matching: Matching): void {
  const { topology, cells, held, target, replicaCount } = matching;
  for (let at = cells.indexOf(VACANT); at >= 0; at = cells.indexOf(VACANT, at + 1)) {
    const base = at - (at % replicaCount);
    let best = VACANT;
    for (let node = 0; node < held.length; node++)
      if (topology.canReplace(cells, base, at, node))
        if (best === VACANT || held[node]! - target[node]! < held[best]! - target[best]!) best = node;
    if (best === VACANT)
      throw new KeyfleetError(
        'KF_RULE_UNSATISFIABLE',
        `the rule ${topology.rule.name} leaves no node for replica ${(at % replicaCount) + 1} of slot ${base / replicaCount}`,
      );
    matching.set(at, best);
  }
}
