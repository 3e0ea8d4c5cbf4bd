import { type Bytes, compareBytes } from '../../base/bytes.ts';
import type { ManyQueryContext } from '../value-module.ts';
import { asLatin1 } from './ascii.ts';
import type { CommandArgs } from './command-table.ts';
import { doubleReply, parseScore } from './double.ts';
import { NOT_AN_INTEGER, SYNTAX_ERROR, WRONG_TYPE } from './error-replies.ts';
import type { Handlers, ReadManyHandler, WriteManyHandler } from './handler.ts';
import { parseInteger } from './integer.ts';
import { errorReply, type Reply, type TaggedReply } from './reply.ts';
import { hasMember, membersOf } from './set-members.ts';
import { type Scored, scoreOf } from './sorted-set-cells.ts';
import { SortedSetEdit } from './sorted-set-members.ts';
import { scoredByPlace } from './sorted-set-order.ts';
import { isNot, type RedisValue } from './value.ts';
import { isWord } from './word.ts';

// What several sorted sets have in common, differ in, or hold together; plain sets take part as if all scores were 1.

const WEIGHT_IS_NO_FLOAT = errorReply('ERR weight value is not a float');
const LIMIT_IS_NEGATIVE = errorReply("ERR LIMIT can't be negative");

interface Source {
  readonly memberCount: number;
  readonly weight: number;
  /** Without the weight. */
  scoreOf(member: Bytes): number | undefined;
  all(): Iterable<Scored>;
}

type Aggregate = (a: number, b: number) => number;
const SUM: Aggregate = (a, b) => a + b;
const MIN: Aggregate = (a, b) => (b < a ? b : a);
const MAX: Aggregate = (a, b) => (b > a ? b : a);

interface Parsed {
  readonly sources: readonly Source[];
  readonly aggregate: Aggregate;
  readonly isWithScores: boolean;
  readonly limit: number;
}

type Operation = 'union' | 'inter' | 'diff';
type Form = 'answer' | 'store' | 'count';

/** `numkeys key … [WEIGHTS …] [AGGREGATE …] [WITHSCORES] [LIMIT n]` from `at` on. */
function parse(
  ctx: ManyQueryContext<RedisValue>,
  args: CommandArgs,
  how: { readonly at: number; readonly name: string; readonly operation: Operation; readonly form: Form },
): Parsed | TaggedReply {
  const { at, name, operation, form } = how;
  const parsedCount = parseInteger(args[at]!);
  if (parsedCount === undefined) return NOT_AN_INTEGER;
  if (parsedCount < 1) return errorReply(`ERR at least 1 input key is needed for '${name}' command`);
  if (parsedCount > args.length - at - 1) return SYNTAX_ERROR;
  const keyCount = Number(parsedCount);
  const records = args.slice(at + 1, at + 1 + keyCount).map((key) => ctx.open(key));
  if (records.some(({ value }) => isNot(value, 'zset') && isNot(value, 'set'))) return WRONG_TYPE;
  const weights = new Array<number>(keyCount).fill(1);
  let aggregate = SUM;
  let isWithScores = false;
  let limit = 0;
  const combines = operation !== 'diff' && form !== 'count';
  for (let i = at + 1 + keyCount; i < args.length; ) {
    const remaining = args.length - i;
    const word = args[i++]!;
    if (combines && remaining > keyCount && isWord(word, 'WEIGHTS')) {
      for (let source = 0; source < keyCount; source++) {
        const weight = parseScore(args[i++]!);
        if (weight === undefined) return WEIGHT_IS_NO_FLOAT;
        weights[source] = weight;
      }
    } else if (combines && remaining >= 2 && isWord(word, 'AGGREGATE')) {
      const how = args[i++]!;
      if (isWord(how, 'SUM')) aggregate = SUM;
      else if (isWord(how, 'MIN')) aggregate = MIN;
      else if (isWord(how, 'MAX')) aggregate = MAX;
      else return SYNTAX_ERROR;
    } else if (form === 'answer' && isWord(word, 'WITHSCORES')) isWithScores = true;
    else if (form === 'count' && remaining >= 2 && isWord(word, 'LIMIT')) {
      const parsed = parseInteger(args[i++]!);
      if (parsed === undefined || parsed < 0) return LIMIT_IS_NEGATIVE;
      limit = Number(parsed);
    } else return SYNTAX_ERROR;
  }
  const sources = records.map((record, source) => asSource(record, weights[source]!));
  return { sources, aggregate, isWithScores, limit: limit === 0 ? Number.POSITIVE_INFINITY : limit };
}

function asSource({ value, cells }: ReturnType<ManyQueryContext<RedisValue>['open']>, weight: number): Source {
  if (value === undefined) return { memberCount: 0, weight, scoreOf: () => undefined, all: () => [] };
  if (isNot(value, 'set'))
    return {
      memberCount: (value as { readonly memberCount: number }).memberCount,
      weight,
      scoreOf: (member) => scoreOf(cells, member),
      all: () => scoredByPlace(cells, {}),
    };
  return {
    memberCount: value.memberCount,
    weight,
    scoreOf: (member) => (hasMember(cells, member) ? 1 : undefined),
    all: function* () {
      for (const member of membersOf(cells)) yield { member, score: 1 };
    },
  };
}

/** As Redis has it: what would be no number is zero. */
function orZero(score: number): number {
  return Number.isNaN(score) ? 0 : score;
}

/** Scores are combined from the smallest set to the largest. */
function bySize(sources: readonly Source[]): Source[] {
  return [...sources].sort((a, b) => a.memberCount - b.memberCount);
}

function union({ sources, aggregate }: Parsed): Scored[] {
  const found = new Map<string, Scored>();
  for (const { weight, all } of bySize(sources))
    for (const { member, score } of all()) {
      const name = asLatin1(member);
      const before = found.get(name);
      const weighted = orZero(weight * score);
      found.set(name, { member, score: before === undefined ? weighted : orZero(aggregate(before.score, weighted)) });
    }
  return [...found.values()];
}

function inter({ sources, aggregate, limit }: Parsed): Scored[] {
  const [smallest, ...others] = bySize(sources);
  const found: Scored[] = [];
  for (const { member, score } of smallest!.all()) {
    let combined: number | undefined = orZero(smallest!.weight * score);
    for (const other of others) {
      const more = other.scoreOf(member);
      if (more === undefined) {
        combined = undefined;
        break;
      }
      combined = orZero(aggregate(combined, other.weight * more));
    }
    if (combined !== undefined && found.push({ member, score: combined }) >= limit) break;
  }
  return found;
}

function diff({ sources: [first, ...others] }: Parsed): Scored[] {
  return [...first!.all()].filter(({ member }) => !others.some((other) => other.scoreOf(member) !== undefined));
}

const OPERATIONS = { union, inter, diff };

function inOrder(a: Scored, b: Scored): number {
  return a.score - b.score || (a.score === b.score ? compareBytes(a.member, b.member) : a.score < b.score ? -1 : 1);
}

function answer(operation: Operation, name: string): ReadManyHandler {
  return (ctx, args) => {
    const parsed = parse(ctx, args, { at: 1, name, operation, form: 'answer' });
    if ('kind' in parsed) return parsed;
    const members = OPERATIONS[operation](parsed).sort(inOrder);
    if (!parsed.isWithScores || members.length === 0) return members.map(({ member }) => member);
    return { kind: 'pairs', pairs: members.map(({ member, score }): [Reply, Reply] => [member, doubleReply(score)]) };
  };
}

const zInterCard: ReadManyHandler = (ctx, args) => {
  const parsed = parse(ctx, args, { at: 1, name: 'zintercard', operation: 'inter', form: 'count' });
  return 'kind' in parsed ? parsed : inter(parsed).length;
};

/** Stores what comes out under the first key, whatever that held; nothing removes it. */
function store(operation: Operation, name: string): WriteManyHandler {
  return (ctx, args) => {
    const parsed = parse(ctx, args, { at: 2, name, operation, form: 'store' });
    if ('kind' in parsed) return parsed;
    const members = OPERATIONS[operation](parsed);
    const target = ctx.open(args[1]!);
    target.cells.clear();
    const edit = new SortedSetEdit(target, undefined);
    for (const { member, score } of members) edit.set(member, score, undefined);
    const { value, sizeBytes } = edit.finish();
    if (value !== undefined || target.value !== undefined) target.set(value, { expireAtMs: null, sizeBytes });
    return members.length;
  };
}

export const SORTED_SET_MANY_READS: Handlers<ReadManyHandler> = {
  zunion: answer('union', 'zunion'),
  zinter: answer('inter', 'zinter'),
  zdiff: answer('diff', 'zdiff'),
  zintercard: zInterCard,
};

export const SORTED_SET_MANY_STORES: Handlers<WriteManyHandler> = {
  zunionstore: store('union', 'zunionstore'),
  zinterstore: store('inter', 'zinterstore'),
  zdiffstore: store('diff', 'zdiffstore'),
};
