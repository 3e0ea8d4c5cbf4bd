import type { CommandContext } from '../value-module.ts';
import type { CommandArgs } from './command-table.ts';
import { doubleReply, parseScore } from './double.ts';
import { NOT_A_FLOAT, SYNTAX_ERROR, WRONG_TYPE } from './error-replies.ts';
import { type RedisResult, unchanged, type WriteHandler } from './handler.ts';
import { errorReply } from './reply.ts';
import { SortedSetEdit } from './sorted-set-members.ts';
import { isNot, type RedisValue } from './value.ts';
import { isWord } from './word.ts';

const NX_WITH_XX = errorReply('ERR XX and NX options at the same time are not compatible');
const GT_LT_NX = errorReply('ERR GT, LT, and/or NX options at the same time are not compatible');
const INCR_TAKES_ONE = errorReply('ERR INCR option supports a single increment-element pair');
const SUM_IS_NO_NUMBER = errorReply('ERR resulting score is not a number (NaN)');

interface AddOptions {
  nx: boolean;
  xx: boolean;
  gt: boolean;
  lt: boolean;
  ch: boolean;
  incr: boolean;
}

const FLAGS: readonly (keyof AddOptions)[] = ['nx', 'xx', 'gt', 'lt', 'ch', 'incr'];
const NO_OPTIONS: AddOptions = { nx: false, xx: false, gt: false, lt: false, ch: false, incr: false };

/** `ZADD key [NX|XX] [GT|LT] [CH] [INCR] score member …`. */
export const zAdd: WriteHandler = (ctx, value, args) => {
  const options = { ...NO_OPTIONS };
  let at = 2;
  for (; at < args.length; at++) {
    const flag = FLAGS.find((name) => isWord(args[at]!, name.toUpperCase()));
    if (flag === undefined) break;
    options[flag] = true;
  }
  const { nx, xx, gt, lt, incr } = options;
  if (at === args.length || (args.length - at) % 2 !== 0) return unchanged(value, SYNTAX_ERROR);
  if (nx && xx) return unchanged(value, NX_WITH_XX);
  if ((gt && nx) || (lt && nx) || (gt && lt)) return unchanged(value, GT_LT_NX);
  if (incr && args.length - at > 2) return unchanged(value, INCR_TAKES_ONE);
  return add(ctx, value, args.slice(at), options);
};

export const zIncrBy: WriteHandler = (ctx, value, args) => add(ctx, value, args.slice(2), { ...NO_OPTIONS, incr: true });

/** `score member …`, parsed as a whole before anything is changed. */
function add(ctx: CommandContext, value: RedisValue | undefined, pairs: CommandArgs, options: AddOptions): RedisResult {
  const { nx, xx, gt, lt, ch, incr } = options;
  const scores: number[] = [];
  for (let i = 0; i < pairs.length; i += 2) {
    const score = parseScore(pairs[i]!);
    if (score === undefined) return unchanged(value, NOT_A_FLOAT);
    scores.push(score);
  }
  if (isNot(value, 'zset')) return unchanged(value, WRONG_TYPE);
  if (value === undefined && xx) return unchanged(value, incr ? null : 0);
  const edit = new SortedSetEdit(ctx, value);
  let added = 0;
  let updated = 0;
  let last: number | undefined;
  for (let i = 0; i < scores.length; i++) {
    const member = pairs[2 * i + 1]!;
    const before = edit.score(member);
    const score = incr ? scores[i]! + (before ?? 0) : scores[i]!;
    if (before === undefined ? xx : nx) continue;
    if (Number.isNaN(score)) return unchanged(value, SUM_IS_NO_NUMBER);
    if (before !== undefined && ((lt && score >= before) || (gt && score <= before))) continue;
    edit.set(member, score, before);
    last = score;
    if (before === undefined) added++;
    else if (before !== score) updated++;
  }
  const reply = incr ? (last === undefined ? null : doubleReply(last)) : ch ? added + updated : added;
  return { reply, ...edit.finish() };
}
