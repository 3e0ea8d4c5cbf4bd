/**
 * Numbered shards of which any can go: JumpBackHash, and AnchorHash's memory of what was removed.
 *
 * Promise: removing a bucket moves its own keys and no others, spread evenly over the rest; adding takes back the bucket that went last,
 * or else the next number, and moves keys only to it. Every bucket's share is even but for chance. What a process must know to give the same
 * answers is {@link JumpBackAnchorHash.state}: the highest number there ever was and the buckets removed, in order.
 *
 * Cost: as JumpBackHash while nothing is removed; a key that falls on a removed bucket draws again, so with a share r removed about
 * 1 + ln(1/(1 − r)) draws. Memory: 8 bytes up to the highest removed bucket. No weights.
 *
 * Take it for shards, workers or connections known by number that come and go in any order; for nodes with names and weights `Rendezvous`.
 *
 * @see Otmar Ertl, hash4j, ConsistentJumpBackAnchorBucketSetHasher, with whose SplitMix64 form this agrees; Mendelson et al., "AnchorHash:
 * A Scalable Consistent Hash", 2020.
 */
import type { Bytes } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import { read32 } from './hash/u64.ts';
import type { Hasher, KeyInput } from './hasher.ts';
import { jumpBackHash } from './jump-back-hash.ts';
import { noNodes } from './node.ts';
import { type BucketChange, checkBuckets, DEFAULT_HASHER, distinctBuckets } from './numbered.ts';
import { uniformSplitMix } from './split-mix.ts';

const lanes = new Uint32Array(2);

export class JumpBackAnchorHash {
  readonly hasher: Hasher;
  /** One more than the highest number in use or removed. */
  #span = 0;
  readonly #removed: number[] = [];
  /** For a removed bucket: how many buckets were left then, and who stood last among them. 0 for one that is there. */
  #leftAfter = new Int32Array(0);
  #replacement = new Int32Array(0);

  /** @throws KF_BAD_OPTION when `buckets` is not a whole number in 1 … 2^31 - 1. */
  constructor(buckets: number, options: { readonly hasher?: Hasher } = {}) {
    checkBuckets(buckets);
    this.#span = buckets;
    this.hasher = options.hasher ?? DEFAULT_HASHER;
  }

  /** @throws KF_BAD_OPTION when `state` did not come from {@link state}. */
  static fromState(state: Bytes, options: { readonly hasher?: Hasher } = {}): JumpBackAnchorHash {
    const numbers =
      state.length >= 4 && state.length % 4 === 0 ? Array.from({ length: state.length / 4 }, (_, i) => read32(state, 4 * i)) : [0];
    const [span, ...removed] = numbers;
    if (
      span! < 1 ||
      removed.length >= span! ||
      new Set(removed).size < removed.length ||
      removed.some((bucket) => bucket < 0 || bucket >= span!)
    )
      throw new KeyfleetError('KF_BAD_OPTION', 'this is not the state of a JumpBackAnchorHash');
    const anchor = new JumpBackAnchorHash(span!, options);
    for (const bucket of removed) anchor.#forget(bucket);
    return anchor;
  }

  /** The number of buckets in use. */
  get bucketCount(): number {
    return this.#span - this.#removed.length;
  }

  /** The buckets in use, in order. */
  get buckets(): number[] {
    return Array.from({ length: this.#span }, (_, bucket) => bucket).filter((bucket) => this.has(bucket));
  }

  has(bucket: number): boolean {
    return Number.isInteger(bucket) && bucket >= 0 && bucket < this.#span && !this.#isRemoved(bucket);
  }

  /** 32-bit little-endian numbers: the span, then the removed buckets in the order they went; the format of hash4j's `getState`. */
  get state(): Bytes {
    const bytes = new Uint8Array(4 + 4 * this.#removed.length);
    const view = new DataView(bytes.buffer);
    view.setInt32(0, this.#span, true);
    this.#removed.forEach((bucket, i) => {
      view.setInt32(4 + 4 * i, bucket, true);
    });
    return bytes;
  }

  owner(key: KeyInput): number {
    this.hasher.lanes(key, 0, lanes);
    return this.bucketOf(lanes[0]!, lanes[1]!);
  }

  /** `count` distinct buckets, the owner first; all when there are fewer. Each further one comes from the hash under the next seed. */
  replicas(key: KeyInput, count: number, out: number[] = []): number[] {
    if (this.#removed.length === 0)
      return distinctBuckets(count, this.#span, out, (turn) => {
        this.hasher.lanes(key, turn, lanes);
        return this.bucketOf(lanes[0]!, lanes[1]!);
      });
    // Ranks among the buckets in use, so that the walk of the last resort meets only those.
    const inUse = this.buckets;
    const rank = new Map(inUse.map((bucket, i) => [bucket, i]));
    distinctBuckets(count, inUse.length, out, (turn) => {
      this.hasher.lanes(key, turn, lanes);
      return rank.get(this.bucketOf(lanes[0]!, lanes[1]!))!;
    });
    for (let i = 0; i < out.length; i++) out[i] = inUse[out[i]!]!;
    return out;
  }

  /** The bucket of a 64-bit hash. */
  bucketOf(hashHi: number, hashLo: number): number {
    let bucket = jumpBackHash(hashHi, hashLo, this.#span);
    while (this.#isRemoved(bucket)) {
      const left = this.#leftAfter[bucket]!;
      bucket = this.#standsAt(uniformSplitMix(left), left);
    }
    return bucket;
  }

  /** The bucket that went last comes back, or the next number is taken. */
  add(): BucketChange {
    const back = this.#removed.pop();
    const bucket = back ?? this.#span;
    if (back === undefined) {
      checkBuckets(this.#span + 1);
      this.#span++;
    } else this.#leftAfter[back] = 0;
    return { bucket, movedShare: 1 / this.bucketCount };
  }

  /** @throws KF_UNKNOWN_BUCKET when the bucket is not in use; KF_NO_NODES when it is the only one. Nothing is changed then. */
  remove(bucket: number): BucketChange {
    if (!this.has(bucket)) throw new KeyfleetError('KF_UNKNOWN_BUCKET', `bucket ${bucket} is not in use`);
    if (this.bucketCount === 1) throw noNodes('a numbered partitioner');
    const movedShare = 1 / this.bucketCount;
    if (bucket === this.#span - 1 && this.#removed.length === 0) this.#span--;
    else this.#forget(bucket);
    return { bucket, movedShare };
  }

  #forget(bucket: number): void {
    this.#removed.push(bucket);
    const left = this.#span - this.#removed.length;
    const last = this.#standsAt(left, left + 1);
    if (this.#leftAfter.length <= bucket) {
      const size = Math.max(bucket + 1, Math.min(this.#span, 2 * this.#leftAfter.length));
      this.#leftAfter = grown(this.#leftAfter, size);
      this.#replacement = grown(this.#replacement, size);
    }
    this.#leftAfter[bucket] = left;
    this.#replacement[bucket] = last;
  }

  #isRemoved(bucket: number): boolean {
    return bucket < this.#leftAfter.length && this.#leftAfter[bucket] !== 0;
  }

  /** Who stood at `place` when `count` buckets were left. */
  #standsAt(place: number, count: number): number {
    while (place < this.#leftAfter.length && this.#leftAfter[place]! >= count) place = this.#replacement[place]!;
    return place;
  }
}

function grown(old: Int32Array, size: number): Int32Array<ArrayBuffer> {
  const next = new Int32Array(size);
  next.set(old);
  return next;
}
