/**
 * The cryptographic hashes, from `@noble/hashes` (audited, pure JavaScript). They cost microseconds a key and allocate: take them where
 * other programs place by them, or where nobody may be able to find colliding keys. Everything else is quicker with `murmur3_x86_128`.
 */
import { blake2b as nobleBlake2b } from '@noble/hashes/blake2.js';
import { blake3 as nobleBlake3 } from '@noble/hashes/blake3.js';
import { sha1 as nobleSha1 } from '@noble/hashes/legacy.js';
import { sha256 as nobleSha256 } from '@noble/hashes/sha2.js';
import type { Bytes } from '../../base/bytes.ts';
import type { Hasher, KeyInput } from '../hasher.ts';
import { seed32 } from './hash-seed.ts';
import { loaded } from './key-bytes.ts';
import { loadKeyAndSeed } from './word-hasher.ts';

function digestHasher(name: string, digestBytes: number, hash: (data: Bytes) => Bytes): Hasher {
  const digest = (key: KeyInput, seed: number): Bytes => {
    const length = loadKeyAndSeed(key, 0, seed);
    return hash(loaded.subarray(0, length));
  };
  const word = (bytes: Bytes, at: number): number => (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
  return {
    name,
    digestBytes,
    digest: (key, seed = 0) => digest(key, seed32(seed)),
    lanes(key, seed, out) {
      const bytes = digest(key, seed);
      out[0] = word(bytes, 0);
      out[1] = word(bytes, 4);
    },
    position: (key) => word(digest(key, 0), 0) >>> 0,
  };
}

export const sha1 = digestHasher('sha1', 20, nobleSha1);
export const sha256 = digestHasher('sha256', 32, nobleSha256);
export const blake3 = digestHasher('blake3', 32, nobleBlake3);
/** 512 bits. */
export const blake2b = digestHasher('blake2b', 64, nobleBlake2b);
export const blake2b_256 = digestHasher('blake2b_256', 32, (data) => nobleBlake2b(data, { dkLen: 32 }));

export const NOBLE_HASHERS: readonly Hasher[] = [sha1, sha256, blake3, blake2b, blake2b_256];
