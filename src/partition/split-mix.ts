/** SplitMix64, the generator of hash4j's consistent hashes. One stream at a time: `startSplitMix`, then `nextSplitMix` as often as needed. */
import { add, hi, lo, mul, xorShift } from './hash/u64.ts';

let stateHi = 0;
let stateLo = 0;

export function startSplitMix(seedHi: number, seedLo: number): void {
  stateHi = seedHi;
  stateLo = seedLo;
}

/** Leaves the next 64 bits in `hi` and `lo` of u64.ts. */
export function nextSplitMix(): void {
  add(stateHi, stateLo, 0x9e3779b9, 0x7f4a7c15);
  stateHi = hi;
  stateLo = lo;
  xorShift(stateHi, stateLo, 30);
  mul(hi, lo, 0xbf58476d, 0x1ce4e5b9);
  xorShift(hi, lo, 27);
  mul(hi, lo, 0x94d049bb, 0x133111eb);
  xorShift(hi, lo, 31);
}

/** A whole number in [0, bound), every one equally likely (Lemire's method on the lower 32 bits, as hash4j has it). */
export function uniformSplitMix(bound: number): number {
  nextSplitMix();
  let top = multiplyHigh(lo >>> 0, bound);
  let low = Math.imul(lo, bound) >>> 0;
  if (low < bound) {
    const least = 2 ** 32 % bound;
    while (low < least) {
      nextSplitMix();
      top = multiplyHigh(lo >>> 0, bound);
      low = Math.imul(lo, bound) >>> 0;
    }
  }
  return top;
}

/** floor(a × b / 2^32) for a below 2^32 and b below 2^31. */
function multiplyHigh(a: number, b: number): number {
  const high = (a >>> 16) * b;
  return Math.floor((high + Math.floor(((a & 0xffff) * b) / 0x1_0000)) / 0x1_0000);
}
