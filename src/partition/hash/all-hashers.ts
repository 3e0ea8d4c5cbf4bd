/**
 * keyfleet/hashes: every hasher by name, SHA and BLAKE included; those come from `@noble/hashes`, which is why this is an entry of its own.
 */
import type { Hasher, KeyInput } from '../hasher.ts';
import { HasherNames, type HashOptions } from './hasher-names.ts';
import { NOBLE_HASHERS } from './noble.ts';
import { OWN_HASHERS } from './own-hashers.ts';

export type { Hasher, KeyInput } from '../hasher.ts';
export { redis_slot } from '../redis-slot.ts';
export { crc16, crc32, crc32c } from './crc32.ts';
export { fnv1_32, fnv1_64, fnv1a_32, fnv1a_64 } from './fnv.ts';
export type { HashOptions } from './hasher-names.ts';
export { hsieh, lookup3, one_at_a_time } from './jenkins.ts';
export { md5 } from './md5.ts';
export { murmur2, murmur3_x64_128, murmur3_x86_32 } from './murmur.ts';
export { murmur3_x86_128 } from './murmur3-x86-128.ts';
export { blake2b, blake2b_256, blake3, sha1, sha256 } from './noble.ts';
export { rapidhash } from './rapidhash.ts';
export { siphash24, siphash24With } from './siphash.ts';
export { xxh3_64, xxh3_128 } from './xxh3.ts';
export { xxh32, xxh64 } from './xxhash.ts';

const all = new HasherNames([...OWN_HASHERS, ...NOBLE_HASHERS]);

/** The names that {@link hasherNamed} knows, in alphabetical order. */
export const HASH_NAMES: readonly string[] = all.names;

/** The hasher called `name`. @throws KF_UNKNOWN_HASH, with the names there are. */
export function hasherNamed(name: string): Hasher {
  return all.get(name);
}

/** The digest of a key in hex, most significant byte first. @throws KF_UNKNOWN_HASH; KF_BAD_SEED; KF_BAD_KEY. */
export function hashHex(name: string, key: KeyInput, options: HashOptions = {}): string {
  return all.hex(name, key, options);
}
