import { mulHi } from './hash/u64.ts';
import type { Hasher } from './hasher.ts';
import { DEFAULT_HASHER, NumberedBuckets } from './numbered.ts';

// The paper's generator: state × 2862933555777941757 + 1, modulo 2^64.
const LCG_HI = 0x27bb2ee6;
const LCG_LO = 0x87b0b0fd;

/**
 * The bucket of a 64-bit hash among `buckets`: jump consistent hash, the same for every input as the C++ of the paper, Guava and go-jump.
 *
 * @param buckets - 1 … 2^31 - 1, not checked here.
 * @see Lamping & Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm", 2014.
 */
export function jumpHash(hashHi: number, hashLo: number, buckets: number): number {
  let stateHi = hashHi | 0;
  let stateLo = hashLo | 0;
  let bucket = 0;
  let next = 0;
  while (next < buckets) {
    bucket = next;
    stateHi = (mulHi(stateLo, LCG_LO) + Math.imul(stateHi, LCG_LO) + Math.imul(stateLo, LCG_HI)) | 0;
    stateLo = (Math.imul(stateLo, LCG_LO) + 1) | 0;
    if (stateLo === 0) stateHi = (stateHi + 1) | 0;
    next = Math.floor((bucket + 1) * (0x8000_0000 / ((stateHi >>> 1) + 1)));
  }
  return bucket;
}

/**
 * Jump consistent hash over numbered shards: no table at all, an even spread, and a shard more or less at the end moves the least possible.
 *
 * Promise: with n + 1 shards a key is where it was with n, or in the new one; each shard's share is 1/n but for chance.
 * Cost: one hash and about ln n steps of 64-bit arithmetic, 1 µs at 1,000 shards; no memory, no weights.
 * Take it to agree with Guava, Go or C++; {@link JumpBackHash} gives the same promise in constant time, and {@link JumpBackAnchorHash}
 * lets any shard go, not only the last.
 */
export class JumpHash extends NumberedBuckets {
  /** @throws KF_BAD_OPTION when `buckets` is not a whole number in 1 … 2^31 - 1. */
  constructor(buckets: number, options: { readonly hasher?: Hasher } = {}) {
    super(buckets, options.hasher ?? DEFAULT_HASHER, jumpHash);
  }
}
