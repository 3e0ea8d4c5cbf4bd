import { describe, expect, test } from 'vitest';
import vectors from '../../../test/vectors/murmur3_x86_128.json' with { type: 'json' };
import { concatBytes, fromHex, toHex } from '../../base/bytes.ts';
import type { KeyInput } from '../hasher.ts';
import { expectHasherPromises } from './hash-keys.conformance.ts';
import { murmur3_x86_128 } from './murmur3-x86-128.ts';

describe('murmur3_x86_128', () => {
  test('agrees with the reference C++, with and without a seed', () => {
    for (const [hex, unseeded, seeded] of vectors.rows) {
      const key = fromHex(hex!)!;
      expect(toHex(murmur3_x86_128.digest(key))).toBe(unseeded);
      expect(toHex(murmur3_x86_128.digest(key, 0x9e3779b1))).toBe(seeded);
    }
  });

  test("has SMHasher's verification value B3ECE62A", () => {
    const digests: Uint8Array[] = [];
    for (let length = 0; length < 256; length++) {
      const key = Uint8Array.from({ length }, (_, i) => i);
      digests.push(littleEndianWords(murmur3_x86_128.digest(key, 256 - length)));
    }
    expect(toHex(murmur3_x86_128.digest(concatBytes(...digests))).slice(0, 8)).toBe('b3ece62a');
  });

  test('gives a string and its UTF-8 bytes the same hash, lone surrogates as U+FFFD', () => {
    expectHasherPromises(murmur3_x86_128, 500);
    expect(murmur3_x86_128.position('a\ud800')).toBe(murmur3_x86_128.position('a\ufffd'));
  });

  test('is refused anything that is not a key: KF_BAD_KEY', () => {
    for (const wrong of [42, null, undefined, {}, new Uint16Array(3)])
      expect(() => murmur3_x86_128.position(wrong as unknown as KeyInput)).toThrow(expect.objectContaining({ code: 'KF_BAD_KEY' }));
  });

  test('is refused a seed beyond 32 bits: KF_BAD_SEED', () => {
    for (const seed of [-1, 0.5, 2 ** 32, Number.NaN, 1n << 32n])
      expect(() => murmur3_x86_128.digest('a', seed)).toThrow(expect.objectContaining({ code: 'KF_BAD_SEED' }));
  });
});

/** SMHasher reads the hash as its words lie in memory. */
function littleEndianWords(digest: Uint8Array): Uint8Array {
  return digest.map((_, i) => digest[(i & ~3) | (3 - (i & 3))]!);
}
