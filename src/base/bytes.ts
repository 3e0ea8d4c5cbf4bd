/** Bytes, the type of keys, values and cells. A Node `Buffer` is one. Treated as immutable once handed over. */
export type Bytes = Uint8Array;

const utf8Encoder = new TextEncoder();
const utf8Decoder = new TextDecoder('utf-8', { fatal: false, ignoreBOM: true });

/** An encoder costs half a microsecond a call, however short the text; a loop as long as this a tenth of that. */
const SHORT = 32;

/** The UTF-8 bytes of `text`. */
export function utf8(text: string): Bytes {
  const { length } = text;
  if (length > SHORT) return utf8Encoder.encode(text);
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) {
    const unit = text.charCodeAt(i);
    if (unit >= 0x80) return utf8Encoder.encode(text);
    bytes[i] = unit;
  }
  return bytes;
}

/** `bytes` read as UTF-8; what is not UTF-8 becomes U+FFFD. */
export function fromUtf8(bytes: Bytes): string {
  return utf8Decoder.decode(bytes);
}

/** Unsigned byte-wise order, a shorter prefix first: the order of storage keys. */
export function compareBytes(a: Bytes, b: Bytes): number {
  const shared = Math.min(a.length, b.length);
  for (let i = 0; i < shared; i++) {
    const difference = a[i]! - b[i]!;
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

export function equalBytes(a: Bytes, b: Bytes): boolean {
  return a.length === b.length && compareBytes(a, b) === 0;
}

export function concatBytes(...parts: readonly Bytes[]): Bytes {
  let length = 0;
  for (const part of parts) length += part.length;
  const whole = freshBytes(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Bytes of one's own with what stands in `bytes` from `from` up to `to`. (`slice` is not that: a Buffer's shares its memory.) */
export function copyBytes(bytes: Bytes, from = 0, to = bytes.length): Uint8Array {
  const length = to - from;
  const copy = freshBytes(length);
  if (length > LOOP_BYTES) copy.set(from === 0 && to === bytes.length ? bytes : bytes.subarray(from, to));
  else for (let i = 0; i < length; i++) copy[i] = bytes[from + i]!;
  return copy;
}

/** Copies all of `bytes` to `target`, from `at` on. */
export function putBytes(target: Uint8Array, at: number, bytes: Bytes): void {
  const { length } = bytes;
  if (length > LOOP_BYTES) target.set(bytes, at);
  else for (let i = 0; i < length; i++) target[at + i] = bytes[i]!;
}

/** Up to so many bytes a loop is quicker than a call to `set`, which leaves JavaScript. */
const LOOP_BYTES = 32;

const SLAB_BYTES = 8 * 1024;
const SLICE_LIMIT = 1024;
const ON_HEAP_BYTES = 64;
let slab = new ArrayBuffer(SLAB_BYTES);
let slabUsed = 0;

/**
 * New bytes, all zero, as `new Uint8Array(length)` gives. Those of 65 … 1,024 bytes are parts of a larger buffer, since engines give every array
 * beyond 64 bytes a buffer of its own outside their heap, for 0.3–0.5 µs and more to collect (here 0.05 µs). One such part keeps 8 KiB alive.
 */
export function freshBytes(length: number): Uint8Array {
  if (length <= ON_HEAP_BYTES || length > SLICE_LIMIT) return new Uint8Array(length);
  if (slabUsed + length > SLAB_BYTES) {
    slab = new ArrayBuffer(SLAB_BYTES);
    slabUsed = 0;
  }
  const bytes = new Uint8Array(slab, slabUsed, length);
  slabUsed += length;
  return bytes;
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

export function toHex(bytes: Bytes): string {
  let hex = '';
  for (const byte of bytes) hex += HEX[byte];
  return hex;
}

/** The bytes of an even number of hex digits, or undefined when `hex` is not that. */
export function fromHex(hex: string): Bytes | undefined {
  if (hex.length % 2 !== 0 || !/^[0-9a-fA-F]*$/.test(hex)) return undefined;
  const bytes = new Uint8Array(hex.length / 2);
  for (let i = 0; i < bytes.length; i++) bytes[i] = Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16);
  return bytes;
}
