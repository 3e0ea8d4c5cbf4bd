import type { KeyspacePolicy } from '../shard/policy.ts';
import type { PositionSchemeName } from '../shard/position-scheme.ts';
import type { ValueModule } from '../shard/value-module.ts';
import type { LeaderHook } from './leader-hook.ts';

export const DEFAULT_SHARD_COUNT = 8;

/** What a keyspace is to be when it is registered. */
export interface KeyspaceOptions<Value, Command, Reply, Query, Answer> {
  readonly module: ValueModule<Value, Command, Reply, Query, Answer>;
  /** Default: `hash`. */
  readonly scheme?: PositionSchemeName;
  /** How many shards a new keyspace gets, or where they begin; one that exists keeps its own. Default: 8. */
  readonly shards?: number | readonly number[];
  /** Told of commits and answers, see {@link LeaderHook}. Not recorded with the keyspace: give it each time. */
  readonly hook?: LeaderHook<Command, Query, Answer>;
  /** When the shards of a new keyspace are split and merged; one that exists keeps its own, see `setPolicy`. */
  readonly policy?: Partial<KeyspacePolicy>;
}
