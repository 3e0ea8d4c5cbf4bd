import type { Bytes } from '../../base/bytes.ts';
import type { ManyQueryContext } from '../value-module.ts';
import { asLatin1 } from './ascii.ts';
import type { CommandArgs } from './command-table.ts';
import { SYNTAX_ERROR, WRONG_TYPE } from './error-replies.ts';
import type { Handlers, ReadManyHandler, WriteManyHandler } from './handler.ts';
import { parseInteger } from './integer.ts';
import { NUMKEYS_TOO_SMALL } from './pop-from-several.ts';
import { errorReply, type TaggedReply } from './reply.ts';
import { hasMember, membersOf, SetEdit } from './set-members.ts';
import { isNot, type RedisValue, type SetValue } from './value.ts';
import { isWord } from './word.ts';

// What several sets have in common, differ in, or hold together: the answer as it is, counted, or stored under another key.

const LIMIT_IS_NEGATIVE = errorReply("ERR LIMIT can't be negative");
const MORE_KEYS_THAN_ARGUMENTS = errorReply("ERR Number of keys can't be greater than number of args");

type OpenSet = ReturnType<ManyQueryContext<RedisValue>['open']> & { readonly value: SetValue };
type Combine = (sets: readonly (OpenSet | undefined)[], limit: number) => Bytes[];

/** The sets under `keys`, undefined for those that are not there; the error reply when one is something else. */
function openSets(ctx: ManyQueryContext<RedisValue>, keys: readonly Bytes[]): (OpenSet | undefined)[] | TaggedReply {
  const sets: (OpenSet | undefined)[] = [];
  for (const key of keys) {
    const record = ctx.open(key);
    if (isNot(record.value, 'set')) return WRONG_TYPE;
    sets.push(record.value === undefined ? undefined : (record as OpenSet));
  }
  return sets;
}

/** Walks over the smallest set. */
const intersection: Combine = (sets, limit) => {
  const there = sets.filter((set) => set !== undefined);
  if (there.length < sets.length) return [];
  const [smallest, ...others] = there.sort((a, b) => a.value.memberCount - b.value.memberCount);
  const found: Bytes[] = [];
  for (const member of membersOf(smallest!.cells))
    if (others.every((other) => hasMember(other.cells, member)) && found.push(member) >= limit) break;
  return found;
};

const difference: Combine = ([first, ...others]) => {
  if (first === undefined || others.includes(first)) return [];
  const there = others.filter((set) => set !== undefined);
  return [...membersOf(first.cells)].filter((member) => !there.some((other) => hasMember(other.cells, member)));
};

const union: Combine = (sets) => {
  const found = new Map<string, Bytes>();
  for (const set of new Set(sets)) if (set !== undefined) for (const member of membersOf(set.cells)) found.set(asLatin1(member), member);
  return [...found.values()];
};

function answer(combine: Combine): ReadManyHandler {
  return (ctx, args) => {
    const sets = openSets(ctx, args.slice(1));
    return 'kind' in sets ? sets : { kind: 'set', items: combine(sets, Number.POSITIVE_INFINITY) };
  };
}

/** Stores what comes out under the first key, whatever that held; nothing removes it. */
function store(combine: Combine): WriteManyHandler {
  return (ctx, args) => {
    const sets = openSets(ctx, args.slice(2));
    if ('kind' in sets) return sets;
    const members = combine(sets, Number.POSITIVE_INFINITY);
    const target = ctx.open(args[1]!);
    target.cells.clear();
    const edit = new SetEdit(target, undefined);
    for (const member of members) edit.add(member);
    const { value, sizeBytes } = edit.finish();
    if (value !== undefined || target.value !== undefined) target.set(value, { expireAtMs: null, sizeBytes });
    return members.length;
  };
}

/** `SINTERCARD numkeys key … [LIMIT n]`; 0 for LIMIT means none. */
const sInterCard: ReadManyHandler = (ctx, args: CommandArgs) => {
  const keyCount = parseInteger(args[1]!);
  if (keyCount === undefined || keyCount < 1) return NUMKEYS_TOO_SMALL;
  if (keyCount > args.length - 2) return MORE_KEYS_THAN_ARGUMENTS;
  const optionsAt = 2 + Number(keyCount);
  let limit = 0;
  for (let i = optionsAt; i < args.length; i += 2) {
    if (!isWord(args[i]!, 'LIMIT') || args[i + 1] === undefined) return SYNTAX_ERROR;
    const parsed = parseInteger(args[i + 1]!);
    if (parsed === undefined || parsed < 0) return LIMIT_IS_NEGATIVE;
    limit = Number(parsed);
  }
  const sets = openSets(ctx, args.slice(2, optionsAt));
  return 'kind' in sets ? sets : intersection(sets, limit === 0 ? Number.POSITIVE_INFINITY : limit).length;
};

export const SET_MANY_READS: Handlers<ReadManyHandler> = {
  sdiff: answer(difference),
  sinter: answer(intersection),
  sunion: answer(union),
  sintercard: sInterCard,
};

export const SET_MANY_STORES: Handlers<WriteManyHandler> = {
  sdiffstore: store(difference),
  sinterstore: store(intersection),
  sunionstore: store(union),
};
