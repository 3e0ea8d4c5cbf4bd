import type { Bytes } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';

// Bytes in JSON: text where they are UTF-8, else base64.

export function viewOf(bytes: Bytes): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** @throws KF_BAD_RECORD */
export function textBytes(text: string, what: string): Bytes {
  if (/\p{Surrogate}/u.test(text)) throw bad(`${what} has half a surrogate pair, which no UTF-8 stands for; write it in base64`);
  return Buffer.from(text, 'utf8');
}

/** @throws KF_BAD_RECORD */
export function base64Bytes(base64: unknown, what: string): Bytes {
  if (typeof base64 !== 'string' || base64.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(base64)) throw bad(`${what} must be base64`);
  return Buffer.from(base64, 'base64');
}

export function bad(what: string): KeyfleetError {
  return new KeyfleetError('KF_BAD_RECORD', what);
}
