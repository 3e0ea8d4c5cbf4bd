/** How rendezvous hashing scores a node for a key: our own way, and those of other libraries that one may have to agree with. */
import { compareBytes, utf8 } from '../base/bytes.ts';
import { fixedLog2 } from './fixed-log.ts';
import { crc32cOf } from './hash/crc32.ts';
import { fnv1ax64 } from './hash/fnv.ts';
import { loaded, loadKey } from './hash/key-bytes.ts';
import { mix64 } from './hash/murmur.ts';
import { rapidHash } from './hash/rapidhash.ts';
import { hi, lo, mul, xorShift } from './hash/u64.ts';
import type { Hasher, KeyInput } from './hasher.ts';
import { compareIds, type PartitionNode, weightOf } from './node.ts';

/**
 * - `go-rendezvous`: dgryski/go-rendezvous with FNV-1a 64; weights ignored, ties to the first in the list.
 * - `tysonmote`: tysonmote/rendezvous, CRC-32C of the key and the id; weights ignored.
 * - `hrw-hash`: the Rust crate hrw-hash (weighted), rapidhash and a natural logarithm: the only one here that depends on `Math.log`.
 */
export type RendezvousCompat = 'go-rendezvous' | 'tysonmote' | 'hrw-hash';

/** The scores of all nodes for one key. A node with a lower cost comes first, then one with the higher `high`, `low`, then the earlier one. */
export interface Scores {
  readonly cost: Float64Array;
  readonly high: Uint32Array;
  readonly low: Uint32Array;
}

export function roomForScores(count: number): Scores {
  return { cost: new Float64Array(count), high: new Uint32Array(count), low: new Uint32Array(count) };
}

/** Whether node `a` comes before node `b`. */
export function isBefore({ cost, high, low }: Scores, a: number, b: number): boolean {
  if (cost[a] !== cost[b]) return cost[a]! < cost[b]!;
  if (high[a] !== high[b]) return high[a]! > high[b]!;
  if (low[a] !== low[b]) return low[a]! > low[b]!;
  return a < b;
}

export interface Scorer<N> {
  /** The nodes in the order that settles ties. */
  readonly nodes: readonly N[];
  score(key: KeyInput, scores: Scores): void;
  /**
   * Quicker than all scores: fills `out` with the indices of the first `out.length` nodes for a key. At most {@link QUICK_NODES}, and no more
   * than there are.
   */
  readonly top?: (key: KeyInput, out: Int32Array) => void;
  /**
   * Quicker than all scores, too: fills `best` with the index of the first node of each group, and its score into `scores`, where those of others may
   * be left as they were. `group` has the number of each node's; each group has a node.
   */
  readonly bestOfGroups?: (key: KeyInput, group: Int32Array, best: Int32Array, scores: Scores) => void;
}

/** One that has the quick way, and the same among some of the nodes: `among` are their indices. */
export interface QuickScorer<N> extends Scorer<N> {
  readonly top: (key: KeyInput, out: Int32Array) => void;
  readonly topAmong: (key: KeyInput, among: Int32Array, out: Int32Array) => void;
  /** Fills in the scores of the nodes of some indices. */
  readonly scoreSome: (key: KeyInput, some: Int32Array, scores: Scores) => void;
}

export const QUICK_NODES = 8;

/**
 * A little less than 1 / (2^32 ln 2). Since −log2(u) ≥ (1 − u) / ln 2, and {@link fixedLog2} never exceeds the true logarithm, a node whose
 * share of this line is above the worst cost that still counts needs no logarithm: nearly all of many nodes.
 */
const SLOPE = 1.4425 / 0x1_0000_0000;

const lanes = new Uint32Array(2);

/** Flips the bit that makes the order of signed numbers that of unsigned ones; also the least of the signed. */
const LEAST = -0x8000_0000;

/** Both 64-bit hashes, mixed: 32 bits as a signed number, to be mixed further by {@link mixLow}. A bijection of the node's hash for each key. */
function mixHigh(keyHi: number, keyLo: number, nodeHi: number, nodeLo: number): number {
  const h = mixUpper(keyHi, keyLo, nodeHi, nodeLo);
  return h ^ (h >>> 16);
}

/** {@link mixHigh} but for its last step, which leaves the upper 16 bits as they are: enough to turn nearly every node away. */
function mixUpper(keyHi: number, keyLo: number, nodeHi: number, nodeLo: number): number {
  let h = ((keyHi ^ nodeHi) + Math.imul(keyLo ^ nodeLo, 0x9e3779b1)) | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  return Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
}

function mixLow(keyLo: number, nodeLo: number, high: number): number {
  let h = (keyLo ^ nodeLo) + Math.imul(high, 0x85ebca77);
  h = Math.imul(h ^ (h >>> 16), 0x21f0aaad);
  h = Math.imul(h ^ (h >>> 15), 0x735a2d97);
  return h ^ (h >>> 15);
}

/** −log2(u) / w, u = (the 53 upper bits + 1) / 2^53. */
function costOf(high: number, low: number, weight: number): number {
  return (53 - fixedLog2(high * 0x20_0000 + (low >>> 11) + 1)) / weight;
}

/** The first few nodes by score, in order. */
class BestScores {
  readonly #cost = new Float64Array(QUICK_NODES);
  readonly #high = new Uint32Array(QUICK_NODES);
  readonly #low = new Uint32Array(QUICK_NODES);
  #nodes: Int32Array = new Int32Array(0);
  #filled = 0;

  /** Empties it; `nodes` is as long as there are places, and is what it fills. */
  start(nodes: Int32Array): void {
    this.#nodes = nodes;
    this.#filled = 0;
  }

  /** What the upper half of a score must reach, as a signed number with its upper bit flipped; anything while there is room. */
  get leastHigh(): number {
    const places = this.#nodes.length;
    return this.#filled < places ? LEAST : this.#high[places - 1]! ^ LEAST;
  }

  /** What no cost may exceed. */
  get worstCost(): number {
    const places = this.#nodes.length;
    return this.#filled < places ? Number.POSITIVE_INFINITY : this.#cost[places - 1]!;
  }

  offer(node: number, cost: number, high: number, low: number): void {
    let at = this.#filled;
    while (at > 0 && this.#isBefore(node, cost, high, low, at - 1)) at--;
    if (at === this.#nodes.length) return;
    if (this.#filled < this.#nodes.length) this.#filled++;
    for (let place = this.#filled - 1; place > at; place--) {
      this.#cost[place] = this.#cost[place - 1]!;
      this.#high[place] = this.#high[place - 1]!;
      this.#low[place] = this.#low[place - 1]!;
      this.#nodes[place] = this.#nodes[place - 1]!;
    }
    this.#cost[at] = cost;
    this.#high[at] = high;
    this.#low[at] = low;
    this.#nodes[at] = node;
  }

  #isBefore(node: number, cost: number, high: number, low: number, place: number): boolean {
    if (cost !== this.#cost[place]) return cost < this.#cost[place]!;
    if (high !== this.#high[place]) return high > this.#high[place]!;
    if (low !== this.#low[place]) return low > this.#low[place]!;
    return node < this.#nodes[place]!;
  }
}

/**
 * Cost −log2(u)/w of u uniform in (0, 1], so that each node is first with a chance proportional to its weight w. With equal weights the order
 * is that of u itself, and no logarithm is taken.
 */
export function ownScorer<N extends PartitionNode>(given: readonly N[], hasher: Hasher): QuickScorer<N> {
  const nodes = [...given].sort(compareIds);
  const count = nodes.length;
  const nodeHi = new Int32Array(count);
  const nodeLo = new Int32Array(count);
  const weights = Float64Array.from(nodes, weightOf);
  nodes.forEach((node, i) => {
    hasher.lanes(node.id, 0, lanes);
    nodeHi[i] = lanes[0]!;
    nodeLo[i] = lanes[1]!;
  });
  const even = weights.every((weight) => weight === weights[0]);

  const best = new BestScores();

  const scoreOne = (keyHi: number, keyLo: number, i: number, scores: Scores): void => {
    const high = mixHigh(keyHi, keyLo, nodeHi[i]!, nodeLo[i]!);
    const low = mixLow(keyLo, nodeLo[i]!, high);
    scores.high[i] = high;
    scores.low[i] = low;
    scores.cost[i] = even ? 0 : costOf(high >>> 0, low >>> 0, weights[i]!);
  };

  const top = (key: KeyInput, out: Int32Array): void => {
    hasher.lanes(key, 0, lanes);
    const keyHi = lanes[0]! | 0;
    const keyLo = lanes[1]! | 0;
    best.start(out);
    // Two loops and signed numbers throughout, for speed: nearly every node ends at its `continue`.
    if (even) {
      let least = LEAST;
      for (let i = 0; i < count; i++) {
        const upper = mixUpper(keyHi, keyLo, nodeHi[i]!, nodeLo[i]!);
        if ((upper ^ LEAST) < least) continue;
        const high = upper ^ (upper >>> 16);
        best.offer(i, 0, high >>> 0, mixLow(keyLo, nodeLo[i]!, high) >>> 0);
        least = best.leastHigh & 0xffff_0000;
      }
    } else {
      let limit = Number.POSITIVE_INFINITY;
      for (let i = 0; i < count; i++) {
        const high = mixHigh(keyHi, keyLo, nodeHi[i]!, nodeLo[i]!);
        if (0x7fff_ffff - (high ^ LEAST) > limit * weights[i]!) continue;
        const low = mixLow(keyLo, nodeLo[i]!, high) >>> 0;
        best.offer(i, costOf(high >>> 0, low, weights[i]!), high >>> 0, low);
        limit = best.worstCost / SLOPE;
      }
    }
  };

  /** Of each group, what `top` keeps of all: the least upper half of a score that counts, or what counts in steps of `SLOPE`. */
  let leasts = new Int32Array(0);
  let limits = new Float64Array(0);

  const bestOfGroups = (key: KeyInput, group: Int32Array, first: Int32Array, scores: Scores): void => {
    hasher.lanes(key, 0, lanes);
    const keyHi = lanes[0]! | 0;
    const keyLo = lanes[1]! | 0;
    first.fill(-1);
    if (even) {
      if (leasts.length !== first.length) leasts = new Int32Array(first.length);
      const least = leasts.fill(LEAST);
      for (let i = 0; i < count; i++) {
        const upper = mixUpper(keyHi, keyLo, nodeHi[i]!, nodeLo[i]!);
        const own = group[i]!;
        if ((upper ^ LEAST) < least[own]!) continue;
        scoreOne(keyHi, keyLo, i, scores);
        if (first[own]! >= 0 && !isBefore(scores, i, first[own]!)) continue;
        first[own] = i;
        least[own] = (upper ^ LEAST) & 0xffff_0000;
      }
    } else {
      if (limits.length !== first.length) limits = new Float64Array(first.length);
      const limit = limits.fill(Number.POSITIVE_INFINITY);
      for (let i = 0; i < count; i++) {
        const high = mixHigh(keyHi, keyLo, nodeHi[i]!, nodeLo[i]!);
        const own = group[i]!;
        if (0x7fff_ffff - (high ^ LEAST) > limit[own]! * weights[i]!) continue;
        scoreOne(keyHi, keyLo, i, scores);
        if (first[own]! >= 0 && !isBefore(scores, i, first[own]!)) continue;
        first[own] = i;
        limit[own] = scores.cost[i]! / SLOPE;
      }
    }
  };

  return {
    nodes,
    bestOfGroups,
    score(key, scores) {
      hasher.lanes(key, 0, lanes);
      const keyHi = lanes[0]! | 0;
      const keyLo = lanes[1]! | 0;
      for (let i = 0; i < count; i++) scoreOne(keyHi, keyLo, i, scores);
    },
    scoreSome(key, some, scores) {
      hasher.lanes(key, 0, lanes);
      const keyHi = lanes[0]! | 0;
      const keyLo = lanes[1]! | 0;
      for (let at = 0; at < some.length; at++) scoreOne(keyHi, keyLo, some[at]!, scores);
    },
    top,
    topAmong(key, among, out) {
      hasher.lanes(key, 0, lanes);
      const keyHi = lanes[0]! | 0;
      const keyLo = lanes[1]! | 0;
      best.start(out);
      for (let at = 0; at < among.length; at++) {
        const i = among[at]!;
        const high = mixHigh(keyHi, keyLo, nodeHi[i]!, nodeLo[i]!) >>> 0;
        const low = mixLow(keyLo, nodeLo[i]!, high) >>> 0;
        best.offer(i, even ? 0 : costOf(high, low, weights[i]!), high, low);
      }
    },
  };
}

export function compatScorer<N extends PartitionNode>(compat: RendezvousCompat, given: readonly N[]): Scorer<N> {
  switch (compat) {
    case 'go-rendezvous':
      return goScorer([...given]);
    case 'tysonmote':
      return tysonmoteScorer([...given].sort((a, b) => compareBytes(utf8(a.id), utf8(b.id))));
    case 'hrw-hash':
      return hrwScorer([...given].sort(compareIds));
  }
}

/** x ^= x >> 12; x ^= x << 25; x ^= x >> 27; x × 2685821657736338717, of both hashes xored. */
function goScorer<N extends PartitionNode>(nodes: readonly N[]): Scorer<N> {
  const hash = (key: KeyInput): void => {
    const length = loadKey(key);
    fnv1ax64(loaded, length, 0, 0, lanes);
  };
  const nodeHashes = nodes.map((node) => {
    hash(node.id);
    return [lanes[0]!, lanes[1]!] as const;
  });
  return {
    nodes,
    score(key, { cost, high, low }) {
      hash(key);
      const keyHi = lanes[0]!;
      const keyLo = lanes[1]!;
      nodeHashes.forEach(([nodeHi, nodeLo], i) => {
        xorShift(keyHi ^ nodeHi, keyLo ^ nodeLo, 12);
        xorShift(hi ^ ((hi << 25) | (lo >>> 7)), lo ^ (lo << 25), 27);
        mul(hi, lo, 0x2545f491, 0x4f6cdd1d);
        cost[i] = 0;
        high[i] = hi;
        low[i] = lo;
      });
    },
  };
}

function tysonmoteScorer<N extends PartitionNode>(nodes: readonly N[]): Scorer<N> {
  const ids = nodes.map((node) => utf8(node.id));
  return {
    nodes,
    score(key, { cost, high, low }) {
      const length = loadKey(key);
      const joined = new Uint8Array(length + Math.max(...ids.map((id) => id.length)));
      joined.set(loaded.subarray(0, length));
      ids.forEach((id, i) => {
        joined.set(id, length);
        cost[i] = 0;
        high[i] = crc32cOf(joined, length + id.length);
        low[i] = 0;
      });
    },
  };
}

/** Rust's `Hash` of a string: its bytes and 0xff. */
export function rustStringHash(text: KeyInput, prefix: Uint8Array, out: Uint32Array): void {
  const length = loadKey(text);
  const joined = new Uint8Array(prefix.length + length + 1);
  joined.set(prefix);
  joined.set(loaded.subarray(0, length), prefix.length);
  joined[prefix.length + length] = 0xff;
  rapidHash(joined, joined.length, 0, 0, out);
}

/** hrw-hash's score, (1 / −ln(h / (2^64 − 1))) × share of the weights, h the two hashes xored and mixed; the higher is the better. */
export function hrwScore(keyHi: number, keyLo: number, nodeHi: number, nodeLo: number, share: number): number {
  mix64(keyHi ^ nodeHi, keyLo ^ nodeLo);
  // As in Rust, u64::MAX as f64 is 2^64.
  const unit = ((hi >>> 0) * 0x1_0000_0000 + (lo >>> 0)) / 2 ** 64;
  return (1 / -Math.log(unit)) * share;
}

function hrwScorer<N extends PartitionNode>(nodes: readonly N[]): Scorer<N> {
  const none = new Uint8Array(0);
  const total = nodes.reduce((sum, node) => sum + weightOf(node), 0);
  const hashed = nodes.map((node) => {
    rustStringHash(node.id, none, lanes);
    return { nodeHi: lanes[0]!, nodeLo: lanes[1]!, share: weightOf(node) / total };
  });
  return {
    nodes,
    score(key, { cost, high, low }) {
      rustStringHash(key, none, lanes);
      const keyHi = lanes[0]!;
      const keyLo = lanes[1]!;
      hashed.forEach(({ nodeHi, nodeLo, share }, i) => {
        cost[i] = -hrwScore(keyHi, keyLo, nodeHi, nodeLo, share);
        high[i] = 0;
        low[i] = 0;
      });
    },
  };
}
