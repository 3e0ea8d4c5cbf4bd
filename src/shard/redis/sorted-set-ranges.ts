import { type Bytes, concatBytes } from '../../base/bytes.ts';
import type { CellReader } from '../value-module.ts';
import { parseScoreBound } from './double.ts';
import { NOT_AN_INTEGER } from './error-replies.ts';
import { type Int64, parseInteger } from './integer.ts';
import { rangeOf } from './ranges.ts';
import { errorReply, type TaggedReply } from './reply.ts';
import { behindScore, type Scored, scoreInOrder } from './sorted-set-cells.ts';
import { rankOf, scoredByPlace, scoredByRank } from './sorted-set-order.ts';
import type { SortedSetValue } from './value.ts';

// The three kinds of ranges of a sorted set: by rank, by score, by name among members of one score.

export type Range =
  | { readonly by: 'rank'; readonly first: Int64; readonly last: Int64 }
  | { readonly by: 'score'; readonly min: ScoreBound; readonly max: ScoreBound }
  | { readonly by: 'lex'; readonly min: NameBound; readonly max: NameBound };
export type RangeKind = Range['by'];

interface ScoreBound {
  readonly score: number;
  readonly isExclusive: boolean;
}

type NameBound = '-' | '+' | { readonly name: Bytes; readonly isExclusive: boolean };

const NOT_A_SCORE_RANGE = errorReply('ERR min or max is not a float');
const NOT_A_NAME_RANGE = errorReply('ERR min or max not valid string range item');
const MINUS = 0x2d;
const PLUS = 0x2b;
const OPENING = 0x28;
const BRACKET = 0x5b;
const ZERO: Bytes = Uint8Array.of(0);

/** The range that two arguments name, the lesser first; else the error reply. */
export function parseRange(by: RangeKind, min: Bytes, max: Bytes): Range | TaggedReply {
  switch (by) {
    case 'rank': {
      const first = parseInteger(min);
      const last = parseInteger(max);
      return first === undefined || last === undefined ? NOT_AN_INTEGER : { by, first, last };
    }
    case 'score': {
      const from = scoreBound(min);
      const to = scoreBound(max);
      return from === undefined || to === undefined ? NOT_A_SCORE_RANGE : { by, min: from, max: to };
    }
    case 'lex': {
      const from = nameBound(min);
      const to = nameBound(max);
      return from === undefined || to === undefined ? NOT_A_NAME_RANGE : { by, min: from, max: to };
    }
  }
}

function scoreBound(text: Bytes): ScoreBound | undefined {
  const isExclusive = text[0] === OPENING;
  const score = parseScoreBound(isExclusive ? text.subarray(1) : text);
  return score === undefined ? undefined : { score, isExclusive };
}

function nameBound(text: Bytes): NameBound | undefined {
  switch (text[0]) {
    case MINUS:
      return text.length === 1 ? '-' : undefined;
    case PLUS:
      return text.length === 1 ? '+' : undefined;
    case OPENING:
    case BRACKET:
      return { name: text.subarray(1), isExclusive: text[0] === OPENING };
    default:
      return undefined;
  }
}

/** Places in the order of members; `to` is left out, undefined: the end. Undefined as a whole: nothing lies there. */
function placesOfRange(
  cells: CellReader,
  range: Exclude<Range, { by: 'rank' }>,
): { readonly from: Bytes; readonly to: Bytes | undefined } | undefined {
  if (range.by === 'score') {
    const { min, max } = range;
    return {
      from: min.isExclusive ? behindScore(min.score) : scoreInOrder(min.score),
      to: max.isExclusive ? scoreInOrder(max.score) : behindScore(max.score),
    };
  }
  const { min, max } = range;
  if (min === '+' || max === '-') return undefined;
  // All members have the score of the first, or the answer is anybody's guess, in Redis too.
  const [first] = scoredByPlace(cells, { limit: 1 });
  const score = scoreInOrder(first!.score);
  const behind = ({ name }: { readonly name: Bytes }): Bytes => concatBytes(score, name, ZERO);
  return {
    from: min === '-' ? score : min.isExclusive ? behind(min) : concatBytes(score, min.name),
    to: max === '+' ? undefined : max.isExclusive ? concatBytes(score, max.name) : behind(max),
  };
}

/** The ranks that a range covers, `to` left out. O(log n). */
export function ranksOf(cells: CellReader, value: SortedSetValue, range: Range): { readonly from: number; readonly to: number } {
  if (range.by === 'rank') return rangeOf(range.first, range.last, value.memberCount) ?? { from: 0, to: 0 };
  const places = placesOfRange(cells, range);
  if (places === undefined) return { from: 0, to: 0 };
  const from = rankOf(cells, value.height, places.from);
  const to = places.to === undefined ? value.memberCount : rankOf(cells, value.height, places.to);
  return { from, to: Math.max(from, to) };
}

export interface RangeOptions {
  readonly reverse: boolean;
  /** So many are passed over first; a negative number: all. */
  readonly offset: number;
  /** At most so many; a negative number: all. */
  readonly limit: number;
}

export const WHOLE_RANGE: RangeOptions = { reverse: false, offset: 0, limit: -1 };

/** The members in a range. With `reverse` ranks and answers count from the greatest. O(log n + members answered). */
export function membersIn(cells: CellReader, value: SortedSetValue, range: Range, { reverse, offset, limit }: RangeOptions): Scored[] {
  if (offset < 0 || limit === 0) return [];
  const { height, memberCount } = value;
  if (range.by === 'rank') {
    const { from, to } = ranksOf(cells, value, range);
    const ranks = reverse ? { from: memberCount - to, to: memberCount - from } : { from, to };
    return [...scoredByRank(cells, { height, memberCount, ...ranks, reverse })];
  }
  if (offset === 0) {
    const places = placesOfRange(cells, range);
    if (places === undefined) return [];
    return [...scoredByPlace(cells, { ...places, reverse, ...(limit < 0 ? {} : { limit }) })];
  }
  const { from, to } = ranksOf(cells, value, range);
  const count = Math.max(0, Math.min(to - from - offset, limit < 0 ? Number.POSITIVE_INFINITY : limit));
  const start = reverse ? to - offset - count : from + offset;
  return [...scoredByRank(cells, { height, memberCount, from: start, to: start + count, reverse })];
}
