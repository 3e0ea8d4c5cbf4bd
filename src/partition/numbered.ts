import { KeyfleetError } from '../base/errors.ts';
import { murmur3_x86_128 } from './hash/murmur3-x86-128.ts';
import type { Hasher, KeyInput } from './hasher.ts';
import { noNodes } from './node.ts';
import { checkReplicaCount } from './partitioner.ts';

export const MOST_BUCKETS = 0x7fff_ffff;

/** @throws KF_BAD_OPTION when `buckets` is not a whole number in 1 … 2^31 - 1. */
export function checkBuckets(buckets: number): void {
  if (!Number.isInteger(buckets) || buckets < 1 || buckets > MOST_BUCKETS)
    throw new KeyfleetError('KF_BAD_OPTION', `${buckets} buckets are asked for; a whole number from 1 to 2^31 - 1 is needed`);
}

/** What a change of numbered buckets did. */
export interface BucketChange {
  /** The bucket that came or went. */
  readonly bucket: number;
  /** Share of all keys expected to move: all to the bucket that came, or all from the one that went. */
  readonly movedShare: number;
}

const lanes = new Uint32Array(2);

/** Keys over buckets numbered 0 … n - 1, of which only the last can go: what {@link JumpHash} and {@link JumpBackHash} have in common. */
export abstract class NumberedBuckets {
  readonly hasher: Hasher;
  readonly #bucketOf: (hashHi: number, hashLo: number, buckets: number) => number;
  #buckets: number;

  protected constructor(buckets: number, hasher: Hasher, bucketOf: (hashHi: number, hashLo: number, buckets: number) => number) {
    checkBuckets(buckets);
    this.#buckets = buckets;
    this.hasher = hasher;
    this.#bucketOf = bucketOf;
  }

  get buckets(): number {
    return this.#buckets;
  }

  /** The bucket of a key, in 0 … buckets - 1. */
  owner(key: KeyInput): number {
    this.hasher.lanes(key, 0, lanes);
    return this.#bucketOf(lanes[0]!, lanes[1]!, this.#buckets);
  }

  /** `count` distinct buckets, the owner first; all when there are fewer. Each further one comes from the hash under the next seed. */
  replicas(key: KeyInput, count: number, out: number[] = []): number[] {
    return distinctBuckets(count, this.#buckets, out, (turn) => {
      this.hasher.lanes(key, turn, lanes);
      return this.#bucketOf(lanes[0]!, lanes[1]!, this.#buckets);
    });
  }

  /** One bucket more: it takes its share from all others alike, and no key moves between those. */
  add(): BucketChange {
    checkBuckets(this.#buckets + 1);
    this.#buckets++;
    return { bucket: this.#buckets - 1, movedShare: 1 / this.#buckets };
  }

  /** One bucket less, the last: only its keys move. @throws KF_NO_NODES when it is the only one. */
  remove(): BucketChange {
    if (this.#buckets === 1) throw noNodes('a numbered partitioner');
    this.#buckets--;
    return { bucket: this.#buckets, movedShare: 1 / (this.#buckets + 1) };
  }
}

/** Collects distinct results of `choose(0)`, `choose(1)`, …; once that has missed too often, of the walk from the first one upwards. */
export function distinctBuckets(count: number, available: number, out: number[], choose: (turn: number) => number): number[] {
  checkReplicaCount(count);
  const wanted = Math.min(count, available);
  out.length = 0;
  for (let turn = 0; out.length < wanted && turn < 8 * wanted + 8; turn++) {
    const bucket = choose(turn);
    if (!out.includes(bucket)) out.push(bucket);
  }
  for (let bucket = out[0]! + 1; out.length < wanted; bucket++) {
    if (!out.includes(bucket % available)) out.push(bucket % available);
  }
  return out;
}

export const DEFAULT_HASHER: Hasher = murmur3_x86_128;
