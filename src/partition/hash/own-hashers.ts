import type { Hasher, KeyInput } from '../hasher.ts';
import { redis_slot } from '../redis-slot.ts';
import { crc16, crc32, crc32c } from './crc32.ts';
import { fnv1_32, fnv1_64, fnv1a_32, fnv1a_64 } from './fnv.ts';
import { HasherNames, type HashOptions } from './hasher-names.ts';
import { hsieh, lookup3, one_at_a_time } from './jenkins.ts';
import { md5 } from './md5.ts';
import { murmur2, murmur3_x64_128, murmur3_x86_32 } from './murmur.ts';
import { murmur3_x86_128 } from './murmur3-x86-128.ts';
import { rapidhash } from './rapidhash.ts';
import { siphash24 } from './siphash.ts';
import { xxh3_64, xxh3_128 } from './xxh3.ts';
import { xxh32, xxh64 } from './xxhash.ts';

/** The hashers that need no package: all but SHA and BLAKE, which `keyfleet/hashes` adds. */
export const OWN_HASHERS: readonly Hasher[] = [
  murmur3_x86_128,
  crc16,
  crc32,
  crc32c,
  fnv1_32,
  fnv1_64,
  fnv1a_32,
  fnv1a_64,
  hsieh,
  lookup3,
  md5,
  murmur2,
  murmur3_x64_128,
  murmur3_x86_32,
  one_at_a_time,
  rapidhash,
  redis_slot,
  siphash24,
  xxh32,
  xxh3_128,
  xxh3_64,
  xxh64,
];

const own = new HasherNames(OWN_HASHERS);

/**
 * The hasher called `name`, among those that need no package; `keyfleet/hashes` knows `sha1`, `sha256`, `blake3` and `blake2b` too.
 *
 * @throws KF_UNKNOWN_HASH, with the names there are.
 */
export function hasherNamed(name: string): Hasher {
  return own.get(name);
}

/**
 * The digest of a key in hex, most significant byte first: `hashHex('xxh64', 'user:1')`.
 *
 * @throws KF_UNKNOWN_HASH; KF_BAD_SEED; KF_BAD_KEY.
 */
export function hashHex(name: string, key: KeyInput, options: HashOptions = {}): string {
  return own.hex(name, key, options);
}
