import type { Bytes } from '../../base/bytes.ts';

// The signed 64-bit integers of Redis: a JavaScript number where it is safe, else a bigint, so that everyday counters cost no bigint.

/** A whole number in [-2^63, 2^63): a number when it is safe, else a bigint. */
export type Int64 = number | bigint;

export const INT64_MAX = 2n ** 63n - 1n;
export const INT64_MIN = -(2n ** 63n);

const MINUS = 0x2d;
const ZERO = 0x30;
const NINE = 0x39;
/** So many digits always fit a safe number. */
const SAFE_DIGITS = 15;

/** Reads an integer as strictly as Redis does: no spaces, plus sign or leading zeros, `-0` refused; undefined when it is none. */
export function parseInteger(bytes: Bytes): Int64 | undefined {
  const length = bytes.length;
  if (length === 0 || length > 20) return undefined;
  const isNegative = bytes[0] === MINUS;
  let i = isNegative ? 1 : 0;
  if (bytes[i] === ZERO) return length === 1 ? 0 : undefined;
  if (i === length) return undefined;
  if (length - i > SAFE_DIGITS) return parseLongInteger(bytes, i, isNegative);
  let value = 0;
  for (; i < length; i++) {
    const byte = bytes[i]!;
    if (byte < ZERO || byte > NINE) return undefined;
    value = value * 10 + (byte - ZERO);
  }
  return isNegative ? -value : value;
}

function parseLongInteger(bytes: Bytes, from: number, isNegative: boolean): Int64 | undefined {
  let digits = '';
  for (let i = from; i < bytes.length; i++) {
    const byte = bytes[i]!;
    if (byte < ZERO || byte > NINE) return undefined;
    digits += String.fromCharCode(byte);
  }
  return fitInt64(isNegative ? -BigInt(digits) : BigInt(digits));
}

/** `value` in the cheapest form; undefined when it is out of range. */
export function fitInt64(value: bigint): Int64 | undefined {
  if (value > INT64_MAX || value < INT64_MIN) return undefined;
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

/** The sum, or undefined when it overflows. */
export function addIntegers(a: Int64, b: Int64): Int64 | undefined {
  if (typeof a === 'number' && typeof b === 'number') {
    const sum = a + b;
    if (Number.isSafeInteger(sum)) return sum;
  }
  return fitInt64(BigInt(a) + BigInt(b));
}

/** `-a`, or undefined for the smallest one, which has no opposite. */
export function negate(a: Int64): Int64 | undefined {
  if (typeof a === 'number') return a === 0 ? 0 : -a;
  return fitInt64(-a);
}

/** The decimal digits of an integer, as bytes. */
export function integerBytes(value: Int64): Bytes {
  return asciiBytes(String(value));
}

/** The bytes of a text known to be ASCII; quicker than a text encoder for short ones. */
export function asciiBytes(text: string): Bytes {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}
