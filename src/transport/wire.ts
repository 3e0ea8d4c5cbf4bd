import { type Bytes, copyBytes, fromUtf8, utf8 } from '../base/bytes.ts';
import { type ErrorCode, isKeyfleetError, KeyfleetError, messageOf } from '../base/errors.ts';
import type { Request } from './transport.ts';

// What stands in a message between nodes, whatever carries it.
//
//   request   [version][timeoutMs u32][from length u8, from][method length u8, method][payload]      timeoutMs 0: a message, nobody waits
//   answer    [version][0][payload]   or   [version][1][JSON: code, message, retryable]

const VERSION = 1;
const DONE = 0;
const FAILED = 1;
const FIXED_BYTES = 7;

/** A request needs so many bytes beside its payload, at most. */
export const REQUEST_OVERHEAD_BYTES = FIXED_BYTES + 2 * 255;

export function encodeRequest({ from, method, payload, timeoutMs }: Request): Bytes {
  const [sender, name] = [utf8(from), utf8(method)];
  if (name.length === 0 || name.length > 255) throw new KeyfleetError('KF_BAD_OPTION', `a method of ${name.length} bytes; 1 to 255`);
  const out = new Uint8Array(FIXED_BYTES + sender.length + name.length + payload.length);
  out[0] = VERSION;
  new DataView(out.buffer).setUint32(1, Math.min(Math.ceil(timeoutMs), 0xffff_ffff));
  out[5] = sender.length;
  out.set(sender, 6);
  let at = 6 + sender.length;
  out[at] = name.length;
  out.set(name, at + 1);
  at += 1 + name.length;
  out.set(payload, at);
  return out;
}

/** Undefined: these bytes are no request that this release knows. */
export function decodeRequest(bytes: Bytes): Request | undefined {
  if (bytes.length < FIXED_BYTES || bytes[0] !== VERSION) return undefined;
  const timeoutMs = new DataView(bytes.buffer, bytes.byteOffset).getUint32(1);
  const fromEnd = 6 + bytes[5]!;
  if (fromEnd >= bytes.length) return undefined;
  const methodEnd = fromEnd + 1 + bytes[fromEnd]!;
  if (methodEnd > bytes.length || methodEnd === fromEnd + 1) return undefined;
  const text = (from: number, to: number): string => fromUtf8(bytes.subarray(from, to));
  return { from: text(6, fromEnd), method: text(fromEnd + 1, methodEnd), payload: copyBytes(bytes, methodEnd), timeoutMs };
}

export function encodeAnswer(payload: Bytes): Bytes {
  const out = new Uint8Array(2 + payload.length);
  out[0] = VERSION;
  out[1] = DONE;
  out.set(payload, 2);
  return out;
}

/** What went wrong; an error without a code is a fault of ours, and its text stays here. */
export function encodeFailure(error: unknown): Bytes {
  const { code, message, retryable } = isKeyfleetError(error)
    ? error
    : new KeyfleetError('KF_INTERNAL', `the other node failed: ${messageOf(error)}`);
  const json = utf8(JSON.stringify({ code, message, retryable }));
  const out = new Uint8Array(2 + json.length);
  out[0] = VERSION;
  out[1] = FAILED;
  out.set(json, 2);
  return out;
}

/** The payload of an answer. @throws the failure that it tells of; KF_NODE_INCOMPATIBLE */
export function decodeAnswer(bytes: Bytes): Bytes {
  if (bytes.length < 2 || bytes[0] !== VERSION || bytes[1]! > FAILED) {
    throw new KeyfleetError('KF_NODE_INCOMPATIBLE', 'the answer of the other node is none that this release knows');
  }
  if (bytes[1] === DONE) return copyBytes(bytes, 2);
  const { code, message, retryable } = JSON.parse(fromUtf8(bytes.subarray(2))) as { code: ErrorCode; message: string; retryable: boolean };
  throw new KeyfleetError(code, message, { retryable });
}
