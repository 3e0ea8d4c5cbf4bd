import type { StoreHost } from '../node/store-host.ts';
import type { Workflow } from '../shard/meta/shard-map.ts';
import type { KeyspacePolicy } from '../shard/policy.ts';

/** What `/v1/keyspaces/<keyspace>/shards` answers and `keyfleet shards` shows. */
export interface ShardsReport {
  readonly keyspace: string;
  readonly policy: KeyspacePolicy;
  /** In order of position. */
  readonly shards: readonly ShardReport[];
  /** Splits and merges under way. */
  readonly workflows: readonly Workflow[];
}

export interface ShardReport {
  readonly id: number;
  /** Owns the positions `from <= p < to`. */
  readonly from: number;
  readonly to: number;
  readonly keyCount: number;
  readonly sizeBytes: number;
  /** Lately, in units of one small command. */
  readonly loadPerSecond: number;
  /** Only `serving` for longer than milliseconds. */
  readonly status: string;
  /** Of a cluster: the node that leads it, null while nobody is known to; and all that have it, the preferred leader first. */
  readonly leader?: string | null;
  readonly replicas?: readonly string[];
}

/** What became of a split or merge that was asked for; `isOver` false: it goes on in the background. */
export interface WorkflowReport {
  readonly op: number;
  readonly isOver: boolean;
}

/** The shards of one keyspace, to be looked at and changed. */
export interface ShardAdmin {
  report(): ShardsReport;
  /** Without `at`: in halves. @throws KF_NO_SHARD, KF_SHARD_BUSY, KF_BAD_SPLIT_POINT. */
  split(shard: number, at: number | undefined): Promise<WorkflowReport>;
  /** With its right neighbour. @throws KF_NO_SHARD, KF_SHARD_BUSY. */
  merge(shard: number): Promise<WorkflowReport>;
  /** Changes what `change` says, and resolves to all of it. @throws KF_BAD_POLICY. */
  setPolicy(change: Readonly<Record<string, unknown>>): Promise<KeyspacePolicy>;
}

/** Of a keyspace that the node serves. */
export function nodeShardAdmin(node: StoreHost, name: string): ShardAdmin | undefined {
  const keyspace = node.keyspaces().find((one) => one.name === name);
  if (!keyspace) return undefined;
  const workflows = node.workflows(name);
  return {
    report: () => ({
      keyspace: name,
      policy: node.getPolicy(name),
      shards: keyspace.shardStats().map(({ id, from, to, keyCount, sizeBytes, status, leader, replicas }) => ({
        ...{ id, from, to, keyCount, sizeBytes, loadPerSecond: Math.round(workflows.loadPerSecond(id)), status },
        ...(replicas && { leader: leader ?? null, replicas }),
      })),
      workflows: workflows.running(),
    }),
    split: (shard, at) => workflows.split(shard, at),
    merge: (shard) => workflows.merge(shard),
    setPolicy: (change) => node.setPolicy(name, change as Partial<KeyspacePolicy>),
  };
}
