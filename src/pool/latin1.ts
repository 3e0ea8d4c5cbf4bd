import type { Bytes } from '../base/bytes.ts';

/** What Node's buffers can do beyond their declared types: it works on every Uint8Array, and skips `toString`'s look at its arguments. */
const native = Buffer.prototype as unknown as {
  latin1Slice(this: Bytes, start: number, end: number): string;
  utf8Slice(this: Bytes, start: number, end: number): string;
};

/** `bytes[start … end)` as Latin-1 text: every byte one character. */
export function latin1Slice(bytes: Bytes, start = 0, end = bytes.length): string {
  return native.latin1Slice.call(bytes, start, end);
}

/** `bytes[start … end)` read as UTF-8; what is none becomes U+FFFD. */
export function utf8Slice(bytes: Bytes, start: number, end: number): string {
  return native.utf8Slice.call(bytes, start, end);
}
