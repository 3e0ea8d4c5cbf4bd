import type { Bytes } from '../../base/bytes.ts';
import type { ManyContext } from '../value-module.ts';
import type { CommandArgs } from './command-table.ts';
import { NO_SUCH_KEY, NOT_AN_INTEGER, OUT_OF_POSITIVE, SYNTAX_ERROR, WRONG_TYPE, wrongArityError } from './error-replies.ts';
import { type Handlers, type ReadHandler, type RedisResult, unchanged, type WriteHandler, type WriteManyHandler } from './handler.ts';
import { parseInteger } from './integer.ts';
import { itemAt, itemsOf, ListEdit, placesOf } from './list-items.ts';
import { lPos } from './list-search.ts';
import { type PopFromSeveral, popFromSeveral } from './pop-from-several.ts';
import { rangeOf } from './ranges.ts';
import { errorReply, NULL_ARRAY, OK, type Reply } from './reply.ts';
import { isNot, type ListValue, type RedisValue } from './value.ts';
import { isWord } from './word.ts';

const INDEX_OUT_OF_RANGE = errorReply('ERR index out of range');

const lLen: ReadHandler = (_ctx, value) => (value === undefined ? 0 : isNot(value, 'list') ? WRONG_TYPE : value.length);

/** The place of an index, which counts from the end when it is negative; undefined when there is none. */
function placeOf(index: number | bigint, list: ListValue): number | undefined {
  const place = index < 0 ? list.length + Number(index) : Number(index);
  return place < 0 || place >= list.length ? undefined : place;
}

const lIndex: ReadHandler = (ctx, value, args) => {
  if (value === undefined) return null;
  if (isNot(value, 'list')) return WRONG_TYPE;
  const index = parseInteger(args[2]!);
  if (index === undefined) return NOT_AN_INTEGER;
  const place = placeOf(index, value);
  return place === undefined ? null : itemAt(ctx.cells, value, place);
};

const lRange: ReadHandler = (ctx, value, args) => {
  const first = parseInteger(args[2]!);
  const last = parseInteger(args[3]!);
  if (first === undefined || last === undefined) return NOT_AN_INTEGER;
  if (value === undefined) return [];
  if (isNot(value, 'list')) return WRONG_TYPE;
  const range = rangeOf(first, last, value.length);
  return range === undefined ? [] : [...itemsOf(ctx.cells, value, range)];
};

function result(edit: ListEdit, reply: Reply): RedisResult {
  return { reply, ...edit.finish() };
}

/** LPUSH, RPUSH, LPUSHX and RPUSHX. */
function push(isLeft: boolean, needsList: boolean): WriteHandler {
  return (ctx, value, args) => {
    if (isNot(value, 'list')) return unchanged(value, WRONG_TYPE);
    if (needsList && value === undefined) return unchanged(value, 0);
    const edit = new ListEdit(ctx, value);
    for (let i = 2; i < args.length; i++) edit.push(isLeft, args[i]!);
    return result(edit, edit.length);
  };
}

/** Up to `count` items from one end. */
function popItems(edit: ListEdit, isLeft: boolean, count: number): Bytes[] {
  const items: Bytes[] = [];
  for (let left = Math.min(count, edit.length); left > 0; left--) items.push(edit.pop(isLeft)!);
  return items;
}

function pop(isLeft: boolean, command: string): WriteHandler {
  const arityError = wrongArityError(command);
  return (ctx, value, args) => {
    if (args.length > 3) return unchanged(value, arityError);
    const count = args.length === 3 ? parseInteger(args[2]!) : 1;
    if (count === undefined || count < 0) return unchanged(value, OUT_OF_POSITIVE);
    if (value === undefined) return unchanged(value, args.length === 3 ? NULL_ARRAY : null);
    if (isNot(value, 'list')) return unchanged(value, WRONG_TYPE);
    if (count === 0) return unchanged(value, []);
    const edit = new ListEdit(ctx, value);
    if (args.length === 2) {
      const item = edit.pop(isLeft)!;
      return result(edit, item);
    }
    const items = popItems(edit, isLeft, Number(count));
    return result(edit, items);
  };
}

const lSet: WriteHandler = (ctx, value, args) => {
  if (value === undefined) return unchanged(value, NO_SUCH_KEY);
  if (isNot(value, 'list')) return unchanged(value, WRONG_TYPE);
  const index = parseInteger(args[2]!);
  if (index === undefined) return unchanged(value, NOT_AN_INTEGER);
  const place = placeOf(index, value);
  if (place === undefined) return unchanged(value, INDEX_OUT_OF_RANGE);
  const edit = new ListEdit(ctx, value);
  edit.replace(place, args[3]!);
  return result(edit, OK);
};

const lInsert: WriteHandler = (ctx, value, args) => {
  const isAfter = isWord(args[2]!, 'AFTER');
  if (!isAfter && !isWord(args[2]!, 'BEFORE')) return unchanged(value, SYNTAX_ERROR);
  if (value === undefined) return unchanged(value, 0);
  if (isNot(value, 'list')) return unchanged(value, WRONG_TYPE);
  const [pivot] = placesOf(ctx.cells, value, args[3]!, { reverse: false, limit: 1 });
  if (pivot === undefined) return unchanged(value, -1);
  const edit = new ListEdit(ctx, value);
  edit.insert(isAfter ? pivot + 1 : pivot, args[4]!);
  return result(edit, edit.length);
};

/** A positive count removes the first ones, a negative one the last ones, 0 all. */
const lRem: WriteHandler = (ctx, value, args) => {
  const count = parseInteger(args[2]!);
  if (count === undefined) return unchanged(value, NOT_AN_INTEGER);
  if (value === undefined) return unchanged(value, 0);
  if (isNot(value, 'list')) return unchanged(value, WRONG_TYPE);
  const limit = count === 0 ? value.length : Math.abs(Number(count));
  const places = placesOf(ctx.cells, value, args[3]!, { reverse: count < 0, limit });
  if (count < 0) places.reverse();
  const edit = new ListEdit(ctx, value);
  edit.removeAll(places);
  return result(edit, places.length);
};

const lTrim: WriteHandler = (ctx, value, args) => {
  const first = parseInteger(args[2]!);
  const last = parseInteger(args[3]!);
  if (first === undefined || last === undefined) return unchanged(value, NOT_AN_INTEGER);
  if (value === undefined) return unchanged(value, OK);
  if (isNot(value, 'list')) return unchanged(value, WRONG_TYPE);
  const range = rangeOf(first, last, value.length);
  if (range === undefined) return { reply: OK, value: undefined };
  if (range.from === 0 && range.to === value.length) return unchanged(value, OK);
  const edit = new ListEdit(ctx, value);
  edit.trim(range.from, range.to);
  return result(edit, OK);
};

/** LEFT or RIGHT; undefined for neither. */
export function isLeftEnd(word: Bytes): boolean | undefined {
  return isWord(word, 'LEFT') ? true : isWord(word, 'RIGHT') ? false : undefined;
}

/** Takes an item off one list and puts it on another, perhaps the same. `nothing` when there is none. */
export function moveItem(ctx: ManyContext<RedisValue>, args: CommandArgs, ends: { isFromLeft: boolean; isToLeft: boolean }): Reply {
  const from = ctx.open(args[1]!);
  if (from.value === undefined) return null;
  if (isNot(from.value, 'list')) return WRONG_TYPE;
  const to = ctx.open(args[2]!);
  if (isNot(to.value, 'list')) return WRONG_TYPE;
  const source = new ListEdit(from, from.value);
  const item = source.pop(ends.isFromLeft)!;
  const target = to === from ? source : new ListEdit(to, to.value);
  target.push(ends.isToLeft, item);
  const left = source.finish();
  from.set(left.value, left);
  if (to !== from) {
    const grown = target.finish();
    to.set(grown.value, grown);
  }
  return item;
}

const lMove: WriteManyHandler = (ctx, args) => {
  const isFromLeft = isLeftEnd(args[3]!);
  const isToLeft = isLeftEnd(args[4]!);
  if (isFromLeft === undefined || isToLeft === undefined) return SYNTAX_ERROR;
  return moveItem(ctx, args, { isFromLeft, isToLeft });
};

const rPopLPush: WriteManyHandler = (ctx, args) => moveItem(ctx, args, { isFromLeft: false, isToLeft: true });

/** The items of the first list among `keys` that is there, with its key; the null array when there is none. */
export function popFromFirst(ctx: ManyContext<RedisValue>, keys: readonly Bytes[], isLeft: boolean, count: number): Reply {
  for (const key of keys) {
    const record = ctx.open(key);
    if (record.value === undefined) continue;
    if (isNot(record.value, 'list')) return WRONG_TYPE;
    const edit = new ListEdit(record, record.value);
    const items = popItems(edit, isLeft, count);
    const edited = edit.finish();
    record.set(edited.value, edited);
    return [key, items];
  }
  return NULL_ARRAY;
}

/** LMPOP and BLMPOP: `numkeys key … LEFT|RIGHT [COUNT n]`. */
export function mPopFrom(args: PopFromSeveral): WriteManyHandler {
  return popFromSeveral(args, { endOf: isLeftEnd, pop: popFromFirst });
}

export const LIST_READS: Handlers<ReadHandler> = { llen: lLen, lindex: lIndex, lrange: lRange, lpos: lPos };

export const LIST_WRITES: Handlers<WriteHandler> = {
  lpush: push(true, false),
  rpush: push(false, false),
  lpushx: push(true, true),
  rpushx: push(false, true),
  lpop: pop(true, 'lpop'),
  rpop: pop(false, 'rpop'),
  lset: lSet,
  linsert: lInsert,
  lrem: lRem,
  ltrim: lTrim,
};

export const LIST_MANY_WRITES: Handlers<WriteManyHandler> = { lmove: lMove, rpoplpush: rPopLPush, lmpop: mPopFrom({ at: 1 }) };
