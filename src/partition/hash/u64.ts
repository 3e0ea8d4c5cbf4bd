/**
 * 64-bit arithmetic in pairs of 32-bit integers, for hashes whose results must match other languages: BigInt allocates on every step.
 *
 * A function that yields 64 bits leaves them in `hi` and `lo` (and `wide` the upper 64 bits of a product in `topHi` and `topLo`), as
 * signed 32-bit integers, valid until the next call; a returned pair would be an allocation. Read them at once.
 */
import type { Bytes } from '../../base/bytes.ts';

export let hi = 0;
export let lo = 0;
export let topHi = 0;
export let topLo = 0;

/** The upper 32 bits of a 32 × 32-bit product, unsigned. */
export function mulHi(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const middle = (Math.imul(aHigh, bLow) >>> 0) + (Math.imul(aLow, bLow) >>> 16);
  const cross = (Math.imul(aLow, bHigh) >>> 0) + (middle & 0xffff);
  return (Math.imul(aHigh, bHigh) + (middle >>> 16) + (cross >>> 16)) | 0;
}

export function add(aHi: number, aLo: number, bHi: number, bLo: number): void {
  const sum = (aLo + bLo) | 0;
  hi = (aHi + bHi + (sum >>> 0 < aLo >>> 0 ? 1 : 0)) | 0;
  lo = sum;
}

export function sub(aHi: number, aLo: number, bHi: number, bLo: number): void {
  hi = (aHi - bHi - (aLo >>> 0 < bLo >>> 0 ? 1 : 0)) | 0;
  lo = (aLo - bLo) | 0;
}

/** The lower 64 bits of the product. */
export function mul(aHi: number, aLo: number, bHi: number, bLo: number): void {
  hi = (mulHi(aLo, bLo) + Math.imul(aHi, bLo) + Math.imul(aLo, bHi)) | 0;
  lo = Math.imul(aLo, bLo);
}

/** All 128 bits of the product. */
export function wide(aHi: number, aLo: number, bHi: number, bLo: number): void {
  const one = Math.imul(aHi, bLo);
  const two = Math.imul(aLo, bHi);
  const high = Math.imul(aHi, bHi);
  const middle = (mulHi(aLo, bLo) >>> 0) + (one >>> 0) + (two >>> 0);
  const upper = (high >>> 0) + (mulHi(aHi, bLo) >>> 0) + (mulHi(aLo, bHi) >>> 0) + Math.floor(middle / 0x1_0000_0000);
  lo = Math.imul(aLo, bLo);
  hi = middle | 0;
  topLo = upper | 0;
  topHi = (mulHi(aHi, bHi) + Math.floor(upper / 0x1_0000_0000)) | 0;
}

/** The two halves of the 128-bit product, xored. */
export function fold(aHi: number, aLo: number, bHi: number, bLo: number): void {
  wide(aHi, aLo, bHi, bLo);
  hi ^= topHi;
  lo ^= topLo;
}

/** `bits` in 1 … 63. */
export function rotl(aHi: number, aLo: number, bits: number): void {
  if (bits >= 32) {
    const swap = aHi;
    aHi = aLo;
    aLo = swap;
    bits -= 32;
  }
  if (bits === 0) {
    hi = aHi;
    lo = aLo;
    return;
  }
  hi = (aHi << bits) | (aLo >>> (32 - bits));
  lo = (aLo << bits) | (aHi >>> (32 - bits));
}

/** `a ^ (a >>> bits)`, `bits` in 1 … 63. */
export function xorShift(aHi: number, aLo: number, bits: number): void {
  if (bits >= 32) {
    hi = aHi;
    lo = aLo ^ (aHi >>> (bits - 32));
  } else {
    hi = aHi ^ (aHi >>> bits);
    lo = aLo ^ ((aLo >>> bits) | (aHi << (32 - bits)));
  }
}

/** Four bytes, the lowest first. */
export function read32(data: Bytes, at: number): number {
  return data[at]! | (data[at + 1]! << 8) | (data[at + 2]! << 16) | (data[at + 3]! << 24);
}

export function swap32(a: number): number {
  return (a << 24) | ((a & 0xff00) << 8) | ((a >>> 8) & 0xff00) | (a >>> 24);
}
