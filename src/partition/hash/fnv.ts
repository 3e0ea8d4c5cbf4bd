/**
 * Fowler–Noll–Vo: tiny and common, and weak. Similar keys get similar hashes, above all in the upper bits that pick a ring's
 * point; take it only to agree with a system that uses it.
 *
 * @see RFC 9923, "The FNV Non-Cryptographic Hash Algorithm".
 */
import type { Bytes } from '../../base/bytes.ts';
import { hasher32, wordHasher } from './word-hasher.ts';

export function fnv1x32(data: Bytes, length: number): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < length; i++) h = Math.imul(h, 0x01000193) ^ data[i]!;
  return h >>> 0;
}

export function fnv1ax32(data: Bytes, length: number): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < length; i++) h = Math.imul(h ^ data[i]!, 0x01000193);
  return h >>> 0;
}

// The 64-bit prime is 2^40 + 0x1b3, so a product is a shift and one exact multiplication of floats.

export function fnv1x64(data: Bytes, length: number, _seedHi: number, _seedLo: number, out: Uint32Array): void {
  let hi = 0xcbf29ce4 | 0;
  let lo = 0x84222325 | 0;
  for (let i = 0; i < length; i++) {
    const low = (lo >>> 0) * 0x1b3;
    hi = (Math.imul(hi, 0x1b3) + (lo << 8) + Math.floor(low / 0x1_0000_0000)) | 0;
    lo = low ^ data[i]!;
  }
  out[0] = hi;
  out[1] = lo;
}

export function fnv1ax64(data: Bytes, length: number, _seedHi: number, _seedLo: number, out: Uint32Array): void {
  let hi = 0xcbf29ce4 | 0;
  let lo = 0x84222325 | 0;
  for (let i = 0; i < length; i++) {
    lo ^= data[i]!;
    const low = (lo >>> 0) * 0x1b3;
    hi = (Math.imul(hi, 0x1b3) + (lo << 8) + Math.floor(low / 0x1_0000_0000)) | 0;
    lo = low | 0;
  }
  out[0] = hi;
  out[1] = lo;
}

export const fnv1_32 = hasher32({ name: 'fnv1_32', seeded: false, hash: fnv1x32 });
export const fnv1a_32 = hasher32({ name: 'fnv1a_32', seeded: false, hash: fnv1ax32 });
export const fnv1_64 = wordHasher({ name: 'fnv1_64', words: 2, seedBits: 0, hash: fnv1x64 });
export const fnv1a_64 = wordHasher({ name: 'fnv1a_64', words: 2, seedBits: 0, hash: fnv1ax64 });
