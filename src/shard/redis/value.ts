import { assert } from '../../base/assert.ts';
import { type Bytes, copyBytes, freshBytes, putBytes } from '../../base/bytes.ts';
import type { ValueCodec } from '../value-module.ts';

/**
 * What a Redis key holds, as the module handles it: a string is its bytes (integers too are kept as text), anything else a summary
 * whose parts lie in cells (see hash-fields.ts, list-items.ts, set-members.ts, sorted-set-members.ts). Never changed in place: a command
 * that changes a value returns a new one.
 */
export type RedisValue = Bytes | CollectionValue;

export type CollectionValue = HashValue | ListValue | SetValue | SortedSetValue;
export type CollectionKind = CollectionValue['kind'];

export interface HashValue {
  readonly kind: 'hash';
  /** Fields, at least one. */
  readonly fieldCount: number;
  /** It once outgrew what Redis keeps as a listpack (512 fields, 64 bytes a field or value): HSCAN then walks it in steps. */
  readonly isWide: boolean;
}

export interface ListValue {
  readonly kind: 'list';
  /** Items, at least one. */
  readonly length: number;
  /** The index of the first item; those of the others follow without a gap. Negative after pushes to the front. */
  readonly head: number;
  /** Lists have one layout. */
  readonly isWide: false;
}

export interface SetValue {
  readonly kind: 'set';
  /** Members, at least one. */
  readonly memberCount: number;
  /** It once outgrew what Redis keeps as an intset (512 members, all whole numbers): SSCAN then walks it in steps. */
  readonly isWide: boolean;
}

export interface SortedSetValue {
  readonly kind: 'zset';
  /** Members, at least one. */
  readonly memberCount: number;
  /** It once outgrew what Redis keeps as a listpack (128 members of 64 bytes): ZSCAN then walks it in steps. */
  readonly isWide: boolean;
  /** Levels of counts above the members in order; see sorted-set-order.ts. */
  readonly height: number;
}

export function isString(value: RedisValue | undefined): value is Bytes {
  return value instanceof Uint8Array;
}

/** Whether there is a value, of another type than `kind`: a WRONGTYPE. */
export function isNot<Kind extends CollectionKind>(
  value: RedisValue | undefined,
  kind: Kind,
): value is Exclude<RedisValue, { readonly kind: Kind }> {
  return value !== undefined && (isString(value) || value.kind !== kind);
}

const STRING_TAG = 0;
const HASH_TAG = 1;
const LIST_TAG = 2;
const SET_TAG = 3;
const SORTED_SET_TAG = 4;
const WIDE = 1;
/** Tag, flags, count. */
const SUMMARY_BYTES = 10;
const LIST_BYTES = SUMMARY_BYTES + 8;
const SORTED_SET_BYTES = SUMMARY_BYTES + 1;

/**
 * A byte for the type; then a string's bytes, or a collection's flags (bit 0: wide) and count (8 bytes, most significant first), and
 * of a list the first index (a float64), of a sorted set the height (a byte).
 */
export const redisValueCodec: ValueCodec<RedisValue> = {
  encode(value) {
    const bytes = freshBytes(sizeOf(value));
    encodeInto(value, bytes, 0);
    return bytes;
  },
  decode: (bytes) => (bytes[0] === STRING_TAG ? bytes.subarray(1) : decodeSummary(bytes, 0, bytes.length)),
  inPlace: {
    size: sizeOf,
    encode: encodeInto,
    decode: (bytes, from, to) => (bytes[from] === STRING_TAG ? copyBytes(bytes, from + 1, to) : decodeSummary(bytes, from, to)),
  },
};

function sizeOf(value: RedisValue): number {
  if (isString(value)) return value.length + 1;
  return value.kind === 'list' ? LIST_BYTES : value.kind === 'zset' ? SORTED_SET_BYTES : SUMMARY_BYTES;
}

function encodeInto(value: RedisValue, target: Bytes, at: number): void {
  if (isString(value)) {
    target[at] = STRING_TAG;
    putBytes(target, at + 1, value);
    return;
  }
  switch (value.kind) {
    case 'hash':
      encodeSummary(target, at, HASH_TAG, value.isWide, value.fieldCount);
      return;
    case 'list':
      encodeSummary(target, at, LIST_TAG, false, value.length);
      viewOf(target).setFloat64(at + SUMMARY_BYTES, value.head);
      return;
    case 'set':
      encodeSummary(target, at, SET_TAG, value.isWide, value.memberCount);
      return;
    case 'zset':
      encodeSummary(target, at, SORTED_SET_TAG, value.isWide, value.memberCount);
      target[at + SUMMARY_BYTES] = value.height;
  }
}

function encodeSummary(target: Bytes, at: number, tag: number, isWide: boolean, count: number): void {
  target[at] = tag;
  target[at + 1] = isWide ? WIDE : 0;
  const view = viewOf(target);
  view.setUint32(at + 2, Math.floor(count / 0x1_0000_0000));
  view.setUint32(at + 6, count >>> 0);
}

function decodeSummary(bytes: Bytes, from: number, to: number): CollectionValue {
  const tag = bytes[from];
  assert(to - from >= SUMMARY_BYTES, () => `a Redis value of ${to - from} bytes begins with ${tag}`);
  const view = viewOf(bytes);
  const count = view.getUint32(from + 2) * 0x1_0000_0000 + view.getUint32(from + 6);
  const isWide = (bytes[from + 1]! & WIDE) !== 0;
  switch (tag) {
    case HASH_TAG:
      return { kind: 'hash', fieldCount: count, isWide };
    case LIST_TAG:
      return { kind: 'list', length: count, head: view.getFloat64(from + SUMMARY_BYTES), isWide: false };
    case SET_TAG:
      return { kind: 'set', memberCount: count, isWide };
    default:
      assert(tag === SORTED_SET_TAG, () => `no Redis value begins with ${tag}`);
      return { kind: 'zset', memberCount: count, isWide, height: bytes[from + SUMMARY_BYTES]! };
  }
}

function viewOf(bytes: Bytes): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** The size of a stored string, in the terms of `sizeBytes`. */
export function stringSizeBytes(value: Bytes): number {
  return value.length + 1;
}

/** The sizes of stored collections without their cells. */
export const HASH_BASE_BYTES: number = SUMMARY_BYTES;
export const LIST_BASE_BYTES: number = LIST_BYTES;
export const SET_BASE_BYTES: number = SUMMARY_BYTES;
export const SORTED_SET_BASE_BYTES: number = SORTED_SET_BYTES;
