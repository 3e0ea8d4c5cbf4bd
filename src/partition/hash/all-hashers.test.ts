import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import vectors from '../../../test/vectors/hashes.json' with { type: 'json' };
import seededXxh3 from '../../../test/vectors/xxh3_128_seeded.json' with { type: 'json' };
import { fromHex, toHex, utf8 } from '../../base/bytes.ts';
import { HASH_NAMES, hasherNamed, hashHex, siphash24With } from './all-hashers.ts';
import { expectHasherPromises } from './hash-keys.conformance.ts';
import { hashHex as hashHexOfOwn } from './own-hashers.ts';

const SEED_32 = 0x9e3779b1;
const SEED_64 = 0x9e3779b97f4a7c15n;

type Row = (typeof vectors.rows)[number];

const COLUMNS: readonly { readonly column: keyof Row; readonly name: string; readonly seed?: number | bigint }[] = [
  { column: 'xxh32_s0', name: 'xxh32' },
  { column: 'xxh32_s1', name: 'xxh32', seed: SEED_32 },
  { column: 'xxh64_s0', name: 'xxh64' },
  { column: 'xxh64_s1', name: 'xxh64', seed: SEED_64 },
  { column: 'xxh3_64_s0', name: 'xxh3_64' },
  { column: 'xxh3_64_s1', name: 'xxh3_64', seed: SEED_64 },
  { column: 'xxh3_128_s0', name: 'xxh3_128' },
  { column: 'murmur3_x86_32_s0', name: 'murmur3_x86_32' },
  { column: 'murmur3_x86_32_s1', name: 'murmur3_x86_32', seed: SEED_32 },
  { column: 'murmur3_x64_128_s0', name: 'murmur3_x64_128' },
  { column: 'murmur3_x64_128_s1', name: 'murmur3_x64_128', seed: SEED_32 },
  { column: 'rapidhash_v3_s0', name: 'rapidhash' },
  { column: 'rapidhash_v3_s1', name: 'rapidhash', seed: SEED_64 },
  { column: 'blake2b_512', name: 'blake2b' },
  { column: 'blake2b_256', name: 'blake2b_256' },
  { column: 'blake3', name: 'blake3' },
  { column: 'md5', name: 'md5' },
  { column: 'sha1', name: 'sha1' },
  { column: 'crc16_xmodem', name: 'crc16' },
  { column: 'fnv1_32', name: 'fnv1_32' },
  { column: 'fnv1a_32', name: 'fnv1a_32' },
  { column: 'fnv1_64', name: 'fnv1_64' },
  { column: 'fnv1a_64', name: 'fnv1a_64' },
  { column: 'crc32_ieee', name: 'crc32' },
  { column: 'crc32c', name: 'crc32c' },
];

describe('every hash agrees with the reference implementations', () => {
  test.each(COLUMNS)('$column', ({ column, name, seed }) => {
    for (const row of vectors.rows)
      expect([row.hex, hashHex(name, fromHex(row.hex)!, { seed: seed ?? 0 })]).toEqual([row.hex, row[column]]);
  });

  test('xxh3_128 under a seed, as another build of xxHash has it', () => {
    for (const [hex, expected] of seededXxh3.rows) expect(hashHex('xxh3_128', fromHex(hex!)!, { seed: SEED_64 })).toBe(expected);
  });

  test('siphash24, under a secret', () => {
    const hasher = siphash24With(Uint8Array.from({ length: 16 }, (_, i) => i));
    for (const row of vectors.rows) expect([row.hex, toHex(hasher.digest(fromHex(row.hex)!))]).toEqual([row.hex, row.siphash24]);
  });

  test('sha256, as Node has it', () => {
    for (const row of vectors.rows) {
      const key = fromHex(row.hex)!;
      expect(hashHex('sha256', key)).toBe(createHash('sha256').update(key).digest('hex'));
    }
  });

  test('lookup3, by the values in its source', () => {
    expect(hashHex('lookup3', '')).toBe('deadbeef');
    expect(hashHex('lookup3', '', { seed: 0xdeadbeef })).toBe('bd5b7dde');
    expect(hashHex('lookup3', 'Four score and seven years ago')).toBe('17770551');
    expect(hashHex('lookup3', 'Four score and seven years ago', { seed: 1 })).toBe('cd628161');
  });

  test('one_at_a_time, by published values', () => {
    expect(hashHex('one_at_a_time', 'a')).toBe('ca2e9442');
    expect(hashHex('one_at_a_time', 'The quick brown fox jumps over the lazy dog')).toBe('519e91f5');
  });
});

describe('every hasher', () => {
  test.each(HASH_NAMES.map((name) => [name]))('%s gives a string and its bytes one answer, its lanes the top of its digest', (name) => {
    expectHasherPromises(hasherNamed(name), 60);
  });

  test.each(HASH_NAMES.map((name) => [name]))('%s gives other answers under a seed', (name) => {
    const hasher = hasherNamed(name);
    const differing = ['a', 'user:1', 'x'.repeat(300)].filter((key) => toHex(hasher.digest(key, 7)) !== toHex(hasher.digest(key)));
    expect(differing).toHaveLength(3);
  });
});

describe('a hash without a seed of its own', () => {
  test('hashes the key followed by the seed', () => {
    const joined = Uint8Array.of(...utf8('user:1'), 4, 3, 2, 1);
    for (const name of ['md5', 'sha1', 'crc32', 'fnv1a_64'])
      expect(hashHex(name, 'user:1', { seed: 0x01020304 })).toBe(hashHex(name, joined));
  });
});

describe('a hash asked for by name', () => {
  test('is refused when there is none: KF_UNKNOWN_HASH', () => {
    expect(() => hashHex('md4', 'a')).toThrow(expect.objectContaining({ code: 'KF_UNKNOWN_HASH' }));
    expect(() => hashHexOfOwn('sha1', 'a')).toThrow(expect.objectContaining({ code: 'KF_UNKNOWN_HASH' }));
  });

  test('is refused a secret of the wrong length: KF_BAD_HASH_SECRET', () => {
    expect(() => siphash24With(new Uint8Array(15))).toThrow(expect.objectContaining({ code: 'KF_BAD_HASH_SECRET' }));
  });
});
