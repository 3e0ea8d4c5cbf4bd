import type { LostView, ShardView } from '../node/cluster/cluster-view.ts';
import type { ClusterHost } from '../node/cluster-host.ts';
import type { Workflow } from '../shard/meta/shard-map.ts';

/** What `/v1/nodes` answers and `keyfleet nodes` shows; also part of `/v1/status`. */
export interface ClusterReport {
  readonly cluster: string;
  /** The node that answers. */
  readonly node: string;
  /** The node that leads the meta shard; null: nobody for now, as far as this one knows. */
  readonly metaLeader: string | null;
  /** The log of the meta shard is lost, and has not begun anew, as far as this node knows. */
  readonly metaLost: LostReport | null;
  /** Copies that each shard is to have. */
  readonly replication: number;
  /** The protocol that the cluster speaks: the highest that all nodes have known at one time. Absent: the node that answers is of a release that does not say. */
  readonly protocol?: number;
  /** Why this node takes no requests yet; null: it does. */
  readonly unready: string | null;
  readonly nodes: readonly NodeReport[];
  readonly keyspaces: readonly {
    readonly name: string;
    readonly shards: readonly ReplicaReport[];
    /** Splits, merges and moves under way. */
    readonly workflows: readonly Workflow[];
  }[];
  /** What puts acknowledged writes at risk with the NATS servers, or is not known of them. */
  readonly risks: readonly string[];
}

export interface NodeReport {
  readonly id: string;
  readonly status: string;
  readonly zone: string;
  readonly weight: number;
  readonly release: string;
  /** The protocols that its release knows; absent as {@link ClusterReport.protocol} is. */
  readonly protocol?: { readonly min: number; readonly max: number };
  readonly addresses: { readonly resp?: string | undefined; readonly http?: string | undefined };
  /** When its status became what it is, in milliseconds since 1970. */
  readonly sinceMs: number;
  /** Shards of all keyspaces that it leads, and that it has a copy of. */
  readonly leads: number;
  readonly replicas: number;
  readonly isSelf: boolean;
}

export interface ReplicaReport {
  readonly id: number;
  /** Of its log: one more each time that it was lost. */
  readonly generation: number;
  /** Its log is lost, and has not begun anew; null: it is there. */
  readonly lost: LostReport | null;
  readonly leader: string | null;
  /** The preferred leader first. */
  readonly replicas: readonly string[];
  /** Entries that the disk of each replica is behind its leader, as far as they have said. */
  readonly lag: Readonly<Record<string, number>>;
  /** What the replica of the node that answers believes and waits for, in words; null: it has none. */
  readonly here: string | null;
  /** What keeps it from writing to its log, in words; absent: nothing that it knows of. */
  readonly trouble?: string;
}

export interface LostReport {
  /** Milliseconds since 1970. */
  readonly sinceMs: number;
  /** The nodes that are to say first what they have of it. */
  readonly waitsFor: readonly string[];
  /** All have spoken, and none has a sound copy. */
  readonly hasNoCopy: boolean;
}

/** The cluster behind an HTTP server, to be looked at and changed. */
export interface ClusterAdmin {
  report(): ClusterReport;
  /** Why this node takes no requests yet. */
  readonly unready: string | undefined;
  /** Has the data leave a node; it goes on serving meanwhile. @throws KF_UNKNOWN_NODE. */
  drain(node: string): Promise<void>;
  /** Takes {@link drain} back. */
  undrain(node: string): Promise<void>;
  /** Forgets a node that has nothing any more, or is gone for good. @throws KF_UNKNOWN_NODE, KF_NODE_IN_USE. */
  remove(node: string): Promise<void>;
  /**
   * Has a shard whose log is lost go on with what its replicas have that can be reached: what was acknowledged and is nowhere else is lost.
   * @throws KF_NO_SHARD, KF_LOG_NOT_LOST.
   */
  acceptLoss(shard: number): Promise<void>;
}

export function nodeClusterAdmin(host: ClusterHost): ClusterAdmin {
  const unready = (): string | undefined => (host.node.isReady ? undefined : 'this node has not heard from the cluster yet');
  return {
    get unready() {
      return unready();
    },
    report: () => reportOf(host, unready()),
    drain: (node) => host.node.drain(node),
    undrain: (node) => host.node.undrain(node),
    remove: (node) => host.node.remove(node),
    acceptLoss: (shard) => host.node.acceptLoss(shard),
  };
}

function reportOf(host: ClusterHost, unready: string | undefined): ClusterReport {
  const { cluster, nodeId, metaLeader, metaLost, replication, protocol, nodes, keyspaces } = host.view();
  const all = keyspaces.flatMap(({ shards }) => shards);
  return {
    cluster,
    node: nodeId,
    metaLeader: metaLeader ?? null,
    metaLost: metaLost ? lostReport(metaLost) : null,
    replication,
    protocol,
    unready: unready ?? null,
    nodes: nodes.map(({ id, status, zone, weight, release, protocol: knows, addresses, sinceMs, isSelf }) => ({
      ...{ id, status, zone, weight, release, protocol: knows, addresses, sinceMs, isSelf },
      leads: all.filter(({ leader }) => leader === id).length,
      replicas: all.filter(({ replicas }) => replicas.includes(id)).length,
    })),
    keyspaces: keyspaces.map(({ name, shards, workflows }) => ({ name, shards: shards.map(replicaReport), workflows })),
    risks: host.risks,
  };
}

function replicaReport({ id, generation, lost, leader, replicas, applied, durable, here }: ShardView): ReplicaReport {
  const lag = Object.fromEntries(Object.entries(durable).map(([node, seq]) => [node, Math.max(0, applied - seq)]));
  const trouble = here?.trouble;
  return {
    ...{ id, generation, lost: lost ? lostReport(lost) : null, leader: leader ?? null, replicas, lag, here: here?.beliefs ?? null },
    ...(trouble === undefined ? {} : { trouble }),
  };
}

function lostReport({ sinceMs, verdict }: LostView): LostReport {
  return { sinceMs, waitsFor: verdict.kind === 'waits' ? verdict.nodes : [], hasNoCopy: verdict.kind === 'nothing' };
}
