import type { CommandArgs } from './command-table.ts';
import { doubleReply } from './double.ts';
import { NOT_AN_INTEGER, SYNTAX_ERROR, WRONG_TYPE } from './error-replies.ts';
import type { ReadHandler, WriteManyHandler } from './handler.ts';
import { parseInteger } from './integer.ts';
import { errorReply, type Reply, type TaggedReply } from './reply.ts';
import { SortedSetEdit } from './sorted-set-members.ts';
import { membersIn, parseRange, type Range, type RangeKind, type RangeOptions } from './sorted-set-ranges.ts';
import { isNot } from './value.ts';
import { isWord } from './word.ts';

const LIMIT_NEEDS_OTHER_RANGE = errorReply('ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX');
const SCORES_NOT_BY_NAME = errorReply('ERR syntax error, WITHSCORES not supported in combination with BYLEX');

/** What the name of a command says of its range; the rest its options may say. */
interface Given {
  readonly by?: RangeKind;
  readonly reverse?: boolean;
}

interface ParsedRange extends RangeOptions {
  readonly range: Range;
  readonly isWithScores: boolean;
}

/** `min max [BYSCORE|BYLEX] [REV] [LIMIT offset count] [WITHSCORES]` from `at` on. */
function parseRangeArgs(args: CommandArgs, at: number, given: Given, isStore: boolean): ParsedRange | TaggedReply {
  let { by, reverse } = given;
  let isWithScores = false;
  let offset = 0;
  let limit = -1;
  for (let i = at + 2; i < args.length; i++) {
    const word = args[i]!;
    if (!isStore && isWord(word, 'WITHSCORES')) isWithScores = true;
    else if (isWord(word, 'LIMIT') && i + 2 < args.length) {
      const parsedOffset = parseInteger(args[i + 1]!);
      const parsedLimit = parseInteger(args[i + 2]!);
      if (parsedOffset === undefined || parsedLimit === undefined) return NOT_AN_INTEGER;
      offset = Number(parsedOffset);
      limit = Number(parsedLimit);
      i += 2;
    } else if (reverse === undefined && isWord(word, 'REV')) reverse = true;
    else if (by === undefined && isWord(word, 'BYLEX')) by = 'lex';
    else if (by === undefined && isWord(word, 'BYSCORE')) by = 'score';
    else return SYNTAX_ERROR;
  }
  const kind = by ?? 'rank';
  if (limit !== -1 && kind === 'rank') return LIMIT_NEEDS_OTHER_RANGE;
  if (isWithScores && kind === 'lex') return SCORES_NOT_BY_NAME;
  const isSwapped = reverse === true && kind !== 'rank';
  const range = parseRange(kind, args[isSwapped ? at + 1 : at]!, args[isSwapped ? at : at + 1]!);
  if ('kind' in range) return range;
  return { range, isWithScores, reverse: reverse ?? false, offset: kind === 'rank' ? 0 : offset, limit };
}

/** ZRANGE and its older forms, whose names say what kind of range it is. */
export function rangeHandler(given: Given): ReadHandler {
  return (ctx, value, args) => {
    const parsed = parseRangeArgs(args, 2, given, false);
    if ('kind' in parsed) return parsed;
    if (isNot(value, 'zset')) return WRONG_TYPE;
    const members = value === undefined ? [] : membersIn(ctx.cells, value, parsed.range, parsed);
    if (!parsed.isWithScores || members.length === 0) return members.map(({ member }) => member);
    return { kind: 'pairs', pairs: members.map(({ member, score }): [Reply, Reply] => [member, doubleReply(score)]) };
  };
}

export const zRangeStore: WriteManyHandler = (ctx, args) => {
  const parsed = parseRangeArgs(args, 3, {}, true);
  if ('kind' in parsed) return parsed;
  const source = ctx.open(args[2]!);
  if (isNot(source.value, 'zset')) return WRONG_TYPE;
  const members = source.value === undefined ? [] : membersIn(source.cells, source.value, parsed.range, parsed);
  const target = ctx.open(args[1]!);
  target.cells.clear();
  const edit = new SortedSetEdit(target, undefined);
  for (const { member, score } of members) edit.set(member, score, undefined);
  const { value, sizeBytes } = edit.finish();
  if (value !== undefined || target.value !== undefined) target.set(value, { expireAtMs: null, sizeBytes });
  return members.length;
};
