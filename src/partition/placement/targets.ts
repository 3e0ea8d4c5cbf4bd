/**
 * How many replicas each node should hold.
 *
 * Shares rise with one water level, weight × level, until a node holds every slot, a rack or zone all it may, or all replicas are
 * given out; what is full stays as it is and the rest rises on. That is the fairest division there is (lexicographic max-min) under
 * nested limits, and every such division can be carried out by a table (docs/placement.md has the argument).
 */
import { assert } from '../../base/assert.ts';
import type { Topology } from './topology.ts';

/** Below this, a share counts as whole: room for the rounding of sums of shares. */
const EPSILON = 1e-7;
const SUM_EPSILON = 1e-5;

/** The exact shares, in slots; their sum is `slotCount × replicaCount`. */
export function shares(topology: Topology, slotCount: number): Float64Array {
  const weights = topology.weights();
  const nodeCount = weights.length;
  const { zoneOf, rackOf, zoneOfRack, zoneLimit, rackLimit } = topology;
  const share = new Float64Array(nodeCount);
  const full = new Uint8Array(nodeCount);
  for (;;) {
    // What is still open, and what is fixed already, in each rack, zone and all.
    const rackOpen = new Float64Array(rackLimit.length);
    const rackFixed = new Float64Array(rackLimit.length);
    for (let node = 0; node < nodeCount; node++) {
      if (full[node] === 1) rackFixed[rackOf[node]!]! += share[node]!;
      else rackOpen[rackOf[node]!]! += weights[node]!;
    }
    const zoneOpen = new Float64Array(zoneLimit.length);
    const zoneFixed = new Float64Array(zoneLimit.length);
    for (let rack = 0; rack < rackLimit.length; rack++) {
      zoneOpen[zoneOfRack[rack]!]! += rackOpen[rack]!;
      zoneFixed[zoneOfRack[rack]!]! += rackFixed[rack]!;
    }
    const allOpen = zoneOpen.reduce((sum, open) => sum + open, 0);
    const allFixed = zoneFixed.reduce((sum, fixed) => sum + fixed, 0);
    if (allOpen === 0) break;
    // The lowest level at which anything is full.
    const rackLevel = rackOpen.map((open, rack) => (open > 0 ? (rackLimit[rack]! * slotCount - rackFixed[rack]!) / open : Infinity));
    const zoneLevel = zoneOpen.map((open, zone) => (open > 0 ? (zoneLimit[zone]! * slotCount - zoneFixed[zone]!) / open : Infinity));
    const lastLevel = (topology.replicaCount * slotCount - allFixed) / allOpen;
    let level = lastLevel;
    for (const one of rackLevel) if (one < level) level = one;
    for (const one of zoneLevel) if (one < level) level = one;
    for (let node = 0; node < nodeCount; node++)
      if (full[node] === 0 && slotCount / weights[node]! < level) level = slotCount / weights[node]!;
    level = Math.max(0, level);
    for (let node = 0; node < nodeCount; node++) {
      if (full[node] === 1) continue;
      const stops =
        lastLevel <= level ||
        rackLevel[rackOf[node]!]! <= level ||
        zoneLevel[zoneOf[node]!]! <= level ||
        slotCount / weights[node]! <= level;
      if (!stops) continue;
      full[node] = 1;
      share[node] = Math.min(slotCount, weights[node]! * level);
    }
  }
  return share.map((one) => (Math.abs(one - Math.round(one)) < EPSILON ? Math.round(one) : one));
}

/**
 * Shares rounded to whole replicas, each up or down, with zones and racks rounded up or down as well and the sum kept.
 * Among such roundings one that keeps as many of the `held` replicas as possible: who holds more than the whole part is rounded up first.
 */
export function roundShares(topology: Topology, slotCount: number, share: Float64Array, held: Int32Array): Int32Array {
  const { rackOf, zoneOfRack, zoneLimit, rackLimit } = topology;
  const floor = Int32Array.from(share, (one) => Math.floor(one));
  const wins = Uint8Array.from(share, (one, node) => (one > floor[node]! && held[node]! > floor[node]! ? 1 : 0));
  const racks = new Level(rackLimit.length, share, floor, wins, rackOf);
  const zones = new Level(zoneLimit.length, racks.share, racks.floor, racks.wins, zoneOfRack);
  const all = new Level(1, zones.share, zones.floor, zones.wins, new Uint16Array(zoneLimit.length));
  assert(Math.abs(all.share[0]! - topology.replicaCount * slotCount) < 0.5, () => `shares sum to ${all.share[0]}`);
  const zoneTotal = all.deal(Int32Array.of(topology.replicaCount * slotCount));
  const rackTotal = zones.deal(zoneTotal);
  return racks.deal(rackTotal);
}

/** One level of the tree all → zone → rack → node: sums of the parts, and the way back down. */
class Level {
  readonly share: Float64Array;
  readonly floor: Int32Array;
  /** Rounding this whole up lets one more part be rounded up that wins by it. */
  readonly wins: Uint8Array;
  readonly #parts: readonly number[][];
  readonly #partShare: Float64Array;
  readonly #partFloor: Int32Array;
  readonly #partWins: Uint8Array;

  constructor(wholeCount: number, partShare: Float64Array, partFloor: Int32Array, partWins: Uint8Array, wholeOf: ArrayLike<number>) {
    const parts: number[][] = Array.from({ length: wholeCount }, () => []);
    for (let part = 0; part < partShare.length; part++) parts[wholeOf[part]!]!.push(part);
    this.#parts = parts;
    this.#partShare = partShare;
    this.#partFloor = partFloor;
    this.#partWins = partWins;
    this.share = Float64Array.from(parts, (own) => own.reduce((sum, part) => sum + partShare[part]!, 0));
    this.floor = Int32Array.from(this.share, (one) => Math.floor(one + SUM_EPSILON));
    this.wins = Uint8Array.from(parts, (own, whole) => {
      const spare = this.floor[whole]! - own.reduce((sum, part) => sum + partFloor[part]!, 0);
      const winners = own.reduce((sum, part) => sum + partWins[part]!, 0);
      return winners > spare ? 1 : 0;
    });
  }

  /** Whole totals → totals of the parts. */
  deal(totals: Int32Array): Int32Array {
    const dealt = Int32Array.from(this.#partFloor);
    for (const [whole, own] of this.#parts.entries()) {
      let spare = totals[whole]! - own.reduce((sum, part) => sum + this.#partFloor[part]!, 0);
      const fraction = (part: number): number => this.#partShare[part]! - this.#partFloor[part]!;
      const byRight = own
        .filter((part) => fraction(part) > EPSILON)
        .sort((a, b) => this.#partWins[b]! - this.#partWins[a]! || fraction(b) - fraction(a) || a - b);
      assert(spare >= 0 && spare <= byRight.length, () => `${spare} replicas to spread over ${byRight.length} fractions`);
      for (const part of byRight) {
        if (spare === 0) break;
        dealt[part]!++;
        spare--;
      }
    }
    return dealt;
  }
}
