import { utf8 } from '../../base/bytes.ts';
import { KeyfleetError } from '../../base/errors.ts';
import type { LogName } from './hosting.ts';
import { changeMap, type KeyspaceRecord, type MetaContext, mapOf, NODES_KEY, type NodesRecord, nodesOf, ofKind } from './meta-records.ts';
import { type MoveLimits, nextMoves } from './next-moves.ts';
import { changedNodes, FIRST_PROTOCOL, type HeldShard, type NodeCommand, raisedProtocol } from './node-record.ts';
import { placeShards, replicationOf } from './placement.ts';
import type { MapChange } from './shard-map.ts';

// What is asked of the meta shard of a cluster that is not about one keyspace.

export type ClusterCommand =
  | NodeCommand
  /** How many replicas each shard is to have from now on; `place` makes it so. @throws KF_BAD_OPTION. */
  | { readonly kind: 'set-replication'; readonly replication: number }
  /** Begins, ends and puts in order the moves that the nodes and the shards there are call for. To be said again and again. */
  | { readonly kind: 'place'; readonly limits?: Partial<MoveLimits> }
  /** These are deleted. */
  | { readonly kind: 'logs-deleted'; readonly logs: readonly LogName[] };

export interface ClusterReply {
  /** As it is now. */
  readonly cluster: NodesRecord;
  readonly changed: boolean;
}

export const DEFAULT_REPLICATION = 3;
/** More replicas of a shard than this help nobody. */
export const MAX_REPLICATION = 16;

export const EMPTY_CLUSTER: NodesRecord = { kind: 'nodes', nodes: [], replication: DEFAULT_REPLICATION, keyspaces: [], oldLogs: [] };

/** @throws as {@link ClusterCommand} says; nothing is changed then. */
export function runCluster(ctx: MetaContext, command: ClusterCommand): ClusterReply {
  const before = nodesOf(ctx) ?? EMPTY_CLUSTER;
  switch (command.kind) {
    case 'set-replication': {
      const { replication } = command;
      if (!Number.isInteger(replication) || replication < 1 || replication > MAX_REPLICATION) {
        throw new KeyfleetError('KF_BAD_OPTION', `replication is a whole number from 1 to ${MAX_REPLICATION}, not ${replication}`);
      }
      return stored(ctx, before, replication === before.replication ? before : { ...before, replication });
    }
    case 'place':
      return place(ctx, before, command.limits ?? {});
    case 'logs-deleted': {
      const isGone = (log: LogName): boolean =>
        command.logs.some(({ shard, generation }) => shard === log.shard && generation === log.generation);
      return stored(
        ctx,
        before,
        before.oldLogs.some(isGone) ? { ...before, oldLogs: before.oldLogs.filter((log) => !isGone(log)) } : before,
      );
    }
    default: {
      const spoken = before.protocol ?? FIRST_PROTOCOL;
      const nodes = changedNodes(before.nodes, command, { nowMs: ctx.nowMs, protocol: spoken, held: () => heldShards(ctx, before) });
      const protocol = raisedProtocol(nodes, spoken);
      const raised = protocol === spoken ? {} : { protocol };
      return stored(ctx, before, nodes === before.nodes && protocol === spoken ? before : { ...before, nodes, ...raised });
    }
  }
}

/** Where `count` new shards are to be; undefined on one machine. @throws KF_NO_NODES when no node is up. */
export function placesForNew(ctx: MetaContext, ids: readonly number[]): readonly (readonly string[])[] | undefined {
  const cluster = nodesOf(ctx);
  if (!cluster) return undefined;
  const able = cluster.nodes.filter(({ status }) => status === 'up');
  if (able.length === 0) throw new KeyfleetError('KF_NO_NODES', 'no node of the cluster is up to hold the keyspace');
  const shards = [...heldShards(ctx, cluster), ...ids.map((id) => ({ id, replicas: [] }))];
  const places = placeShards({ nodes: able, shards, replication: replicationOf(able, cluster.replication) });
  return ids.map((id) => places.get(id)!);
}

/** Whether a change of a map fits the nodes that there are. @throws KF_UNKNOWN_NODE, KF_BAD_MOVE. */
export function checkPlaces(ctx: MetaContext, change: MapChange): void {
  if (change.kind !== 'move' || change.add === undefined) return;
  const { add, shard } = change;
  const node = nodesOf(ctx)?.nodes.find(({ id }) => id === add);
  if (!node) throw new KeyfleetError('KF_UNKNOWN_NODE', `the cluster has no node ${add}`);
  if (node.status !== 'up') throw new KeyfleetError('KF_BAD_MOVE', `shard ${shard}: node ${add} is ${node.status}, and takes no more`);
}

/** All keyspaces of a cluster. */
export function keyspacesOf(ctx: MetaContext, { keyspaces }: NodesRecord): KeyspaceRecord[] {
  return keyspaces.flatMap((name) => ofKind(ctx.open(utf8(name)).value, 'keyspace') ?? []);
}

function place(ctx: MetaContext, before: NodesRecord, limits: Partial<MoveLimits>): ClusterReply {
  const keyspaces = keyspacesOf(ctx, before);
  const changes = nextMoves({
    maps: keyspaces.map(mapOf),
    nodes: before.nodes,
    replication: before.replication,
    nowMs: ctx.nowMs,
    limits,
  });
  for (const [index, keyspace] of keyspaces.entries()) changeMap(ctx, keyspace, changes[index]!);
  return { cluster: nodesOf(ctx) ?? before, changed: changes.some((some) => some.length > 0) };
}

function heldShards(ctx: MetaContext, cluster: NodesRecord): HeldShard[] {
  return keyspacesOf(ctx, cluster).flatMap(({ shards }) =>
    shards.flatMap(({ id, replicas, lost }) => (replicas ? [{ id, replicas, needsAll: lost !== undefined && !lost.acceptsLoss }] : [])),
  );
}

function stored(ctx: MetaContext, before: NodesRecord, cluster: NodesRecord): ClusterReply {
  if (cluster !== before) ctx.open(NODES_KEY).set(cluster);
  return { cluster, changed: cluster !== before };
}
