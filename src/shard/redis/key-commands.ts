import { type Bytes, fromUtf8 } from '../../base/bytes.ts';
import type { CommandArgs } from './command-table.ts';
import { NOT_AN_INTEGER, oneLine } from './error-replies.ts';
import { EX, EXAT, type ExpiryUnit, expiryMs, invalidExpireTime, PX, PXAT } from './expiry-time.ts';
import { type Handlers, type ReadHandler, unchanged, type WriteHandler } from './handler.ts';
import { asciiBytes, parseInteger } from './integer.ts';
import { errorReply, type TaggedReply } from './reply.ts';
import { type CollectionKind, isString, type RedisValue } from './value.ts';
import { isWord } from './word.ts';

// Keys of any type: is it there, of what type, when does it expire.

/** DEL and UNLINK of one key, however often it is named. */
const del: WriteHandler = (_ctx, value) => ({ reply: value === undefined ? 0 : 1, value: undefined });

/** EXISTS and TOUCH count a key as often as it is named. */
const exists: ReadHandler = (_ctx, value, args) => (value === undefined ? 0 : args.length - 1);

const TYPE_NONE: TaggedReply = { kind: 'status', text: 'none' };

const type: ReadHandler = (_ctx, value) => (value === undefined ? TYPE_NONE : { kind: 'status', text: typeName(value) });

/** The type's name as TYPE and `SCAN … TYPE` have it. */
export function typeName(value: RedisValue): 'string' | CollectionKind {
  return isString(value) ? 'string' : value.kind;
}

interface Conditions {
  isNx: boolean;
  isXx: boolean;
  isGt: boolean;
  isLt: boolean;
}

const NX_WITH_OTHERS = errorReply('ERR NX and XX, GT or LT options at the same time are not compatible');
const GT_WITH_LT = errorReply('ERR GT and LT options at the same time are not compatible');

function parseConditions(args: CommandArgs): Conditions | TaggedReply {
  const conditions: Conditions = { isNx: false, isXx: false, isGt: false, isLt: false };
  for (let i = 3; i < args.length; i++) {
    const word = args[i]!;
    if (isWord(word, 'NX')) conditions.isNx = true;
    else if (isWord(word, 'XX')) conditions.isXx = true;
    else if (isWord(word, 'GT')) conditions.isGt = true;
    else if (isWord(word, 'LT')) conditions.isLt = true;
    else return unsupportedOption(word);
  }
  if (conditions.isNx && (conditions.isXx || conditions.isGt || conditions.isLt)) return NX_WITH_OTHERS;
  return conditions.isGt && conditions.isLt ? GT_WITH_LT : conditions;
}

function unsupportedOption(word: Bytes): TaggedReply {
  const end = word.indexOf(0);
  return errorReply(oneLine(`ERR Unsupported option ${fromUtf8(end < 0 ? word : word.subarray(0, end))}`));
}

/** EXPIRE, PEXPIRE, EXPIREAT and PEXPIREAT: an expiry that is not in the future removes the key. */
function expireIn(unit: ExpiryUnit, command: string): WriteHandler {
  return (ctx, value, args) => {
    const conditions = parseConditions(args);
    if ('kind' in conditions) return unchanged(value, conditions);
    const amount = parseInteger(args[2]!);
    if (amount === undefined) return unchanged(value, NOT_AN_INTEGER);
    const expireAtMs = expiryMs(amount, unit, ctx.nowMs);
    if (expireAtMs === undefined) return unchanged(value, invalidExpireTime(command));
    if (value === undefined || !areMet(conditions, ctx.expireAtMs, expireAtMs)) return unchanged(value, 0);
    return expireAtMs <= ctx.nowMs ? { reply: 1, value: undefined } : { reply: 1, value, expireAtMs };
  };
}

/** A key that never expires counts as one that expires at the end of all times. */
function areMet(conditions: Conditions, currentMs: number | undefined, wantedMs: number): boolean {
  if (conditions.isNx && currentMs !== undefined) return false;
  if (conditions.isXx && currentMs === undefined) return false;
  if (conditions.isGt && (currentMs === undefined || wantedMs <= currentMs)) return false;
  return !(conditions.isLt && currentMs !== undefined && wantedMs >= currentMs);
}

const persist: WriteHandler = (ctx, value) =>
  value === undefined || ctx.expireAtMs === undefined ? unchanged(value, 0) : { reply: 1, value, expireAtMs: null };

const NO_KEY = -2;
const NO_EXPIRY = -1;

const ttl: ReadHandler = (ctx, value) =>
  value === undefined ? NO_KEY : ctx.expireAtMs === undefined ? NO_EXPIRY : toSeconds(Math.max(0, ctx.expireAtMs - ctx.nowMs));

const pttl: ReadHandler = (ctx, value) =>
  value === undefined ? NO_KEY : ctx.expireAtMs === undefined ? NO_EXPIRY : Math.max(0, ctx.expireAtMs - ctx.nowMs);

const expireTime: ReadHandler = (ctx, value) =>
  value === undefined ? NO_KEY : ctx.expireAtMs === undefined ? NO_EXPIRY : toSeconds(ctx.expireAtMs);

const pExpireTime: ReadHandler = (ctx, value) => (value === undefined ? NO_KEY : (ctx.expireAtMs ?? NO_EXPIRY));

/** To the nearest second, as Redis rounds. */
function toSeconds(ms: number): number {
  return Math.floor((ms + 500) / 1000);
}

const NO_FREQUENCY = errorReply(
  'ERR An LFU maxmemory policy is not selected, access frequency not tracked. ' +
    'Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.',
);

/** OBJECT ENCODING, IDLETIME, REFCOUNT and FREQ; HELP has no key and is the door's. Use is not tracked: a key never looks idle. */
const object: ReadHandler = (_ctx, value, args) => {
  if (value === undefined) return null;
  const what = args[1]!;
  if (isWord(what, 'ENCODING')) return asciiBytes(encodingOf(value));
  if (isWord(what, 'FREQ')) return NO_FREQUENCY;
  return isWord(what, 'REFCOUNT') ? 1 : 0;
};

/** The longest string that Redis keeps in one allocation with its header. */
const EMBEDDED_BYTES = 44;

/** Small, and once outgrown. */
const COLLECTION_ENCODINGS: Readonly<Record<CollectionKind, readonly [string, string]>> = {
  hash: ['listpack', 'hashtable'],
  list: ['quicklist', 'quicklist'],
  set: ['intset', 'hashtable'],
  zset: ['listpack', 'skiplist'],
};

/** How Redis lays out such a value when it is set as a whole. */
function encodingOf(value: RedisValue): string {
  if (!isString(value)) return COLLECTION_ENCODINGS[value.kind][value.isWide ? 1 : 0];
  if (parseInteger(value) !== undefined) return 'int';
  return value.length <= EMBEDDED_BYTES ? 'embstr' : 'raw';
}

export const KEY_READS: Handlers<ReadHandler> = {
  exists,
  touch: exists,
  type,
  ttl,
  pttl,
  expiretime: expireTime,
  pexpiretime: pExpireTime,
  'object|encoding': object,
  'object|idletime': object,
  'object|refcount': object,
  'object|freq': object,
};

export const KEY_WRITES: Handlers<WriteHandler> = {
  del,
  unlink: del,
  expire: expireIn(EX, 'expire'),
  pexpire: expireIn(PX, 'pexpire'),
  expireat: expireIn(EXAT, 'expireat'),
  pexpireat: expireIn(PXAT, 'pexpireat'),
  persist,
};
