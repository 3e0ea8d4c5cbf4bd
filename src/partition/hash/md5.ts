/**
 * MD5. Broken as a cryptographic hash; here because ketama puts its points where MD5 says. Own code, because a ring of a
 * thousand servers needs forty thousand of these.
 *
 * @see RFC 1321.
 */
import type { Bytes } from '../../base/bytes.ts';
import { read32, swap32 } from './u64.ts';
import { wordHasher } from './word-hasher.ts';

/** floor(2^32 · |sin(i + 1)|), written out so that no engine's `Math.sin` decides. */
const K = Int32Array.from(
  (
    'd76aa478e8c7b756242070dbc1bdceeef57c0faf4787c62aa8304613fd469501698098d88b44f7afffff5bb1895cd7be6b901122fd987193a679438e49b40821' +
    'f61e2562c040b340265e5a51e9b6c7aad62f105d02441453d8a1e681e7d3fbc821e1cde6c33707d6f4d50d87455a14eda9e3e905fcefa3f8676f02d98d2a4c8a' +
    'fffa39428771f6816d9d6122fde5380ca4beea444bdecfa9f6bb4b60bebfbc70289b7ec6eaa127fad4ef308504881d05d9d4d039e6db99e51fa27cf8c4ac5665' +
    'f4292244432aff97ab9423a7fc93a039655b59c38f0ccc92ffeff47d85845dd16fa87e4ffe2ce6e0a30143144e0811a1f7537e82bd3af2352ad7d2bbeb86d391'
  ).match(/.{8}/g)!,
  (hex) => Number.parseInt(hex, 16) | 0,
);

const state = new Int32Array(4);
const block = new Int32Array(16);
const end = new Uint8Array(128);

/** The digest's four words as MD5 defines them, each of four bytes with the lowest first. */
export function md5Words(data: Bytes, length: number, out: Uint32Array): void {
  state[0] = 0x67452301;
  state[1] = 0xefcdab89;
  state[2] = 0x98badcfe;
  state[3] = 0x10325476;
  const blocksEnd = length & ~63;
  for (let at = 0; at < blocksEnd; at += 64) compress(data, at);
  const rest = length - blocksEnd;
  const endLength = rest < 56 ? 64 : 128;
  end.fill(0, rest, endLength);
  for (let i = 0; i < rest; i++) end[i] = data[blocksEnd + i]!;
  end[rest] = 0x80;
  const bitsHigh = Math.floor(length / 0x2000_0000);
  for (let i = 0; i < 4; i++) {
    end[endLength - 8 + i] = (length << 3) >>> (8 * i);
    end[endLength - 4 + i] = bitsHigh >>> (8 * i);
  }
  for (let at = 0; at < endLength; at += 64) compress(end, at);
  for (let i = 0; i < 4; i++) out[i] = state[i]!;
}

function compress(data: Bytes, at: number): void {
  for (let i = 0; i < 16; i++) block[i] = read32(data, at + 4 * i);
  let a = state[0]!;
  let b = state[1]!;
  let c = state[2]!;
  let d = state[3]!;
  for (let i = 0; i < 16; i += 4) {
    a = turn(a + (d ^ (b & (c ^ d))) + block[i]! + K[i]!, 7, b);
    d = turn(d + (c ^ (a & (b ^ c))) + block[i + 1]! + K[i + 1]!, 12, a);
    c = turn(c + (b ^ (d & (a ^ b))) + block[i + 2]! + K[i + 2]!, 17, d);
    b = turn(b + (a ^ (c & (d ^ a))) + block[i + 3]! + K[i + 3]!, 22, c);
  }
  for (let i = 16; i < 32; i += 4) {
    a = turn(a + (c ^ (d & (b ^ c))) + block[(5 * i + 1) & 15]! + K[i]!, 5, b);
    d = turn(d + (b ^ (c & (a ^ b))) + block[(5 * i + 6) & 15]! + K[i + 1]!, 9, a);
    c = turn(c + (a ^ (b & (d ^ a))) + block[(5 * i + 11) & 15]! + K[i + 2]!, 14, d);
    b = turn(b + (d ^ (a & (c ^ d))) + block[(5 * i + 16) & 15]! + K[i + 3]!, 20, c);
  }
  for (let i = 32; i < 48; i += 4) {
    a = turn(a + (b ^ c ^ d) + block[(3 * i + 5) & 15]! + K[i]!, 4, b);
    d = turn(d + (a ^ b ^ c) + block[(3 * i + 8) & 15]! + K[i + 1]!, 11, a);
    c = turn(c + (d ^ a ^ b) + block[(3 * i + 11) & 15]! + K[i + 2]!, 16, d);
    b = turn(b + (c ^ d ^ a) + block[(3 * i + 14) & 15]! + K[i + 3]!, 23, c);
  }
  for (let i = 48; i < 64; i += 4) {
    a = turn(a + (c ^ (b | ~d)) + block[(7 * i) & 15]! + K[i]!, 6, b);
    d = turn(d + (b ^ (a | ~c)) + block[(7 * i + 7) & 15]! + K[i + 1]!, 10, a);
    c = turn(c + (a ^ (d | ~b)) + block[(7 * i + 14) & 15]! + K[i + 2]!, 15, d);
    b = turn(b + (d ^ (c | ~a)) + block[(7 * i + 21) & 15]! + K[i + 3]!, 21, c);
  }
  state[0]! += a;
  state[1]! += b;
  state[2]! += c;
  state[3]! += d;
}

function turn(sum: number, bits: number, next: number): number {
  sum |= 0;
  return (((sum << bits) | (sum >>> (32 - bits))) + next) | 0;
}

const words = new Uint32Array(4);

export const md5 = wordHasher({
  name: 'md5',
  words: 4,
  seedBits: 0,
  hash(data, length, _seedHi, _seedLo, out) {
    md5Words(data, length, words);
    for (let i = 0; i < out.length; i++) out[i] = swap32(words[i]!);
  },
});
