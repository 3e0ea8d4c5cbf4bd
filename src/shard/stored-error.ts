import { type Bytes, fromUtf8, utf8 } from '../base/bytes.ts';
import { type ErrorCode, KeyfleetError, messageOf } from '../base/errors.ts';

// An error that a command came to, as a session keeps it and as it goes from node to node: JSON of message, code and whether it may be tried again;
// of an error without a code, its message alone.

export function encodeError(error: unknown): Bytes {
  if (error instanceof KeyfleetError) return utf8(JSON.stringify([error.message, error.code, error.retryable]));
  return utf8(JSON.stringify([messageOf(error)]));
}

export function decodeError(body: Bytes): Error {
  const [message, code, retryable] = JSON.parse(fromUtf8(body)) as [string, ErrorCode?, boolean?];
  return code === undefined ? new Error(message) : new KeyfleetError(code, message, { retryable: retryable ?? false });
}
