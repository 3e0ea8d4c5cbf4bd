import { assert } from '../../base/assert.ts';
import { type Bytes, utf8 } from '../../base/bytes.ts';
import { FIRST_TABLE, TABLE_STEP } from '../key-layout.ts';
import type { KeyspacePolicy } from '../policy.ts';
import { type PositionSchemeName, positionScheme } from '../position-scheme.ts';
import type { ManyContext } from '../value-module.ts';
import { type LogName, logsOf } from './hosting.ts';
import type { NodeRecord } from './node-record.ts';
import { changedMap, type MapChange, type MappedShard, type ShardMap, type Workflow } from './shard-map.ts';

// The records of the meta shard: one per keyspace, named for it; ALLOCATOR, for the numbers that are given out and never used again; and in a cluster
// NODES, for all that is not of one keyspace. All of them are small, and are written whole.

export interface KeyspaceRecord {
  readonly kind: 'keyspace';
  /** Never another's. (The number of its first table.) */
  readonly id: number;
  readonly name: string;
  /** The name of its value module. */
  readonly module: string;
  readonly scheme: PositionSchemeName;
  readonly table: number;
  readonly policy: KeyspacePolicy;
  /** In order of position; together they cover it all. */
  readonly shards: readonly MappedShard[];
  /** Splits, merges and moves under way; absent: none. */
  readonly workflows?: readonly Workflow[];
}

export interface AllocatorRecord {
  readonly kind: 'allocator';
  readonly nextShardId: number;
  readonly nextTable: number;
  /** Of a workflow; absent: 1. */
  readonly nextOp?: number;
}

/** There is one as soon as a node has joined. */
export interface NodesRecord {
  readonly kind: 'nodes';
  /** In order of id; those too that have left. */
  readonly nodes: readonly NodeRecord[];
  /** The forms of requests and of log entries that are in use; absent: the first. */
  readonly protocol?: number;
  /** How many replicas a shard is to have, if there are so many nodes. */
  readonly replication: number;
  /** The keyspaces of the cluster, in the order in which they were registered. */
  readonly keyspaces: readonly string[];
  /** Logs that nobody needs any more, and that are to be deleted. */
  readonly oldLogs: readonly LogName[];
}

export type MetaRecord = KeyspaceRecord | AllocatorRecord | NodesRecord;

export type MetaContext = ManyContext<MetaRecord>;

export const META_SHARD_ID = 0;
/** No keyspace can have these names: they are not keyspaces'. */
export const ALLOCATOR_KEY: Bytes = utf8('\0allocator');
export const NODES_KEY: Bytes = utf8('\0nodes');

/** The map of a keyspace's shards. */
export function mapOf({ shards, workflows = [] }: KeyspaceRecord): ShardMap {
  return { shards, workflows };
}

/** @throws by assertion when the record is of another kind. */
export function ofKind<K extends MetaRecord['kind']>(
  record: MetaRecord | undefined,
  kind: K,
): Extract<MetaRecord, { kind: K }> | undefined {
  assert(record === undefined || record.kind === kind, () => `a meta record of kind ${record?.kind} where a ${kind} should be`);
  return record as Extract<MetaRecord, { kind: K }> | undefined;
}

export interface OpenAllocator {
  readonly value: AllocatorRecord;
  /** A table and so many shards are given out. */
  advance(shardCount: number): void;
  set(value: AllocatorRecord): void;
}

export function openAllocator(ctx: MetaContext): OpenAllocator {
  const record = ctx.open(ALLOCATOR_KEY);
  const value: AllocatorRecord = ofKind(record.value, 'allocator') ?? {
    kind: 'allocator',
    nextShardId: META_SHARD_ID + 1,
    nextTable: FIRST_TABLE,
  };
  return {
    value,
    set: (changed) => record.set(changed),
    advance: (shardCount) => record.set({ ...value, nextShardId: value.nextShardId + shardCount, nextTable: value.nextTable + TABLE_STEP }),
  };
}

/** Undefined on one machine. */
export function nodesOf(ctx: MetaContext): NodesRecord | undefined {
  return ofKind(ctx.open(NODES_KEY).value, 'nodes');
}

/**
 * The record after `changes`, in their order; written, with the numbers that they took and the logs that they left behind. The same one when they have
 * no effect. @throws as {@link changedMap}; nothing is changed then.
 */
export function changeMap(ctx: MetaContext, known: KeyspaceRecord, changes: readonly MapChange[]): KeyspaceRecord {
  const allocator = openAllocator(ctx);
  let { nextShardId, nextOp = 1 } = allocator.value;
  const context = {
    nowMs: ctx.nowMs,
    slotShift: positionScheme(known.scheme).slotShift,
    newOp: () => nextOp++,
    newShardId: () => nextShardId++,
  };
  const before = mapOf(known);
  let map = before;
  for (const change of changes) map = changedMap(map, change, context);
  if (map === before) return known;
  const changed = { ...known, ...map };
  allocator.set({ ...allocator.value, nextShardId, nextOp });
  ctx.open(utf8(known.name)).set(changed);
  leaveLogs(ctx, logsOf(before), logsOf(map));
  return changed;
}

/** Notes those logs that were needed and are not any more. */
export function leaveLogs(ctx: MetaContext, before: readonly LogName[], after: readonly LogName[]): void {
  const nodes = nodesOf(ctx);
  if (!nodes) return;
  const gone = before.filter(({ shard, generation }) => !after.some((one) => one.shard === shard && one.generation === generation));
  if (gone.length > 0) ctx.open(NODES_KEY).set({ ...nodes, oldLogs: [...nodes.oldLogs, ...gone] });
}
