import type { CommandArgs, CommandSpec } from '../shard/redis/command-table.ts';
import type { Reply } from '../shard/redis/reply.ts';
import type { Connection } from './connection.ts';
import type { Door } from './door.ts';

/** A request that the door answers itself. */
export interface LocalCall {
  readonly door: Door;
  readonly conn: Connection;
  readonly spec: CommandSpec;
  readonly args: CommandArgs;
}

export interface LocalCommand {
  /** Starts only when all earlier requests of the connection are answered: it changes how answers are given, or looks at all keys. */
  readonly waits: boolean;
  run(call: LocalCall): Reply | Promise<Reply> | typeof SILENT;
}

/** Returned by commands that have no answer. */
export const SILENT: unique symbol = Symbol('no answer');

export function atOnce(run: LocalCommand['run']): LocalCommand {
  return { waits: false, run };
}

export function afterEarlier(run: LocalCommand['run']): LocalCommand {
  return { waits: true, run };
}
