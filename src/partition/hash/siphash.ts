/**
 * SipHash-2-4: 64 bits under a secret of 128 bits. Take it where clients choose the keys and must not be able to aim
 * them all at one node: without the secret nobody can predict a hash.
 *
 * @see Aumasson & Bernstein, "SipHash: a fast short-input PRF", 2012.
 */
import type { Bytes } from '../../base/bytes.ts';
import { KeyfleetError } from '../../base/errors.ts';
import type { Hasher } from '../hasher.ts';
import { read32 } from './u64.ts';
import { wordHasher } from './word-hasher.ts';

/** v0 … v3, the lower half of each first. */
const v = new Int32Array(8);

/** The hash of `data[0 … length)` under the secret whose halves are k0 (the first eight bytes) and k1. */
export function sipHash24(data: Bytes, length: number, k0Hi: number, k0Lo: number, k1Hi: number, k1Lo: number, out: Uint32Array): void {
  v[0] = k0Lo ^ 0x70736575;
  v[1] = k0Hi ^ 0x736f6d65;
  v[2] = k1Lo ^ 0x6e646f6d;
  v[3] = k1Hi ^ 0x646f7261;
  v[4] = k0Lo ^ 0x6e657261;
  v[5] = k0Hi ^ 0x6c796765;
  v[6] = k1Lo ^ 0x79746573;
  v[7] = k1Hi ^ 0x74656462;
  const blocksEnd = length & ~7;
  for (let at = 0; at < blocksEnd; at += 8) absorb(read32(data, at), read32(data, at + 4));
  let lastLo = 0;
  let lastHi = length << 24;
  for (let at = blocksEnd; at < length; at++) {
    const i = at - blocksEnd;
    if (i < 4) lastLo |= data[at]! << (8 * i);
    else lastHi |= data[at]! << (8 * (i - 4));
  }
  absorb(lastLo, lastHi);
  v[4]! ^= 0xff;
  for (let i = 0; i < 4; i++) round();
  out[0] = v[1]! ^ v[3]! ^ v[5]! ^ v[7]!;
  out[1] = v[0]! ^ v[2]! ^ v[4]! ^ v[6]!;
}

function absorb(mLo: number, mHi: number): void {
  v[6]! ^= mLo;
  v[7]! ^= mHi;
  round();
  round();
  v[0]! ^= mLo;
  v[1]! ^= mHi;
}

function round(): void {
  let v0 = v[0]!;
  let v0Hi = v[1]!;
  let v1 = v[2]!;
  let v1Hi = v[3]!;
  let v2 = v[4]!;
  let v2Hi = v[5]!;
  let v3 = v[6]!;
  let v3Hi = v[7]!;
  let t = (v0 + v1) | 0;
  v0Hi = (v0Hi + v1Hi + (t >>> 0 < v0 >>> 0 ? 1 : 0)) | 0;
  v0 = t;
  t = ((v1 << 13) | (v1Hi >>> 19)) ^ v0;
  v1Hi = ((v1Hi << 13) | (v1 >>> 19)) ^ v0Hi;
  v1 = t;
  t = v0;
  v0 = v0Hi;
  v0Hi = t;

  t = (v2 + v3) | 0;
  v2Hi = (v2Hi + v3Hi + (t >>> 0 < v2 >>> 0 ? 1 : 0)) | 0;
  v2 = t;
  t = ((v3 << 16) | (v3Hi >>> 16)) ^ v2;
  v3Hi = ((v3Hi << 16) | (v3 >>> 16)) ^ v2Hi;
  v3 = t;

  t = (v0 + v3) | 0;
  v0Hi = (v0Hi + v3Hi + (t >>> 0 < v0 >>> 0 ? 1 : 0)) | 0;
  v0 = t;
  t = ((v3 << 21) | (v3Hi >>> 11)) ^ v0;
  v3Hi = ((v3Hi << 21) | (v3 >>> 11)) ^ v0Hi;
  v3 = t;

  t = (v2 + v1) | 0;
  v2Hi = (v2Hi + v1Hi + (t >>> 0 < v2 >>> 0 ? 1 : 0)) | 0;
  v2 = t;
  t = ((v1 << 17) | (v1Hi >>> 15)) ^ v2;
  v1Hi = ((v1Hi << 17) | (v1 >>> 15)) ^ v2Hi;
  v1 = t;
  v[0] = v0;
  v[1] = v0Hi;
  v[2] = v1;
  v[3] = v1Hi;
  v[4] = v2Hi;
  v[5] = v2;
  v[6] = v3;
  v[7] = v3Hi;
}

/**
 * The hasher under a secret of 16 bytes. A seed is xored into the first half of the secret.
 *
 * @throws KF_BAD_HASH_SECRET when `secret` is not 16 bytes long.
 */
export function siphash24With(secret: Bytes): Hasher {
  if (secret.length !== 16)
    throw new KeyfleetError('KF_BAD_HASH_SECRET', `the secret of siphash24 is 16 bytes long; this one has ${secret.length}`);
  const k0Lo = read32(secret, 0);
  const k0Hi = read32(secret, 4);
  const k1Lo = read32(secret, 8);
  const k1Hi = read32(secret, 12);
  return wordHasher({
    name: 'siphash24',
    words: 2,
    seedBits: 64,
    hash: (data, length, seedHi, seedLo, out) => sipHash24(data, length, k0Hi ^ seedHi, k0Lo ^ seedLo, k1Hi, k1Lo, out),
  });
}

/** Under the secret of all zeros (so a seed is the secret's first half): for agreement with others, not for protection. */
export const siphash24 = siphash24With(new Uint8Array(16));
