/** How Maglev fills its table, by our own rule and by those of two other implementations. */

import { loaded, loadText } from './hash/key-bytes.ts';
import { murmur3x64x128 } from './hash/murmur.ts';
import { sipHash24 } from './hash/siphash.ts';

/** A node's walk over the table: it prefers the entries offset, offset + skip, offset + 2 skip, … modulo the size. */
export interface Walk {
  readonly offset: number;
  readonly skip: number;
}

/** How many entries a node may claim in its turn; called once for each node in every round. */
type Turns = (node: number, round: number) => number;

const lanes = new Uint32Array(2);

/** `stepOf` gives the entry that a node looks at next, by how many it has looked at. */
function fill(tableSize: number, nodeCount: number, turns: Turns, stepOf: (node: number, looked: number) => number): Int32Array {
  const table = new Int32Array(tableSize).fill(-1);
  const looked = new Float64Array(nodeCount);
  let claimed = 0;
  for (let round = 0; ; round++) {
    for (let node = 0; node < nodeCount; node++) {
      for (let turn = turns(node, round); turn > 0; turn--) {
        let entry = stepOf(node, looked[node]!++);
        while (table[entry]! >= 0) entry = stepOf(node, looked[node]!++);
        table[entry] = node;
        if (++claimed === tableSize) return table;
      }
    }
  }
}

/**
 * The table with entries in proportion to the weights, each node's number its exact share rounded up or down: in each round a node's credit
 * grows by its weight, and it claims an entry for each whole greatest weight of credit, until it has its number. Of the entries that
 * rounding leaves, those go to the nodes with the greatest fractions, and to the earlier of equals.
 */
export function weightedTable(tableSize: number, walks: readonly Walk[], weights: readonly number[]): Int32Array {
  const greatest = Math.max(...weights);
  const parts = weights.map((weight) => weight / greatest);
  const total = parts.reduce((sum, part) => sum + part, 0);
  const wanted = quotas(parts, total, tableSize);
  // By then everyone has had credit for its whole share; what is still wanted is a matter of rounding.
  const lastRound = Math.ceil(tableSize / total) - 1;
  const credit = new Float64Array(walks.length);
  const next = Float64Array.from(walks, (walk) => walk.offset);
  return fill(
    tableSize,
    walks.length,
    (node, round) => {
      credit[node]! += parts[node]!;
      const isDue = credit[node]! >= 1 && wanted[node]! > 0;
      const turns = round >= lastRound ? wanted[node]! : isDue ? 1 : 0;
      if (isDue) credit[node]! -= 1;
      wanted[node]! -= turns;
      return turns;
    },
    (node) => {
      const entry = next[node]!;
      next[node] = (entry + walks[node]!.skip) % tableSize;
      return entry;
    },
  );
}

/** Whole numbers that add up to `sum`, each less than one from its share. */
function quotas(parts: readonly number[], total: number, sum: number): Int32Array {
  const shares = parts.map((part) => (part / total) * sum);
  const whole = Int32Array.from(shares, Math.floor);
  const left = sum - whole.reduce((all, one) => all + one, 0);
  const byFraction = shares.map((_, i) => i).sort((a, b) => shares[b]! - whole[b]! - (shares[a]! - whole[a]!) || a - b);
  for (const i of byFraction.slice(0, left)) whole[i]!++;
  return whole;
}

/**
 * The table of dgryski/go-maglev: each entry the number of a name, in the order given. Numbers in `dead` keep their place and claim nothing.
 *
 * @see github.com/dgryski/go-maglev, which hashes names by SipHash-2-4 under a fixed key.
 */
export function goMaglevTable(names: readonly string[], tableSize: number, dead: readonly number[] = []): Int32Array {
  const walks = names.map((name): Walk => {
    const length = loadText(name);
    sipHash24(loaded, length, 0xdeadbeef, 0xcafebabe, 0, 0, lanes);
    return { offset: lanes[0]! % tableSize, skip: (lanes[1]! % (tableSize - 1)) + 1 };
  });
  return fill(
    tableSize,
    names.length,
    (node) => (dead.includes(node) ? 0 : 1),
    (node, looked) => (walks[node]!.offset + walks[node]!.skip * looked) % tableSize,
  );
}

export interface KatranEndpoint {
  /** 64 bits: the higher half and the lower. */
  readonly hash: readonly [hi: number, lo: number];
  /** A whole number above 0. */
  readonly weight: number;
}

/**
 * The table of Facebook's katran: version 1 gives a node of weight w a head start of w entries, version 2 entries in proportion to the weights.
 *
 * @see github.com/facebookincubator/katran, MaglevHash.cpp, MaglevHashV2.cpp.
 */
export function katranTable(endpoints: readonly KatranEndpoint[], tableSize: number, version: 1 | 2): Int32Array {
  if (endpoints.length === 1) return new Int32Array(tableSize);
  const walks = endpoints.map(
    ({ hash }): Walk => ({
      offset: katranHash(hash, 42, 0, tableSize),
      skip: katranHash(hash, 2718281828, 2307, tableSize - 1) + 1,
    }),
  );
  // In katran a step is computed modulo 2^32 before it is taken modulo the size.
  const stepOf = (node: number, looked: number): number => ((walks[node]!.offset + Math.imul(looked, walks[node]!.skip)) >>> 0) % tableSize;
  const greatest = Math.max(...endpoints.map(({ weight }) => weight));
  const credit = new Float64Array(endpoints.length);
  const turns: Turns =
    version === 1
      ? (node, round) => (round === 0 ? endpoints[node]!.weight : 1)
      : (node) => {
          credit[node]! += endpoints[node]!.weight;
          if (credit[node]! < greatest) return 0;
          credit[node]! -= greatest;
          return 1;
        };
  return fill(tableSize, endpoints.length, turns, stepOf);
}

/** katran's MurmurHash3_x64_64 of two words is the first half of the 128-bit hash of their sixteen bytes. */
function katranHash([hi, lo]: readonly [number, number], second: number, seed: number, modulus: number): number {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, lo, true);
  view.setUint32(4, hi, true);
  view.setUint32(8, second, true);
  murmur3x64x128(bytes, 16, 0, seed, lanes);
  return ((lanes[0]! % modulus) * (2 ** 32 % modulus) + (lanes[1]! % modulus)) % modulus;
}
