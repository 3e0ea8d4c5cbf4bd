import { assert } from '../base/assert.ts';
import { type Bytes, copyBytes } from '../base/bytes.ts';

// A record in storage: [flags u8][expireAtMs f64]?[cell generation u40]?[sizeBytes f64]?[key length u32, key]?[the module's value ...]
// What is absent costs nothing, so a plain value has one byte of header.

const HAS_EXPIRY = 1;
const HAS_CELLS = 2;
/** sizeBytes differs from the length of the encoded value. */
const HAS_SIZE = 4;
const HAS_KEY = 8;

export interface RecordHeader {
  /** Undefined: never. */
  expireAtMs: number | undefined;
  /** Which cells are the record's; 0: it has none. */
  generation: number;
  sizeBytes: number;
  /** The whole key, where the storage key was cut. */
  key: Bytes | undefined;
}

/** The length of the record of a value that takes `bodyBytes`. */
export function recordBytes(header: RecordHeader, bodyBytes: number): number {
  let length = 1 + bodyBytes;
  if (header.expireAtMs !== undefined) length += 8;
  if (header.generation !== 0) length += 5;
  if (header.sizeBytes !== bodyBytes) length += 8;
  if (header.key !== undefined) length += 4 + header.key.length;
  return length;
}

/** Writes a record's header to the beginning of `out`, which has the length of {@link recordBytes}; returns where the value goes. */
export function encodeRecordHeader(header: RecordHeader, bodyBytes: number, out: Bytes): number {
  const { expireAtMs, generation, sizeBytes, key } = header;
  const hasSize = sizeBytes !== bodyBytes;
  out[0] =
    (expireAtMs === undefined ? 0 : HAS_EXPIRY) |
    (generation === 0 ? 0 : HAS_CELLS) |
    (hasSize ? HAS_SIZE : 0) |
    (key === undefined ? 0 : HAS_KEY);
  if (out[0] === 0) return 1;
  const view = new DataView(out.buffer, out.byteOffset, out.length);
  let at = 1;
  if (expireAtMs !== undefined) {
    view.setFloat64(at, expireAtMs);
    at += 8;
  }
  if (generation !== 0) {
    view.setUint8(at, Math.floor(generation / 0x1_0000_0000));
    view.setUint32(at + 1, generation >>> 0);
    at += 5;
  }
  if (hasSize) {
    view.setFloat64(at, sizeBytes);
    at += 8;
  }
  if (key !== undefined) {
    view.setUint32(at, key.length);
    out.set(key, at + 4);
    at += 4 + key.length;
  }
  return at;
}

/** The generation of its cells, 0: it has none; also of bytes that are no record. */
export function generationOf(stored: Bytes): number {
  const flags = stored[0] ?? 0;
  const at = flags & HAS_EXPIRY ? 9 : 1;
  if (!(flags & HAS_CELLS) || stored.length < at + 5) return 0;
  const view = new DataView(stored.buffer, stored.byteOffset, stored.length);
  return view.getUint8(at) * 0x1_0000_0000 + view.getUint32(at + 1);
}

/** Reads the header of the record in `stored[from … to)` into `into`, which may be used again; returns where the module's value begins. */
export function decodeRecordHeader(stored: Bytes, into: RecordHeader, from = 0, to: number = stored.length): number {
  const flags = stored[from];
  assert(flags !== undefined && flags < 16, () => `a record with flags ${flags}`);
  into.expireAtMs = undefined;
  into.generation = 0;
  into.key = undefined;
  if (flags === 0) {
    into.sizeBytes = to - from - 1;
    return from + 1;
  }
  const view = new DataView(stored.buffer, stored.byteOffset, stored.length);
  let at = from + 1;
  if (flags & HAS_EXPIRY) {
    into.expireAtMs = view.getFloat64(at);
    at += 8;
  }
  if (flags & HAS_CELLS) {
    into.generation = view.getUint8(at) * 0x1_0000_0000 + view.getUint32(at + 1);
    at += 5;
  }
  let sizeBytes = -1;
  if (flags & HAS_SIZE) {
    sizeBytes = view.getFloat64(at);
    at += 8;
  }
  if (flags & HAS_KEY) {
    const length = view.getUint32(at);
    into.key = copyBytes(stored, at + 4, at + 4 + length);
    at += 4 + length;
  }
  into.sizeBytes = sizeBytes < 0 ? to - at : sizeBytes;
  return at;
}
