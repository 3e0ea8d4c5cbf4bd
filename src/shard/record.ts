import { assert } from '../base/assert.ts';
import { type Bytes, freshBytes } from '../base/bytes.ts';

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

export function encodeRecord(header: RecordHeader, body: Bytes): Bytes {
  const { expireAtMs, generation, sizeBytes, key } = header;
  const hasSize = sizeBytes !== body.length;
  if (expireAtMs === undefined && generation === 0 && !hasSize && key === undefined) {
    const out = freshBytes(1 + body.length);
    out.set(body, 1);
    return out;
  }
  let length = 1 + body.length;
  let flags = 0;
  if (expireAtMs !== undefined) {
    flags |= HAS_EXPIRY;
    length += 8;
  }
  if (generation !== 0) {
    flags |= HAS_CELLS;
    length += 5;
  }
  if (hasSize) {
    flags |= HAS_SIZE;
    length += 8;
  }
  if (key !== undefined) {
    flags |= HAS_KEY;
    length += 4 + key.length;
  }
  const out = freshBytes(length);
  const view = new DataView(out.buffer, out.byteOffset, length);
  out[0] = flags;
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
  out.set(body, at);
  return out;
}

/** Reads the header of `stored` into `into`, which may be used again; returns where the module's value begins. */
export function decodeRecordHeader(stored: Bytes, into: RecordHeader): number {
  const flags = stored[0];
  assert(flags !== undefined && flags < 16, () => `a record with flags ${flags}`);
  into.expireAtMs = undefined;
  into.generation = 0;
  into.key = undefined;
  if (flags === 0) {
    into.sizeBytes = stored.length - 1;
    return 1;
  }
  const view = new DataView(stored.buffer, stored.byteOffset, stored.length);
  let at = 1;
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
    into.key = stored.slice(at + 4, at + 4 + length);
    at += 4 + length;
  }
  into.sizeBytes = sizeBytes < 0 ? stored.length - at : sizeBytes;
  return at;
}
