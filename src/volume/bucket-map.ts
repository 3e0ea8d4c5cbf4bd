import type { Bytes } from '../base/bytes.ts';
import { murmur3x86x128 } from '../partition/hash/murmur3-x86-128.ts';
import { jumpHash } from '../partition/jump-hash.ts';

/** A volume by the number that the master gave it; never used again. */
export type VolumeNumber = number;

/** How often a key looks for another bucket before it takes the first that is held: 2^-64 unlikely even when half of the buckets are empty. */
const MAX_TRIES = 64;
const lanes = new Uint32Array(2);

/**
 * Which volumes a key belongs on: jump consistent hash over numbered buckets, each held by a volume or empty.
 *
 * A new volume takes the bucket that was emptied last, or a new one at the end; removing one empties its bucket, whose keys look further,
 * each by itself. So adding one volume to n moves about 1/(n+1) of the keys, all to it, and removing one moves its keys and no others,
 * whichever it is; jump hash alone allows only the last to go.
 *
 * Cost: one hash and one jump per try; with e empty of b buckets, b / (b − e) tries on average.
 *
 * @see Lamping & Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm", 2014.
 */
export class BucketMap {
  readonly buckets: readonly (VolumeNumber | null)[];
  readonly #held: number;

  constructor(buckets: readonly (VolumeNumber | null)[]) {
    this.buckets = buckets;
    this.#held = buckets.filter((volume) => volume !== null).length;
  }

  get volumes(): VolumeNumber[] {
    return this.buckets.filter((volume) => volume !== null);
  }

  add(volume: VolumeNumber): BucketMap {
    const empty = this.buckets.lastIndexOf(null);
    return empty < 0 ? new BucketMap([...this.buckets, volume]) : new BucketMap(this.buckets.with(empty, volume));
  }

  remove(volume: VolumeNumber): BucketMap {
    const buckets = this.buckets.map((held) => (held === volume ? null : held));
    return new BucketMap(buckets);
  }

  /** How many volumes a key has when `count` are asked for. */
  placeCount(count: number): number {
    return Math.min(count, this.#held);
  }

  /** The `count` volumes of `key`, the first being its home; fewer when there are not so many. */
  place(key: Bytes, count: number): VolumeNumber[] {
    const wanted = this.placeCount(count);
    const chosen: VolumeNumber[] = [];
    for (let seed = 0; chosen.length < wanted && seed < MAX_TRIES * wanted; seed++) {
      murmur3x86x128(key, seed, lanes);
      const volume = this.buckets[jumpHash(lanes[0]!, lanes[1]!, this.buckets.length)];
      if (volume !== null && volume !== undefined && !chosen.includes(volume)) chosen.push(volume);
    }
    for (const volume of this.buckets) {
      if (chosen.length < wanted && volume !== null && !chosen.includes(volume)) chosen.push(volume);
    }
    return chosen;
  }
}
