import { assert } from '../../base/assert.ts';
import { type Bytes, freshBytes } from '../../base/bytes.ts';
import type { ValueCodec } from '../value-module.ts';

/**
 * What a Redis key holds, as the module handles it: a string is its bytes (integers too are kept as text), a hash is a summary
 * whose fields lie in cells (see {@link ./hash-fields.ts}). Never changed in place: a command that changes a value returns a new one.
 */
export type RedisValue = Bytes | HashValue;

export interface HashValue {
  readonly kind: 'hash';
  /** Fields, at least one. */
  readonly fieldCount: number;
  /** It once outgrew what Redis keeps as a listpack (512 fields, 64 bytes a field or value): HSCAN then walks it in steps. */
  readonly isWide: boolean;
}

export function isString(value: RedisValue | undefined): value is Bytes {
  return value instanceof Uint8Array;
}

const STRING_TAG = 0;
const HASH_TAG = 1;
const HASH_BYTES = 10;

/** A byte for the type; then a string's bytes, or a hash's flags (bit 0: wide) and count (8 bytes, most significant first). */
export const redisValueCodec: ValueCodec<RedisValue> = {
  encode(value) {
    if (isString(value)) {
      const bytes = freshBytes(value.length + 1);
      bytes[0] = STRING_TAG;
      bytes.set(value, 1);
      return bytes;
    }
    const bytes = new Uint8Array(HASH_BYTES);
    const view = new DataView(bytes.buffer);
    bytes[0] = HASH_TAG;
    bytes[1] = value.isWide ? 1 : 0;
    view.setUint32(2, Math.floor(value.fieldCount / 0x1_0000_0000));
    view.setUint32(6, value.fieldCount >>> 0);
    return bytes;
  },
  decode(bytes) {
    if (bytes[0] === STRING_TAG) return bytes.subarray(1);
    assert(bytes[0] === HASH_TAG && bytes.length === HASH_BYTES, () => `no Redis value begins with ${bytes[0]}`);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    return { kind: 'hash', fieldCount: view.getUint32(2) * 0x1_0000_0000 + view.getUint32(6), isWide: (bytes[1]! & 1) !== 0 };
  },
};

/** The size of a stored string, in the terms of `sizeBytes`. */
export function stringSizeBytes(value: Bytes): number {
  return value.length + 1;
}

/** The size of a stored hash without its cells. */
export const HASH_BASE_BYTES: number = HASH_BYTES;
