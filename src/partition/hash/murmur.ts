/**
 * The older and the other MurmurHashes, for agreement with systems that chose them: Guava, Cassandra and Kafka's relatives use
 * `murmur3_x64_128`, many clients `murmur3_x86_32`, memcached clients `murmur2`. For a new system take `murmur3_x86_128`.
 *
 * @see Austin Appleby, SMHasher (public domain).
 */
import type { Bytes } from '../../base/bytes.ts';
import { add, hi, lo, mul, read32, rotl, xorShift } from './u64.ts';
import { hasher32, wordHasher } from './word-hasher.ts';

export function murmur3x86x32(data: Bytes, length: number, seed: number): number {
  const wordsEnd = length & ~3;
  let h = seed | 0;
  for (let at = 0; at < wordsEnd; at += 4) {
    h ^= scramble(read32(data, at));
    h = (Math.imul((h << 13) | (h >>> 19), 5) + 0xe6546b64) | 0;
  }
  let last = 0;
  for (let at = wordsEnd, shift = 0; at < length; at++, shift += 8) last |= data[at]! << shift;
  h ^= scramble(last) ^ length;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

function scramble(k: number): number {
  k = Math.imul(k, 0xcc9e2d51);
  return Math.imul((k << 15) | (k >>> 17), 0x1b873593);
}

/** MurmurHash2, 32 bits. */
export function murmur2Of(data: Bytes, length: number, seed: number): number {
  const m = 0x5bd1e995;
  const wordsEnd = length & ~3;
  let h = seed ^ length;
  for (let at = 0; at < wordsEnd; at += 4) {
    let k = Math.imul(read32(data, at), m);
    k = Math.imul(k ^ (k >>> 24), m);
    h = Math.imul(h, m) ^ k;
  }
  if (wordsEnd < length) {
    for (let at = wordsEnd, shift = 0; at < length; at++, shift += 8) h ^= data[at]! << shift;
    h = Math.imul(h, m);
  }
  h = Math.imul(h ^ (h >>> 13), m);
  return (h ^ (h >>> 15)) >>> 0;
}

/** MurmurHash2 with the seed that twemproxy and libmemcached derive from the length. */
export function murmur2OfClients(data: Bytes, length: number): number {
  return murmur2Of(data, length, Math.imul(0xdeadbeef, length));
}

const C1_HI = 0x87c37b91;
const C1_LO = 0x114253d5;
const C2_HI = 0x4cf5ad43;
const C2_LO = 0x2745937f;

export function murmur3x64x128(data: Bytes, length: number, seedHi: number, seedLo: number, out: Uint32Array): void {
  const blocksEnd = length & ~15;
  let h1Hi = seedHi | 0;
  let h1Lo = seedLo | 0;
  let h2Hi = h1Hi;
  let h2Lo = h1Lo;
  for (let at = 0; at < blocksEnd; at += 16) {
    scramble1(read32(data, at + 4), read32(data, at));
    rotl(h1Hi ^ hi, h1Lo ^ lo, 27);
    add(hi, lo, h2Hi, h2Lo);
    mul(hi, lo, 0, 5);
    add(hi, lo, 0, 0x52dce729);
    h1Hi = hi;
    h1Lo = lo;
    scramble2(read32(data, at + 12), read32(data, at + 8));
    rotl(h2Hi ^ hi, h2Lo ^ lo, 31);
    add(hi, lo, h1Hi, h1Lo);
    mul(hi, lo, 0, 5);
    add(hi, lo, 0, 0x38495ab5);
    h2Hi = hi;
    h2Lo = lo;
  }
  tail.fill(0);
  for (let at = blocksEnd; at < length; at++) tail[at - blocksEnd] = data[at]!;
  scramble1(read32(tail, 4), read32(tail, 0));
  h1Hi ^= hi;
  h1Lo ^= lo ^ length;
  scramble2(read32(tail, 12), read32(tail, 8));
  h2Hi ^= hi;
  h2Lo ^= lo ^ length;

  add(h1Hi, h1Lo, h2Hi, h2Lo);
  h1Hi = hi;
  h1Lo = lo;
  add(h2Hi, h2Lo, h1Hi, h1Lo);
  mix64(hi, lo);
  h2Hi = hi;
  h2Lo = lo;
  mix64(h1Hi, h1Lo);
  add(hi, lo, h2Hi, h2Lo);
  out[0] = hi;
  out[1] = lo;
  if (out.length === 2) return;
  add(h2Hi, h2Lo, hi, lo);
  out[2] = hi;
  out[3] = lo;
}

const tail = new Uint8Array(16);

function scramble1(kHi: number, kLo: number): void {
  mul(kHi, kLo, C1_HI, C1_LO);
  rotl(hi, lo, 31);
  mul(hi, lo, C2_HI, C2_LO);
}

function scramble2(kHi: number, kLo: number): void {
  mul(kHi, kLo, C2_HI, C2_LO);
  rotl(hi, lo, 33);
  mul(hi, lo, C1_HI, C1_LO);
}

/** MurmurHash3's 64-bit finaliser. */
export function mix64(aHi: number, aLo: number): void {
  xorShift(aHi, aLo, 33);
  mul(hi, lo, 0xff51afd7, 0xed558ccd);
  xorShift(hi, lo, 33);
  mul(hi, lo, 0xc4ceb9fe, 0x1a85ec53);
  xorShift(hi, lo, 33);
}

export const murmur3_x86_32 = hasher32({ name: 'murmur3_x86_32', seeded: true, hash: murmur3x86x32 });
export const murmur3_x64_128 = wordHasher({ name: 'murmur3_x64_128', words: 4, seedBits: 64, hash: murmur3x64x128 });
/** As twemproxy and libmemcached have it, its seed derived from the length. */
export const murmur2 = hasher32({ name: 'murmur2', seeded: false, hash: murmur2OfClients });
