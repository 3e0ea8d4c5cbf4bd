import type { Bytes } from '../../base/bytes.ts';

/**
 * Splits a line typed by hand into arguments by Redis's quoting rules (sdssplitargs): blanks separate; in double quotes `\n \r \t \b \a \xHH` and
 * `\` before any other character are escapes; in single quotes only `\'` is; a closing quote must be followed by a blank or the end.
 * Undefined when the quotes are unbalanced. Pure.
 */
export function splitInline(bytes: Bytes, from: number, to: number): Bytes[] | undefined {
  const args: Bytes[] = [];
  let at = from;
  for (;;) {
    while (at < to && isBlank(bytes[at]!)) at++;
    if (at >= to) return args;
    const out = new Uint8Array(to - at);
    let length = 0;
    let quote = 0;
    for (; at < to || quote !== 0; at++) {
      if (at >= to) return undefined;
      const byte = bytes[at]!;
      if (quote === 0) {
        if (isBlank(byte)) break;
        if (byte === DOUBLE || byte === SINGLE) quote = byte;
        else out[length++] = byte;
      } else if (byte === quote) {
        if (at + 1 < to && !isBlank(bytes[at + 1]!)) return undefined;
        at++;
        quote = 0;
        break;
      } else if (byte === BACKSLASH && quote === SINGLE && at + 1 < to && bytes[at + 1] === SINGLE) {
        out[length++] = SINGLE;
        at++;
      } else if (byte === BACKSLASH && quote === DOUBLE && at + 1 < to) {
        const high = at + 3 < to && bytes[at + 1] === LOWER_X ? hexDigit(bytes[at + 2]!) : -1;
        const low = high >= 0 ? hexDigit(bytes[at + 3]!) : -1;
        if (low >= 0) {
          out[length++] = high * 16 + low;
          at += 3;
        } else {
          out[length++] = unescaped(bytes[at + 1]!);
          at++;
        }
      } else out[length++] = byte;
    }
    args.push(out.slice(0, length));
  }
}

const DOUBLE = 34;
const SINGLE = 39;
const BACKSLASH = 92;
const LOWER_X = 120;

/** C's isspace. */
function isBlank(byte: number): boolean {
  return byte === 32 || (byte >= 9 && byte <= 13);
}

function hexDigit(byte: number): number {
  if (byte >= 48 && byte <= 57) return byte - 48;
  const lower = byte | 32;
  return lower >= 97 && lower <= 102 ? lower - 87 : -1;
}

/** What `\` before `byte` stands for in double quotes. */
function unescaped(byte: number): number {
  switch (byte) {
    case 110:
      return 10;
    case 114:
      return 13;
    case 116:
      return 9;
    case 98:
      return 8;
    case 97:
      return 7;
    default:
      return byte;
  }
}
