import type { Bytes } from '../../base/bytes.ts';
import type { ManyContext } from '../value-module.ts';
import { doubleReply, doubleText } from './double.ts';
import { OUT_OF_POSITIVE, SYNTAX_ERROR, WRONG_TYPE } from './error-replies.ts';
import { type Handlers, type ReadHandler, type RedisResult, unchanged, type WriteHandler, type WriteManyHandler } from './handler.ts';
import { scanHandler } from './hash-scan.ts';
import { asciiBytes, parseInteger } from './integer.ts';
import { type PopFromSeveral, popFromSeveral } from './pop-from-several.ts';
import { NULL_ARRAY, type Reply } from './reply.ts';
import { zAdd, zIncrBy } from './sorted-set-add.ts';
import { SORTED_SET_MANY_STORES } from './sorted-set-algebra.ts';
import { decodeScore, MEMBER, placeInOrder, type Scored, scoreOf } from './sorted-set-cells.ts';
import { SortedSetEdit } from './sorted-set-members.ts';
import { rankOf } from './sorted-set-order.ts';
import { zRandMember } from './sorted-set-random.ts';
import { rangeHandler, zRangeStore } from './sorted-set-range-commands.ts';
import { membersIn, parseRange, type RangeKind, ranksOf, WHOLE_RANGE } from './sorted-set-ranges.ts';
import { isNot, type RedisValue } from './value.ts';
import { isWord } from './word.ts';

const zCard: ReadHandler = (_ctx, value) => (value === undefined ? 0 : isNot(value, 'zset') ? WRONG_TYPE : value.memberCount);

const zScore: ReadHandler = (ctx, value, args) => {
  if (isNot(value, 'zset')) return WRONG_TYPE;
  const score = value === undefined ? undefined : scoreOf(ctx.cells, args[2]!);
  return score === undefined ? null : doubleReply(score);
};

const zMScore: ReadHandler = (ctx, value, args) => {
  if (isNot(value, 'zset')) return WRONG_TYPE;
  return args.slice(2).map((member) => {
    const score = value === undefined ? undefined : scoreOf(ctx.cells, member);
    return score === undefined ? null : doubleReply(score);
  });
};

function rank(isReverse: boolean): ReadHandler {
  return (ctx, value, args) => {
    if (value === undefined) return null;
    if (isNot(value, 'zset')) return WRONG_TYPE;
    const member = args[2]!;
    const score = scoreOf(ctx.cells, member);
    if (score === undefined) return null;
    const before = rankOf(ctx.cells, value.height, placeInOrder({ score, member }));
    return isReverse ? value.memberCount - 1 - before : before;
  };
}

/** ZCOUNT and ZLEXCOUNT. */
function countIn(by: RangeKind): ReadHandler {
  return (ctx, value, args) => {
    const range = parseRange(by, args[2]!, args[3]!);
    if ('kind' in range) return range;
    if (value === undefined) return 0;
    if (isNot(value, 'zset')) return WRONG_TYPE;
    const { from, to } = ranksOf(ctx.cells, value, range);
    return to - from;
  };
}

function result(edit: SortedSetEdit, reply: Reply): RedisResult {
  return { reply, ...edit.finish() };
}

const zRem: WriteHandler = (ctx, value, args) => {
  if (value === undefined) return unchanged(value, 0);
  if (isNot(value, 'zset')) return unchanged(value, WRONG_TYPE);
  const edit = new SortedSetEdit(ctx, value);
  let removed = 0;
  for (let i = 2; i < args.length; i++) if (edit.remove(args[i]!)) removed++;
  return result(edit, removed);
};

/** ZREMRANGEBYRANK, ZREMRANGEBYSCORE and ZREMRANGEBYLEX. */
function removeRange(by: RangeKind): WriteHandler {
  return (ctx, value, args) => {
    const range = parseRange(by, args[2]!, args[3]!);
    if ('kind' in range) return unchanged(value, range);
    if (value === undefined) return unchanged(value, 0);
    if (isNot(value, 'zset')) return unchanged(value, WRONG_TYPE);
    const removed = membersIn(ctx.cells, value, range, WHOLE_RANGE);
    if (removed.length === value.memberCount) return { reply: removed.length, value: undefined };
    const edit = new SortedSetEdit(ctx, value);
    for (const { member } of removed) edit.remove(member);
    return result(edit, removed.length);
  };
}

/** The `count` least or greatest members. */
function takeEnd(edit: SortedSetEdit, members: readonly Scored[]): readonly Scored[] {
  for (const { member } of members) edit.remove(member);
  return members;
}

function withScore({ member, score }: Scored): [Reply, Reply] {
  return [member, doubleReply(score)];
}

/** `ZPOPMIN key [count]`: without a count one member and its score, in RESP3 too not as a pair. */
function pop(isMax: boolean): WriteHandler {
  return (ctx, value, args) => {
    if (args.length > 3) return unchanged(value, SYNTAX_ERROR);
    const count = args.length === 3 ? parseInteger(args[2]!) : 1;
    if (count === undefined || count < 0) return unchanged(value, OUT_OF_POSITIVE);
    if (isNot(value, 'zset')) return unchanged(value, WRONG_TYPE);
    if (value === undefined || count === 0) return unchanged(value, []);
    const limit = Math.min(Number(count), value.memberCount);
    const ends = membersIn(ctx.cells, value, { by: 'rank', first: 0, last: limit - 1 }, { ...WHOLE_RANGE, reverse: isMax });
    const edit = new SortedSetEdit(ctx, value);
    const pairs = takeEnd(edit, ends).map(withScore);
    return result(edit, args.length === 3 ? { kind: 'pairs', pairs } : pairs[0]!);
  };
}

/** The members of the first sorted set among `keys` that is there, with its key; undefined when there is none. */
export function popFromFirstSortedSet(
  ctx: ManyContext<RedisValue>,
  keys: readonly Bytes[],
  isMax: boolean,
  count: number,
): { readonly key: Bytes; readonly pairs: readonly [Reply, Reply][] } | Reply | undefined {
  for (const key of keys) {
    const record = ctx.open(key);
    const { value } = record;
    if (value === undefined) continue;
    if (isNot(value, 'zset')) return WRONG_TYPE;
    const limit = Math.min(count, value.memberCount);
    const ends = membersIn(record.cells, value, { by: 'rank', first: 0, last: limit - 1 }, { ...WHOLE_RANGE, reverse: isMax });
    const edit = new SortedSetEdit(record, value);
    const pairs = takeEnd(edit, ends).map(withScore);
    const edited = edit.finish();
    record.set(edited.value, edited);
    return { key, pairs };
  }
  return undefined;
}

/** ZMPOP and BZMPOP: `numkeys key … MIN|MAX [COUNT n]`. */
export function zMPopFrom(args: PopFromSeveral): WriteManyHandler {
  return popFromSeveral(args, {
    endOf: (word) => (isWord(word, 'MAX') ? true : isWord(word, 'MIN') ? false : undefined),
    pop: (ctx, keys, isMax, count) => {
      const popped = popFromFirstSortedSet(ctx, keys, isMax, count);
      if (popped === undefined) return NULL_ARRAY;
      return isPopped(popped) ? [popped.key, popped.pairs] : popped;
    },
  });
}

export function isPopped(
  popped: ReturnType<typeof popFromFirstSortedSet>,
): popped is { readonly key: Bytes; readonly pairs: readonly [Reply, Reply][] } {
  return typeof popped === 'object' && popped !== null && 'pairs' in popped && 'key' in popped;
}

/** Redis keeps whole scores of small sets as integers, and shows them as such here. */
function scannedScore(stored: Bytes, isWide: boolean): Bytes {
  const score = decodeScore(stored);
  const isInteger = !isWide && Number.isInteger(score) && Math.abs(score) <= MAX_KEPT_INTEGER;
  return asciiBytes(isInteger ? String(BigInt(score)) : doubleText(score));
}

const MAX_KEPT_INTEGER = 2 ** 62;

export const SORTED_SET_READS: Handlers<ReadHandler> = {
  zcard: zCard,
  zscore: zScore,
  zmscore: zMScore,
  zrank: rank(false),
  zrevrank: rank(true),
  zcount: countIn('score'),
  zlexcount: countIn('lex'),
  zrange: rangeHandler({}),
  zrangebyscore: rangeHandler({ by: 'score', reverse: false }),
  zrangebylex: rangeHandler({ by: 'lex', reverse: false }),
  zrevrange: rangeHandler({ by: 'rank', reverse: true }),
  zrevrangebyscore: rangeHandler({ by: 'score', reverse: true }),
  zrevrangebylex: rangeHandler({ by: 'lex', reverse: true }),
  zrandmember: zRandMember,
  zscan: scanHandler('zset', { prefix: MEMBER, isWithValues: true, show: scannedScore }),
};

export const SORTED_SET_WRITES: Handlers<WriteHandler> = {
  zadd: zAdd,
  zincrby: zIncrBy,
  zrem: zRem,
  zremrangebyrank: removeRange('rank'),
  zremrangebyscore: removeRange('score'),
  zremrangebylex: removeRange('lex'),
  zpopmin: pop(false),
  zpopmax: pop(true),
};

export const SORTED_SET_MANY_WRITES: Handlers<WriteManyHandler> = {
  zmpop: zMPopFrom({ at: 1 }),
  zrangestore: zRangeStore,
  ...SORTED_SET_MANY_STORES,
};
