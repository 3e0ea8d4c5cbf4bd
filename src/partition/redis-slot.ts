import type { Bytes } from '../base/bytes.ts';
import { crc16, crc16Ascii } from './hash/crc16.ts';
import { checkBytes, loaded, loadText } from './hash/key-bytes.ts';
import { murmur3_x86_128 } from './hash/murmur3-x86-128.ts';
import type { Hasher, KeyInput } from './hasher.ts';

/** Slots of a Redis Cluster, numbered 0 … 16,383. */
export const REDIS_SLOT_COUNT = 16_384;

const OPEN = 0x7b;
const CLOSE = 0x7d;

/**
 * The Redis Cluster slot of a key: CRC16 of its hash tag, or of the whole key when it has none.
 * The tag is what stands between the first `{` and the next `}` after it; an empty tag (`{}`) is no tag.
 *
 * Cost: one table look-up a byte of the tag; allocates nothing for strings up to 1,024 characters and for bytes.
 *
 * @throws KF_BAD_KEY when `key` is neither a string nor bytes.
 * @see Redis Cluster specification, "Hash tags"; checked against a real server's CLUSTER KEYSLOT.
 */
export function redisSlot(key: KeyInput): number {
  if (typeof key !== 'string') {
    checkBytes(key);
    return slotOfBytes(key, key.length);
  }
  let crc: number;
  const open = key.indexOf('{');
  const close = open < 0 ? -1 : key.indexOf('}', open + 1);
  if (close > open + 1) crc = crc16Ascii(key, open + 1, close);
  else crc = crc16Ascii(key);
  if (crc >= 0) return crc & (REDIS_SLOT_COUNT - 1);
  const length = loadText(key);
  return slotOfBytes(loaded, length);
}

/** Do two keys share a slot, so that Redis lets one command touch both? */
export function sameRedisSlot(a: KeyInput, b: KeyInput): boolean {
  return redisSlot(a) === redisSlot(b);
}

/**
 * The position of a key in a Redis-compatible keyspace: the slot in the top 14 bits, the default hash below.
 * Keys with one hash tag stay in one slot, a slot is a range of positions, and keys inside a slot still spread.
 */
export const redis_slot: Hasher = {
  name: 'redis_slot',
  digestBytes: 8,
  digest(key, seed = 0) {
    const digest = murmur3_x86_128.digest(key, seed).slice(0, 8);
    const view = new DataView(digest.buffer);
    view.setUint32(0, withSlot(redisSlot(key), view.getUint32(0)));
    return digest;
  },
  lanes(key, seed, out) {
    murmur3_x86_128.lanes(key, seed, out);
    out[0] = withSlot(redisSlot(key), out[0]!);
  },
  position: (key) => withSlot(redisSlot(key), murmur3_x86_128.position(key)),
};

function withSlot(slot: number, hash: number): number {
  return ((slot << 18) | (hash >>> 14)) >>> 0;
}

function slotOfBytes(data: Bytes, length: number): number {
  const open = indexOf(data, OPEN, 0, length);
  const close = open < 0 ? -1 : indexOf(data, CLOSE, open + 1, length);
  const crc = close > open + 1 ? crc16(data, open + 1, close) : crc16(data, 0, length);
  return crc & (REDIS_SLOT_COUNT - 1);
}

function indexOf(data: Bytes, byte: number, from: number, to: number): number {
  for (let i = from; i < to; i++) if (data[i] === byte) return i;
  return -1;
}
