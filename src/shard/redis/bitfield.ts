import type { Bytes } from '../../base/bytes.ts';
import type { CommandArgs } from './command-table.ts';
import { NOT_AN_INTEGER, SYNTAX_ERROR, WRONG_TYPE } from './error-replies.ts';
import { type ReadHandler, type RedisSettings, unchanged, type WriteHandler } from './handler.ts';
import { parseInteger } from './integer.ts';
import { errorReply, type Reply, type TaggedReply } from './reply.ts';
import { isString } from './value.ts';
import { isWord } from './word.ts';

// BITFIELD: integers of 1 to 64 bits at any bit of a string. All arithmetic is in bigints: exact, and brought back into range by rule.

type Overflow = 'wrap' | 'sat' | 'fail';

interface Operation {
  readonly kind: 'get' | 'set' | 'incrby';
  readonly isSigned: boolean;
  readonly bits: number;
  readonly offset: number;
  readonly operand: bigint;
  readonly overflow: Overflow;
}

const BAD_TYPE = errorReply('ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.');
const BAD_OFFSET = errorReply('ERR bit offset is not an integer or out of range');
const BAD_OVERFLOW = errorReply('ERR Invalid OVERFLOW type specified');
const READS_ONLY = errorReply('ERR BITFIELD_RO only supports the GET subcommand');

const EMPTY: Bytes = new Uint8Array(0);

/** `BITFIELD key [GET type offset | [OVERFLOW WRAP | SAT | FAIL] SET type offset value | INCRBY type offset amount]…`. */
export const bitField: WriteHandler = (_ctx, value, args, settings) => {
  const operations = parseOperations(args, settings);
  if (!Array.isArray(operations)) return unchanged(value, operations as TaggedReply);
  if (value !== undefined && !isString(value)) return unchanged(value, WRONG_TYPE);
  const end = writtenEnd(operations);
  if (end === 0) return unchanged(value, readAll(value ?? EMPTY, operations));
  // Room is made for all writes first, and kept even when they all fail: Redis does so.
  const bytes = new Uint8Array(Math.max(value?.length ?? 0, end));
  if (value !== undefined) bytes.set(value);
  return { reply: operations.map((operation) => carryOut(bytes, operation)), value: bytes };
};

export const bitFieldRo: ReadHandler = (_ctx, value, args, settings) => {
  const operations = parseOperations(args, settings);
  if (!Array.isArray(operations)) return operations as TaggedReply;
  if (writtenEnd(operations) > 0) return READS_ONLY;
  if (value !== undefined && !isString(value)) return WRONG_TYPE;
  return readAll(value ?? EMPTY, operations);
};

/** One more than the last byte that the operations write; 0 when they only read. */
function writtenEnd(operations: readonly Operation[]): number {
  let end = 0;
  for (const { kind, offset, bits } of operations) if (kind !== 'get') end = Math.max(end, Math.floor((offset + bits - 1) / 8) + 1);
  return end;
}

function readAll(bytes: Bytes, operations: readonly Operation[]): Reply {
  return operations.map((operation) => integerReply(readField(bytes, operation)));
}

function integerReply(value: bigint): Reply {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

function carryOut(bytes: Uint8Array, operation: Operation): Reply {
  const before = readField(bytes, operation);
  if (operation.kind === 'get') return integerReply(before);
  const wanted = operation.kind === 'set' ? operation.operand : before + operation.operand;
  const after = bringIntoRange(operation, wanted);
  if (after === undefined) return null;
  writeField(bytes, operation, after);
  return integerReply(operation.kind === 'set' ? before : after);
}

/** Undefined: out of range, and OVERFLOW FAIL. */
function bringIntoRange({ isSigned, bits, overflow }: Operation, value: bigint): bigint | undefined {
  const width = BigInt(bits);
  const max = isSigned ? (1n << (width - 1n)) - 1n : (1n << width) - 1n;
  const min = isSigned ? -max - 1n : 0n;
  if (value >= min && value <= max) return value;
  if (overflow === 'fail') return undefined;
  if (overflow === 'sat') return value > max ? max : min;
  return isSigned ? BigInt.asIntN(bits, value) : BigInt.asUintN(bits, value);
}

function readField(bytes: Bytes, { isSigned, bits, offset }: Operation): bigint {
  const firstByte = Math.floor(offset / 8);
  const lastByte = Math.floor((offset + bits - 1) / 8);
  let value = 0n;
  for (let i = firstByte; i <= lastByte; i++) value = (value << 8n) | BigInt(bytes[i] ?? 0);
  value >>= BigInt(8 * (lastByte + 1) - (offset + bits));
  return isSigned ? BigInt.asIntN(bits, value) : BigInt.asUintN(bits, value);
}

function writeField(bytes: Uint8Array, { bits, offset }: Operation, value: bigint): void {
  const firstByte = Math.floor(offset / 8);
  const lastByte = Math.floor((offset + bits - 1) / 8);
  const behind = BigInt(8 * (lastByte + 1) - (offset + bits));
  const mask = ((1n << BigInt(bits)) - 1n) << behind;
  let whole = 0n;
  for (let i = firstByte; i <= lastByte; i++) whole = (whole << 8n) | BigInt(bytes[i]!);
  whole = (whole & ~mask) | ((value << behind) & mask);
  for (let i = lastByte; i >= firstByte; i--) {
    bytes[i] = Number(whole & 0xffn);
    whole >>= 8n;
  }
}

function parseOperations(args: CommandArgs, settings: RedisSettings): Operation[] | TaggedReply {
  const operations: Operation[] = [];
  let overflow: Overflow = 'wrap';
  for (let i = 2; i < args.length; ) {
    const left = args.length - i - 1;
    const word = args[i]!;
    if (isWord(word, 'OVERFLOW') && left >= 1) {
      const parsed = parseOverflow(args[i + 1]!);
      if (parsed === undefined) return BAD_OVERFLOW;
      overflow = parsed;
      i += 2;
      continue;
    }
    const kind = left >= 2 && isWord(word, 'GET') ? 'get' : left >= 3 ? parseWriteKind(word) : undefined;
    if (kind === undefined) return SYNTAX_ERROR;
    const type = parseType(args[i + 1]!);
    if (type === undefined) return BAD_TYPE;
    const offset = parseFieldOffset(args[i + 2]!, type.bits, settings);
    if (offset === undefined) return BAD_OFFSET;
    const operand = kind === 'get' ? 0 : parseInteger(args[i + 3]!);
    if (operand === undefined) return NOT_AN_INTEGER;
    // Redis takes what SET puts in an unsigned field as a u64, so that -1 is above every range and not below.
    const taken = kind === 'set' && !type.isSigned ? BigInt.asUintN(64, BigInt(operand)) : BigInt(operand);
    operations.push({ kind, ...type, offset, operand: taken, overflow });
    i += kind === 'get' ? 3 : 4;
  }
  return operations;
}

function parseWriteKind(word: Bytes): 'set' | 'incrby' | undefined {
  return isWord(word, 'SET') ? 'set' : isWord(word, 'INCRBY') ? 'incrby' : undefined;
}

function parseOverflow(word: Bytes): Overflow | undefined {
  return isWord(word, 'WRAP') ? 'wrap' : isWord(word, 'SAT') ? 'sat' : isWord(word, 'FAIL') ? 'fail' : undefined;
}

const LETTER_I = 0x69;
const LETTER_U = 0x75;
const HASH = 0x23;

/** `i1` … `i64`, `u1` … `u63`. */
function parseType(text: Bytes): { readonly isSigned: boolean; readonly bits: number } | undefined {
  const isSigned = text[0] === LETTER_I;
  if (!isSigned && text[0] !== LETTER_U) return undefined;
  const end = text.indexOf(0);
  const bits = parseInteger(text.subarray(1, end < 0 ? text.length : end));
  return typeof bits === 'number' && bits >= 1 && bits <= (isSigned ? 64 : 63) ? { isSigned, bits } : undefined;
}

/** In bits, or `#n` in fields of this width; a product beyond 64 bits wraps around before it is judged, as in Redis. */
function parseFieldOffset(text: Bytes, bits: number, settings: RedisSettings): number | undefined {
  const isCounted = text[0] === HASH;
  const parsed = parseInteger(isCounted ? text.subarray(1) : text);
  if (parsed === undefined) return undefined;
  const offset = isCounted ? Number(BigInt.asIntN(64, BigInt(parsed) * BigInt(bits))) : Number(parsed);
  return offset >= 0 && offset < settings.maxStringBytes * 8 ? offset : undefined;
}
