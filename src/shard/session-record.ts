import { assert } from '../base/assert.ts';
import { type Bytes, copyBytes } from '../base/bytes.ts';

// What a shard remembers of one client in one place, as it lies in storage:
//
//   [version u8][usedMs f64][floor f64][count u16] then for each result, by number:
//   [number above the one before: varint][kind u8][fingerprint u32][length: varint][body]
//
// A result that is long, or one of many, lies in a record of its own; then there is neither length nor body here.

export type OutcomeKind = 'reply' | 'error';

export interface StoredResult {
  readonly requestSeq: number;
  readonly kind: OutcomeKind;
  /** Of the request's key and command: another request under the same number is a mistake of the client. */
  readonly fingerprint: number;
  /** Undefined: in a record of its own. */
  readonly body: Bytes | undefined;
}

export interface SessionRecord {
  /** The time of the last request, by the clock of the log or of the client, whichever is later. */
  readonly usedMs: number;
  /** Requests below have been answered; nothing is kept of them. */
  readonly floor: number;
  /** By number. */
  readonly results: readonly StoredResult[];
}

const VERSION = 1;
const HEAD_BYTES = 19;
const ERROR = 1;
const APART = 2;

export function encodeSession(record: SessionRecord): Bytes {
  const { usedMs, floor, results } = record;
  let length = HEAD_BYTES;
  let previous = floor;
  for (const { requestSeq, body } of results) {
    length += varintBytes(requestSeq - previous) + 5;
    if (body) length += varintBytes(body.length) + body.length;
    previous = requestSeq;
  }
  const out = new Uint8Array(length);
  const view = new DataView(out.buffer);
  out[0] = VERSION;
  view.setFloat64(1, usedMs);
  view.setFloat64(9, floor);
  view.setUint16(17, results.length);
  let at = HEAD_BYTES;
  previous = floor;
  for (const { requestSeq, kind, fingerprint, body } of results) {
    at = putVarint(out, at, requestSeq - previous);
    out[at] = (kind === 'error' ? ERROR : 0) | (body ? 0 : APART);
    view.setUint32(at + 1, fingerprint);
    at += 5;
    if (body) {
      at = putVarint(out, at, body.length);
      out.set(body, at);
      at += body.length;
    }
    previous = requestSeq;
  }
  return out;
}

export function decodeSession(bytes: Bytes): SessionRecord {
  assert(bytes[0] === VERSION && bytes.length >= HEAD_BYTES, () => `a session of version ${bytes[0]}, ${bytes.length} bytes`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const floor = view.getFloat64(9);
  const count = view.getUint16(17);
  const results: StoredResult[] = [];
  let at = HEAD_BYTES;
  let requestSeq = floor;
  const varint = (): number => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes[at++]!;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  };
  for (let i = 0; i < count; i++) {
    requestSeq += varint();
    const flags = bytes[at]!;
    const fingerprint = view.getUint32(at + 1);
    at += 5;
    let body: Bytes | undefined;
    if ((flags & APART) === 0) {
      const length = varint();
      body = copyBytes(bytes, at, at + length);
      at += length;
    }
    results.push({ requestSeq, kind: flags & ERROR ? 'error' : 'reply', fingerprint, body });
  }
  assert(at === bytes.length, () => `a session of ${bytes.length} bytes that ends at ${at}`);
  return { usedMs: view.getFloat64(1), floor, results };
}

/** Of a whole number from 0 to 2^53. */
function varintBytes(value: number): number {
  let length = 1;
  for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) length++;
  return length;
}

function putVarint(out: Uint8Array, from: number, value: number): number {
  let at = from;
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) out[at++] = 0x80 | (rest % 128);
  out[at++] = rest;
  return at;
}
