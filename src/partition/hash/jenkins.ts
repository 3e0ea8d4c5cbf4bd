/**
 * Bob Jenkins' one-at-a-time and lookup3, and Paul Hsieh's SuperFastHash: 32-bit hashes that memcached clients offer.
 * For agreement with them; `murmur3_x86_128` is better and not slower.
 */
import type { Bytes } from '../../base/bytes.ts';
import { read32 } from './u64.ts';
import { hasher32 } from './word-hasher.ts';

export function oneAtATime(data: Bytes, length: number, seed = 0): number {
  let h = seed | 0;
  for (let i = 0; i < length; i++) {
    h = (h + data[i]!) | 0;
    h = (h + (h << 10)) | 0;
    h ^= h >>> 6;
  }
  h = (h + (h << 3)) | 0;
  h ^= h >>> 11;
  return (h + (h << 15)) >>> 0;
}

function rot(x: number, bits: number): number {
  return (x << bits) | (x >>> (32 - bits));
}

/** lookup3's `hashlittle`. */
export function jenkinsLookup3(data: Bytes, length: number, seed: number): number {
  let a = (0xdeadbeef + length + seed) | 0;
  let b = a;
  let c = a;
  if (length === 0) return c >>> 0;
  let at = 0;
  for (; length - at > 12; at += 12) {
    a = (a + read32(data, at)) | 0;
    b = (b + read32(data, at + 4)) | 0;
    c = (c + read32(data, at + 8)) | 0;
    a = (a - c) ^ rot(c, 4);
    c = (c + b) | 0;
    b = (b - a) ^ rot(a, 6);
    a = (a + c) | 0;
    c = (c - b) ^ rot(b, 8);
    b = (b + a) | 0;
    a = (a - c) ^ rot(c, 16);
    c = (c + b) | 0;
    b = (b - a) ^ rot(a, 19);
    a = (a + c) | 0;
    c = (c - b) ^ rot(b, 4);
    b = (b + a) | 0;
  }
  const rest = length - at;
  a = (a + readUpTo(data, at, rest)) | 0;
  b = (b + readUpTo(data, at + 4, rest - 4)) | 0;
  c = (c + readUpTo(data, at + 8, rest - 8)) | 0;
  c = ((c ^ b) - rot(b, 14)) | 0;
  a = ((a ^ c) - rot(c, 11)) | 0;
  b = ((b ^ a) - rot(a, 25)) | 0;
  c = ((c ^ b) - rot(b, 16)) | 0;
  a = ((a ^ c) - rot(c, 4)) | 0;
  b = ((b ^ a) - rot(a, 14)) | 0;
  c = ((c ^ b) - rot(b, 24)) | 0;
  return c >>> 0;
}

/** Four bytes, or as many as there are, the lowest first; missing ones are 0. */
function readUpTo(data: Bytes, at: number, count: number): number {
  if (count >= 4) return read32(data, at);
  let word = 0;
  for (let i = 0; i < count; i++) word |= data[at + i]! << (8 * i);
  return word;
}

/** SuperFastHash as twemproxy and libmemcached have it: it starts from 0 instead of the length. */
export function superFastHash(data: Bytes, length: number): number {
  if (length === 0) return 0;
  const wordsEnd = length & ~3;
  let h = 0;
  for (let at = 0; at < wordsEnd; at += 4) {
    h = (h + read16(data, at)) | 0;
    h = (h << 16) ^ (read16(data, at + 2) << 11) ^ h;
    h = (h + (h >>> 11)) | 0;
  }
  switch (length & 3) {
    case 3:
      h = (h + read16(data, wordsEnd)) | 0;
      h ^= h << 16;
      h ^= ((data[wordsEnd + 2]! << 24) >> 24) << 18;
      h = (h + (h >>> 11)) | 0;
      break;
    case 2:
      h = (h + read16(data, wordsEnd)) | 0;
      h ^= h << 11;
      h = (h + (h >>> 17)) | 0;
      break;
    case 1:
      h = (h + data[wordsEnd]!) | 0;
      h ^= h << 10;
      h = (h + (h >>> 1)) | 0;
      break;
    default:
      break;
  }
  h ^= h << 3;
  h = (h + (h >>> 5)) | 0;
  h ^= h << 4;
  h = (h + (h >>> 17)) | 0;
  h ^= h << 25;
  return (h + (h >>> 6)) >>> 0;
}

function read16(data: Bytes, at: number): number {
  return data[at]! | (data[at + 1]! << 8);
}

export const one_at_a_time = hasher32({ name: 'one_at_a_time', seeded: true, hash: oneAtATime });
/** `hashlittle`; memcached clients use the seed 13. */
export const lookup3 = hasher32({ name: 'lookup3', seeded: true, hash: jenkinsLookup3 });
export const hsieh = hasher32({ name: 'hsieh', seeded: false, hash: superFastHash });
