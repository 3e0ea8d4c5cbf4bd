import type { ShardLogs } from '../../log/shard-logs.ts';
import type { NodeAddresses, ProtocolRange } from '../../shard/meta/node-record.ts';
import type { ReplicaLimits, ReplicaTiming } from '../../shard/replica/timing.ts';
import type { Storage } from '../../storage/storage.ts';
import type { Transport } from '../../transport/transport.ts';
import type { NodeClock } from '../node-clock.ts';
import type { AnyHook } from './cluster-hooks.ts';
import type { AnyModule } from './hosted-shard.ts';

export interface ClusterNodeOptions {
  /** 1 to 64 of `A-Z a-z 0-9 _ -`; the node's for good. */
  readonly nodeId: string;
  /** Likewise. All nodes of one cluster give the same. */
  readonly cluster: string;
  /** The caller's to close, after the node has stopped. */
  readonly storage: Storage;
  readonly clock: NodeClock;
  /** The caller's to close, after the node has stopped. */
  readonly transport: Transport;
  readonly logs: ShardLogs;
  /** A node is given only keyspaces whose value module it has; registering one adds its module. */
  readonly modules?: readonly AnyModule[];
  /** What the leaders of a keyspace's shards tell the world, by its name: to be known before its shards run entries. */
  readonly hooks?: Readonly<Record<string, AnyHook>>;
  /** What fails together; replicas of a shard are in different ones if there are enough. */
  readonly zone?: string;
  /** Its share of the shards, relative to that of others. Default: 1, or as before. */
  readonly weight?: number;
  readonly addresses?: NodeAddresses;
  /** Of Keyfleet, for `status`. */
  readonly release?: string;
  /** Should the log of the meta shard be lost: goes on without the members that cannot be reached, and gives up what only they have. Default: false. */
  readonly acceptMetaLoss?: boolean;
  /** Default: {@link PROTOCOL}. Another is for tests of clusters of several releases. */
  readonly protocol?: ProtocolRange;
  /** How many replicas a shard is to have, of a new cluster. Default: 3. */
  readonly replication?: number;
  readonly timing?: Partial<ReplicaTiming>;
  readonly limits?: Partial<ReplicaLimits>;
  /** Of a value as its module encodes it, and of a cell. Default: 512 MiB and 1 KiB; what one command may carry is limited by the log. */
  readonly maxValueBytes?: number;
  /** Default: 512 MiB. */
  readonly maxKeyBytes?: number;
  /** How long a request looks for somebody to answer it. Default: 10,000. */
  readonly requestTimeoutMs?: number;
  /** How long what a client's requests came to is kept after its last request, in milliseconds. Default: 24 hours. */
  readonly sessionRetentionMs?: number;
  /** How often a node says what it has. Default: 500. */
  readonly heartbeatMs?: number;
  /** A node that was not heard of for so long is down. Default: 5,000. */
  readonly downAfterMs?: number;
  /** Told what the node's own work in the background met, such as a full disk. */
  readonly onBackgroundError?: (error: Error) => void;
}

/**
 * The forms of requests between nodes, log entries and records that this release reads and writes; which of them are in use, the meta shard says
 * (docs/cluster.md). Each form that older releases cannot read has a row here.
 */
export const PROTOCOL = { min: 1, max: 2 } as const;

/** From which protocol on something may be used. */
export const SINCE = {
  /** Entries of kind `load`, and states of shards with the id of a restore. */
  restore: 2,
  /** `hook-done` of a shard that was taken over. */
  inheritedHooks: 2,
  /** `log-lost` and `log-begun-anew` in the meta shard, and states of shards with the generation of their log. */
  logGenerations: 2,
} as const;
