import { LONG_RANGE_ERROR, NOT_AN_INTEGER, SYNTAX_ERROR, WRONG_TYPE } from './error-replies.ts';
import type { ReadHandler } from './handler.ts';
import { INT64_MAX, parseInteger } from './integer.ts';
import { placesOf } from './list-items.ts';
import { errorReply } from './reply.ts';
import { isNot } from './value.ts';
import { isWord } from './word.ts';

const RANK_IS_ZERO = errorReply(
  "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list",
);
const COUNT_IS_NEGATIVE = errorReply("ERR COUNT can't be negative");
const MAXLEN_IS_NEGATIVE = errorReply("ERR MAXLEN can't be negative");

/** `LPOS key item [RANK r] [COUNT n] [MAXLEN m]`: a negative rank searches from the end; 0 for COUNT or MAXLEN means no limit. */
export const lPos: ReadHandler = (ctx, value, args) => {
  let rank = 1;
  let count: number | undefined;
  let lookedAt = 0;
  for (let i = 3; i < args.length; i += 2) {
    const word = args[i]!;
    const operand = args[i + 1];
    if (operand === undefined) return SYNTAX_ERROR;
    const parsed = parseInteger(operand);
    if (isWord(word, 'RANK')) {
      if (parsed === undefined) return NOT_AN_INTEGER;
      if (parsed < -INT64_MAX) return LONG_RANGE_ERROR;
      if (parsed === 0) return RANK_IS_ZERO;
      rank = Number(parsed);
    } else if (isWord(word, 'COUNT')) {
      if (parsed === undefined || parsed < 0) return COUNT_IS_NEGATIVE;
      count = Number(parsed);
    } else if (isWord(word, 'MAXLEN')) {
      if (parsed === undefined || parsed < 0) return MAXLEN_IS_NEGATIVE;
      lookedAt = Number(parsed);
    } else return SYNTAX_ERROR;
  }
  if (value === undefined) return count === undefined ? null : [];
  if (isNot(value, 'list')) return WRONG_TYPE;
  const places = placesOf(ctx.cells, value, args[2]!, {
    reverse: rank < 0,
    limit: count === undefined ? 1 : count === 0 ? value.length : count,
    lookedAt: lookedAt === 0 ? value.length : lookedAt,
    skipped: Math.abs(rank) - 1,
  });
  return count === undefined ? (places[0] ?? null) : places;
};
