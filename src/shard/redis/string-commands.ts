import { type Bytes, concatBytes, freshBytes } from '../../base/bytes.ts';
import { NOT_AN_INTEGER, WRONG_TYPE } from './error-replies.ts';
import { EX, type ExpiryUnit, PX, parseExpiry } from './expiry-time.ts';
import { type Handlers, type ReadHandler, unchanged, type WriteHandler } from './handler.ts';
import { parseInteger } from './integer.ts';
import { errorReply, OK, type Reply } from './reply.ts';
import { getEx, set } from './set-command.ts';
import { isString, type RedisValue } from './value.ts';

// Strings as wholes and in parts: reading, replacing, appending, overwriting.

const EMPTY: Bytes = new Uint8Array(0);
const TOO_LONG = errorReply('ERR string exceeds maximum allowed size (proto-max-bulk-len)');
const OFFSET_OUT_OF_RANGE = errorReply('ERR offset is out of range');

const get: ReadHandler = (_ctx, value) => stringReply(value);

/** The string, nil when the key is absent, or WRONGTYPE. */
export function stringReply(value: RedisValue | undefined): Reply {
  return value === undefined ? null : isString(value) ? value : WRONG_TYPE;
}

const strlen: ReadHandler = (_ctx, value) => (value === undefined ? 0 : isString(value) ? value.length : WRONG_TYPE);

const getRange: ReadHandler = (_ctx, value, args) => {
  const first = parseInteger(args[2]!);
  const last = parseInteger(args[3]!);
  if (first === undefined || last === undefined) return NOT_AN_INTEGER;
  if (value === undefined) return EMPTY;
  if (!isString(value)) return WRONG_TYPE;
  if (first < 0 && last < 0 && first > last) return EMPTY;
  const from = first < 0 ? Math.max(0, value.length + Number(first)) : Number(first);
  const to = last < 0 ? Math.max(0, value.length + Number(last)) : Math.min(Number(last), value.length - 1);
  return from > to ? EMPTY : value.subarray(from, to + 1);
};

const getDel: WriteHandler = (_ctx, value) =>
  value === undefined || isString(value) ? { reply: value ?? null, value: undefined } : unchanged(value, WRONG_TYPE);

const getSet: WriteHandler = (_ctx, value, args) =>
  value === undefined || isString(value) ? { reply: value ?? null, value: args[2], expireAtMs: null } : unchanged(value, WRONG_TYPE);

const setNx: WriteHandler = (_ctx, value, args) =>
  value === undefined ? { reply: 1, value: args[2], expireAtMs: null } : unchanged(value, 0);

/** SETEX and PSETEX. */
function setExpiring(unit: ExpiryUnit, command: string): WriteHandler {
  return (ctx, value, args) => {
    const expireAtMs = parseExpiry({ text: args[2]!, unit, nowMs: ctx.nowMs, command });
    if (typeof expireAtMs !== 'number') return unchanged(value, expireAtMs);
    if (value !== undefined && !isString(value)) ctx.cells.clear();
    return { reply: OK, value: args[3], expireAtMs };
  };
}

const append: WriteHandler = (_ctx, value, args, settings) => {
  const added = args[2]!;
  if (value === undefined) return { reply: added.length, value: added };
  if (!isString(value)) return unchanged(value, WRONG_TYPE);
  if (value.length + added.length > settings.maxStringBytes) return unchanged(value, TOO_LONG);
  const whole = concatBytes(value, added);
  return { reply: whole.length, value: whole };
};

const setRange: WriteHandler = (_ctx, value, args, settings) => {
  const offset = parseInteger(args[2]!);
  const part = args[3]!;
  if (offset === undefined) return unchanged(value, NOT_AN_INTEGER);
  if (offset < 0) return unchanged(value, OFFSET_OUT_OF_RANGE);
  if (value !== undefined && !isString(value)) return unchanged(value, WRONG_TYPE);
  if (part.length === 0) return unchanged(value, value === undefined ? 0 : value.length);
  const end = Number(offset) + part.length;
  if (end > settings.maxStringBytes) return unchanged(value, TOO_LONG);
  const whole = grown(value ?? EMPTY, end);
  whole.set(part, Number(offset));
  return { reply: whole.length, value: whole };
};

/** A copy of `bytes` of at least `length`, zeros behind. */
export function grown(bytes: Bytes, length: number): Uint8Array {
  const copy = freshBytes(Math.max(bytes.length, length));
  copy.set(bytes);
  return copy;
}

export const STRING_READS: Handlers<ReadHandler> = { get, strlen, getrange: getRange, substr: getRange };

export const STRING_WRITES: Handlers<WriteHandler> = {
  set,
  getex: getEx,
  getdel: getDel,
  getset: getSet,
  setnx: setNx,
  setex: setExpiring(EX, 'setex'),
  psetex: setExpiring(PX, 'psetex'),
  append,
  setrange: setRange,
};
