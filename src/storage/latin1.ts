import type { Bytes } from '../base/bytes.ts';

// Keys inside the storage are strings of one character a byte: equal and ordered as the bytes are, and what a Map finds fastest.

const latin1Slice = (Buffer.prototype as unknown as { latin1Slice(this: Bytes, start: number, end: number): string }).latin1Slice;

export function latin1(bytes: Bytes, start = 0, end = bytes.length): string {
  return latin1Slice.call(bytes, start, end);
}

export function fromLatin1(key: string): Bytes {
  return Buffer.from(key, 'latin1');
}
