import { hi, lo } from './hash/u64.ts';
import type { Hasher } from './hasher.ts';
import { DEFAULT_HASHER, NumberedBuckets } from './numbered.ts';
import { nextSplitMix, startSplitMix } from './split-mix.ts';

/**
 * The bucket of a 64-bit hash among `buckets`, as hash4j's JumpBackHash over SplitMix64 gives it. The random stream goes on where it
 * stopped, for {@link JumpBackAnchorHash}.
 *
 * Where jump hash leaps forward until it is beyond the last bucket, this one starts in the smallest power of two that holds all buckets and
 * goes back to smaller ones; the set bits of one random word tell which powers of two have anything to say, so it takes two draws on average.
 *
 * @param buckets - 1 … 2^31 - 1, not checked here.
 * @see Otmar Ertl, "JumpBackHash: Say Goodbye to the Modulo Operation to Distribute Keys Uniformly to Buckets", 2024.
 */
export function jumpBackHash(hashHi: number, hashLo: number, buckets: number): number {
  if (buckets <= 1) return 0;
  startSplitMix(hashHi, hashLo);
  nextSplitMix();
  const firstHi = hi;
  const firstLo = lo;
  let bits = (firstLo ^ firstHi) & (0xffff_ffff >>> Math.clz32(buckets - 1));
  while (bits !== 0) {
    const least = 1 << (31 - Math.clz32(bits));
    let bucket = least + ((parity(bits) === 1 ? firstHi : firstLo) & (least - 1));
    if (bucket < buckets) return bucket;
    const mask = 2 * least - 1;
    for (;;) {
      nextSplitMix();
      bucket = lo & mask;
      if (bucket < least) break;
      if (bucket < buckets) return bucket;
      bucket = hi & mask;
      if (bucket < least) break;
      if (bucket < buckets) return bucket;
    }
    bits ^= least;
  }
  return 0;
}

/** 1 when an odd number of bits is set. */
function parity(bits: number): number {
  bits ^= bits >>> 16;
  bits ^= bits >>> 8;
  bits ^= bits >>> 4;
  return (0x6996 >>> (bits & 15)) & 1;
}

/**
 * JumpBackHash over numbered shards: the promise of {@link JumpHash} in constant expected time.
 *
 * Promise: with n + 1 shards a key is where it was with n, or in the new one; each shard's share is 1/n but for chance.
 * Cost: one hash and on average less than two draws from a generator, whatever the number of shards; no memory, no weights.
 * The default for numbered shards; for arbitrary removals {@link JumpBackAnchorHash}, for named and weighted nodes `Rendezvous` or `Keyspace`.
 */
export class JumpBackHash extends NumberedBuckets {
  /** @throws KF_BAD_OPTION when `buckets` is not a whole number in 1 … 2^31 - 1. */
  constructor(buckets: number, options: { readonly hasher?: Hasher } = {}) {
    super(buckets, options.hasher ?? DEFAULT_HASHER, jumpBackHash);
  }
}
