import { type KeyspaceRecord, META_SHARD_ID, mapOf } from '../../shard/meta/meta-records.ts';
import type { NodeRecord } from '../../shard/meta/node-record.ts';
import type { Workflow } from '../../shard/meta/shard-map.ts';
import type { KeyspacePolicy } from '../../shard/policy.ts';
import type { PositionSchemeName } from '../../shard/position-scheme.ts';
import type { PositionRange, ShardStatus } from '../../shard/shard-state.ts';
import type { ShardStats } from '../keyspace-handle.ts';
import type { MetaView } from './meta-view.ts';
import type { CallRouter } from './router.ts';
import type { ShardHost } from './shard-host.ts';

/** The cluster as one node knows it. */
export interface ClusterView {
  readonly nodeId: string;
  readonly cluster: string;
  /** The node that leads the meta shard. */
  readonly metaLeader: string | undefined;
  readonly replication: number;
  readonly nodes: readonly NodeView[];
  readonly keyspaces: readonly KeyspaceView[];
}

export interface NodeView extends NodeRecord {
  readonly isSelf: boolean;
}

export interface KeyspaceView {
  readonly name: string;
  readonly id: number;
  readonly module: string;
  readonly scheme: PositionSchemeName;
  readonly policy: KeyspacePolicy;
  readonly shards: readonly ShardView[];
  readonly workflows: readonly Workflow[];
}

export interface ShardView {
  readonly id: number;
  readonly range: PositionRange;
  /** The preferred leader first. */
  readonly replicas: readonly string[];
  readonly generation: number;
  readonly leader: string | undefined;
  readonly epoch: number;
  /** As its leader last reported. */
  readonly applied: number;
  readonly keyCount: number;
  readonly sizeBytes: number;
  readonly expiringCount: number;
  readonly loadPerSecond: number;
  readonly status: ShardStatus;
  /** How far the storages of its replicas have come, as far as they have said. */
  readonly durable: Readonly<Record<string, number>>;
  /** Of this node's own replica, if it has one. */
  readonly here:
    | { readonly applied: number; readonly status: ShardStatus; readonly leads: boolean; readonly isBringingData: boolean }
    | undefined;
}

/** What a view is made of. */
export interface ViewSources {
  readonly nodeId: string;
  readonly cluster: string;
  readonly meta: MetaView;
  readonly host: ShardHost;
  readonly router: CallRouter;
}

export function viewOf({ nodeId, cluster, meta, host, router }: ViewSources): ClusterView {
  const { nodes, replication } = meta.cluster;
  return {
    nodeId,
    cluster,
    metaLeader: router.leaderOf(META_SHARD_ID),
    replication,
    nodes: nodes.map((node) => ({ ...node, isSelf: node.id === nodeId })),
    keyspaces: [...meta.keyspaces.values()].map((record) => {
      const { name, id, module, scheme, policy } = record;
      return { name, id, module, scheme, policy, shards: shardViewsOf(record, host, router), workflows: mapOf(record).workflows };
    }),
  };
}

export function shardViewsOf(record: KeyspaceRecord, host: ShardHost, router: CallRouter): ShardView[] {
  return record.shards.map(({ id, range, replicas = [], generation = 1 }) => {
    const hosted = host.get(id);
    const state = hosted?.state;
    return {
      id,
      range,
      replicas,
      generation,
      leader: router.leaderOf(id),
      epoch: state?.epoch ?? router.hints.of(id)?.epoch ?? 0,
      applied: state?.applied ?? 0,
      keyCount: state?.keyCount ?? 0,
      sizeBytes: state?.sizeBytes ?? 0,
      expiringCount: state?.expiringCount ?? 0,
      loadPerSecond: 0,
      status: state?.status ?? 'serving',
      durable: {},
      here: hosted && {
        applied: state?.applied ?? 0,
        status: state?.status ?? 'faulted',
        leads: hosted.leads,
        isBringingData: hosted.isBringingData,
      },
    };
  });
}

export function shardStatsOf(record: KeyspaceRecord, host: ShardHost, router: CallRouter): ShardStats[] {
  return shardViewsOf(record, host, router).map((view) => {
    const { id, range, applied, keyCount, sizeBytes, expiringCount, status, leader, replicas } = view;
    const load = host.get(id)?.machine?.load ?? 0;
    return { id, from: range.from, to: range.to, applied, keyCount, sizeBytes, expiringCount, load, status, leader, replicas };
  });
}
