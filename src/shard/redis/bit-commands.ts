import type { Bytes } from '../../base/bytes.ts';
import { bitField, bitFieldRo } from './bitfield.ts';
import { NOT_AN_INTEGER, SYNTAX_ERROR, WRONG_TYPE } from './error-replies.ts';
import { type Handlers, type ReadHandler, type RedisSettings, unchanged, type WriteHandler, type WriteManyHandler } from './handler.ts';
import { type Int64, parseInteger } from './integer.ts';
import { errorReply } from './reply.ts';
import { grown } from './string-commands.ts';
import { isString } from './value.ts';
import { isWord } from './word.ts';

// Strings as rows of bits, bit 0 the most significant of the first byte; what lies behind the end reads as zeros.

const BAD_OFFSET = errorReply('ERR bit offset is not an integer or out of range');
const BAD_BIT = errorReply('ERR bit is not an integer or out of range');
const BIT_IS_0_OR_1 = errorReply('ERR The bit argument must be 1 or 0.');
const ONE_SOURCE = errorReply('ERR BITOP NOT must be called with a single source key.');

const EMPTY: Bytes = new Uint8Array(0);

/** A bit's place, or undefined when it is none that a string may have. */
function parseOffset(text: Bytes, settings: RedisSettings): number | undefined {
  const offset = parseInteger(text);
  if (offset === undefined || offset < 0 || Number(offset) >= settings.maxStringBytes * 8) return undefined;
  return Number(offset);
}

const getBit: ReadHandler = (_ctx, value, args, settings) => {
  const offset = parseOffset(args[2]!, settings);
  if (offset === undefined) return BAD_OFFSET;
  if (value === undefined) return 0;
  return isString(value) ? bitAt(value, offset) : WRONG_TYPE;
};

function bitAt(bytes: Bytes, offset: number): number {
  return ((bytes[Math.floor(offset / 8)] ?? 0) >> (7 - (offset % 8))) & 1;
}

const setBit: WriteHandler = (_ctx, value, args, settings) => {
  const offset = parseOffset(args[2]!, settings);
  if (offset === undefined) return unchanged(value, BAD_OFFSET);
  const bit = parseInteger(args[3]!);
  if (bit !== 0 && bit !== 1) return unchanged(value, BAD_BIT);
  if (value !== undefined && !isString(value)) return unchanged(value, WRONG_TYPE);
  const at = Math.floor(offset / 8);
  const bytes = grown(value ?? EMPTY, at + 1);
  const mask = 0x80 >> (offset % 8);
  const before = (bytes[at]! & mask) === 0 ? 0 : 1;
  bytes[at] = bit === 1 ? bytes[at]! | mask : bytes[at]! & ~mask;
  return { reply: before, value: bytes };
};

const POP_COUNTS = Uint8Array.from({ length: 256 }, (_, byte) => {
  let count = 0;
  for (let rest = byte; rest > 0; rest >>= 1) count += rest & 1;
  return count;
});

/** `BITCOUNT key [start end [BYTE | BIT]]`. An absent key is answered before its range is looked at. */
const bitCount: ReadHandler = (_ctx, value, args) => {
  if (value === undefined) return 0;
  if (!isString(value)) return WRONG_TYPE;
  if (args.length === 2) return countBits(value, 0, value.length * 8 - 1);
  if (args.length !== 4 && args.length !== 5) return SYNTAX_ERROR;
  const first = parseInteger(args[2]!);
  const last = parseInteger(args[3]!);
  if (first === undefined || last === undefined) return NOT_AN_INTEGER;
  if (first < 0 && last < 0 && first > last) return 0;
  const isBits = args.length === 5 && isWord(args[4]!, 'BIT');
  if (args.length === 5 && !isBits && !isWord(args[4]!, 'BYTE')) return SYNTAX_ERROR;
  const range = resolveRange(first, last, isBits ? value.length * 8 : value.length);
  return isBits ? countBits(value, range.from, range.to) : countBits(value, range.from * 8, range.to * 8 + 7);
};

/** Indexes from the end made plain; `from` may end up behind `to`, which is then an empty range. */
function resolveRange(first: Int64, last: Int64, length: number): { readonly from: number; readonly to: number } {
  const from = first < 0 ? Math.max(0, length + Number(first)) : Number(first);
  const to = last < 0 ? Math.max(0, length + Number(last)) : Number(last);
  return { from, to: Math.min(to, length - 1) };
}

/** The set bits from `from` to `to`, both included. */
function countBits(bytes: Bytes, from: number, to: number): number {
  if (from > to) return 0;
  const firstByte = Math.floor(from / 8);
  const lastByte = Math.floor(to / 8);
  let count = 0;
  for (let i = firstByte; i <= lastByte; i++) {
    let byte = bytes[i]!;
    if (i === firstByte) byte &= 0xff >> (from % 8);
    if (i === lastByte) byte &= 0xff << (7 - (to % 8));
    count += POP_COUNTS[byte]!;
  }
  return count;
}

/** `BITPOS key bit [start [end [BYTE | BIT]]]`. */
const bitPos: ReadHandler = (_ctx, value, args) => {
  const wanted = parseInteger(args[2]!);
  if (wanted === undefined) return NOT_AN_INTEGER;
  if (wanted !== 0 && wanted !== 1) return BIT_IS_0_OR_1;
  if (value === undefined) return wanted === 1 ? -1 : 0;
  if (!isString(value)) return WRONG_TYPE;
  if (args.length > 6) return SYNTAX_ERROR;
  const first = args.length > 3 ? parseInteger(args[3]!) : 0;
  if (first === undefined) return NOT_AN_INTEGER;
  const isBits = args.length === 6 && isWord(args[5]!, 'BIT');
  if (args.length === 6 && !isBits && !isWord(args[5]!, 'BYTE')) return SYNTAX_ERROR;
  const last = args.length > 4 ? parseInteger(args[4]!) : -1;
  if (last === undefined) return NOT_AN_INTEGER;
  const range = resolveRange(first, last, isBits ? value.length * 8 : value.length);
  if (range.from > range.to) return -1;
  const from = isBits ? range.from : range.from * 8;
  const to = isBits ? range.to : range.to * 8 + 7;
  const found = findBit(value, wanted, from, to);
  if (found >= 0) return found;
  // Without an end, the zeros behind the string count.
  return wanted === 0 && args.length <= 4 ? to + 1 : -1;
};

function findBit(bytes: Bytes, wanted: number, from: number, to: number): number {
  const none = wanted === 1 ? 0x00 : 0xff;
  for (let at = from; at <= to; ) {
    if (at % 8 === 0 && bytes[at / 8] === none) {
      at += 8;
      continue;
    }
    if (bitAt(bytes, at) === wanted) return at;
    at++;
  }
  return -1;
}

/** `BITOP AND | OR | XOR | NOT destination key…`; the shorter ones are filled up with zeros, nothing at all removes the destination. */
const bitOp: WriteManyHandler = (ctx, args) => {
  const combine = OPERATIONS.find(([name]) => isWord(args[1]!, name))?.[1];
  if (combine === undefined) return SYNTAX_ERROR;
  if (combine === not && args.length !== 4) return ONE_SOURCE;
  const sources: Bytes[] = [];
  for (let i = 3; i < args.length; i++) {
    const value = ctx.open(args[i]!).value ?? EMPTY;
    if (!isString(value)) return WRONG_TYPE;
    sources.push(value);
  }
  const length = Math.max(...sources.map((source) => source.length));
  const destination = ctx.open(args[2]!);
  if (length === 0) {
    if (destination.value !== undefined) destination.set(undefined);
    return 0;
  }
  if (destination.value !== undefined && !isString(destination.value)) destination.cells.clear();
  const result = grown(sources[0]!, length);
  if (combine === not) for (let i = 0; i < length; i++) result[i] = ~result[i]!;
  for (const source of sources.slice(1)) for (let i = 0; i < length; i++) result[i] = combine(result[i]!, source[i] ?? 0);
  destination.set(result, { expireAtMs: null });
  return length;
};

const not = (a: number): number => ~a;

const OPERATIONS: readonly (readonly [string, (a: number, b: number) => number])[] = [
  ['AND', (a, b) => a & b],
  ['OR', (a, b) => a | b],
  ['XOR', (a, b) => a ^ b],
  ['NOT', not],
];

export const BIT_READS: Handlers<ReadHandler> = { getbit: getBit, bitcount: bitCount, bitpos: bitPos, bitfield_ro: bitFieldRo };
export const BIT_WRITES: Handlers<WriteHandler> = { setbit: setBit, bitfield: bitField };
export const BIT_MANY_WRITES: Handlers<WriteManyHandler> = { bitop: bitOp };
