/**
 * The 32-bit key hashes of twemproxy and libmemcached, quirks included. Both compile to `char` that is signed on x86-64, so bytes from
 * 0x80 up are sign-extended where noted; their 64-bit FNVs end in 32 bits, each in its own way; their `crc32` keeps 15 bits of the CRC.
 *
 * @see twemproxy src/hashkit, libmemcached src/libhashkit; checked against both, compiled.
 */
import type { Bytes } from '../../base/bytes.ts';
import { KeyfleetError } from '../../base/errors.ts';
import type { KeyInput } from '../hasher.ts';
import { crc32Of } from './crc32.ts';
import { jenkinsLookup3, superFastHash } from './jenkins.ts';
import { loaded, loadKey } from './key-bytes.ts';
import { md5Words } from './md5.ts';
import { murmur2OfClients, murmur3x86x32 } from './murmur.ts';

export type HashkitName =
  | 'one_at_a_time'
  | 'md5'
  | 'crc16'
  | 'crc32'
  | 'crc32a'
  | 'fnv1_64'
  | 'fnv1a_64'
  | 'fnv1_32'
  | 'fnv1a_32'
  | 'hsieh'
  | 'murmur'
  | 'murmur3'
  | 'jenkins';

/** A hash of `data[from … to)`, in [0, 2^32). */
type HashOfPart = (data: Bytes, from: number, to: number) => number;

const CRC16_WIDE = Int32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 8;
  for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1;
  return crc & 0xffff;
});
const words = new Uint32Array(4);
const whole =
  (hash: (data: Bytes, length: number) => number): HashOfPart =>
  (data, from, to) =>
    from === 0 ? hash(data, to) : hash(data.subarray(from, to), to - from);
const signed = (byte: number): number => (byte << 24) >> 24;

/** fnv1: multiply, then xor. */
function fnv1(init: number, prime: number): HashOfPart {
  return (data, from, to) => {
    let h = init;
    for (let i = from; i < to; i++) h = Math.imul(h, prime) ^ signed(data[i]!);
    return h >>> 0;
  };
}

function fnv1a(init: number, prime: number): HashOfPart {
  return (data, from, to) => {
    let h = init;
    for (let i = from; i < to; i++) h = Math.imul(h ^ signed(data[i]!), prime);
    return h >>> 0;
  };
}

const HASHES: Readonly<Record<HashkitName, HashOfPart>> = {
  one_at_a_time(data, from, to) {
    let h = 0;
    for (let i = from; i < to; i++) {
      h = (h + signed(data[i]!)) | 0;
      h = (h + (h << 10)) | 0;
      h ^= h >>> 6;
    }
    h = (h + (h << 3)) | 0;
    h ^= h >>> 11;
    return (h + (h << 15)) >>> 0;
  },
  md5: whole((data, length) => {
    md5Words(data, length, words);
    return words[0]!;
  }),
  /** Not masked to 16 bits: what is shifted out above stays. */
  crc16(data, from, to) {
    let crc = 0;
    for (let i = from; i < to; i++) crc = (crc << 8) ^ CRC16_WIDE[((crc >>> 8) ^ data[i]!) & 0xff]!;
    return crc >>> 0;
  },
  crc32: whole((data, length) => (crc32Of(data, length) >>> 16) & 0x7fff),
  crc32a: whole(crc32Of),
  // The lower half of a product modulo 2^64 needs only the lower halves of its factors, so 32 bits are enough for both 64-bit ones.
  fnv1_64: fnv1(0x84222325, 0x1b3),
  fnv1a_64: fnv1a(0x84222325, 0x1b3),
  fnv1_32: fnv1(0x811c9dc5, 0x01000193),
  fnv1a_32: fnv1a(0x811c9dc5, 0x01000193),
  hsieh: whole(superFastHash),
  murmur: whole(murmur2OfClients),
  murmur3: whole((data, length) => murmur3x86x32(data, length, Math.imul(0xdeadbeef, length))),
  jenkins: whole((data, length) => jenkinsLookup3(data, length, 13)),
};

export const HASHKIT_NAMES = Object.keys(HASHES) as readonly HashkitName[];

/**
 * The hash of whole keys, or of their tags: with `hashTag` `{}` what stands between the first `{` and the first `}` after it, when that
 * is at least one byte.
 *
 * @throws KF_UNKNOWN_HASH; KF_BAD_OPTION when `hashTag` is not two ASCII characters.
 */
export function hashkit(name: HashkitName, hashTag?: string): (key: KeyInput) => number {
  const hash = Object.hasOwn(HASHES, name) ? HASHES[name] : undefined;
  if (!hash)
    throw new KeyfleetError('KF_UNKNOWN_HASH', `twemproxy and libmemcached have no hash ${name}; they have ${HASHKIT_NAMES.join(', ')}`);
  if (hashTag === undefined)
    return (key) => {
      const length = loadKey(key);
      return hash(loaded, 0, length);
    };
  if (!/^[\x00-\x7f]{2}$/.test(hashTag))
    throw new KeyfleetError('KF_BAD_OPTION', `a hash tag is two ASCII characters, such as {}; this one is ${JSON.stringify(hashTag)}`);
  const open = hashTag.charCodeAt(0);
  const close = hashTag.charCodeAt(1);
  return (key) => {
    const length = loadKey(key);
    const start = indexOf(loaded, open, 0, length);
    const end = start < 0 ? -1 : indexOf(loaded, close, start + 1, length);
    return end > start + 1 ? hash(loaded, start + 1, end) : hash(loaded, 0, length);
  };
}

function indexOf(data: Bytes, byte: number, from: number, to: number): number {
  for (let i = from; i < to; i++) if (data[i] === byte) return i;
  return -1;
}
