import type { Bytes } from '../../base/bytes.ts';
import { WOULD_BE_NO_NUMBER, WOULD_OVERFLOW } from './counter-commands.ts';
import { NOT_A_FLOAT, NOT_AN_INTEGER, WRONG_TYPE, wrongArityError } from './error-replies.ts';
import { type Handlers, type ReadHandler, unchanged, type WriteHandler } from './handler.ts';
import { allFields, cellOf, HashEdit } from './hash-fields.ts';
import { hRandField } from './hash-random.ts';
import { hScan } from './hash-scan.ts';
import { addIntegers, integerBytes, parseInteger } from './integer.ts';
import { addLongDoubles, type LongDouble, longDoubleBytes, parseLongDouble } from './long-double.ts';
import { errorReply, OK, type Reply } from './reply.ts';
import { isNot } from './value.ts';

const HASH_VALUE_NOT_INTEGER = errorReply('ERR hash value is not an integer');
const HASH_VALUE_NOT_FLOAT = errorReply('ERR hash value is not a float');
const AMOUNT_IS_NO_NUMBER = errorReply('ERR value is NaN or Infinity');

const FLOAT_ZERO: LongDouble = { mantissa: 0n, exponent: 0 };

const hGet: ReadHandler = (ctx, value, args) =>
  value === undefined ? null : isNot(value, 'hash') ? WRONG_TYPE : (ctx.cells.get(cellOf(args[2]!)) ?? null);

const hExists: ReadHandler = (ctx, value, args) =>
  value === undefined ? 0 : isNot(value, 'hash') ? WRONG_TYPE : ctx.cells.has(cellOf(args[2]!)) ? 1 : 0;

const hStrLen: ReadHandler = (ctx, value, args) =>
  value === undefined ? 0 : isNot(value, 'hash') ? WRONG_TYPE : (ctx.cells.get(cellOf(args[2]!))?.length ?? 0);

const hLen: ReadHandler = (_ctx, value) => (value === undefined ? 0 : isNot(value, 'hash') ? WRONG_TYPE : value.fieldCount);

const hMGet: ReadHandler = (ctx, value, args) => {
  if (isNot(value, 'hash')) return WRONG_TYPE;
  return args.slice(2).map((field) => (value === undefined ? null : (ctx.cells.get(cellOf(field)) ?? null)));
};

const hGetAll: ReadHandler = (ctx, value) => {
  if (isNot(value, 'hash')) return WRONG_TYPE;
  return { kind: 'map', pairs: value === undefined ? [] : allFields(ctx.cells).map((one): [Reply, Reply] => [one.field, one.value]) };
};

const hKeys: ReadHandler = (ctx, value) =>
  value === undefined ? [] : isNot(value, 'hash') ? WRONG_TYPE : allFields(ctx.cells).map(({ field }) => field);

const hVals: ReadHandler = (ctx, value) =>
  value === undefined ? [] : isNot(value, 'hash') ? WRONG_TYPE : allFields(ctx.cells).map((one) => one.value);

/** HSET answers the new fields, HMSET OK. */
function setFields(command: 'hset' | 'hmset'): WriteHandler {
  const arityError = wrongArityError(command);
  return (ctx, value, args) => {
    if (args.length % 2 !== 0) return unchanged(value, arityError);
    if (isNot(value, 'hash')) return unchanged(value, WRONG_TYPE);
    const edit = new HashEdit(ctx, value);
    let added = 0;
    for (let i = 2; i < args.length; i += 2) if (edit.set(args[i]!, args[i + 1]!)) added++;
    return edit.result(command === 'hset' ? added : OK);
  };
}

const hSetNx: WriteHandler = (ctx, value, args) => {
  if (isNot(value, 'hash')) return unchanged(value, WRONG_TYPE);
  const edit = new HashEdit(ctx, value);
  if (edit.has(args[2]!)) return unchanged(value, 0);
  edit.set(args[2]!, args[3]!);
  return edit.result(1);
};

const hDel: WriteHandler = (ctx, value, args) => {
  if (value === undefined) return unchanged(value, 0);
  if (isNot(value, 'hash')) return unchanged(value, WRONG_TYPE);
  const edit = new HashEdit(ctx, value);
  let removed = 0;
  for (let i = 2; i < args.length; i++) if (edit.delete(args[i]!)) removed++;
  return edit.result(removed);
};

const hIncrBy: WriteHandler = (ctx, value, args) => {
  const amount = parseInteger(args[3]!);
  if (amount === undefined) return unchanged(value, NOT_AN_INTEGER);
  if (isNot(value, 'hash')) return unchanged(value, WRONG_TYPE);
  const edit = new HashEdit(ctx, value);
  const before = edit.get(args[2]!);
  const current = before === undefined ? 0 : parseInteger(before);
  if (current === undefined) return unchanged(value, HASH_VALUE_NOT_INTEGER);
  const sum = addIntegers(current, amount);
  if (sum === undefined) return unchanged(value, WOULD_OVERFLOW);
  edit.set(args[2]!, integerBytes(sum));
  return edit.result(sum);
};

const hIncrByFloat: WriteHandler = (ctx, value, args) => {
  const amount = parseLongDouble(args[3]!);
  if (amount === undefined) return unchanged(value, NOT_A_FLOAT);
  if (typeof amount === 'string') return unchanged(value, AMOUNT_IS_NO_NUMBER);
  if (isNot(value, 'hash')) return unchanged(value, WRONG_TYPE);
  const edit = new HashEdit(ctx, value);
  const before: Bytes | undefined = edit.get(args[2]!);
  const current = before === undefined ? FLOAT_ZERO : parseLongDouble(before);
  if (current === undefined) return unchanged(value, HASH_VALUE_NOT_FLOAT);
  const sum = addLongDoubles(current, amount);
  if (sum === undefined || typeof sum === 'string') return unchanged(value, WOULD_BE_NO_NUMBER);
  const bytes = longDoubleBytes(sum);
  edit.set(args[2]!, bytes);
  return edit.result(bytes);
};

export const HASH_READS: Handlers<ReadHandler> = {
  hget: hGet,
  hexists: hExists,
  hstrlen: hStrLen,
  hlen: hLen,
  hmget: hMGet,
  hgetall: hGetAll,
  hkeys: hKeys,
  hvals: hVals,
  hrandfield: hRandField,
  hscan: hScan,
};

export const HASH_WRITES: Handlers<WriteHandler> = {
  hset: setFields('hset'),
  hmset: setFields('hmset'),
  hsetnx: hSetNx,
  hdel: hDel,
  hincrby: hIncrBy,
  hincrbyfloat: hIncrByFloat,
};
