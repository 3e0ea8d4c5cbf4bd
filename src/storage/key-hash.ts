import { randomFillSync } from 'node:crypto';
import type { Bytes } from '../base/bytes.ts';
import { MAX_KEY_BYTES } from './storage.ts';

// The hash of the memtables: multilinear, with multipliers drawn when the process starts, so that nobody outside can prepare keys that
// collide. For keys fixed beforehand two differ in all 32 bits as random numbers would (strongly universal: Lemire & Kaser, "Strongly
// universal string hashing is fast", 2012): of each sum over 16-bit words only the upper half is used, and two sums make 32 bits.

const WORDS = 2 + (MAX_KEY_BYTES >>> 1);
const FIRST = randomFillSync(new Int32Array(WORDS + 1));
const SECOND = randomFillSync(new Int32Array(WORDS + 1));

/** The hash of `bytes[from … to)`, a signed 32-bit number; at most {@link MAX_KEY_BYTES}. The same for one process only. */
export function keyHash(bytes: Bytes, from = 0, to: number = bytes.length): number {
  const length = to - from;
  let first = (FIRST[0]! + Math.imul(FIRST[1]!, length)) | 0;
  let second = (SECOND[0]! + Math.imul(SECOND[1]!, length)) | 0;
  let word = 2;
  let at = from;
  for (const pairsEnd = from + (length & ~1); at < pairsEnd; at += 2, word++) {
    const pair = bytes[at]! | (bytes[at + 1]! << 8);
    first = (first + Math.imul(FIRST[word]!, pair)) | 0;
    second = (second + Math.imul(SECOND[word]!, pair)) | 0;
  }
  if (at < to) {
    first = (first + Math.imul(FIRST[word]!, bytes[at]!)) | 0;
    second = (second + Math.imul(SECOND[word]!, bytes[at]!)) | 0;
  }
  return (first & ~0xffff) | (second >>> 16);
}
