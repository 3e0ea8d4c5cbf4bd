import { crc32 } from 'node:zlib';
import type { Bytes } from '../base/bytes.ts';
import type { CommitNumber } from './storage.ts';

// How the journal lies in its files. All numbers are little-endian; commit numbers are 64-bit floats holding whole numbers.
//
//   segment   magic "KFJOURN1" │ id f64 │ first commit f64 │ synced f64 │ crc32 of these       then records, one after the other
//   record    crc32 │ payload length u32 │ commit f64 │ synced f64 │ fragment u32 │ payload
//   payload   operations: 1 │ key length u16 │ value length u32 │ key │ value      or      2 │ key length u16 │ 0 u32 │ key
//
// A record's crc covers everything behind it and starts from the segment's id, so that records left over in a recycled file never pass.
// `fragment` is twice the index of the record in its batch, plus one on the last: a batch is one record or several.
// `synced` is the commit number up to which everything was on disk when the record was written. It tells a torn tail from damage: a bad
// record that a later good one calls synced was whole once, and its batch may have been acknowledged.

export const SEGMENT_HEADER_BYTES = 36;
export const RECORD_HEADER_BYTES = 28;
export const OPERATION_HEADER_BYTES = 7;
export const PUT = 1;
export const DELETE = 2;

const MAGIC = Buffer.from('KFJOURN1', 'latin1');

export interface SegmentHeader {
  readonly id: number;
  readonly first: CommitNumber;
  readonly synced: CommitNumber;
}

export function encodeSegmentHeader({ id, first, synced }: SegmentHeader): Buffer {
  const header = Buffer.alloc(SEGMENT_HEADER_BYTES);
  MAGIC.copy(header);
  header.writeDoubleLE(id, 8);
  header.writeDoubleLE(first, 16);
  header.writeDoubleLE(synced, 24);
  header.writeUInt32LE(crc32(header.subarray(0, 32)), 32);
  return header;
}

/** Undefined when the bytes are not a segment's header; `blank` when they are zeros. */
export function decodeSegmentHeader(bytes: Buffer): SegmentHeader | 'blank' | undefined {
  if (bytes.length < SEGMENT_HEADER_BYTES) return undefined;
  const header = bytes.subarray(0, SEGMENT_HEADER_BYTES);
  if (header.every((byte) => byte === 0)) return 'blank';
  if (!header.subarray(0, 8).equals(MAGIC) || header.readUInt32LE(32) !== crc32(header.subarray(0, 32))) return undefined;
  return { id: header.readDoubleLE(8), first: header.readDoubleLE(16), synced: header.readDoubleLE(24) };
}

/** Fills in the header of the record at [start, end) of `bytes`, all but `synced` and the crc. */
export function closeRecord(bytes: Buffer, start: number, end: number, number: CommitNumber, index: number, last: boolean): void {
  bytes.writeUInt32LE(end - start - RECORD_HEADER_BYTES, start + 4);
  bytes.writeDoubleLE(number, start + 8);
  bytes.writeUInt32LE(index * 2 + (last ? 1 : 0), start + 24);
}

/** The last touch before a record is written to the segment `id`. */
export function sealRecord(bytes: Buffer, start: number, end: number, id: number, synced: CommitNumber): void {
  bytes.writeDoubleLE(synced, start + 16);
  bytes.writeUInt32LE(crc32(bytes.subarray(start + 4, end), id >>> 0), start);
}

export interface RecordHeader {
  readonly number: CommitNumber;
  readonly synced: CommitNumber;
  readonly index: number;
  readonly last: boolean;
  /** Where its operations lie. */
  readonly start: number;
  readonly end: number;
}

/** The whole and undamaged record of segment `id` at `at`, or undefined. */
export function decodeRecord(bytes: Buffer, at: number, id: number): RecordHeader | undefined {
  if (at + RECORD_HEADER_BYTES > bytes.length) return undefined;
  const start = at + RECORD_HEADER_BYTES;
  const end = start + bytes.readUInt32LE(at + 4);
  if (end === start || end > bytes.length) return undefined;
  if (crc32(bytes.subarray(at + 4, end), id >>> 0) !== bytes.readUInt32LE(at)) return undefined;
  const fragment = bytes.readUInt32LE(at + 24);
  return {
    number: bytes.readDoubleLE(at + 8),
    synced: bytes.readDoubleLE(at + 16),
    index: fragment >>> 1,
    last: (fragment & 1) === 1,
    start,
    end,
  };
}

/**
 * The first whole record of segment `id` from `at` on that calls batch `number` synced, or undefined. Looks at every byte, since after
 * damage nobody knows where records begin; the exponent of the commit number rules out nearly all places at once.
 */
export function findWitness(bytes: Buffer, at: number, id: number, number: CommitNumber): number | undefined {
  for (let place = at; place + RECORD_HEADER_BYTES < bytes.length; place++) {
    const exponent = bytes[place + 15]!;
    if (exponent < 0x3f || exponent > 0x43) continue;
    if (!(bytes.readDoubleLE(place + 16) >= number && bytes.readDoubleLE(place + 8) > number)) continue;
    const record = decodeRecord(bytes, place, id);
    if (record) return place;
  }
  return undefined;
}

/** Writes one operation at `at`. The caller has made sure of room. */
export function writeOperation(bytes: Buffer, at: number, kind: number, key: Bytes, value: Bytes | undefined): void {
  const keyBytes = key.length;
  const valueBytes = value ? value.length : 0;
  bytes[at] = kind;
  bytes[at + 1] = keyBytes;
  bytes[at + 2] = keyBytes >>> 8;
  bytes[at + 3] = valueBytes;
  bytes[at + 4] = valueBytes >>> 8;
  bytes[at + 5] = valueBytes >>> 16;
  bytes[at + 6] = valueBytes >>> 24;
  const keyAt = at + OPERATION_HEADER_BYTES;
  copyInto(bytes, keyAt, key);
  if (value) copyInto(bytes, keyAt + keyBytes, value);
}

/** `set` crosses into C++ and wins only on more than a few bytes. */
function copyInto(target: Buffer, at: number, source: Bytes): void {
  const length = source.length;
  if (length > 32) target.set(source, at);
  else for (let i = 0; i < length; i++) target[at + i] = source[i]!;
}
