import type { Bytes } from '../../base/bytes.ts';
import type { CommandContext, CommandResult, ManyContext, ManyQueryContext, QueryContext } from '../value-module.ts';
import type { CommandArgs } from './command-table.ts';
import type { Reply, TaggedReply } from './reply.ts';
import type { RedisValue } from './value.ts';

/** What a Redis module can be told when it is made. */
export interface RedisSettings {
  /** The longest string that APPEND, SETRANGE, SETBIT and BITFIELD may build: `proto-max-bulk-len`. */
  readonly maxStringBytes: number;
}

/** Keys that reads found, and did not find. For those who want to know: no result depends on it. */
export interface LookupCounts {
  hits: number;
  misses: number;
}

/**
 * A read as it comes to the module. `seed` is the chance in HRANDFIELD, a u32 from the door: set it on the array of the arguments;
 * without it the module makes do with the time and the key.
 */
export interface RedisQuery extends ReadonlyArray<Bytes> {
  readonly seed?: number;
}

export type RedisResult = CommandResult<RedisValue, Reply>;

/** Changes one key. Arity has been checked. */
export type WriteHandler = (ctx: CommandContext, value: RedisValue | undefined, args: CommandArgs, settings: RedisSettings) => RedisResult;

/** Reads one key. */
export type ReadHandler = (ctx: QueryContext, value: RedisValue | undefined, args: RedisQuery, settings: RedisSettings) => Reply;

/** Changes several keys of one shard; opens only keys of its command. */
export type WriteManyHandler = (ctx: ManyContext<RedisValue>, args: CommandArgs, settings: RedisSettings) => Reply;

/** Reads several keys of one shard. */
export type ReadManyHandler = (ctx: ManyQueryContext<RedisValue>, args: CommandArgs, settings: RedisSettings) => Reply;

/** Says what is wrong with the arguments, if anything is. */
export type ArgsCheck = (args: CommandArgs) => TaggedReply | undefined;

/** Handlers by the command's name in the table. */
export type Handlers<Handler> = Readonly<Record<string, Handler>>;

/** A command that answers and changes nothing. */
export function unchanged(value: RedisValue | undefined, reply: Reply): RedisResult {
  return { reply, value };
}
