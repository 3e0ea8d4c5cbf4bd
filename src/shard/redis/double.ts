import { type Bytes, fromUtf8 } from '../../base/bytes.ts';
import { parseLongDouble } from './long-double.ts';
import type { TaggedReply } from './reply.ts';

// The C `double` of Redis, for scores: a JavaScript number, read as `strtod` reads and written as `%.17g` writes.

const DECIMAL = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/;
const HEXADECIMAL = /^[+-]?0[xX]/;
const INFINITE = /^[+-]?inf(inity)?$/i;

/** A number as C reads it from a whole text, or an infinity; minus zero counts as zero. Undefined for NaN and what is no number. */
function readDouble(text: string): number | undefined {
  if (INFINITE.test(text)) return text.startsWith('-') ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  if (DECIMAL.test(text)) return Number(text) + 0;
  if (!HEXADECIMAL.test(text)) return undefined;
  const parsed = parseLongDouble(Uint8Array.from(text, (character) => character.charCodeAt(0)));
  if (parsed === undefined || typeof parsed === 'string') return undefined;
  return Number(parsed.mantissa) * 2 ** parsed.exponent + 0;
}

/** A score: undefined for what is none, and for numbers too large or too small to be told from infinity or zero. */
export function parseScore(bytes: Bytes): number | undefined {
  const text = fromUtf8(bytes);
  const value = readDouble(text);
  if (value === undefined || (!Number.isFinite(value) && !INFINITE.test(text))) return undefined;
  return value === 0 && /[1-9]/.test(text.replace(/[eEpP].*$/, '')) ? undefined : value;
}

/** The end of a range of scores, without its parenthesis: leniently, as C's `strtod` reads a C string, nothing being zero. */
export function parseScoreBound(bytes: Bytes): number | undefined {
  const end = bytes.indexOf(0);
  const text = fromUtf8(end < 0 ? bytes : bytes.subarray(0, end));
  return text === '' ? 0 : readDouble(text.replace(/^[ \t\n\v\f\r]+/, ''));
}

const DIGITS = 17;

/** `%.17g`. */
export function doubleText(value: number): string {
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '-inf';
  if (value === 0) return Object.is(value, -0) ? '-0' : '0';
  const sign = value < 0 ? '-' : '';
  const [digits, exponent] = significantDigits(Math.abs(value));
  const shown = digits.replace(/0+$/, '');
  if (exponent < -4 || exponent >= DIGITS) {
    const power = `${exponent < 0 ? '-' : '+'}${String(Math.abs(exponent)).padStart(2, '0')}`;
    return `${sign}${shown[0]}${shown.length > 1 ? `.${shown.slice(1)}` : ''}e${power}`;
  }
  if (exponent < 0) return `${sign}0.${'0'.repeat(-exponent - 1)}${shown}`;
  const whole = shown.padEnd(exponent + 1, '0');
  return sign + (whole.length > exponent + 1 ? `${whole.slice(0, exponent + 1)}.${whole.slice(exponent + 1)}` : whole);
}

/** 17 digits and the power of ten of the first; halves go to the even digit, where JavaScript takes the greater. */
function significantDigits(value: number): [string, number] {
  const [mantissa, power] = value.toExponential(DIGITS - 1).split('e') as [string, string];
  const digits = mantissa.replace('.', '');
  const exact = value.toExponential(60).split('e')[0]!.replace('.', '');
  if (/^50*$/.test(exact.slice(DIGITS)) && Number(exact[DIGITS - 1]) % 2 === 0)
    return [exact.slice(0, DIGITS), Number(value.toExponential(60).split('e')[1])];
  return [digits, Number(power)];
}

export function doubleReply(value: number): TaggedReply {
  return { kind: 'double', text: doubleText(value) };
}
