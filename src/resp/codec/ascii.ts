import type { Bytes } from '../../base/bytes.ts';

// Small conversions between bytes and text that the codec needs on its hot paths. Pure.

export const CR = 13;
export const LF = 10;

/** The bytes `[from, to)` as Latin-1 text: every byte one character. */
export function latin1(bytes: Bytes, from = 0, to = bytes.length): string {
  let text = '';
  for (let at = from; at < to; at++) text += String.fromCharCode(bytes[at]!);
  return text;
}

/** Latin-1 text as bytes; a character above U+00FF loses its upper bits. */
export function fromLatin1(text: string): Bytes {
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
  return bytes;
}

/** Stands for "not a number" in {@link decimal}. */
export const NOT_DECIMAL = Number.NEGATIVE_INFINITY;

/**
 * The whole number written in `[from, to)`, by the strict rules of Redis's string2ll: no plus sign, no leading zero, no space, no "-0".
 * Numbers beyond 2^53 lose their last digits; {@link NOT_DECIMAL} when it is not a number or has more than 19 digits.
 */
export function decimal(bytes: Bytes, from: number, to: number): number {
  const negative = bytes[from] === 45 && from < to;
  const first = negative ? from + 1 : from;
  const digits = to - first;
  if (digits <= 0 || digits > 19) return NOT_DECIMAL;
  if (bytes[first] === 48) return digits === 1 && !negative ? 0 : NOT_DECIMAL;
  let value = 0;
  for (let at = first; at < to; at++) {
    const digit = bytes[at]! - 48;
    if (digit < 0 || digit > 9) return NOT_DECIMAL;
    value = value * 10 + digit;
  }
  return negative ? -value : value;
}

/** {@link decimal} of a whole argument, as a safe integer; undefined otherwise. */
export function integerOf(bytes: Bytes): number | undefined {
  const value = decimal(bytes, 0, bytes.length);
  return Number.isSafeInteger(value) ? value : undefined;
}

/** Whether `bytes` is `word`, which is given in lower case, in any mix of cases. */
export function isWord(bytes: Bytes, word: string): boolean {
  if (bytes.length !== word.length) return false;
  for (let at = 0; at < word.length; at++) {
    let byte = bytes[at]!;
    if (byte >= 65 && byte <= 90) byte |= 32;
    if (byte !== word.charCodeAt(at)) return false;
  }
  return true;
}
