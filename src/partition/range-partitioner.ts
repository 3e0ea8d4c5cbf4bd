/**
 * Ranges of ordered keys: every key between two split points belongs to one node, so neighbours stay together and can be scanned in order.
 *
 * Promise: a split, a merge or a move touches one range and no other key; text and its UTF-8 bytes are one key, in byte-wise order (which for
 * UTF-8 is the order of code points); numbers are ordered as numbers and never mixed with text.
 *
 * Cost: a look-up is a binary search over the split points; no hash. A change copies the list.
 * Take it when keys are read by range or prefix. Nothing spreads the keys but your choice of split points: sequential keys all go to the last
 * range. When only single keys are read, hash them: `Keyspace`.
 *
 * @see Bigtable's tablets; the splits of HBase, CockroachDB and MongoDB's ranged sharding.
 */
import { type Bytes, compareBytes, toHex, utf8 } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import { checkBytes, loaded, loadText } from './hash/key-bytes.ts';
import { noNodes, type PartitionNode } from './node.ts';
import { checkReplicaCount } from './partitioner.ts';

/** A key, or a point between keys: text and bytes in one order, or numbers. */
export type OrderedKey = string | Bytes | number;

/** Every key k with `from` ≤ k < `to`; undefined means without end. Text is given back as its bytes. */
export interface KeyRange<N> {
  readonly from: Bytes | number | undefined;
  readonly to: Bytes | number | undefined;
  readonly node: N;
}

/** What a change did: the range whose keys change hands, from `source` to its `node`. Nothing moves when they are the same. */
export interface RangeChange<N> {
  readonly moved: KeyRange<N> | undefined;
  readonly source: N;
}

export interface RangePartitionerOptions {
  /** What keys and split points are; `text` (strings and bytes) when absent. */
  readonly keys?: 'text' | 'numbers';
}

export class RangePartitioner<N extends PartitionNode = PartitionNode> {
  readonly keys: 'text' | 'numbers';
  /** Ascending and distinct; range i + 1 starts at split i. */
  #splits: readonly (Bytes | number)[] = [];
  /** One more than splits. */
  #owners: readonly N[];

  /** One range of all keys. */
  constructor(node: N, options: RangePartitionerOptions = {}) {
    this.keys = options.keys ?? 'text';
    this.#owners = [node];
  }

  /**
   * Several ranges at once, the first without `from`, each up to the start of the next.
   *
   * @throws KF_NO_NODES when `ranges` is empty; KF_BAD_SPLIT when the starts do not ascend; KF_BAD_KEY.
   */
  static of<N extends PartitionNode>(
    ranges: Iterable<{ readonly from?: OrderedKey | undefined; readonly node: N }>,
    options: RangePartitionerOptions = {},
  ): RangePartitioner<N> {
    const [first, ...rest] = ranges;
    if (!first) throw noNodes('a range partitioner');
    const made = new RangePartitioner(first.node, options);
    if (first.from !== undefined) throw new KeyfleetError('KF_BAD_SPLIT', 'the first range starts before all keys: leave its `from` out');
    const splits: (Bytes | number)[] = [];
    for (const { from } of rest) {
      if (from === undefined) throw new KeyfleetError('KF_BAD_SPLIT', 'only the first range starts before all keys');
      const split = made.#point(from);
      const last = splits.at(-1);
      if (last !== undefined && compare(last, split) >= 0)
        throw new KeyfleetError('KF_BAD_SPLIT', `ranges start in ascending order, but ${showKey(split)} comes after ${showKey(last)}`);
      splits.push(split);
    }
    made.#splits = splits;
    made.#owners = [first.node, ...rest.map((range) => range.node)];
    return made;
  }

  /** Each node that owns a range, once, by its first range. */
  get nodes(): readonly N[] {
    const byId = new Map<string, N>();
    for (const node of this.#owners) if (!byId.has(node.id)) byId.set(node.id, node);
    return [...byId.values()];
  }

  get rangeCount(): number {
    return this.#owners.length;
  }

  /** All ranges in order of key. */
  get ranges(): KeyRange<N>[] {
    return this.#owners.map((_, i) => this.#range(i));
  }

  /** @throws KF_BAD_KEY when the key is not of the kind that {@link keys} says. */
  owner(key: OrderedKey): N {
    return this.#owners[this.#find(key)]!;
  }

  /** The range that a key is in. @throws KF_BAD_KEY. */
  rangeOf(key: OrderedKey): KeyRange<N> {
    return this.#range(this.#find(key));
  }

  /** The owner, then the owners of the ranges that follow, going round, each node once. @throws KF_BAD_REPLICA_COUNT, KF_BAD_KEY. */
  replicas(key: OrderedKey, count: number, out: N[] = []): N[] {
    checkReplicaCount(count);
    out.length = 0;
    const start = this.#find(key);
    for (let i = 0; i < this.#owners.length && out.length < count; i++) {
      const node = this.#owners[(start + i) % this.#owners.length]!;
      if (!out.some((other) => other.id === node.id)) out.push(node);
    }
    return out;
  }

  /** Ranges that hold a key k with `from` ≤ k < `to`, in order: where to look for a scan. @throws KF_BAD_KEY; KF_BAD_SPLIT when from ≥ to. */
  overlapping(from: OrderedKey | undefined, to: OrderedKey | undefined): KeyRange<N>[] {
    const first = from === undefined ? 0 : this.#find(from);
    if (to === undefined) return this.ranges.slice(first);
    const end = this.#point(to);
    if (from !== undefined && compare(this.#point(from), end) >= 0)
      throw new KeyfleetError('KF_BAD_SPLIT', `no key is from ${showKey(this.#point(from))} and below ${showKey(end)}`);
    return this.ranges.slice(first).filter((range, i) => i === 0 || compare(range.from!, end) < 0);
  }

  /**
   * Splits a range at `at`: keys from there on, up to the next split, go to `node`, or stay where they are without one.
   *
   * @throws KF_BAD_SPLIT when there is a split already; KF_BAD_KEY. Nothing is changed then.
   */
  split(at: OrderedKey, node?: N): RangeChange<N> {
    const split = this.#point(at);
    const index = this.#find(split);
    if (index > 0 && compare(this.#splits[index - 1]!, split) === 0)
      throw new KeyfleetError('KF_BAD_SPLIT', `a range starts at ${showKey(split)} already`);
    const source = this.#owners[index]!;
    this.#splits = this.#splits.toSpliced(index, 0, split);
    this.#owners = this.#owners.toSpliced(index + 1, 0, node ?? source);
    return this.#change(index + 1, source);
  }

  /**
   * Joins the range that starts at `at` to the one before it, whose node takes its keys.
   *
   * @throws KF_BAD_SPLIT when no range starts there; KF_BAD_KEY. Nothing is changed then.
   */
  merge(at: OrderedKey): RangeChange<N> {
    const split = this.#point(at);
    const index = this.#find(split);
    if (index === 0 || compare(this.#splits[index - 1]!, split) !== 0)
      throw new KeyfleetError('KF_BAD_SPLIT', `no range starts at ${showKey(split)}`);
    const { from, to, node: source } = this.#range(index);
    const node = this.#owners[index - 1]!;
    this.#splits = this.#splits.toSpliced(index - 1, 1);
    this.#owners = this.#owners.toSpliced(index, 1);
    return { source, moved: node.id === source.id ? undefined : { from, to, node } };
  }

  /** Gives the range that a key is in to `node`. @throws KF_BAD_KEY. */
  assign(key: OrderedKey, node: N): RangeChange<N> {
    const index = this.#find(key);
    const source = this.#owners[index]!;
    this.#owners = this.#owners.with(index, node);
    return this.#change(index, source);
  }

  #change(index: number, source: N): RangeChange<N> {
    const moved = this.#range(index);
    return { source, moved: moved.node.id === source.id ? undefined : moved };
  }

  #range(index: number): KeyRange<N> {
    return { from: this.#splits[index - 1], to: this.#splits[index], node: this.#owners[index]! };
  }

  /** The number of splits at or below the key. */
  #find(key: OrderedKey): number {
    const point = this.#view(key);
    let low = 0;
    let high = this.#splits.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compare(this.#splits[middle]!, point) <= 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The key to compare with, valid until the next key is looked at: a look-up copies nothing. */
  #view(key: OrderedKey): Bytes | number {
    if (this.keys === 'numbers') {
      if (typeof key !== 'number' || Number.isNaN(key))
        throw new KeyfleetError('KF_BAD_KEY', `keys of these ranges are numbers, not ${showKey(key)}`);
      return key;
    }
    if (typeof key === 'string') {
      const length = loadText(key);
      return loaded.subarray(0, length);
    }
    checkBytes(key as Bytes);
    return key;
  }

  /** The key to keep. */
  #point(key: OrderedKey): Bytes | number {
    const view = typeof key === 'string' && this.keys === 'text' ? utf8(key) : this.#view(key);
    return typeof view === 'number' ? view : Uint8Array.from(view);
  }
}

function compare(a: Bytes | number, b: Bytes | number): number {
  if (typeof a === 'number' || typeof b === 'number') return a < b ? -1 : a > b ? 1 : 0;
  return compareBytes(a, b);
}

const decoder = new TextDecoder();

/** As text where it is text, else in hex. */
export function showKey(key: OrderedKey): string {
  const text = typeof key === 'object' ? decoder.decode(key) : key;
  return typeof text === 'string' && text.includes('\ufffd') && typeof key === 'object' ? `0x${toHex(key)}` : JSON.stringify(text);
}
