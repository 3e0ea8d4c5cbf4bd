import { type Bytes, fromUtf8, utf8 } from '../../base/bytes.ts';
import type { CellReader } from '../value-module.ts';
import type { CommandArgs } from './command-table.ts';
import { CREATED, REPLACED } from './door-replies.ts';
import { doubleText, parseScore } from './double.ts';
import { NOT_A_FLOAT, SYNTAX_ERROR } from './error-replies.ts';
import { type ReadHandler, type RedisResult, unchanged, type WriteHandler } from './handler.ts';
import { allFields, fieldOf, HashEdit } from './hash-fields.ts';
import { itemsOf, ListEdit } from './list-items.ts';
import { errorReply } from './reply.ts';
import { membersOf, SetEdit } from './set-members.ts';
import { decodeScore, MEMBER } from './sorted-set-cells.ts';
import { SortedSetEdit } from './sorted-set-members.ts';
import { type CollectionKind, type CollectionValue, isNot, isString, type RedisValue } from './value.ts';

// Whole values for the HTTP door: read in one step, and written again piece by piece, so that no request need carry a collection of millions.
// A piece says how much came before it, which makes sending it twice the same as sending it once.

/** The parts of a value, flat: the string; items; members; field, value, field, value, …; member, score, … */
export type Parts = readonly Bytes[];

export interface Piece {
  readonly kind: CollectionKind;
  readonly parts: Parts;
  /** Items, members or fields of the value that are there already; 0 replaces what the key held. */
  readonly from: number;
  readonly ttlMs: number | undefined;
}

const DUMP = utf8('\0dump');
const RESTORE = utf8('\0restore');
const EMPTY = new Uint8Array(0);

/** Answers `[type, milliseconds to live or -1, parts]`, null when there is nothing. */
export function dumpQuery(key: Bytes): CommandArgs {
  return [DUMP, key];
}

/** Answers CREATED or REPLACED; an error when the pieces before this one are not there. */
export function restoreCommand(key: Bytes, { kind, parts, from, ttlMs }: Piece): CommandArgs {
  return [RESTORE, key, utf8(kind), utf8(String(from)), ttlMs === undefined ? EMPTY : utf8(String(ttlMs)), ...parts];
}

const dump: ReadHandler = (ctx, value) => {
  if (value === undefined) return null;
  const ttlMs = ctx.expireAtMs === undefined ? -1 : Math.max(1, ctx.expireAtMs - ctx.nowMs);
  return isString(value) ? [utf8('string'), ttlMs, [value]] : [utf8(value.kind), ttlMs, partsOf(ctx.cells, value)];
};

/** What a collection holds, in an order that follows from that alone. */
export function partsOf(cells: CellReader, value: CollectionValue): Bytes[] {
  switch (value.kind) {
    case 'list':
      return [...itemsOf(cells, value)];
    case 'set':
      return [...membersOf(cells)];
    case 'hash':
      return allFields(cells).flatMap(({ field, value: bytes }) => [field, bytes]);
    case 'zset':
      return scoredParts(cells);
  }
}

function scoredParts(cells: CellReader): Bytes[] {
  const parts: Bytes[] = [];
  for (const { cell, value } of cells.scan({ from: MEMBER, to: Uint8Array.of(MEMBER[0]! + 1) }))
    parts.push(fieldOf(cell.subarray(MEMBER.length)), utf8(doubleText(decodeScore(value))));
  return parts;
}

const restore: WriteHandler = (ctx, value, args) => {
  const kind = fromUtf8(args[2]!) as CollectionKind;
  const from = Number(fromUtf8(args[3]!));
  const parts = args.slice(5);
  const isPaired = kind === 'hash' || kind === 'zset';
  if (parts.length === 0 || (isPaired && parts.length % 2 !== 0)) return unchanged(value, SYNTAX_ERROR);
  if (kind === 'zset' && parts.some((part, at) => at % 2 === 1 && parseScore(part) === undefined)) return unchanged(value, NOT_A_FLOAT);
  if (from > 0 && (value === undefined || isNot(value, kind) || countOf(value) < from))
    return unchanged(value, errorReply(`ERR a piece of a ${kind} begins at ${from}, and what comes before it is not there`));
  if (from === 0 && value !== undefined && !isString(value)) ctx.cells.clear();
  const ttl = args[4]!;
  const expireAtMs = ttl.length === 0 ? null : ctx.nowMs + Number(fromUtf8(ttl));
  const result = written(ctx, from === 0 ? undefined : value, { kind, parts, from });
  return { ...result, reply: value === undefined ? CREATED : REPLACED, expireAtMs };
};

function countOf(value: RedisValue): number {
  if (isString(value)) return 0;
  return value.kind === 'list' ? value.length : value.kind === 'hash' ? value.fieldCount : value.memberCount;
}

function written(
  ctx: Parameters<WriteHandler>[0],
  value: RedisValue | undefined,
  { kind, parts, from }: Pick<Piece, 'kind' | 'parts' | 'from'>,
): RedisResult {
  switch (kind) {
    case 'list': {
      const edit = new ListEdit(ctx, isNot(value, 'list') ? undefined : value);
      while (edit.length > from) edit.pop(false);
      for (const part of parts) edit.push(false, part);
      return { reply: 0, ...edit.finish() };
    }
    case 'set': {
      const edit = new SetEdit(ctx, isNot(value, 'set') ? undefined : value);
      for (const part of parts) edit.add(part);
      return { reply: 0, ...edit.finish() };
    }
    case 'hash': {
      const edit = new HashEdit(ctx, isNot(value, 'hash') ? undefined : value);
      for (let at = 0; at < parts.length; at += 2) edit.set(parts[at]!, parts[at + 1]!);
      return edit.result(0);
    }
    case 'zset': {
      const edit = new SortedSetEdit(ctx, isNot(value, 'zset') ? undefined : value);
      for (let at = 0; at < parts.length; at += 2) edit.set(parts[at]!, parseScore(parts[at + 1]!)!, edit.score(parts[at]!));
      return { reply: 0, ...edit.finish() };
    }
  }
}

export const COLLECTION_READS: ReadonlyMap<string, ReadHandler> = new Map([['\0dump', dump]]);
export const COLLECTION_WRITES: ReadonlyMap<string, WriteHandler> = new Map([['\0restore', restore]]);
