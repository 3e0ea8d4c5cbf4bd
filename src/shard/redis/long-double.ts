import type { Bytes } from '../../base/bytes.ts';
import { asciiBytes } from './integer.ts';

// INCRBYFLOAT and HINCRBYFLOAT count in C's `long double`, on x86 an 80-bit float with a mantissa of 64 bits, and print it with 17 decimals.
// JavaScript has no such number, so here it is in integers: exact arithmetic, rounded to 64 bits where the processor would.

/** `mantissa × 2^exponent`, the mantissa of at most 64 bits, or an infinity. Minus zero is not told from zero: Redis prints both as 0. */
export type LongDouble = { readonly mantissa: bigint; readonly exponent: number } | 'infinity' | '-infinity';

const MANTISSA_BITS = 64;
/** The exponent of the least subnormal: 2^-16445. */
const MIN_EXPONENT = -16445;
/** Values from 2^16384 on are infinite. */
const OVERFLOW_BITS = 16384;
/** Redis copies the text into a buffer of so many bytes first. */
const MAX_TEXT_BYTES = 5 * 1024;
const DECIMALS = 17;
const TEN_TO_DECIMALS = 10n ** BigInt(DECIMALS);

const DECIMAL = /^([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d+))?$/;
const HEXADECIMAL = /^([+-]?)0[xX]([0-9a-fA-F]*)(?:\.([0-9a-fA-F]*))?(?:[pP]([+-]?\d+))?$/;
const INFINITE = /^([+-]?)inf(inity)?$/i;

/**
 * Reads what C's `strtold` reads to the end: decimal or hexadecimal, with an exponent, or an infinity. Undefined for what Redis refuses:
 * anything else, NaN, and numbers too large or too small to be told from infinity or zero.
 */
export function parseLongDouble(bytes: Bytes): LongDouble | undefined {
  if (bytes.length === 0 || bytes.length >= MAX_TEXT_BYTES) return undefined;
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte);
  const infinite = INFINITE.exec(text);
  if (infinite !== null) return infinite[1] === '-' ? '-infinity' : 'infinity';
  const hexadecimal = HEXADECIMAL.exec(text);
  const match = hexadecimal ?? DECIMAL.exec(text);
  if (match === null) return undefined;
  const [, sign, whole = '', fraction = '', power = '0'] = match;
  if (whole.length + fraction.length === 0) return undefined;
  const digits = (whole + fraction).replace(/^0+/, '');
  if (digits === '') return ZERO;
  const magnitude = hexadecimal === null ? decimal(digits, fraction.length, power) : hexadecimalValue(digits, fraction.length, power);
  if (magnitude === undefined) return undefined;
  return sign === '-' ? { mantissa: -magnitude.mantissa, exponent: magnitude.exponent } : magnitude;
}

const ZERO = { mantissa: 0n, exponent: 0 } as const;

type Finite = { readonly mantissa: bigint; readonly exponent: number };

/** `digits × 10^(power - decimals)`, rounded. */
function decimal(digits: string, decimals: number, power: string): Finite | undefined {
  const exponent = clampPower(power) - decimals;
  // Far out of range either way: said before any large power is computed.
  if (digits.length + exponent > 5000 || digits.length + exponent < -5000) return undefined;
  const significant = digits.replace(/0+$/, '');
  const tens = exponent + (digits.length - significant.length);
  return tens >= 0
    ? asFinite(roundQuotient(BigInt(significant) * 10n ** BigInt(tens), 1n))
    : asFinite(roundQuotient(BigInt(significant), 10n ** BigInt(-tens)));
}

function hexadecimalValue(digits: string, decimals: number, power: string): Finite | undefined {
  const exponent = clampPower(power) - 4 * decimals;
  if (4 * digits.length + exponent > 17_000 || 4 * digits.length + exponent < -17_000) return undefined;
  return asFinite(round(BigInt(`0x${digits}`), exponent, false));
}

function clampPower(power: string): number {
  return Math.max(-1e9, Math.min(1e9, Number(power)));
}

/** What is left when a number that is not zero must not become infinite or zero. */
function asFinite(value: LongDouble): Finite | undefined {
  return typeof value === 'string' || value.mantissa === 0n ? undefined : value;
}

/** The sum, rounded once; undefined for the sum of opposite infinities, which is no number. */
export function addLongDoubles(a: LongDouble, b: LongDouble): LongDouble | undefined {
  if (typeof a === 'string' || typeof b === 'string') return typeof a !== 'string' ? b : typeof b !== 'string' || a === b ? a : undefined;
  const exponent = Math.min(a.exponent, b.exponent);
  const sum = (a.mantissa << BigInt(a.exponent - exponent)) + (b.mantissa << BigInt(b.exponent - exponent));
  const magnitude = round(sum < 0n ? -sum : sum, exponent, false);
  if (sum >= 0n) return magnitude;
  return typeof magnitude === 'string' ? '-infinity' : { mantissa: -magnitude.mantissa, exponent: magnitude.exponent };
}

/** As Redis stores and answers it: at most 17 decimals, no closing zeros, no exponent. */
export function longDoubleBytes(value: Finite): Bytes {
  const isNegative = value.mantissa < 0n;
  const magnitude = isNegative ? -value.mantissa : value.mantissa;
  const scaled = shiftRounded(magnitude * TEN_TO_DECIMALS, value.exponent);
  const digits = String(scaled).padStart(DECIMALS + 1, '0');
  const fraction = digits.slice(-DECIMALS).replace(/0+$/, '');
  const text = fraction === '' ? digits.slice(0, -DECIMALS) : `${digits.slice(0, -DECIMALS)}.${fraction}`;
  return asciiBytes(isNegative && text !== '0' ? `-${text}` : text);
}

/** `numerator ÷ denominator`, both above zero. */
function roundQuotient(numerator: bigint, denominator: bigint): LongDouble {
  const shift = Math.max(0, MANTISSA_BITS + 2 - (bitLength(numerator) - bitLength(denominator)));
  const shifted = numerator << BigInt(shift);
  const quotient = shifted / denominator;
  return round(quotient, -shift, quotient * denominator !== shifted);
}

/** The nearest long double to `magnitude × 2^exponent` (and a little more, when `isMore`), ties to the even one. */
function round(magnitude: bigint, exponent: number, isMore: boolean): LongDouble {
  if (magnitude === 0n) return ZERO;
  const drop = Math.max(bitLength(magnitude) - MANTISSA_BITS, MIN_EXPONENT - exponent);
  if (drop <= 0) return bitLength(magnitude) + exponent > OVERFLOW_BITS ? 'infinity' : { mantissa: magnitude, exponent };
  const kept = magnitude >> BigInt(drop);
  const rest = magnitude - (kept << BigInt(drop));
  const half = 1n << BigInt(drop - 1);
  const isUp = rest > half || (rest === half && (isMore || (kept & 1n) === 1n));
  const mantissa = isUp ? kept + 1n : kept;
  return bitLength(mantissa) + exponent + drop > OVERFLOW_BITS ? 'infinity' : { mantissa, exponent: exponent + drop };
}

/** `magnitude × 2^exponent` as an integer, ties to the even one. */
function shiftRounded(magnitude: bigint, exponent: number): bigint {
  if (exponent >= 0) return magnitude << BigInt(exponent);
  const drop = BigInt(-exponent);
  const kept = magnitude >> drop;
  const rest = magnitude - (kept << drop);
  const half = 1n << (drop - 1n);
  return rest > half || (rest === half && (kept & 1n) === 1n) ? kept + 1n : kept;
}

function bitLength(magnitude: bigint): number {
  if (magnitude === 0n) return 0;
  const hex = magnitude.toString(16);
  return 4 * hex.length - (Math.clz32(Number.parseInt(hex[0]!, 16)) - 28);
}
