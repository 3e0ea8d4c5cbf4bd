import { Prng } from '../../base/prng.ts';
import { doubleReply } from './double.ts';
import { LONG_RANGE_ERROR, NOT_AN_INTEGER, SYNTAX_ERROR, WRONG_TYPE } from './error-replies.ts';
import type { ReadHandler } from './handler.ts';
import { fieldHash } from './hash-fields.ts';
import { MAX_REPEATED } from './hash-random.ts';
import { INT64_MAX, parseInteger } from './integer.ts';
import { errorReply, type Reply } from './reply.ts';
import type { Scored } from './sorted-set-cells.ts';
import { scoredByRank } from './sorted-set-order.ts';
import { isNot } from './value.ts';
import { isWord } from './word.ts';

const OUT_OF_RANGE = errorReply('ERR value is out of range');

/** `ZRANDMEMBER key [count [WITHSCORES]]`: ranks by chance, so that it is exactly fair. A negative count may repeat members. */
export const zRandMember: ReadHandler = (ctx, value, args) => {
  const count = args.length > 2 ? parseInteger(args[2]!) : 1;
  const isWithScores = args.length > 3;
  if (count === undefined) return NOT_AN_INTEGER;
  if (count < -INT64_MAX) return LONG_RANGE_ERROR;
  if (args.length > 4 || (isWithScores && !isWord(args[3]!, 'WITHSCORES'))) return SYNTAX_ERROR;
  if (isWithScores && (count > INT64_MAX / 2n || count < -(INT64_MAX / 2n))) return OUT_OF_RANGE;
  if (value === undefined) return args.length > 2 ? [] : null;
  if (isNot(value, 'zset')) return WRONG_TYPE;
  if (count < -MAX_REPEATED) return OUT_OF_RANGE;
  const { height, memberCount } = value;
  const prng = new Prng((args.seed ?? ctx.nowMs ^ fieldHash(ctx.key)) >>> 0);
  const ranks =
    count < 0 ? Array.from({ length: -Number(count) }, () => prng.below(memberCount)) : differentRanks(prng, memberCount, Number(count));
  const byRank = (rank: number): Scored =>
    scoredByRank(ctx.cells, { height, memberCount, from: rank, to: rank + 1 }).next().value as Scored;
  // Many of them are read in one go.
  const all = ranks.length > memberCount / 8 ? [...scoredByRank(ctx.cells, { height, memberCount, from: 0, to: memberCount })] : undefined;
  const chosen = ranks.map((rank) => all?.[rank] ?? byRank(rank));
  if (args.length === 2) return chosen[0]!.member;
  if (!isWithScores) return chosen.map(({ member }) => member);
  return { kind: 'pairs', pairs: chosen.map(({ member, score }): [Reply, Reply] => [member, doubleReply(score)]) };
};

/** `count` different numbers below `end`, all of them when there are fewer: Floyd's way, in O(count). */
function differentRanks(prng: Prng, end: number, count: number): number[] {
  if (count >= end) return Array.from({ length: end }, (_, rank) => rank);
  const chosen = new Set<number>();
  for (let next = end - count; next < end; next++) {
    const rank = prng.below(next + 1);
    chosen.add(chosen.has(rank) ? next : rank);
  }
  return [...chosen];
}
