/**
 * AnchorHash: numbered shards of which any can go, below a capacity fixed at the start.
 *
 * Promise: removing a bucket moves its own keys and no others, spread evenly over the rest; adding brings back the bucket that went last,
 * to which alone keys move. Cost: one hash and on average 1 + ln(capacity / buckets) further draws; memory 16 bytes a bucket of the capacity.
 *
 * Take it to agree with other implementations of AnchorHash, whose hashing `draw` can imitate; otherwise {@link JumpBackAnchorHash}, which
 * needs no capacity and pays for removed buckets only.
 *
 * @see Mendelson, Vargaftik, Barabash, Lorenz, Keslassy, Orda, "AnchorHash: A Scalable Consistent Hash", IEEE/ACM ToN 2020.
 */
import { KeyfleetError } from '../base/errors.ts';
import { murmur3_x86_128 } from './hash/murmur3-x86-128.ts';
import type { KeyInput } from './hasher.ts';
import { noNodes } from './node.ts';
import { type BucketChange, checkBuckets, distinctBuckets } from './numbered.ts';

/**
 * A whole number in [0, bound), uniform, a function of its arguments and of the earlier draws for the same key, which come one after the
 * other; `bucket` is the one being left, undefined at the first draw.
 */
export type AnchorDraw = (key: KeyInput, bucket: number | undefined, bound: number) => number;

const lanes = new Uint32Array(2);

function defaultDraw(key: KeyInput, bucket: number | undefined, bound: number): number {
  murmur3_x86_128.lanes(key, bucket === undefined ? 0 : (bucket + 1) >>> 0, lanes);
  return Math.floor((lanes[0]! / 0x1_0000_0000) * bound);
}

export class AnchorHash {
  readonly capacity: number;
  readonly #draw: AnchorDraw;
  /** A: 0 for a bucket in use, else how many were left when it went. */
  readonly #leftAfter: Int32Array;
  /** W: the buckets in use, in its first `#count` places. */
  readonly #working: Int32Array;
  /** L: where each bucket stands, or stood last, in `#working`. */
  readonly #place: Int32Array;
  /** K: who took a removed bucket's place. */
  readonly #successor: Int32Array;
  readonly #removed: number[] = [];
  #count: number;

  /** @throws KF_BAD_OPTION when `buckets` is not a whole number from 1 to `capacity`, or the capacity not one up to 2^31 - 1. */
  constructor(buckets: number, options: { readonly capacity: number; readonly draw?: AnchorDraw }) {
    const { capacity } = options;
    checkBuckets(buckets);
    checkBuckets(capacity);
    if (buckets > capacity) throw new KeyfleetError('KF_BAD_OPTION', `${buckets} buckets do not fit into a capacity of ${capacity}`);
    this.capacity = capacity;
    this.#draw = options.draw ?? defaultDraw;
    this.#leftAfter = new Int32Array(capacity);
    this.#working = Int32Array.from({ length: capacity }, (_, i) => i);
    this.#place = this.#working.slice();
    this.#successor = this.#working.slice();
    this.#count = buckets;
    for (let bucket = capacity - 1; bucket >= buckets; bucket--) {
      this.#leftAfter[bucket] = bucket;
      this.#removed.push(bucket);
    }
  }

  get bucketCount(): number {
    return this.#count;
  }

  has(bucket: number): boolean {
    return bucket >= 0 && bucket < this.capacity && this.#leftAfter[bucket] === 0;
  }

  /** The bucket of a key. */
  owner(key: KeyInput): number {
    return this.#walk(key, 0);
  }

  /**
   * `count` distinct buckets, the owner first; all when there are fewer. Each further one is the owner by draws of its own (`bucket` from the
   * capacity upwards), so that a bucket that comes or goes moves about its share of all copies; where chance would repeat itself too often, the next in use.
   *
   * @throws KF_BAD_REPLICA_COUNT.
   */
  replicas(key: KeyInput, count: number, out: number[] = []): number[] {
    distinctBuckets(count, this.#count, out, (turn) => this.#place[this.#walk(key, turn)]!);
    for (let i = 0; i < out.length; i++) out[i] = this.#working[out[i]!]!;
    return out;
  }

  #walk(key: KeyInput, turn: number): number {
    const own = turn * (this.capacity + 1);
    let bucket = this.#draw(key, turn === 0 ? undefined : own + this.capacity, this.capacity);
    while (this.#leftAfter[bucket] !== 0) {
      const left = this.#leftAfter[bucket]!;
      let next = this.#draw(key, own + bucket, left);
      while (this.#leftAfter[next]! >= left) next = this.#successor[next]!;
      bucket = next;
    }
    return bucket;
  }

  /** The bucket that went last comes back. @throws KF_ANCHOR_FULL when the capacity is reached. */
  add(): BucketChange {
    const bucket = this.#removed.pop();
    if (bucket === undefined)
      throw new KeyfleetError(
        'KF_ANCHOR_FULL',
        `all ${this.capacity} buckets are in use; the capacity is fixed when an AnchorHash is made`,
      );
    this.#leftAfter[bucket] = 0;
    this.#place[this.#working[this.#count]!] = this.#count;
    this.#working[this.#place[bucket]!] = bucket;
    this.#successor[bucket] = bucket;
    this.#count++;
    return { bucket, movedShare: 1 / this.#count };
  }

  /** @throws KF_UNKNOWN_BUCKET when the bucket is not in use; KF_NO_NODES when it is the only one. Nothing is changed then. */
  remove(bucket: number): BucketChange {
    if (!this.has(bucket)) throw new KeyfleetError('KF_UNKNOWN_BUCKET', `bucket ${bucket} is not in use`);
    if (this.#count === 1) throw noNodes('a numbered partitioner');
    const movedShare = 1 / this.#count;
    this.#count--;
    this.#removed.push(bucket);
    this.#leftAfter[bucket] = this.#count;
    const last = this.#working[this.#count]!;
    this.#working[this.#place[bucket]!] = last;
    this.#place[last] = this.#place[bucket]!;
    this.#successor[bucket] = last;
    return { bucket, movedShare };
  }
}
