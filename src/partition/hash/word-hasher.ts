import type { Bytes } from '../../base/bytes.ts';
import type { Hasher, KeyInput } from '../hasher.ts';
import { seed32, seed64 } from './hash-seed.ts';
import { loaded, loadKey } from './key-bytes.ts';

/** A 32-bit hash of `data[0 … length)`; any integer, read as unsigned. */
export type Hash32 = (data: Bytes, length: number, seed: number) => number;

/** Fills `out`, 2 words long or as long as the digest, most significant word first. */
export type HashWords = (data: Bytes, length: number, seedHi: number, seedLo: number, out: Uint32Array) => void;

const two = new Uint32Array(2);

/** A {@link Hasher} over a 32-bit hash. `bits` is 16 for the short checksums. */
export function hasher32(options: {
  readonly name: string;
  readonly seeded: boolean;
  readonly bits?: 16 | 32;
  readonly hash: Hash32;
}): Hasher {
  const { name, seeded, hash } = options;
  const bits = options.bits ?? 32;
  const run = (key: KeyInput, seed: number): number => {
    const length = seeded ? loadKey(key) : loadKeyAndSeed(key, 0, seed);
    return hash(loaded, length, seed) << (32 - bits);
  };
  const lanes = (key: KeyInput, seed: number, out: Uint32Array): void => {
    const value = run(key, seed);
    const mixed = widen(value);
    out[0] = bits === 32 ? value : value | (mixed >>> bits);
    out[1] = bits === 32 ? mixed : widen(mixed);
  };
  return {
    name,
    digestBytes: bits / 8,
    digest(key, seed = 0) {
      const value = run(key, seed32(seed));
      return Uint8Array.from({ length: bits / 8 }, (_, i) => value >>> (24 - 8 * i));
    },
    lanes,
    position(key) {
      lanes(key, 0, two);
      return two[0]!;
    },
  };
}

/** A {@link Hasher} over a hash of 2 or 4 words. `seedBits` 0 means: without a seed of its own. */
export function wordHasher(options: {
  readonly name: string;
  readonly words: 2 | 4;
  readonly seedBits: 0 | 32 | 64;
  readonly hash: HashWords;
}): Hasher {
  const { name, words, seedBits, hash } = options;
  const run = (key: KeyInput, seedHi: number, seedLo: number, out: Uint32Array): void => {
    const length = seedBits === 0 ? loadKeyAndSeed(key, seedHi, seedLo) : loadKey(key);
    hash(loaded, length, seedHi, seedLo, out);
  };
  return {
    name,
    digestBytes: 4 * words,
    digest(key, seed = 0) {
      const [seedHi, seedLo] = seedBits === 64 ? seed64(seed) : [0, seed32(seed)];
      const out = new Uint32Array(words);
      run(key, seedHi, seedLo, out);
      return bytesOfWords(out);
    },
    lanes: (key, seed, out) => run(key, 0, seed, out),
    position(key) {
      run(key, 0, 0, two);
      return two[0]!;
    },
  };
}

/**
 * Bytes of a key for a hash without a seed: the key, then the seed (four bytes, the lowest first) unless it is 0.
 * Returns the length; the bytes are in `loaded`.
 */
export function loadKeyAndSeed(key: KeyInput, seedHi: number, seedLo: number): number {
  const length = loadKey(key);
  if (seedHi === 0 && seedLo === 0) return length;
  const joined = new Uint8Array(length + 4);
  joined.set(loaded.subarray(0, length));
  for (let i = 0; i < 4; i++) joined[length + i] = seedLo >>> (8 * i);
  return loadKey(joined);
}

export function bytesOfWords(words: Uint32Array): Bytes {
  const bytes = new Uint8Array(4 * words.length);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < words.length; i++) view.setUint32(4 * i, words[i]!);
  return bytes;
}

/** 32 further bits for a hash that has no more (the finaliser of MurmurHash3; it adds no entropy). */
function widen(h: number): number {
  h = Math.imul(h ^ (h >>> 16) ^ 0x9e3779b9, 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}
