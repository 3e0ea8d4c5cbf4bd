import { Prng } from '../../base/prng.ts';
import { LONG_RANGE_ERROR, NOT_AN_INTEGER, OUT_OF_POSITIVE, SYNTAX_ERROR, WRONG_TYPE } from './error-replies.ts';
import { type Handlers, type ReadHandler, type RedisResult, unchanged, type WriteHandler, type WriteManyHandler } from './handler.ts';
import { fieldHash } from './hash-fields.ts';
import { MAX_REPEATED, pickDifferent, pickOne, pickRepeated } from './hash-random.ts';
import { scanHandler } from './hash-scan.ts';
import { INT64_MAX, parseInteger } from './integer.ts';
import { errorReply, type Reply } from './reply.ts';
import { SET_MANY_STORES } from './set-algebra.ts';
import { hasMember, membersOf, SetEdit } from './set-members.ts';
import { isNot } from './value.ts';

const COUNT_OUT_OF_RANGE = errorReply('ERR value is out of range');

const sCard: ReadHandler = (_ctx, value) => (value === undefined ? 0 : isNot(value, 'set') ? WRONG_TYPE : value.memberCount);

const sIsMember: ReadHandler = (ctx, value, args) =>
  value === undefined ? 0 : isNot(value, 'set') ? WRONG_TYPE : hasMember(ctx.cells, args[2]!) ? 1 : 0;

const sMIsMember: ReadHandler = (ctx, value, args) => {
  if (isNot(value, 'set')) return WRONG_TYPE;
  return args.slice(2).map((member) => (value !== undefined && hasMember(ctx.cells, member) ? 1 : 0));
};

const sMembers: ReadHandler = (ctx, value) => {
  if (isNot(value, 'set')) return WRONG_TYPE;
  return { kind: 'set', items: value === undefined ? [] : [...membersOf(ctx.cells)] };
};

function result(edit: SetEdit, reply: Reply): RedisResult {
  return { reply, ...edit.finish() };
}

const sAdd: WriteHandler = (ctx, value, args) => {
  if (isNot(value, 'set')) return unchanged(value, WRONG_TYPE);
  const edit = new SetEdit(ctx, value);
  let added = 0;
  for (let i = 2; i < args.length; i++) if (edit.add(args[i]!)) added++;
  return result(edit, added);
};

const sRem: WriteHandler = (ctx, value, args) => {
  if (value === undefined) return unchanged(value, 0);
  if (isNot(value, 'set')) return unchanged(value, WRONG_TYPE);
  const edit = new SetEdit(ctx, value);
  let removed = 0;
  for (let i = 2; i < args.length; i++) if (edit.remove(args[i]!)) removed++;
  return result(edit, removed);
};

const sMove: WriteManyHandler = (ctx, args) => {
  const from = ctx.open(args[1]!);
  if (from.value === undefined) return 0;
  const to = ctx.open(args[2]!);
  if (isNot(from.value, 'set') || isNot(to.value, 'set')) return WRONG_TYPE;
  const member = args[3]!;
  if (from === to) return hasMember(from.cells, member) ? 1 : 0;
  const source = new SetEdit(from, from.value);
  if (!source.remove(member)) return 0;
  const left = source.finish();
  from.set(left.value, left);
  const target = new SetEdit(to, to.value);
  target.add(member);
  const grown = target.finish();
  to.set(grown.value, grown);
  return 1;
};

/** `SPOP key [count]`. The chance comes from the time, the key and the members left, so that all copies of a shard pick the same. */
const sPop: WriteHandler = (ctx, value, args) => {
  if (args.length > 3) return unchanged(value, SYNTAX_ERROR);
  const count = args.length > 2 ? parseInteger(args[2]!) : 1;
  if (count === undefined || count < 0) return unchanged(value, OUT_OF_POSITIVE);
  if (value === undefined) return unchanged(value, args.length > 2 ? { kind: 'set', items: [] } : null);
  if (isNot(value, 'set')) return unchanged(value, WRONG_TYPE);
  if (count === 0) return unchanged(value, { kind: 'set', items: [] });
  const prng = new Prng((Math.imul(value.memberCount, 0x9e3779b1) ^ ctx.nowMs ^ fieldHash(ctx.key)) >>> 0);
  const chooser = { cells: ctx.cells, fieldCount: value.memberCount, prng };
  const members = args.length > 2 ? pickDifferent(chooser, Number(count)).map(({ field }) => field) : [pickOne(chooser).field];
  const reply: Reply = args.length > 2 ? { kind: 'set', items: members } : members[0]!;
  if (members.length === value.memberCount) return { reply, value: undefined };
  const edit = new SetEdit(ctx, value);
  for (const member of members) edit.remove(member);
  return result(edit, reply);
};

/** `SRANDMEMBER key [count]`: a positive count answers different members, a negative one may repeat them. */
const sRandMember: ReadHandler = (ctx, value, args) => {
  if (args.length > 3) return SYNTAX_ERROR;
  const count = args.length > 2 ? parseInteger(args[2]!) : 1;
  if (count === undefined) return NOT_AN_INTEGER;
  if (count < -INT64_MAX) return LONG_RANGE_ERROR;
  if (value === undefined) return args.length > 2 ? [] : null;
  if (isNot(value, 'set')) return WRONG_TYPE;
  const prng = new Prng((args.seed ?? ctx.nowMs ^ fieldHash(ctx.key)) >>> 0);
  const chooser = { cells: ctx.cells, fieldCount: value.memberCount, prng };
  if (args.length === 2) return pickOne(chooser).field;
  if (count < -MAX_REPEATED) return COUNT_OUT_OF_RANGE;
  return (count < 0 ? pickRepeated(chooser, -Number(count)) : pickDifferent(chooser, Number(count))).map(({ field }) => field);
};

export const SET_READS: Handlers<ReadHandler> = {
  scard: sCard,
  sismember: sIsMember,
  smismember: sMIsMember,
  smembers: sMembers,
  srandmember: sRandMember,
  sscan: scanHandler('set', { isWithValues: false }),
};

export const SET_WRITES: Handlers<WriteHandler> = { sadd: sAdd, srem: sRem, spop: sPop };
export const SET_MANY_WRITES: Handlers<WriteManyHandler> = { smove: sMove, ...SET_MANY_STORES };
