import { assert } from '../../base/assert.ts';
import { MIB } from '../../base/units.ts';
import type { ManyContext, ManyQueryContext, ValueModule } from '../value-module.ts';
import { commandArgsCodec, queryArgsCodec } from './args-codec.ts';
import { BIT_MANY_WRITES, BIT_READS, BIT_WRITES } from './bit-commands.ts';
import { BLOCKING_WRITES } from './blocking-commands.ts';
import { COMMAND_INDEX_END, type CommandArgs, everySpec, isSpec, keysOf, resolveCommand } from './command-table.ts';
import { COUNTER_WRITES } from './counter-commands.ts';
import { doorRead, doorWrite } from './door-commands.ts';
import type {
  Handlers,
  LookupCounts,
  ReadHandler,
  ReadManyHandler,
  RedisQuery,
  RedisSettings,
  WriteHandler,
  WriteManyHandler,
} from './handler.ts';
import { HASH_READS, HASH_WRITES } from './hash-commands.ts';
import { KEY_READS, KEY_WRITES } from './key-commands.ts';
import { lcs } from './lcs.ts';
import { LIST_MANY_WRITES, LIST_READS, LIST_WRITES } from './list-commands.ts';
import { loadOfCommand, loadOfReply } from './load.ts';
import { asStringOrNil, KEY_MANY_READS, KEY_MANY_WRITES, mSetNxOne, mSetOne } from './many-key-commands.ts';
import { NULL_ARRAY, type Reply, type TaggedReply } from './reply.ts';
import { replyCodec } from './reply-codec.ts';
import { SET_MANY_READS } from './set-algebra.ts';
import { SET_MANY_WRITES, SET_READS, SET_WRITES } from './set-commands.ts';
import { SORT_READS, SORT_WRITES } from './sort.ts';
import { SORTED_SET_MANY_READS } from './sorted-set-algebra.ts';
import { SORTED_SET_MANY_WRITES, SORTED_SET_READS, SORTED_SET_WRITES } from './sorted-set-commands.ts';
import { STRING_READS, STRING_WRITES } from './string-commands.ts';
import { applyResult, contextOf, isTransaction, runTransaction } from './transaction.ts';
import { type RedisValue, redisValueCodec } from './value.ts';

export type { RedisQuery, RedisSettings } from './handler.ts';
export type { RedisValue } from './value.ts';

/** The value module behind RESP: what a command is, Redis 7.0 says. */
export type RedisModule = ValueModule<RedisValue, CommandArgs, Reply, RedisQuery, Reply>;

const READS: Handlers<ReadHandler> = {
  ...KEY_READS,
  ...STRING_READS,
  ...BIT_READS,
  ...HASH_READS,
  ...LIST_READS,
  ...SET_READS,
  ...SORTED_SET_READS,
  mget: (_ctx, value, args) => args.slice(1).map(() => asStringOrNil(value)),
};
const WRITES: Handlers<WriteHandler> = {
  ...KEY_WRITES,
  ...STRING_WRITES,
  ...COUNTER_WRITES,
  ...BIT_WRITES,
  ...HASH_WRITES,
  ...LIST_WRITES,
  ...SET_WRITES,
  ...SORTED_SET_WRITES,
  mset: mSetOne,
  msetnx: mSetNxOne,
};
const READS_MANY: Handlers<ReadManyHandler> = { ...KEY_MANY_READS, ...SET_MANY_READS, ...SORTED_SET_MANY_READS, ...SORT_READS, lcs };
const WRITES_MANY: Handlers<WriteManyHandler> = {
  ...KEY_MANY_WRITES,
  ...BIT_MANY_WRITES,
  ...LIST_MANY_WRITES,
  ...SET_MANY_WRITES,
  ...SORTED_SET_MANY_WRITES,
  ...BLOCKING_WRITES,
  ...SORT_WRITES,
};

/** Handlers by the index of their command, so that running one costs a look-up in an array. */
function byIndex<Handler>(handlers: Handlers<Handler>): readonly (Handler | undefined)[] {
  const table = new Array<Handler | undefined>(COMMAND_INDEX_END).fill(undefined);
  for (const spec of everySpec()) table[spec.index] = handlers[spec.name];
  return table;
}

const reads = byIndex(READS);
const writes = byIndex(WRITES);
const readsMany = byIndex(READS_MANY);
const writesMany = byIndex(WRITES_MANY);

/** The names of the commands that the module carries out, by form. */
export const HANDLED = {
  reads: Object.keys(READS),
  writes: Object.keys(WRITES),
  readsMany: Object.keys(READS_MANY),
  writesMany: Object.keys(WRITES_MANY),
} as const;

/** Redis's own limit. */
const DEFAULT_MAX_STRING_BYTES = 512 * MIB;

export interface RedisModuleOptions extends Partial<RedisSettings> {
  /** Where to count what reads find. */
  readonly lookups?: LookupCounts;
}

/**
 * Makes the module. A command that Redis refuses is answered with Redis's error reply and changes nothing; nothing is thrown for it.
 * Which of the four entries a command takes, its spec says: `access` read or write, `route` one key or several.
 */
export function createRedisModule(options: RedisModuleOptions = {}): RedisModule {
  const settings: RedisSettings = { maxStringBytes: options.maxStringBytes ?? DEFAULT_MAX_STRING_BYTES };
  const lookups = options.lookups ?? { hits: 0, misses: 0 };
  return {
    name: 'redis',
    codec: redisValueCodec,
    commandCodec: commandArgsCodec,
    replyCodec,
    queryCodec: queryArgsCodec,
    answerCodec: replyCodec,
    command(ctx, value, args) {
      const handler = doorWrite(args) ?? resolve(writes, args);
      if (typeof handler !== 'function') return { reply: handler, value };
      const result = handler(ctx, value, args, settings);
      const load = loadOfCommand(args, result);
      // A spread that comes first is copied by a slow path of V8: 0.6 µs here, where the last one takes 0.03.
      return load === 1 ? result : { load, ...result };
    },
    query(ctx, value, args) {
      const handler = doorRead(args) ?? resolve(reads, args);
      if (typeof handler !== 'function') return { answer: handler };
      countLookup(lookups, value);
      const answer = handler(ctx, value, args, settings);
      const load = loadOfReply(answer);
      return load === 1 ? { answer } : { answer, load };
    },
    commandMany(ctx, args) {
      if (isTransaction(args)) {
        const replies = runTransaction(ctx, args, (shared, command) => runQueued(shared, command, settings, lookups));
        return replies ? { reply: replies, load: replies.length } : { reply: NULL_ARRAY };
      }
      const handler = resolve(writesMany, args);
      const reply = typeof handler === 'function' ? handler(ctx, args, settings) : handler;
      return { reply, load: 1 + Math.floor(args.length / 2) };
    },
    queryMany(ctx, args) {
      const handler = resolve(readsMany, args);
      const answer = typeof handler === 'function' ? handler(counted(ctx, lookups), args, settings) : handler;
      return { answer, load: 1 + Math.floor(args.length / 2) };
    },
  };
}

function countLookup(lookups: LookupCounts, value: RedisValue | undefined): void {
  if (value === undefined) lookups.misses++;
  else lookups.hits++;
}

function counted(ctx: ManyQueryContext<RedisValue>, lookups: LookupCounts): ManyQueryContext<RedisValue> {
  return {
    nowMs: ctx.nowMs,
    open(key) {
      const record = ctx.open(key);
      countLookup(lookups, record.value);
      return record;
    },
  };
}

/** One command of a transaction, in whichever form it comes. */
function runQueued(ctx: ManyContext<RedisValue>, args: CommandArgs, settings: RedisSettings, lookups: LookupCounts): Reply {
  const spec = resolveCommand(args);
  if (!isSpec(spec)) return spec;
  const keys = keysOf(spec, args);
  const isRead = spec.access === 'read';
  if (spec.route.kind === 'many-keys-one-slot' || keys.length > 1) {
    const handler = resolve<ReadManyHandler | WriteManyHandler>(isRead ? readsMany : writesMany, args);
    return typeof handler === 'function' ? handler(ctx, args, settings) : handler;
  }
  const record = ctx.open(keys[0]!);
  if (isRead) {
    const handler = resolve(reads, args);
    countLookup(lookups, record.value);
    return typeof handler === 'function' ? handler(contextOf(record, ctx.nowMs), record.value, args, settings) : handler;
  }
  const handler = resolve(writes, args);
  if (typeof handler !== 'function') return handler;
  const result = handler(contextOf(record, ctx.nowMs), record.value, args, settings);
  applyResult(record, result, ctx.nowMs);
  return result.reply;
}

/** The handler, or the reply to a command that is malformed. That a command comes in by the wrong entry is the caller's mistake. */
function resolve<Handler>(handlers: readonly (Handler | undefined)[], args: CommandArgs): Handler | TaggedReply {
  const spec = resolveCommand(args);
  if (!isSpec(spec)) return spec;
  const handler = handlers[spec.index];
  assert(handler !== undefined, () => `${spec.name} (${spec.route.kind}, ${spec.access}) has no handler in this form`);
  return handler;
}
