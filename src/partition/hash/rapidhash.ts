/**
 * rapidhash V3, 64 bits: the successor of wyhash, for agreement with programs in C, C++ and Rust that use it.
 * In JavaScript its 128-bit products cost more than the four lanes of `murmur3_x86_128`.
 *
 * @see Nicolas De Carli, rapidhash (MIT).
 */
import type { Bytes } from '../../base/bytes.ts';
import { fold, hi, lo, read32, topHi, topLo, wide } from './u64.ts';
import { wordHasher } from './word-hasher.ts';

/** The default secret: eight pairs, the higher half first. */
const SECRET = Int32Array.of(
  0x2d358dcc,
  0xaa6c78a5,
  0x8bb84b93,
  0x962eacc9,
  0x4b33a62e,
  0xd433d4a3,
  0x4d5a2da5,
  0x1de1aa47,
  0xa0761d64,
  0x78bd642f,
  0xe7037ed1,
  0xa0b428db,
  0x90ed1765,
  0x281c388c,
  0xaaaaaaaa,
  0xaaaaaaaa,
);
/** Which secret each step of the last 112 bytes takes. */
const TAIL_SECRETS = [2, 2, 1, 1, 2, 1] as const;
/** The seven running seeds of the long loop, the higher half first. */
const seeds = new Int32Array(14);

export function rapidHash(data: Bytes, length: number, seedHi: number, seedLo: number, out: Uint32Array): void {
  fold(seedHi ^ SECRET[4]!, seedLo ^ SECRET[5]!, SECRET[2]!, SECRET[3]!);
  let sHi = seedHi ^ hi;
  let sLo = seedLo ^ lo;
  let aHi = 0;
  let aLo = 0;
  let bHi = 0;
  let bLo = 0;
  let rest = length;
  if (length <= 16) {
    if (length >= 8) {
      sLo ^= length;
      aLo = read32(data, 0);
      aHi = read32(data, 4);
      bLo = read32(data, length - 8);
      bHi = read32(data, length - 4);
    } else if (length >= 4) {
      sLo ^= length;
      aLo = read32(data, 0);
      bLo = read32(data, length - 4);
    } else if (length > 0) {
      aHi = data[0]! << 13;
      aLo = data[length - 1]!;
      bLo = data[length >> 1]!;
    }
  } else {
    let at = 0;
    if (rest > 112) {
      for (let i = 0; i < 14; i += 2) {
        seeds[i] = sHi;
        seeds[i + 1] = sLo;
      }
      for (; rest > 112; rest -= 112, at += 112) {
        for (let i = 0; i < 7; i++) {
          step(data, at + 16 * i, i, seeds[2 * i]!, seeds[2 * i + 1]!);
          seeds[2 * i] = hi;
          seeds[2 * i + 1] = lo;
        }
      }
      sHi = 0;
      sLo = 0;
      for (let i = 0; i < 14; i += 2) {
        sHi ^= seeds[i]!;
        sLo ^= seeds[i + 1]!;
      }
    }
    for (let i = 0; rest > 16 * (i + 1); i++) {
      step(data, at + 16 * i, TAIL_SECRETS[i]!, sHi, sLo);
      sHi = hi;
      sLo = lo;
    }
    aLo = read32(data, length - 16) ^ rest;
    aHi = read32(data, length - 12);
    bLo = read32(data, length - 8);
    bHi = read32(data, length - 4);
  }
  wide(aHi ^ SECRET[2]!, aLo ^ SECRET[3]!, bHi ^ sHi, bLo ^ sLo);
  fold(hi ^ SECRET[14]!, lo ^ SECRET[15]!, topHi ^ SECRET[2]!, topLo ^ SECRET[3]! ^ rest);
  out[0] = hi;
  out[1] = lo;
}

function step(data: Bytes, at: number, secret: number, sHi: number, sLo: number): void {
  fold(
    read32(data, at + 4) ^ SECRET[2 * secret]!,
    read32(data, at) ^ SECRET[2 * secret + 1]!,
    read32(data, at + 12) ^ sHi,
    read32(data, at + 8) ^ sLo,
  );
}

export const rapidhash = wordHasher({ name: 'rapidhash', words: 2, seedBits: 64, hash: rapidHash });
