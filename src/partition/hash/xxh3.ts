/**
 * XXH3, 64 and 128 bits: the newer xxHash, for agreement with other systems.
 *
 * Five ways by length: 0–3, 4–8 and 9–16 bytes in one step, 17–128 and 129–240 as sums of 16-byte products, longer keys in stripes
 * of 64 bytes over eight accumulators. Every way mixes the input with a fixed secret, which a seed shifts.
 *
 * @see Yann Collet, doc/xxhash_spec.md, "XXH3 Algorithm Description".
 */
import type { Bytes } from '../../base/bytes.ts';
import { fromHex } from '../../base/bytes.ts';
import { add, fold, hi, lo, mul, read32, rotl, sub, swap32, topHi, topLo, wide, xorShift } from './u64.ts';
import { wordHasher } from './word-hasher.ts';
import { avalanche64, P1_HI, P1_LO, P2_HI, P2_LO, P3_HI, P3_LO, P4_HI, P4_LO, P5_HI, P5_LO } from './xxhash.ts';

const SECRET = fromHex(
  'b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c' +
    '3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364' +
    'eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e',
)!;
const P32_1 = 0x9e3779b1;
const P32_2 = 0x85ebca77;
const P32_3 = 0xc2b2ae3d;
const MX2_HI = 0x9fb21c65;
const MX2_LO = 0x1e98df25;
/** The shortest secret that the algorithm allows; the last step of 129–240 bytes counts from its end. */
const SECRET_MIN = 136;
const STRIPES_PER_BLOCK = 16;

/** The 128 bits of the sums of a middle-sized key: low half, then high half, of each the upper word first. */
const sums = new Int32Array(4);
/** The accumulators of a long key, of each the upper word first. */
const acc = new Int32Array(16);
const seededSecret = new Uint8Array(192);

function avalanche(aHi: number, aLo: number): void {
  xorShift(aHi, aLo, 37);
  mul(hi, lo, 0x16566791, 0x9e3779f9);
  xorShift(hi, lo, 32);
}

/** Leaves two words of the secret, xored, in `hi` and `lo`. */
function flip(at: number, other: number): void {
  add(read32(SECRET, at + 4) ^ read32(SECRET, other + 4), read32(SECRET, at) ^ read32(SECRET, other), 0, 0);
}

function xxh3x64(data: Bytes, length: number, seedHi: number, seedLo: number, out: Uint32Array): void {
  if (length > 240) {
    const secret = accumulateLong(data, length, seedHi, seedLo);
    mul(0, length, P1_HI, P1_LO);
    mergeAccumulators(secret, 11, hi, lo);
  } else if (length > 16) middle64(data, length, seedHi, seedLo);
  else short64(data, length, seedHi, seedLo);
  out[0] = hi;
  out[1] = lo;
}

function short64(data: Bytes, length: number, seedHi: number, seedLo: number): void {
  if (length > 8) {
    flip(24, 32);
    add(hi, lo, seedHi, seedLo);
    const firstHi = hi ^ read32(data, 4);
    const firstLo = lo ^ read32(data, 0);
    flip(40, 48);
    sub(hi, lo, seedHi, seedLo);
    const lastHi = hi ^ read32(data, length - 4);
    const lastLo = lo ^ read32(data, length - 8);
    fold(firstHi, firstLo, lastHi, lastLo);
    add(hi, lo, lastHi, lastLo);
    add(hi, lo, swap32(firstLo), swap32(firstHi));
    add(hi, lo, 0, length);
    avalanche(hi, lo);
  } else if (length >= 4) {
    flip(8, 16);
    sub(hi, lo, seedHi ^ swap32(seedLo), seedLo);
    const keyHi = hi ^ read32(data, 0);
    const keyLo = lo ^ read32(data, length - 4);
    rotl(keyHi, keyLo, 49);
    const turnedHi = keyHi ^ hi;
    const turnedLo = keyLo ^ lo;
    rotl(keyHi, keyLo, 24);
    mul(turnedHi ^ hi, turnedLo ^ lo, MX2_HI, MX2_LO);
    mul(hi, lo ^ ((hi >>> 3) + length), MX2_HI, MX2_LO);
    xorShift(hi, lo, 28);
  } else if (length > 0) {
    add(0, read32(SECRET, 0) ^ read32(SECRET, 4), seedHi, seedLo);
    avalanche64(hi, lo ^ upToThreeBytes(data, length));
  } else {
    flip(56, 64);
    avalanche64(seedHi ^ hi, seedLo ^ lo);
  }
}

function upToThreeBytes(data: Bytes, length: number): number {
  return (data[0]! << 16) | (data[length >> 1]! << 24) | data[length - 1]! | (length << 8);
}

function middle64(data: Bytes, length: number, seedHi: number, seedLo: number): void {
  mul(0, length, P1_HI, P1_LO);
  setSum(0);
  if (length <= 128) {
    for (let i = (length - 1) >> 5; i >= 0; i--) {
      addProduct(0, data, 16 * i, 32 * i, seedHi, seedLo);
      addProduct(0, data, length - 16 * (i + 1), 32 * i + 16, seedHi, seedLo);
    }
  } else {
    for (let i = 0; i < 8; i++) addProduct(0, data, 16 * i, 16 * i, seedHi, seedLo);
    avalanche(sums[0]!, sums[1]!);
    setSum(0);
    for (let i = 8; i < length >> 4; i++) addProduct(0, data, 16 * i, 16 * (i - 8) + 3, seedHi, seedLo);
    addProduct(0, data, length - 16, SECRET_MIN - 17, seedHi, seedLo);
  }
  avalanche(sums[0]!, sums[1]!);
}

function setSum(at: 0 | 2): void {
  sums[at] = hi;
  sums[at + 1] = lo;
}

/** Adds the folded product of 16 bytes and 16 bytes of the secret to a sum. */
function addProduct(sum: 0 | 2, data: Bytes, at: number, secretAt: number, seedHi: number, seedLo: number): void {
  add(read32(SECRET, secretAt + 4), read32(SECRET, secretAt), seedHi, seedLo);
  const leftHi = hi ^ read32(data, at + 4);
  const leftLo = lo ^ read32(data, at);
  sub(read32(SECRET, secretAt + 12), read32(SECRET, secretAt + 8), seedHi, seedLo);
  fold(leftHi, leftLo, hi ^ read32(data, at + 12), lo ^ read32(data, at + 8));
  add(sums[sum]!, sums[sum + 1]!, hi, lo);
  setSum(sum);
}

/** Fills `acc` and returns the secret to go on with. */
function accumulateLong(data: Bytes, length: number, seedHi: number, seedLo: number): Bytes {
  const secret = secretFor(seedHi, seedLo);
  const start = [0, P32_3, P1_HI, P1_LO, P2_HI, P2_LO, P3_HI, P3_LO, P4_HI, P4_LO, 0, P32_2, P5_HI, P5_LO, 0, P32_1];
  for (let i = 0; i < 16; i++) acc[i] = start[i]!;
  const stripes = Math.floor((length - 1) / 64);
  for (let stripe = 0; stripe < stripes; stripe++) {
    const inBlock = stripe % STRIPES_PER_BLOCK;
    if (stripe > 0 && inBlock === 0) scramble(secret);
    accumulate(data, 64 * stripe, secret, 8 * inBlock);
  }
  if (stripes > 0 && stripes % STRIPES_PER_BLOCK === 0) scramble(secret);
  accumulate(data, length - 64, secret, 192 - 64 - 7);
  return secret;
}

function secretFor(seedHi: number, seedLo: number): Bytes {
  if (seedHi === 0 && seedLo === 0) return SECRET;
  for (let at = 0; at < 192; at += 16) {
    add(read32(SECRET, at + 4), read32(SECRET, at), seedHi, seedLo);
    writeWord(at);
    sub(read32(SECRET, at + 12), read32(SECRET, at + 8), seedHi, seedLo);
    writeWord(at + 8);
  }
  return seededSecret;
}

function writeWord(at: number): void {
  for (let i = 0; i < 4; i++) {
    seededSecret[at + i] = lo >>> (8 * i);
    seededSecret[at + 4 + i] = hi >>> (8 * i);
  }
}

function accumulate(data: Bytes, at: number, secret: Bytes, secretAt: number): void {
  for (let i = 0; i < 8; i++) {
    const wordLo = read32(data, at + 8 * i);
    const wordHi = read32(data, at + 8 * i + 4);
    const other = 2 * (i ^ 1);
    add(acc[other]!, acc[other + 1]!, wordHi, wordLo);
    acc[other] = hi;
    acc[other + 1] = lo;
    mul(0, wordLo ^ read32(secret, secretAt + 8 * i), 0, wordHi ^ read32(secret, secretAt + 8 * i + 4));
    add(acc[2 * i]!, acc[2 * i + 1]!, hi, lo);
    acc[2 * i] = hi;
    acc[2 * i + 1] = lo;
  }
}

function scramble(secret: Bytes): void {
  for (let i = 0; i < 8; i++) {
    xorShift(acc[2 * i]!, acc[2 * i + 1]!, 47);
    mul(hi ^ read32(secret, 128 + 8 * i + 4), lo ^ read32(secret, 128 + 8 * i), 0, P32_1);
    acc[2 * i] = hi;
    acc[2 * i + 1] = lo;
  }
}

function mergeAccumulators(secret: Bytes, secretAt: number, startHi: number, startLo: number): void {
  let sumHi = startHi;
  let sumLo = startLo;
  for (let i = 0; i < 4; i++) {
    const at = secretAt + 16 * i;
    fold(
      acc[4 * i]! ^ read32(secret, at + 4),
      acc[4 * i + 1]! ^ read32(secret, at),
      acc[4 * i + 2]! ^ read32(secret, at + 12),
      acc[4 * i + 3]! ^ read32(secret, at + 8),
    );
    add(sumHi, sumLo, hi, lo);
    sumHi = hi;
    sumLo = lo;
  }
  avalanche(sumHi, sumLo);
}

/** Leaves the lower half of the hash in `out[2]` and `out[3]` when there is room, the upper one in `out[0]` and `out[1]`. */
function xxh3x128(data: Bytes, length: number, seedHi: number, seedLo: number, out: Uint32Array): void {
  if (length > 240) long128(data, length, seedHi, seedLo);
  else if (length > 16) middle128(data, length, seedHi, seedLo);
  else if (length > 8) nineToSixteen128(data, length, seedHi, seedLo);
  else if (length >= 4) fourToEight128(data, length, seedHi, seedLo);
  else upToThree128(data, length, seedHi, seedLo);
  out[0] = sums[2]!;
  out[1] = sums[3]!;
  if (out.length === 2) return;
  out[2] = sums[0]!;
  out[3] = sums[1]!;
}

function upToThree128(data: Bytes, length: number, seedHi: number, seedLo: number): void {
  if (length === 0) {
    flip(64, 72);
    avalanche64(seedHi ^ hi, seedLo ^ lo);
    setSum(0);
    flip(80, 88);
    avalanche64(seedHi ^ hi, seedLo ^ lo);
    setSum(2);
    return;
  }
  const bytes = upToThreeBytes(data, length);
  const swapped = swap32(bytes);
  add(0, read32(SECRET, 0) ^ read32(SECRET, 4), seedHi, seedLo);
  avalanche64(hi, lo ^ bytes);
  setSum(0);
  sub(0, read32(SECRET, 8) ^ read32(SECRET, 12), seedHi, seedLo);
  avalanche64(hi, lo ^ ((swapped << 13) | (swapped >>> 19)));
  setSum(2);
}

function fourToEight128(data: Bytes, length: number, seedHi: number, seedLo: number): void {
  flip(16, 24);
  add(hi, lo, seedHi ^ swap32(seedLo), seedLo);
  const keyHi = hi ^ read32(data, length - 4);
  const keyLo = lo ^ read32(data, 0);
  add(P1_HI, P1_LO, 0, length << 2);
  wide(keyHi, keyLo, hi, lo);
  const lowHi = hi;
  const lowLo = lo;
  add(topHi, topLo, (lowHi << 1) | (lowLo >>> 31), lowLo << 1);
  const highHi = hi;
  const highLo = lo;
  xorShift(lowHi ^ (highHi >>> 3), lowLo ^ ((highLo >>> 3) | (highHi << 29)), 35);
  mul(hi, lo, MX2_HI, MX2_LO);
  xorShift(hi, lo, 28);
  setSum(0);
  avalanche(highHi, highLo);
  setSum(2);
}

function nineToSixteen128(data: Bytes, length: number, seedHi: number, seedLo: number): void {
  const lastHi = read32(data, length - 4);
  const lastLo = read32(data, length - 8);
  flip(32, 40);
  sub(hi, lo, seedHi, seedLo);
  wide(hi ^ read32(data, 4) ^ lastHi, lo ^ read32(data, 0) ^ lastLo, P1_HI, P1_LO);
  const firstTopHi = topHi;
  const firstTopLo = topLo;
  add(hi, lo, (length - 1) << 22, 0);
  const lowHi = hi;
  const lowLo = lo;
  flip(48, 56);
  add(hi, lo, seedHi, seedLo);
  const flippedHi = lastHi ^ hi;
  const flippedLo = lastLo ^ lo;
  mul(0, flippedLo, 0, P32_2 - 1);
  add(hi, lo, flippedHi, flippedLo);
  add(hi, lo, firstTopHi, firstTopLo);
  const highHi = hi;
  const highLo = lo;
  wide(lowHi ^ swap32(highLo), lowLo ^ swap32(highHi), P2_HI, P2_LO);
  const secondTopHi = topHi;
  const secondTopLo = topLo;
  avalanche(hi, lo);
  setSum(0);
  mul(highHi, highLo, P2_HI, P2_LO);
  add(hi, lo, secondTopHi, secondTopLo);
  avalanche(hi, lo);
  setSum(2);
}

function middle128(data: Bytes, length: number, seedHi: number, seedLo: number): void {
  mul(0, length, P1_HI, P1_LO);
  setSum(0);
  sums[2] = 0;
  sums[3] = 0;
  if (length <= 128) {
    for (let i = (length - 1) >> 5; i >= 0; i--) mixPair(data, 16 * i, length - 16 * (i + 1), 32 * i, seedHi, seedLo);
  } else {
    for (let i = 0; i < 4; i++) mixPair(data, 32 * i, 32 * i + 16, 32 * i, seedHi, seedLo);
    avalanche(sums[0]!, sums[1]!);
    setSum(0);
    avalanche(sums[2]!, sums[3]!);
    setSum(2);
    for (let i = 4; i < length >> 5; i++) mixPair(data, 32 * i, 32 * i + 16, 3 + 32 * (i - 4), seedHi, seedLo);
    sub(0, 0, seedHi, seedLo);
    mixPair(data, length - 16, length - 32, SECRET_MIN - 17 - 16, hi, lo);
  }
  const lowHi = sums[0]!;
  const lowLo = sums[1]!;
  const highHi = sums[2]!;
  const highLo = sums[3]!;
  add(lowHi, lowLo, highHi, highLo);
  avalanche(hi, lo);
  setSum(0);
  mul(lowHi, lowLo, P1_HI, P1_LO);
  setSum(2);
  mul(highHi, highLo, P4_HI, P4_LO);
  add(sums[2]!, sums[3]!, hi, lo);
  setSum(2);
  sub(0, length, seedHi, seedLo);
  mul(hi, lo, P2_HI, P2_LO);
  add(sums[2]!, sums[3]!, hi, lo);
  avalanche(hi, lo);
  sub(0, 0, hi, lo);
  setSum(2);
}

function mixPair(data: Bytes, at: number, other: number, secretAt: number, seedHi: number, seedLo: number): void {
  addProduct(0, data, at, secretAt, seedHi, seedLo);
  add(read32(data, other + 4), read32(data, other), read32(data, other + 12), read32(data, other + 8));
  sums[0]! ^= hi;
  sums[1]! ^= lo;
  addProduct(2, data, other, secretAt + 16, seedHi, seedLo);
  add(read32(data, at + 4), read32(data, at), read32(data, at + 12), read32(data, at + 8));
  sums[2]! ^= hi;
  sums[3]! ^= lo;
}

function long128(data: Bytes, length: number, seedHi: number, seedLo: number): void {
  const secret = accumulateLong(data, length, seedHi, seedLo);
  mul(0, length, P1_HI, P1_LO);
  mergeAccumulators(secret, 11, hi, lo);
  setSum(0);
  mul(0, length, P2_HI, P2_LO);
  mergeAccumulators(secret, 192 - 64 - 11, ~hi, ~lo);
  setSum(2);
}

export const xxh3_64 = wordHasher({ name: 'xxh3_64', words: 2, seedBits: 64, hash: xxh3x64 });
/** The digest is the high half, then the low half, as the reference prints it. */
export const xxh3_128 = wordHasher({ name: 'xxh3_128', words: 4, seedBits: 64, hash: xxh3x128 });
