import type { LostLogVerdict } from '../../shard/meta/lost-log.ts';
import { type KeyspaceRecord, META_SHARD_ID, mapOf } from '../../shard/meta/meta-records.ts';
import type { NodeRecord } from '../../shard/meta/node-record.ts';
import { FIRST_PROTOCOL } from '../../shard/meta/node-record.ts';
import type { LostLog, Workflow } from '../../shard/meta/shard-map.ts';
import type { KeyspacePolicy } from '../../shard/policy.ts';
import type { PositionSchemeName } from '../../shard/position-scheme.ts';
import type { PositionRange, ShardStatus } from '../../shard/shard-state.ts';
import type { ShardStats } from '../keyspace-handle.ts';
import type { ClusterMap } from './cluster-map.ts';
import { beliefsOf, logTroubleOf } from './leader-watch.ts';
import { lostLogVerdict } from './log-recovery.ts';
import type { ClusterReports } from './reports.ts';
import type { CallRouter, LocalShards } from './router.ts';

/** The cluster as one node knows it. */
export interface ClusterView {
  readonly nodeId: string;
  readonly cluster: string;
  /** The node that leads the meta shard. */
  readonly metaLeader: string | undefined;
  /** The log of the meta shard is lost, as far as this node knows; how it can go on. */
  readonly metaLost: LostView | undefined;
  readonly replication: number;
  /** The protocol that the cluster speaks. */
  readonly protocol: number;
  readonly nodes: readonly NodeView[];
  readonly keyspaces: readonly KeyspaceView[];
}

export interface NodeView extends NodeRecord {
  readonly isSelf: boolean;
  /** When the leader of the meta shard last heard of it; undefined: not since it leads. */
  readonly heardMsAgo: number | undefined;
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
  /** The id of its log, once it is known. */
  readonly log: string | undefined;
  /** Its log is lost; how it can go on. */
  readonly lost: LostView | undefined;
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
    | {
        readonly applied: number;
        readonly status: ShardStatus;
        readonly leads: boolean;
        readonly isBringingData: boolean;
        /** What it believes and waits for, in words. */
        readonly beliefs: string;
        /** Its log takes nothing from this node, in words; undefined: it does, as far as that was tried lately. */
        readonly trouble: string | undefined;
      }
    | undefined;
}

export type LostView = LostLog & { readonly verdict: LostLogVerdict };

/** What a view is made of. */
export interface ViewSources {
  readonly nodeId: string;
  readonly cluster: string;
  readonly map: ClusterMap;
  readonly metaLost: LostView | undefined;
  readonly host: LocalShards;
  readonly router: CallRouter;
  readonly reports: ClusterReports;
  /** By the clock that the reports were noted by. */
  readonly nowMs: number;
}

export function viewOf(sources: ViewSources): ClusterView {
  const { nodeId, cluster, map, metaLost, router, reports, nowMs } = sources;
  const { nodes, replication, protocol = FIRST_PROTOCOL } = map.cluster;
  return {
    nodeId,
    cluster,
    metaLeader: metaLost ? undefined : router.leaderOf(META_SHARD_ID),
    metaLost,
    replication,
    protocol,
    nodes: nodes.map((node) => {
      const heardMs = reports.heardMs(node.id);
      return { ...node, isSelf: node.id === nodeId, heardMsAgo: heardMs === undefined ? undefined : Math.max(0, nowMs - heardMs) };
    }),
    keyspaces: [...map.keyspaces.values()].map((record) => {
      const { name, id, module, scheme, policy } = record;
      return { name, id, module, scheme, policy, shards: shardViewsOf(record, sources), workflows: mapOf(record).workflows };
    }),
  };
}

export function shardViewsOf(record: KeyspaceRecord, { map, host, router, reports }: ViewSources): ShardView[] {
  return record.shards.map((shard) => {
    const { id, range, replicas = [], generation = 1, log, lost } = shard;
    const hosted = host.get(id);
    const state = hosted?.state;
    const best = reports.best(id);
    // What is here may be newer than what the leader has reported.
    const known = state && (hosted.leads || !best || state.applied > best.applied) ? state : best;
    return {
      id,
      range,
      replicas,
      generation,
      log,
      lost: lost && { ...lost, verdict: lostLogVerdict(shard, map, reports) },
      leader: router.leaderOf(id),
      epoch: Math.max(state?.epoch ?? 0, best?.epoch ?? 0),
      applied: known?.applied ?? 0,
      keyCount: known?.keyCount ?? 0,
      sizeBytes: known?.sizeBytes ?? 0,
      expiringCount: known?.expiringCount ?? 0,
      loadPerSecond: best?.loadPerSecond ?? 0,
      status: known?.status ?? 'serving',
      durable: Object.fromEntries([...reports.ofShard(id)].map(([node, report]) => [node, report.durableSeq])),
      here: hosted && {
        applied: state?.applied ?? 0,
        status: state?.status ?? 'faulted',
        leads: hosted.leads,
        isBringingData: hosted.isBringingData,
        // Words are made for those who read them: doors look at the view ten times a second.
        get beliefs() {
          return beliefsOf(hosted);
        },
        get trouble() {
          return logTroubleOf(hosted);
        },
      },
    };
  });
}

export function shardStatsOf(record: KeyspaceRecord, sources: ViewSources): ShardStats[] {
  return shardViewsOf(record, sources).map((view) => {
    const { id, range, applied, keyCount, sizeBytes, expiringCount, status, leader, replicas } = view;
    const load = sources.host.get(id)?.machine?.load ?? 0;
    return { id, from: range.from, to: range.to, applied, keyCount, sizeBytes, expiringCount, load, status, leader, replicas };
  });
}
