/**
 * xxHash, the classic pair: XXH32 and XXH64. For agreement with other systems; XXH3 is in xxh3.ts.
 *
 * @see Yann Collet, "xxHash fast digest algorithm", doc/xxhash_spec.md.
 */
import type { Bytes } from '../../base/bytes.ts';
import { add, hi, lo, mul, read32, rotl, sub, xorShift } from './u64.ts';
import { hasher32, wordHasher } from './word-hasher.ts';

const A1 = 0x9e3779b1;
const A2 = 0x85ebca77;
const A3 = 0xc2b2ae3d;
const A4 = 0x27d4eb2f;
const A5 = 0x165667b1;

export function xxHash32(data: Bytes, length: number, seed: number): number {
  let at = 0;
  let h = (seed + A5) | 0;
  if (length >= 16) {
    let a = (seed + A1 + A2) | 0;
    let b = (seed + A2) | 0;
    let c = seed | 0;
    let d = (seed - A1) | 0;
    for (; at <= length - 16; at += 16) {
      a = round32(a, read32(data, at));
      b = round32(b, read32(data, at + 4));
      c = round32(c, read32(data, at + 8));
      d = round32(d, read32(data, at + 12));
    }
    h = (rot(a, 1) + rot(b, 7) + rot(c, 12) + rot(d, 18)) | 0;
  }
  h = (h + length) | 0;
  for (; at + 4 <= length; at += 4) h = Math.imul(rot((h + Math.imul(read32(data, at), A3)) | 0, 17), A4);
  for (; at < length; at++) h = Math.imul(rot((h + Math.imul(data[at]!, A5)) | 0, 11), A1);
  h = Math.imul(h ^ (h >>> 15), A2);
  h = Math.imul(h ^ (h >>> 13), A3);
  return (h ^ (h >>> 16)) >>> 0;
}

function rot(x: number, bits: number): number {
  return (x << bits) | (x >>> (32 - bits));
}

function round32(lane: number, word: number): number {
  return Math.imul(rot((lane + Math.imul(word, A2)) | 0, 13), A1);
}

export const P1_HI = 0x9e3779b1;
export const P1_LO = 0x85ebca87;
export const P2_HI = 0xc2b2ae3d;
export const P2_LO = 0x27d4eb4f;
export const P3_HI = 0x165667b1;
export const P3_LO = 0x9e3779f9;
export const P4_HI = 0x85ebca77;
export const P4_LO = 0xc2b2ae63;
export const P5_HI = 0x27d4eb2f;
export const P5_LO = 0x165667c5;

/** The four running lanes, the higher half of each first. */
const lanes = new Int32Array(8);
const TURNS = [1, 7, 12, 18] as const;

export function xxHash64(data: Bytes, length: number, seedHi: number, seedLo: number, out: Uint32Array): void {
  let at = 0;
  if (length >= 32) {
    add(seedHi, seedLo, P2_HI, P2_LO);
    setLane(1);
    add(hi, lo, P1_HI, P1_LO);
    setLane(0);
    lanes[4] = seedHi;
    lanes[5] = seedLo;
    sub(seedHi, seedLo, P1_HI, P1_LO);
    setLane(3);
    for (; at <= length - 32; at += 32) {
      for (let i = 0; i < 4; i++) {
        round64(lanes[2 * i]!, lanes[2 * i + 1]!, read32(data, at + 8 * i + 4), read32(data, at + 8 * i));
        setLane(i);
      }
    }
    let sumHi = 0;
    let sumLo = 0;
    for (let i = 0; i < 4; i++) {
      rotl(lanes[2 * i]!, lanes[2 * i + 1]!, TURNS[i]!);
      add(sumHi, sumLo, hi, lo);
      sumHi = hi;
      sumLo = lo;
    }
    for (let i = 0; i < 4; i++) {
      round64(0, 0, lanes[2 * i]!, lanes[2 * i + 1]!);
      mul(sumHi ^ hi, sumLo ^ lo, P1_HI, P1_LO);
      add(hi, lo, P4_HI, P4_LO);
      sumHi = hi;
      sumLo = lo;
    }
  } else add(seedHi, seedLo, P5_HI, P5_LO);
  add(hi, lo, 0, length);
  let hHi = hi;
  let hLo = lo;
  for (; at + 8 <= length; at += 8) {
    round64(0, 0, read32(data, at + 4), read32(data, at));
    rotl(hHi ^ hi, hLo ^ lo, 27);
    mul(hi, lo, P1_HI, P1_LO);
    add(hi, lo, P4_HI, P4_LO);
    hHi = hi;
    hLo = lo;
  }
  if (at + 4 <= length) {
    mul(0, read32(data, at), P1_HI, P1_LO);
    rotl(hHi ^ hi, hLo ^ lo, 23);
    mul(hi, lo, P2_HI, P2_LO);
    add(hi, lo, P3_HI, P3_LO);
    hHi = hi;
    hLo = lo;
    at += 4;
  }
  for (; at < length; at++) {
    mul(0, data[at]!, P5_HI, P5_LO);
    rotl(hHi ^ hi, hLo ^ lo, 11);
    mul(hi, lo, P1_HI, P1_LO);
    hHi = hi;
    hLo = lo;
  }
  avalanche64(hHi, hLo);
  out[0] = hi;
  out[1] = lo;
}

function setLane(i: number): void {
  lanes[2 * i] = hi;
  lanes[2 * i + 1] = lo;
}

function round64(laneHi: number, laneLo: number, wordHi: number, wordLo: number): void {
  mul(wordHi, wordLo, P2_HI, P2_LO);
  add(laneHi, laneLo, hi, lo);
  rotl(hi, lo, 31);
  mul(hi, lo, P1_HI, P1_LO);
}

/** XXH64's finaliser, which XXH3 uses for its shortest keys. */
export function avalanche64(aHi: number, aLo: number): void {
  xorShift(aHi, aLo, 33);
  mul(hi, lo, P2_HI, P2_LO);
  xorShift(hi, lo, 29);
  mul(hi, lo, P3_HI, P3_LO);
  xorShift(hi, lo, 32);
}

export const xxh32 = hasher32({ name: 'xxh32', seeded: true, hash: xxHash32 });
export const xxh64 = wordHasher({ name: 'xxh64', words: 2, seedBits: 64, hash: xxHash64 });
