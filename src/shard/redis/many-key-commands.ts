import type { Bytes } from '../../base/bytes.ts';
import type { OpenRecord } from '../value-module.ts';
import { refusalOfDatabase } from './database-index.ts';
import { NO_SUCH_KEY, SYNTAX_ERROR } from './error-replies.ts';
import type { Handlers, ReadManyHandler, WriteHandler, WriteManyHandler } from './handler.ts';
import { errorReply, OK } from './reply.ts';
import { isString, type RedisValue } from './value.ts';
import { isWord } from './word.ts';

// Commands over several keys of one shard, all or nothing. Those that the door may also split by slot have a one-key form elsewhere.

type RedisRecord = OpenRecord<RedisValue>;

const SAME_OBJECT = errorReply('ERR source and destination objects are the same');

/** Counts a key named twice once: the first time removes it. */
const del: WriteManyHandler = (ctx, args) => {
  const removed = new Set<RedisRecord>();
  for (let i = 1; i < args.length; i++) {
    const record = ctx.open(args[i]!);
    if (record.value === undefined || removed.has(record)) continue;
    removed.add(record);
    record.set(undefined);
  }
  return removed.size;
};

const exists: ReadManyHandler = (ctx, args) => {
  let count = 0;
  for (let i = 1; i < args.length; i++) if (ctx.open(args[i]!).value !== undefined) count++;
  return count;
};

/** What is not a string reads as nil. */
const mGet: ReadManyHandler = (ctx, args) => args.slice(1).map((key) => asStringOrNil(ctx.open(key).value));

const mSet: WriteManyHandler = (ctx, args) => {
  for (let i = 1; i < args.length; i += 2) overwrite(ctx.open(args[i]!), args[i + 1]!);
  return OK;
};

const mSetNx: WriteManyHandler = (ctx, args) => {
  for (let i = 1; i < args.length; i += 2) if (ctx.open(args[i]!).value !== undefined) return 0;
  mSet(ctx, args, { maxStringBytes: 0 });
  return 1;
};

function overwrite(record: RedisRecord, bytes: Bytes): void {
  if (record.value !== undefined && !isString(record.value)) record.cells.clear();
  record.set(bytes, { expireAtMs: null });
}

/** MGET and MSET of one key, however often it is named. */
export function asStringOrNil(value: RedisValue | undefined): Bytes | null {
  return isString(value) ? value : null;
}

export const mSetOne: WriteHandler = (ctx, value, args) => {
  if (value !== undefined && !isString(value)) ctx.cells.clear();
  return { reply: OK, value: args.at(-1), expireAtMs: null };
};

export const mSetNxOne: WriteHandler = (_ctx, value, args) =>
  value === undefined ? { reply: 1, value: args.at(-1), expireAtMs: null } : { reply: 0, value };

const rename: WriteManyHandler = (ctx, args) => {
  const from = ctx.open(args[1]!);
  if (from.value === undefined) return NO_SUCH_KEY;
  const to = ctx.open(args[2]!);
  if (to !== from) move(from, to);
  return OK;
};

const renameNx: WriteManyHandler = (ctx, args) => {
  const from = ctx.open(args[1]!);
  if (from.value === undefined) return NO_SUCH_KEY;
  const to = ctx.open(args[2]!);
  if (to.value !== undefined) return 0;
  move(from, to);
  return 1;
};

function move(from: RedisRecord, to: RedisRecord): void {
  duplicate(from, to);
  from.set(undefined);
}

/** O(fields) for a hash: its cells lie under its key. */
function duplicate(from: RedisRecord, to: RedisRecord): void {
  if (to.value !== undefined && !isString(to.value)) to.cells.clear();
  if (from.value !== undefined && !isString(from.value)) for (const { cell, value } of from.cells.scan()) to.cells.set(cell, value);
  to.set(from.value, { expireAtMs: from.expireAtMs ?? null, sizeBytes: from.sizeBytes });
}

const copy: WriteManyHandler = (ctx, args) => {
  let isReplace = false;
  for (let i = 3; i < args.length; i++) {
    if (isWord(args[i]!, 'REPLACE')) isReplace = true;
    else if (isWord(args[i]!, 'DB') && i + 1 < args.length) {
      const refusal = refusalOfDatabase(args[++i]!);
      if (refusal !== undefined) return refusal;
    } else return SYNTAX_ERROR;
  }
  const from = ctx.open(args[1]!);
  const to = ctx.open(args[2]!);
  if (to === from) return SAME_OBJECT;
  if (from.value === undefined || (to.value !== undefined && !isReplace)) return 0;
  duplicate(from, to);
  return 1;
};

export const KEY_MANY_READS: Handlers<ReadManyHandler> = { exists, touch: exists, mget: mGet };
export const KEY_MANY_WRITES: Handlers<WriteManyHandler> = {
  del,
  unlink: del,
  mset: mSet,
  msetnx: mSetNx,
  rename,
  renamenx: renameNx,
  copy,
};
