import type { Bytes } from '../base/bytes.ts';

/** A key as callers have it; a string stands for its UTF-8 bytes, so both forms give the same answer. */
export type KeyInput = string | Bytes;

/**
 * A hash function over keys. Bring your own: rings and keyspaces take any object of this shape.
 * Implementations are pure and hold no state that shows.
 */
export interface Hasher {
  /** The name it is known by in configuration and in tables: `murmur3_x86_128`, `xxh64`, … */
  readonly name: string;
  /** Length of {@link digest}, in bytes. */
  readonly digestBytes: number;
  /**
   * The whole digest. Byte-wise order of digests is numeric order: most significant byte first. `seed` is a whole number from 0,
   * below 2^32 or 2^64 as the hash has it; a hash without a seed of its own hashes the key followed by the seed, when that is not 0.
   */
  digest(key: KeyInput, seed?: number | bigint): Bytes;
  /**
   * Writes the first 64 bits as two u32, `out[0]` the higher; a shorter digest fills the top bits and is widened by a mix of itself.
   * `out` is two long. `seed` is a whole number below 2^32, not checked here. Allocates nothing where the hash is hot.
   */
  lanes(key: KeyInput, seed: number, out: Uint32Array): void;
  /** The position of a key: `lanes(key, 0)[0]`, an integer in [0, 2^32). */
  position(key: KeyInput): number;
}
