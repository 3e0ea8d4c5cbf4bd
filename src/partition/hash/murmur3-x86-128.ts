/**
 * MurmurHash3_x86_128: the default hash. 128 bits from four u32 lanes, so it needs no 64-bit arithmetic and is quick in JavaScript.
 *
 * A string is hashed from its char codes as long as they are ASCII; the first other character sends it through UTF-8, so a
 * string and its bytes always give the same hash. Nothing is allocated, whatever the key up to 1,024 characters.
 *
 * Not keyed: whoever chooses the keys can make them collide. Use `siphash24` where that matters.
 *
 * @see Austin Appleby, SMHasher, MurmurHash3.cpp (public domain).
 */
import type { Bytes } from '../../base/bytes.ts';
import type { Hasher, KeyInput } from '../hasher.ts';
import { seed32 } from './hash-seed.ts';
import { checkBytes, loaded, loadText } from './key-bytes.ts';

const C1 = 0x239b961b;
const C2 = 0xab0e9789;
const C3 = 0x38b34ae5;
const C4 = 0xa1e38b93;

/** `out` gets the hash as u32 numbers h1, h2, h3, h4; as many of them as it has room for, 2 or 4. */
export function murmur3x86x128(key: KeyInput, seed: number, out: Uint32Array): void {
  if (typeof key !== 'string') {
    checkBytes(key);
    hashBytes(key, key.length, seed, out);
  } else if (!hashAscii(key, seed, out)) {
    const length = loadText(key);
    hashBytes(loaded, length, seed, out);
  }
}

/** The first 32 bits: the position of a key. */
export function murmur3Position(key: KeyInput): number {
  murmur3x86x128(key, 0, two);
  return two[0]!;
}

export const murmur3_x86_128: Hasher = {
  name: 'murmur3_x86_128',
  digestBytes: 16,
  digest(key, seed = 0) {
    const words = new Uint32Array(4);
    murmur3x86x128(key, seed32(seed), words);
    const digest = new Uint8Array(16);
    const view = new DataView(digest.buffer);
    for (let i = 0; i < 4; i++) view.setUint32(4 * i, words[i]!);
    return digest;
  },
  lanes: murmur3x86x128,
  position: murmur3Position,
};

const two = new Uint32Array(2);

/** False, with `out` unchanged, when `text` is not ASCII. */
function hashAscii(text: string, seed: number, out: Uint32Array): boolean {
  const length = text.length;
  const blocksEnd = length & ~15;
  let h1 = seed | 0;
  let h2 = h1;
  let h3 = h1;
  let h4 = h1;
  let seen = 0;
  let at = 0;
  let a = 0;
  let b = 0;
  let c = 0;
  let d = 0;
  for (; at < blocksEnd; at += 16) {
    a = text.charCodeAt(at);
    b = text.charCodeAt(at + 1);
    c = text.charCodeAt(at + 2);
    d = text.charCodeAt(at + 3);
    seen |= a | b | c | d;
    h1 ^= scramble1(a | (b << 8) | (c << 16) | (d << 24));
    h1 = (Math.imul(((h1 << 19) | (h1 >>> 13)) + h2, 5) + 0x561ccd1b) | 0;
    a = text.charCodeAt(at + 4);
    b = text.charCodeAt(at + 5);
    c = text.charCodeAt(at + 6);
    d = text.charCodeAt(at + 7);
    seen |= a | b | c | d;
    h2 ^= scramble2(a | (b << 8) | (c << 16) | (d << 24));
    h2 = (Math.imul(((h2 << 17) | (h2 >>> 15)) + h3, 5) + 0x0bcaa747) | 0;
    a = text.charCodeAt(at + 8);
    b = text.charCodeAt(at + 9);
    c = text.charCodeAt(at + 10);
    d = text.charCodeAt(at + 11);
    seen |= a | b | c | d;
    h3 ^= scramble3(a | (b << 8) | (c << 16) | (d << 24));
    h3 = (Math.imul(((h3 << 15) | (h3 >>> 17)) + h4, 5) + 0x96cd1c35) | 0;
    a = text.charCodeAt(at + 12);
    b = text.charCodeAt(at + 13);
    c = text.charCodeAt(at + 14);
    d = text.charCodeAt(at + 15);
    seen |= a | b | c | d;
    h4 ^= scramble4(a | (b << 8) | (c << 16) | (d << 24));
    h4 = (Math.imul(((h4 << 13) | (h4 >>> 19)) + h1, 5) + 0x32ac3b17) | 0;
  }

  const words = (length & 15) >> 2;
  if (words > 0) {
    a = text.charCodeAt(at);
    b = text.charCodeAt(at + 1);
    c = text.charCodeAt(at + 2);
    d = text.charCodeAt(at + 3);
    seen |= a | b | c | d;
    h1 ^= scramble1(a | (b << 8) | (c << 16) | (d << 24));
    at += 4;
  }
  if (words > 1) {
    a = text.charCodeAt(at);
    b = text.charCodeAt(at + 1);
    c = text.charCodeAt(at + 2);
    d = text.charCodeAt(at + 3);
    seen |= a | b | c | d;
    h2 ^= scramble2(a | (b << 8) | (c << 16) | (d << 24));
    at += 4;
  }
  if (words > 2) {
    a = text.charCodeAt(at);
    b = text.charCodeAt(at + 1);
    c = text.charCodeAt(at + 2);
    d = text.charCodeAt(at + 3);
    seen |= a | b | c | d;
    h3 ^= scramble3(a | (b << 8) | (c << 16) | (d << 24));
    at += 4;
  }
  let last = 0;
  for (let shift = 0; at < length; at++, shift += 8) {
    a = text.charCodeAt(at);
    seen |= a;
    last |= a << shift;
  }
  if (seen > 0x7f) return false;
  finish(h1, h2, h3, h4, words, last, length, out);
  return true;
}

function hashBytes(data: Bytes, length: number, seed: number, out: Uint32Array): void {
  const blocksEnd = length & ~15;
  let h1 = seed | 0;
  let h2 = h1;
  let h3 = h1;
  let h4 = h1;
  let at = 0;
  for (; at < blocksEnd; at += 16) {
    h1 ^= scramble1(word(data, at));
    h1 = (Math.imul(((h1 << 19) | (h1 >>> 13)) + h2, 5) + 0x561ccd1b) | 0;
    h2 ^= scramble2(word(data, at + 4));
    h2 = (Math.imul(((h2 << 17) | (h2 >>> 15)) + h3, 5) + 0x0bcaa747) | 0;
    h3 ^= scramble3(word(data, at + 8));
    h3 = (Math.imul(((h3 << 15) | (h3 >>> 17)) + h4, 5) + 0x96cd1c35) | 0;
    h4 ^= scramble4(word(data, at + 12));
    h4 = (Math.imul(((h4 << 13) | (h4 >>> 19)) + h1, 5) + 0x32ac3b17) | 0;
  }

  const words = (length & 15) >> 2;
  if (words > 0) h1 ^= scramble1(word(data, at));
  if (words > 1) h2 ^= scramble2(word(data, at + 4));
  if (words > 2) h3 ^= scramble3(word(data, at + 8));
  at += 4 * words;
  let last = 0;
  for (let shift = 0; at < length; at++, shift += 8) last |= data[at]! << shift;
  finish(h1, h2, h3, h4, words, last, length, out);
}

function word(data: Bytes, at: number): number {
  return data[at]! | (data[at + 1]! << 8) | (data[at + 2]! << 16) | (data[at + 3]! << 24);
}

function scramble1(k: number): number {
  k = Math.imul(k, C1);
  return Math.imul((k << 15) | (k >>> 17), C2);
}

function scramble2(k: number): number {
  k = Math.imul(k, C2);
  return Math.imul((k << 16) | (k >>> 16), C3);
}

function scramble3(k: number): number {
  k = Math.imul(k, C3);
  return Math.imul((k << 17) | (k >>> 15), C4);
}

function scramble4(k: number): number {
  k = Math.imul(k, C4);
  return Math.imul((k << 18) | (k >>> 14), C1);
}

function mix(h: number): number {
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}

/** `last` holds the bytes after the last whole word; they belong to lane `words`. */
function finish(h1: number, h2: number, h3: number, h4: number, words: number, last: number, length: number, out: Uint32Array): void {
  if (words === 0) h1 ^= scramble1(last);
  else if (words === 1) h2 ^= scramble2(last);
  else if (words === 2) h3 ^= scramble3(last);
  else h4 ^= scramble4(last);
  h1 ^= length;
  h2 ^= length;
  h3 ^= length;
  h4 ^= length;
  h1 = (h1 + h2 + h3 + h4) | 0;
  h2 = mix(h2 + h1);
  h3 = mix(h3 + h1);
  h4 = mix(h4 + h1);
  h1 = (mix(h1) + h2 + h3 + h4) | 0;
  out[0] = h1;
  out[1] = h2 + h1;
  if (out.length === 2) return;
  out[2] = h3 + h1;
  out[3] = h4 + h1;
}
