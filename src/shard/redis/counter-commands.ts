import { NOT_A_FLOAT, NOT_AN_INTEGER, WRONG_TYPE } from './error-replies.ts';
import { type Handlers, type RedisResult, unchanged, type WriteHandler } from './handler.ts';
import { addIntegers, type Int64, integerBytes, negate, parseInteger } from './integer.ts';
import { addLongDoubles, type LongDouble, longDoubleBytes, parseLongDouble } from './long-double.ts';
import { errorReply } from './reply.ts';
import { isString, type RedisValue } from './value.ts';

export const WOULD_OVERFLOW = errorReply('ERR increment or decrement would overflow');
export const WOULD_BE_NO_NUMBER = errorReply('ERR increment would produce NaN or Infinity');
const DECREMENT_WOULD_OVERFLOW = errorReply('ERR decrement would overflow');

const FLOAT_ZERO: LongDouble = { mantissa: 0n, exponent: 0 };

/** Keeps the expiry, as all commands do that change a string in place. */
function incrementBy(value: RedisValue | undefined, amount: Int64): RedisResult {
  if (value !== undefined && !isString(value)) return unchanged(value, WRONG_TYPE);
  const current = value === undefined ? 0 : parseInteger(value);
  if (current === undefined) return unchanged(value, NOT_AN_INTEGER);
  const sum = addIntegers(current, amount);
  return sum === undefined ? unchanged(value, WOULD_OVERFLOW) : { reply: sum, value: integerBytes(sum) };
}

const incr: WriteHandler = (_ctx, value) => incrementBy(value, 1);
const decr: WriteHandler = (_ctx, value) => incrementBy(value, -1);

const incrBy: WriteHandler = (_ctx, value, args) => {
  const amount = parseInteger(args[2]!);
  return amount === undefined ? unchanged(value, NOT_AN_INTEGER) : incrementBy(value, amount);
};

const decrBy: WriteHandler = (_ctx, value, args) => {
  const amount = parseInteger(args[2]!);
  if (amount === undefined) return unchanged(value, NOT_AN_INTEGER);
  const negated = negate(amount);
  return negated === undefined ? unchanged(value, DECREMENT_WOULD_OVERFLOW) : incrementBy(value, negated);
};

const incrByFloat: WriteHandler = (_ctx, value, args) => {
  if (value !== undefined && !isString(value)) return unchanged(value, WRONG_TYPE);
  const current = value === undefined ? FLOAT_ZERO : parseLongDouble(value);
  const amount = parseLongDouble(args[2]!);
  if (current === undefined || amount === undefined) return unchanged(value, NOT_A_FLOAT);
  const sum = addLongDoubles(current, amount);
  if (sum === undefined || typeof sum === 'string') return unchanged(value, WOULD_BE_NO_NUMBER);
  const bytes = longDoubleBytes(sum);
  return { reply: bytes, value: bytes };
};

export const COUNTER_WRITES: Handlers<WriteHandler> = { incr, decr, incrby: incrBy, decrby: decrBy, incrbyfloat: incrByFloat };
