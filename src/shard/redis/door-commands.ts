import { sha256 } from '@noble/hashes/sha2.js';
import { type Bytes, fromUtf8, toHex, utf8 } from '../../base/bytes.ts';
import type { CommandArgs } from './command-table.ts';
import { COLLECTION_READS, COLLECTION_WRITES } from './door-collections.ts';
import { ABSENT, CONDITION_FAILED, CREATED, DELETED, REPLACED } from './door-replies.ts';
import { WRONG_TYPE } from './error-replies.ts';
import { type ReadHandler, unchanged, type WriteHandler } from './handler.ts';
import { isString, type RedisValue } from './value.ts';
import { PRINT_READS } from './watched-keys.ts';

// Commands on strings that Redis does not have and the HTTP door needs: conditions on entity tags, checked and acted upon in one step, and
// a value together with its time to live. They are in no command table, so no RESP client can call them.

/** A condition of a request, in the terms of RFC 9110: `*`, or entity tags; absent: holds always. */
export interface TagCondition {
  readonly ifMatch?: '*' | readonly string[];
  readonly ifNoneMatch?: '*' | readonly string[];
}

const GET = utf8('\0get');
const PUT = utf8('\0put');
const DELETE = utf8('\0delete');
const EMPTY = new Uint8Array(0);

/** Answers `[value, milliseconds to live or -1]`, null when there is none, WRONGTYPE. */
export function getQuery(key: Bytes): CommandArgs {
  return [GET, key];
}

/** Stores a string, whatever the key held. Answers CREATED, REPLACED or CONDITION_FAILED. */
export function putCommand(
  key: Bytes,
  value: Bytes,
  { ttlMs, condition }: { readonly ttlMs: number | undefined; readonly condition: TagCondition },
): CommandArgs {
  return [PUT, key, value, ttlMs === undefined ? EMPTY : utf8(String(ttlMs)), written(condition.ifMatch), written(condition.ifNoneMatch)];
}

/** Removes a key, whatever it holds. Answers DELETED, ABSENT or CONDITION_FAILED. */
export function deleteCommand(key: Bytes, condition: TagCondition): CommandArgs {
  return [DELETE, key, written(condition.ifMatch), written(condition.ifNoneMatch)];
}

/** The entity tag of a string: the first half of its SHA-256, in hex. */
export function entityTag(value: Bytes): string {
  return toHex(sha256(value).subarray(0, 16));
}

/** Nothing; `*`; or `=` and the tags, between line feeds, which no tag has. */
function written(tags: '*' | readonly string[] | undefined): Bytes {
  return tags === undefined ? EMPTY : tags === '*' ? utf8('*') : utf8(`=${tags.join('\n')}`);
}

/** A hash, or anything else than a string, has no tag: it matches `*` only. */
function matches(tags: Bytes, value: RedisValue | undefined): boolean {
  if (value === undefined) return false;
  const text = fromUtf8(tags);
  return text === '*' || (isString(value) && text.slice(1).split('\n').includes(entityTag(value)));
}

function holds(ifMatch: Bytes, ifNoneMatch: Bytes, value: RedisValue | undefined): boolean {
  return (ifMatch.length === 0 || matches(ifMatch, value)) && (ifNoneMatch.length === 0 || !matches(ifNoneMatch, value));
}

const get: ReadHandler = (ctx, value) => {
  if (value === undefined) return null;
  if (!isString(value)) return WRONG_TYPE;
  return [value, ctx.expireAtMs === undefined ? -1 : Math.max(1, ctx.expireAtMs - ctx.nowMs)];
};

const put: WriteHandler = (ctx, value, args) => {
  if (!holds(args[4]!, args[5]!, value)) return unchanged(value, CONDITION_FAILED);
  if (value !== undefined && !isString(value)) ctx.cells.clear();
  const ttl = args[3]!;
  const expireAtMs = ttl.length === 0 ? null : ctx.nowMs + Number(fromUtf8(ttl));
  return { reply: value === undefined ? CREATED : REPLACED, value: args[2], expireAtMs };
};

const remove: WriteHandler = (_ctx, value, args) => {
  if (!holds(args[2]!, args[3]!, value)) return unchanged(value, CONDITION_FAILED);
  return { reply: value === undefined ? ABSENT : DELETED, value: undefined };
};

const WRITES: ReadonlyMap<string, WriteHandler> = new Map([['\0put', put], ['\0delete', remove], ...COLLECTION_WRITES]);
const READS: ReadonlyMap<string, ReadHandler> = new Map([['\0get', get], ...COLLECTION_READS, ...PRINT_READS]);

/** The handler of a command of this kind, whose names begin with a zero byte; undefined for all others. */
export function doorWrite(args: CommandArgs): WriteHandler | undefined {
  return args[0]![0] === 0 ? WRITES.get(fromUtf8(args[0]!)) : undefined;
}

export function doorRead(args: CommandArgs): ReadHandler | undefined {
  return args[0]![0] === 0 ? READS.get(fromUtf8(args[0]!)) : undefined;
}
