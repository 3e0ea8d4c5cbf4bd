import { type Bytes, compareBytes, concatBytes } from '../../base/bytes.ts';
import { redisSlot } from '../../partition/redis-slot.ts';
import type { ManyQueryContext } from '../value-module.ts';
import type { CommandArgs } from './command-table.ts';
import { parseScoreBound } from './double.ts';
import { NOT_AN_INTEGER, SYNTAX_ERROR, WRONG_TYPE } from './error-replies.ts';
import type { Handlers, ReadManyHandler, WriteManyHandler } from './handler.ts';
import { cellOf } from './hash-fields.ts';
import { parseInteger } from './integer.ts';
import { itemsOf, ListEdit } from './list-items.ts';
import { errorReply, type TaggedReply } from './reply.ts';
import { membersOf } from './set-members.ts';
import { scoredByPlace } from './sorted-set-order.ts';
import { isString, type RedisValue } from './value.ts';
import { isWord } from './word.ts';

// SORT and SORT_RO: the items of a list, set or sorted set, ordered by themselves or by what other keys hold. As in a Redis Cluster (7.4), the keys
// that BY and GET form must be in the slot of the key that is sorted, which a hash tag in the pattern says; else they are refused.

const NO_DOUBLE = errorReply("ERR One or more scores can't be converted into double");
const NO_BYTES: Bytes = new Uint8Array(0);
const STAR = 0x2a;

interface SortOptions {
  readonly by: Bytes | undefined;
  readonly gets: readonly Bytes[];
  readonly offset: number;
  /** Negative: all. */
  readonly count: number;
  readonly isDescending: boolean;
  readonly isAlpha: boolean;
  readonly store: Bytes | undefined;
}

type Ctx = ManyQueryContext<RedisValue>;

const sortRo: ReadManyHandler = (ctx, args) => {
  const options = parse(args, false);
  return 'kind' in options ? options : sorted(ctx, args[1]!, options);
};

const sort: WriteManyHandler = (ctx, args) => {
  const options = parse(args, true);
  if ('kind' in options) return options;
  const items = sorted(ctx, args[1]!, options);
  if ('kind' in items || options.store === undefined) return items;
  const target = ctx.open(options.store);
  target.cells.clear();
  const edit = new ListEdit(target, undefined);
  for (const item of items) edit.push(false, item ?? NO_BYTES);
  const { value, sizeBytes } = edit.finish();
  if (value !== undefined || target.value !== undefined) target.set(value, { expireAtMs: null, sizeBytes });
  return items.length;
};

export const SORT_READS: Handlers<ReadManyHandler> = { sort_ro: sortRo };
export const SORT_WRITES: Handlers<WriteManyHandler> = { sort };

function parse(args: CommandArgs, mayStore: boolean): SortOptions | TaggedReply {
  let by: Bytes | undefined;
  let store: Bytes | undefined;
  let [offset, count] = [0, -1];
  let isDescending = false;
  let isAlpha = false;
  const gets: Bytes[] = [];
  for (let i = 2; i < args.length; i++) {
    const word = args[i]!;
    const left = args.length - i - 1;
    if (isWord(word, 'ASC')) isDescending = false;
    else if (isWord(word, 'DESC')) isDescending = true;
    else if (isWord(word, 'ALPHA')) isAlpha = true;
    else if (isWord(word, 'LIMIT') && left >= 2) {
      const [first, second] = [parseInteger(args[i + 1]!), parseInteger(args[i + 2]!)];
      if (first === undefined || second === undefined) return NOT_AN_INTEGER;
      [offset, count] = [Number(first), Number(second)];
      i += 2;
    } else if (mayStore && isWord(word, 'STORE') && left >= 1) store = args[++i]!;
    else if (isWord(word, 'BY') && left >= 1) {
      by = args[++i]!;
      if (by.includes(STAR) && !staysInSlot(by, args[1]!)) return elsewhere('BY');
    } else if (isWord(word, 'GET') && left >= 1) {
      const get = args[++i]!;
      if (!isWord(get, '#') && !staysInSlot(get, args[1]!)) return elsewhere('GET');
      gets.push(get);
    } else return SYNTAX_ERROR;
  }
  return { by, gets, offset, count, isDescending, isAlpha, store };
}

function elsewhere(option: string): TaggedReply {
  return errorReply(`ERR ${option} option of SORT denied in cluster mode when keys formed by the pattern may be in different slots.`);
}

/** All keys that the pattern forms are in the slot of `key`: it has a hash tag before anything that may vary, or nothing that may. */
function staysInSlot(pattern: Bytes, key: Bytes): boolean {
  let open = -1;
  for (let i = 0; i < pattern.length; i++) {
    const character = String.fromCharCode(pattern[i]!);
    if ('*?[\\'.includes(character)) return false;
    if (character === '{' && open < 0) open = i;
    else if (character === '}' && open >= 0 && i > open + 1) return redisSlot(pattern.subarray(open, i + 1)) === redisSlot(key);
  }
  return redisSlot(pattern) === redisSlot(key);
}

function sorted(ctx: Ctx, key: Bytes, options: SortOptions): (Bytes | null)[] | TaggedReply {
  const { value, cells } = ctx.open(key);
  if (value !== undefined && (isString(value) || value.kind === 'hash')) return WRONG_TYPE;
  const { isDescending, gets, store } = options;
  // The order of a set is chance: what is stored must not be.
  const isOverSet = value?.kind === 'set' && store !== undefined;
  const isUnsorted = options.by !== undefined && !options.by.includes(STAR);
  const by = isUnsorted ? undefined : options.by;
  let items: Bytes[] = value === undefined ? [] : value.kind === 'list' ? [...itemsOf(cells, value)] : [];
  if (value?.kind === 'set') items = [...membersOf(cells)];
  if (value?.kind === 'zset') items = Array.from(scoredByPlace(cells, {}), ({ member }) => member);
  if (isUnsorted && !isOverSet) {
    if (isDescending && value?.kind !== 'set') items.reverse();
  } else {
    const ordered = inOrder(ctx, items, { by, isAlpha: options.isAlpha || (isUnsorted && isOverSet), isDescending });
    if ('kind' in ordered) return ordered;
    items = ordered;
  }
  const from = Math.min(Math.max(options.offset, 0), items.length);
  const chosen = options.count < 0 ? items.slice(from) : items.slice(from, from + options.count);
  return gets.length === 0 ? chosen : chosen.flatMap((item) => gets.map((pattern) => lookUp(ctx, pattern, item)));
}

interface Weighed {
  readonly item: Bytes;
  readonly score: number;
  readonly text: Bytes | null;
}

function inOrder(
  ctx: Ctx,
  items: readonly Bytes[],
  { by, isAlpha, isDescending }: { readonly by: Bytes | undefined; readonly isAlpha: boolean; readonly isDescending: boolean },
): Bytes[] | TaggedReply {
  const weighed: Weighed[] = [];
  let isNumeric = true;
  for (const item of items) {
    const text = by === undefined ? item : lookUp(ctx, by, item);
    // What is not there weighs nothing.
    const score = isAlpha || text === null ? 0 : parseScoreBound(text);
    if (score === undefined || (text !== null && !isAlpha && text.includes(0))) isNumeric = false;
    weighed.push({ item, score: score ?? 0, text });
  }
  if (!isNumeric) return NO_DOUBLE;
  const sign = isDescending ? -1 : 1;
  weighed.sort(
    (a, b) =>
      sign * (isAlpha ? compareTexts(a.text, b.text) : a.score < b.score ? -1 : a.score > b.score ? 1 : compareBytes(a.item, b.item)),
  );
  return weighed.map(({ item }) => item);
}

/** What is not there comes first. */
function compareTexts(a: Bytes | null, b: Bytes | null): number {
  if (a === null || b === null) return Number(a !== null) - Number(b !== null);
  return compareBytes(a, b);
}

/** What the key holds that `pattern` forms with `item`: `#` the item, `key*` a string, `key*->field` a field of a hash; else null. */
function lookUp(ctx: Ctx, pattern: Bytes, item: Bytes): Bytes | null {
  if (isWord(pattern, '#')) return item;
  const star = pattern.indexOf(STAR);
  if (star < 0) return null;
  const arrow = arrowBehind(pattern, star);
  const end = arrow < 0 ? pattern.length : arrow;
  const { value, cells } = ctx.open(concatBytes(pattern.subarray(0, star), item, pattern.subarray(star + 1, end)));
  if (arrow < 0) return isString(value) ? value : null;
  if (value === undefined || isString(value) || value.kind !== 'hash') return null;
  return cells.get(cellOf(pattern.subarray(arrow + 2))) ?? null;
}

/** Where `->` stands behind the star with a field after it; -1: nowhere. */
function arrowBehind(pattern: Bytes, star: number): number {
  for (let i = star + 1; i + 2 < pattern.length; i++) if (pattern[i] === 0x2d && pattern[i + 1] === 0x3e) return i;
  return -1;
}
