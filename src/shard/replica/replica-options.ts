import type { Bytes } from '../../base/bytes.ts';
import type { ShardMachine } from '../shard-machine.ts';
import type { ValueModule } from '../value-module.ts';
import type { Instant, ReplicaHost } from './host.ts';
import type { ReplicaLimits, ReplicaTiming } from './timing.ts';

export interface ReplicaOptions<Value, Command, Reply, Query, Answer> {
  /** This node's name. */
  readonly self: string;
  /** Replicas claim in the order of their ranks, from 0. */
  readonly rank: number;
  readonly machine: ShardMachine<Value, Command, Reply, Query, Answer>;
  readonly module: ValueModule<Value, Command, Reply, Query, Answer>;
  readonly positionOf: (key: Bytes) => number;
  readonly host: ReplicaHost;
  readonly now: Instant;
  readonly timing?: Partial<ReplicaTiming>;
  readonly limits?: Partial<ReplicaLimits>;
}
