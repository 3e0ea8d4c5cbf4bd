/**
 * The points of a hash ring as flat arrays, so that one copy serves an object ({@link HashRing}) and shared memory ({@link SharedRing}) alike.
 *
 * Points stand in order of their whole digest. `heads` holds the first 32 bits of each; `index[b]` is the first point whose head
 * begins with the bits of bucket b, so a look-up reads one bucket (one point on average) instead of searching the ring.
 * Digests are compared in full only where two heads are equal.
 *
 * ```
 *   words  index: 2^bits + 1 | heads: count | owners: count | numbers: count      bytes  digests: count × digestBytes
 * ```
 */
import { type Bytes, compareBytes } from '../base/bytes.ts';
import type { Hasher, KeyInput } from './hasher.ts';

export interface RingShape {
  /** Points on the ring. */
  readonly count: number;
  readonly digestBytes: number;
}

/** Two to the power of this many buckets: about one for each point, and at most 2^22. */
function bucketBits(count: number): number {
  return Math.min(22, Math.max(1, 32 - Math.clz32(Math.max(count - 1, 1))));
}

function wordCount({ count }: RingShape): number {
  return 2 ** bucketBits(count) + 1 + 3 * count;
}

/** Bytes of a table, a multiple of 4. */
export function tableBytes(shape: RingShape): number {
  return 4 * wordCount(shape) + 4 * Math.ceil((shape.count * shape.digestBytes) / 4);
}

export class RingTable {
  readonly count: number;
  readonly digestBytes: number;
  readonly index: Uint32Array;
  readonly heads: Uint32Array;
  /** The node of a point, as its place in the ring's list of nodes. */
  readonly owners: Uint32Array;
  /** Which of its node's points a point is: 0, 1, 2, … */
  readonly numbers: Uint32Array;
  readonly digests: Uint8Array;
  readonly #shift: number;

  /** Views over `buffer` from `byteOffset`, a multiple of 4; what stands there is used as it is. */
  constructor(shape: RingShape, buffer: ArrayBufferLike = new ArrayBuffer(tableBytes(shape)), byteOffset = 0) {
    const { count, digestBytes } = shape;
    const bits = bucketBits(count);
    this.count = count;
    this.digestBytes = digestBytes;
    this.#shift = 32 - bits;
    let at = byteOffset;
    const words = (length: number): Uint32Array => {
      const view = new Uint32Array(buffer, at, length);
      at += 4 * length;
      return view;
    };
    this.index = words(2 ** bits + 1);
    this.heads = words(count);
    this.owners = words(count);
    this.numbers = words(count);
    this.digests = new Uint8Array(buffer, at, count * digestBytes);
  }

  /** All bytes of the table, to copy elsewhere. */
  bytes(): Uint8Array {
    return new Uint8Array(this.index.buffer, this.index.byteOffset, tableBytes(this));
  }

  /** Fills `heads` and `index` from the digests, which stand in order. */
  finish(): void {
    const { count, digests, digestBytes, heads, index } = this;
    for (let point = 0; point < count; point++) heads[point] = headAt(digests, point * digestBytes, digestBytes);
    let point = 0;
    for (let bucket = 0; bucket < index.length - 1; bucket++) {
      while (point < count && heads[point]! >>> this.#shift < bucket) point++;
      index[bucket] = point;
    }
    index[index.length - 1] = count;
  }

  digestOf(point: number): Bytes {
    return this.digests.slice(point * this.digestBytes, (point + 1) * this.digestBytes);
  }

  /**
   * The first point at or after the digest of `key`; past the last one it is point 0. The ring has a point.
   * Every loop is bounded by the table's own shape: a table overwritten meanwhile gives a wrong answer, never an endless one.
   */
  seek(hasher: Hasher, key: KeyInput): number {
    let head: number;
    if (this.digestBytes >= 8) {
      hasher.lanes(key, 0, lanes);
      head = lanes[0]!;
    } else {
      head = headOf(hasher.digest(key));
    }
    const point = this.#firstOfHead(head);
    if (point < this.count && this.heads[point] === head) return this.#seekFrom(point, hasher.digest(key)) % this.count;
    return point >= this.count ? 0 : point;
  }

  /** Like {@link seek} for a digest; `count` past the last point. */
  seekDigest(digest: Bytes): number {
    return this.#seekFrom(this.#firstOfHead(headOf(digest)), digest);
  }

  /**
   * Writes the distinct owners met from `point` onwards to `out`, up to `want` of them, and returns how many.
   * `want` is at most the number of nodes that have a point.
   */
  ownersFrom(point: number, want: number, out: number[]): number {
    const { owners, count } = this;
    let found = 0;
    for (let step = 0; step < count && found < want; step++) {
      const owner = owners[point]!;
      if (++point === count) point = 0;
      let i = 0;
      while (i < found && out[i] !== owner) i++;
      if (i === found) out[found++] = owner;
    }
    return found;
  }

  /** The first point whose head is at least `head`; `count` when there is none. */
  #firstOfHead(head: number): number {
    const { heads } = this;
    const bucket = head >>> this.#shift;
    let low = this.index[bucket]!;
    let high = this.index[bucket + 1]!;
    while (high - low > 8) {
      const middle = (low + high) >>> 1;
      if (heads[middle]! < head) low = middle + 1;
      else high = middle;
    }
    while (low < high && heads[low]! < head) low++;
    return low;
  }

  /** The first point at or after `digest`, given the first one with its head. */
  #seekFrom(low: number, digest: Bytes): number {
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#compare(middle, digest) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #compare(point: number, digest: Bytes): number {
    const at = point * this.digestBytes;
    return compareBytes(this.digests.subarray(at, at + this.digestBytes), digest);
  }
}

const lanes = new Uint32Array(2);

export function headOf(digest: Bytes): number {
  return headAt(digest, 0, digest.length);
}

function headAt(digests: Bytes, at: number, digestBytes: number): number {
  let head = 0;
  for (let i = 0; i < 4; i++) head = (head << 8) | (i < digestBytes ? digests[at + i]! : 0);
  return head >>> 0;
}
