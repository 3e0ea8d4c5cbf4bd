import { murmur3_x86_128, murmur3x86x128 } from '../hash/murmur3-x86-128.ts';
import type { Hasher } from '../hasher.ts';
import { KeyedPermutation } from './keyed-permutation.ts';
import { clockTable } from './logarithm.ts';
import type { Topology } from './topology.ts';

/**
 * The pairs of slot and node worth considering, for each slot by score. Offers up to a horizon are made at once and numbered by node and
 * rank; a slot that runs out of them is given the rest, numbered after those.
 */
export class Offers {
  /** Offers of node n: `start[n] + rank`. */
  readonly start: Int32Array;
  readonly slotOf: Int32Array;
  readonly nodeOf: Uint16Array;
  /** Offers of slot s: `bySlot[slotStart[s]] …`, best first. */
  readonly slotStart: Int32Array;
  readonly bySlot: Int32Array;
  /** Offers below this are the near ones. */
  readonly nearCount: number;
  readonly #clock: Float64Array;
  readonly #rate: Float64Array;
  readonly #permutations: KeyedPermutation[] = [];
  /** Offers beyond the horizon, by number − nearCount. */
  readonly #farEnd: Int32Array;
  readonly #farNode: number[] = [];
  readonly #farSlot: number[] = [];
  readonly #farRank: number[] = [];
  readonly #farOfSlot = new Map<number, readonly number[]>();
  readonly #restOfSlot = new Map<number, readonly number[]>();

  constructor(topology: Topology, slotCount: number, rate: Float64Array, nodeHasher: Hasher = murmur3_x86_128) {
    const nodeCount = topology.nodes.length;
    const clock = clockTable(slotCount);
    this.#clock = clock;
    this.#rate = rate;
    const horizon = horizons(topology, rate);
    this.start = new Int32Array(nodeCount + 1);
    this.#farEnd = Int32Array.from(rate, (own, node) => ranksBelow(clock, own * FAR_HORIZONS * horizon[topology.zoneOf[node]!]!));
    for (let node = 0; node < nodeCount; node++)
      this.start[node + 1] = this.start[node]! + ranksBelow(clock, rate[node]! * horizon[topology.zoneOf[node]!]!);
    const total = this.start[nodeCount]!;
    this.nearCount = total;
    this.slotOf = new Int32Array(total);
    this.nodeOf = new Uint16Array(total);
    this.slotStart = new Int32Array(slotCount + 1);
    for (let node = 0; node < nodeCount; node++) {
      const permutation = permutationOf(topology.nodes[node]!.id, slotCount, nodeHasher);
      this.#permutations.push(permutation);
      for (let offer = this.start[node]!, rank = 0; offer < this.start[node + 1]!; offer++, rank++) {
        const slot = permutation.at(rank);
        this.slotOf[offer] = slot;
        this.nodeOf[offer] = node;
        this.slotStart[slot + 1]!++;
      }
    }
    for (let slot = 0; slot < slotCount; slot++) this.slotStart[slot + 1]! += this.slotStart[slot]!;
    this.bySlot = new Int32Array(total);
    this.#sort(
      slotCount,
      horizon.reduce((most, one) => (one > most ? one : most), 0),
    );
  }

  node(offer: number): number {
    return offer < this.nearCount ? this.nodeOf[offer]! : this.#farNode[offer - this.nearCount]!;
  }

  slot(offer: number): number {
    return offer < this.nearCount ? this.slotOf[offer]! : this.#farSlot[offer - this.nearCount]!;
  }

  /** The node's rank of the slot. */
  rank(offer: number): number {
    return offer < this.nearCount ? offer - this.start[this.nodeOf[offer]!]! : this.#farRank[offer - this.nearCount]!;
  }

  /**
   * The offers of `slot` beyond the horizon, best first: those up to {@link FAR_HORIZONS} of it, or all the rest.
   * Cost: one rank for each node, once.
   */
  far(slot: number, rest: boolean): readonly number[] {
    const known = rest ? this.#restOfSlot : this.#farOfSlot;
    let offers = known.get(slot);
    if (offers !== undefined) return offers;
    const found: { readonly offer: number; readonly score: number }[] = [];
    for (let node = 0; node < this.#permutations.length; node++) {
      const rank = this.#permutations[node]!.rankOf(slot);
      const end = this.#farEnd[node]!;
      if (rest ? rank < end : rank >= end || rank < this.start[node + 1]! - this.start[node]!) continue;
      this.#farNode.push(node);
      this.#farSlot.push(slot);
      this.#farRank.push(rank);
      found.push({ offer: this.nearCount + this.#farNode.length - 1, score: this.#clock[rank]! / this.#rate[node]! });
    }
    offers = found.sort((a, b) => a.score - b.score || a.offer - b.offer).map(({ offer }) => offer);
    known.set(slot, offers);
    return offers;
  }

  /**
   * Equal scores stay in order of node, that is of id. Offers are dealt to the slots band by band of scores, so that each finds its place near
   * the end of its slot's list.
   */
  #sort(slotCount: number, horizon: number): void {
    const { bySlot, slotOf, slotStart, start } = this;
    const clock = this.#clock;
    const score = new Float64Array(slotOf.length);
    const next = slotStart.slice(0, slotCount);
    const nextOffer = start.slice();
    for (let band = 1; band <= BANDS; band++) {
      const limit = band === BANDS ? Number.POSITIVE_INFINITY : (horizon * band) / BANDS;
      for (let node = 0; node < this.#rate.length; node++) {
        const rate = this.#rate[node]!;
        const first = start[node]!;
        let offer = nextOffer[node]!;
        for (; offer < start[node + 1]!; offer++) {
          const own = clock[offer - first]! / rate;
          if (own > limit) break;
          const slot = slotOf[offer]!;
          const from = slotStart[slot]!;
          let at = next[slot]!++;
          while (at > from && score[at - 1]! > own) {
            bySlot[at] = bySlot[at - 1]!;
            score[at] = score[at - 1]!;
            at--;
          }
          bySlot[at] = offer;
          score[at] = own;
        }
        nextOffer[node] = offer;
      }
    }
  }
}

const BANDS = 32;

/** A slot that runs out of near offers is seldom refused by all within so many horizons. */
const FAR_HORIZONS = 4;

/** A node's order of the slots: from its id alone, by 128 bits of its hash. */
export function permutationOf(id: string, slotCount: number, hasher: Hasher): KeyedPermutation {
  const key = new Uint32Array(4);
  if (hasher === murmur3_x86_128) murmur3x86x128(id, 0, key);
  else for (const half of [0, 1]) hasher.lanes(id, half, key.subarray(2 * half, 2 * half + 2));
  return new KeyedPermutation(slotCount, key);
}

/**
 * Up to which score offers are near ones, for each zone: so far that the average slot has some times as many as it can take, and few
 * slots too few.
 */
function horizons(topology: Topology, rate: Float64Array): Float64Array {
  const { replicaCount, zoneLimit, zoneOf } = topology;
  const zoneRate = new Float64Array(zoneLimit.length);
  for (const [node, zone] of zoneOf.entries()) zoneRate[zone]! += rate[node]!;
  return zoneRate.map((whole, zone) => Math.min(plenty(replicaCount), (zoneLimit[zone]! * plenty(zoneLimit[zone]!)) / whole));
}

/** For how many times `count` offers it is rare that fewer than `count` can be had. */
function plenty(count: number): number {
  let root = 1;
  while (root * root < count) root++;
  return 1 + 5 / root;
}

/** How many entries of a rising table are at most `limit`. */
function ranksBelow(clock: Float64Array, limit: number): number {
  let low = 0;
  let high = clock.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (clock[middle]! <= limit) low = middle + 1;
    else high = middle;
  }
  return low;
}
