import { assert } from '../base/assert.ts';
import { type Bytes, fromUtf8, utf8 } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import { FIRST_TABLE, TABLE_STEP } from './key-layout.ts';
import { decide, type ShardSize } from './meta/decide.ts';
import { changedMap, type MapChange, type MappedShard, type ShardMap, type Workflow } from './meta/shard-map.ts';
import { changedPolicy, type KeyspacePolicy, newPolicy } from './policy.ts';
import { type PositionSchemeName, positionScheme } from './position-scheme.ts';
import type { ManyContext, ValueCodec, ValueModule } from './value-module.ts';

// The keyspaces themselves are one more shard, the *meta shard*: the same machine, the same entries, with this module. One record per
// keyspace, named for it, and one, ALLOCATOR, for the numbers that are given out and never used again.

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
  /** Splits and merges under way; absent: none. */
  readonly workflows?: readonly Workflow[];
}

export interface AllocatorRecord {
  readonly kind: 'allocator';
  readonly nextShardId: number;
  readonly nextTable: number;
  /** Of a workflow; absent: 1. */
  readonly nextOp?: number;
}

export type MetaRecord = KeyspaceRecord | AllocatorRecord;

export type MetaCommand =
  /** Leaves a keyspace that exists as it is; refuses with KF_KEYSPACE_MISMATCH when its module or scheme is another. `starts`: of its shards. */
  | {
      readonly kind: 'register';
      readonly name: string;
      readonly module: string;
      readonly scheme: PositionSchemeName;
      readonly starts: readonly number[];
      /** Of a new keyspace; see newPolicy for what it does not say. */
      readonly policy?: Partial<KeyspacePolicy>;
    }
  /** Changes what it says of the policy. @throws KF_BAD_POLICY. */
  | { readonly kind: 'set-policy'; readonly name: string; readonly policy: Partial<KeyspacePolicy> }
  | { readonly kind: 'deregister'; readonly name: string }
  /** Gives the keyspace a fresh table. @throws KF_SHARD_BUSY while shards are being split or merged. */
  | { readonly kind: 'clear'; readonly name: string }
  /** Changes the map of its shards. @throws KF_NO_SHARD, KF_SHARD_BUSY, KF_BAD_SPLIT_POINT; nothing is changed then. */
  | { readonly kind: 'change-map'; readonly name: string; readonly change: MapChange }
  /** Begins the splits and merges that these sizes call for. */
  | { readonly kind: 'decide'; readonly name: string; readonly sizes: readonly ShardSize[] };

export interface MetaReply {
  /** As it is now; for `deregister`: as it was. */
  readonly keyspace: KeyspaceRecord;
  /** It was made, changed, cleared or taken away just now. */
  readonly changed: boolean;
  /** The table that it left. */
  readonly oldTable: number | undefined;
}

export const META_SHARD_ID = 0;
/** No keyspace can have this name: it is not a keyspace's. */
export const ALLOCATOR_KEY: Bytes = utf8('\0allocator');

/** The keyspaces. Queried by a keyspace's name: its record, if there is one. */
export type MetaModule = ValueModule<MetaRecord, MetaCommand, MetaReply, null, KeyspaceRecord | undefined>;

export const metaModule: MetaModule = {
  name: 'meta',
  codec: jsonCodec<MetaRecord>(),
  commandCodec: jsonCodec<MetaCommand>(),
  command() {
    throw new KeyfleetError('KF_NOT_SUPPORTED', 'the meta shard has only commands over several keys');
  },
  query: (_ctx, value) => ({ answer: value?.kind === 'keyspace' ? value : undefined }),
  commandMany(ctx, command) {
    return { reply: runMeta(ctx, command) };
  },
};

function runMeta(ctx: ManyContext<MetaRecord>, command: MetaCommand): MetaReply {
  const record = ctx.open(utf8(command.name));
  const known = ofKind(record.value, 'keyspace');
  if (command.kind === 'register') {
    if (known) {
      if (known.module === command.module && known.scheme === command.scheme)
        return { keyspace: known, changed: false, oldTable: undefined };
      throw new KeyfleetError(
        'KF_KEYSPACE_MISMATCH',
        `keyspace ${command.name} was made with value module ${known.module} and scheme ${known.scheme}, not ${command.module} and ${command.scheme}`,
      );
    }
    const allocator = openAllocator(ctx);
    const shards = command.starts.map((from, index) => ({
      id: allocator.value.nextShardId + index,
      range: { from, to: command.starts[index + 1] ?? 0x1_0000_0000 },
    }));
    const { name, module, scheme } = command;
    const policy = newPolicy(command.policy ?? {}, command.starts.length);
    const { nextTable } = allocator.value;
    const keyspace: KeyspaceRecord = { kind: 'keyspace', id: nextTable, name, module, scheme, table: nextTable, policy, shards };
    allocator.advance(shards.length);
    record.set(keyspace);
    return { keyspace, changed: true, oldTable: undefined };
  }
  if (!known) throw new KeyfleetError('KF_NO_KEYSPACE', `there is no keyspace ${command.name}`);
  if (command.kind === 'deregister') {
    record.set(undefined);
    return { keyspace: known, changed: true, oldTable: known.table };
  }
  if (command.kind === 'set-policy') {
    const keyspace: KeyspaceRecord = { ...known, policy: changedPolicy(known.policy, command.policy) };
    record.set(keyspace);
    return { keyspace, changed: true, oldTable: undefined };
  }
  if (command.kind === 'change-map' || command.kind === 'decide') {
    const keyspace = runMapCommand(ctx, known, command);
    if (keyspace !== known) record.set(keyspace);
    return { keyspace, changed: keyspace !== known, oldTable: undefined };
  }
  if (mapOf(known).workflows.some(({ kind }) => kind !== 'retire')) {
    throw new KeyfleetError('KF_SHARD_BUSY', `shards of keyspace ${known.name} are being split or merged`, { retryable: true });
  }
  const allocator = openAllocator(ctx);
  const keyspace: KeyspaceRecord = { ...known, table: allocator.value.nextTable };
  allocator.advance(0);
  record.set(keyspace);
  return { keyspace, changed: true, oldTable: known.table };
}

export function mapOf({ shards, workflows = [] }: KeyspaceRecord): ShardMap {
  return { shards, workflows };
}

function runMapCommand(ctx: ManyContext<MetaRecord>, known: KeyspaceRecord, command: MapCommand): KeyspaceRecord {
  const allocator = openAllocator(ctx);
  let { nextShardId, nextOp = 1 } = allocator.value;
  const context = {
    nowMs: ctx.nowMs,
    slotShift: positionScheme(known.scheme).slotShift,
    newOp: () => nextOp++,
    newShardId: () => nextShardId++,
  };
  const before = mapOf(known);
  const changes =
    command.kind === 'change-map'
      ? [command.change]
      : decide({ map: before, policy: known.policy, sizes: command.sizes, nowMs: ctx.nowMs });
  let map = before;
  for (const change of changes) map = changedMap(map, change, context);
  if (map === before) return known;
  allocator.set({ ...allocator.value, nextShardId, nextOp });
  return { ...known, ...map };
}

type MapCommand = Extract<MetaCommand, { readonly kind: 'change-map' | 'decide' }>;

function openAllocator(ctx: ManyContext<MetaRecord>): {
  readonly value: AllocatorRecord;
  advance(shardCount: number): void;
  set(value: AllocatorRecord): void;
} {
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

function ofKind<K extends MetaRecord['kind']>(record: MetaRecord | undefined, kind: K): Extract<MetaRecord, { kind: K }> | undefined {
  assert(record === undefined || record.kind === kind, () => `a meta record of kind ${record?.kind} where a ${kind} should be`);
  return record as Extract<MetaRecord, { kind: K }> | undefined;
}

function jsonCodec<T>(): ValueCodec<T> {
  return { encode: (value) => utf8(JSON.stringify(value)), decode: (bytes) => JSON.parse(fromUtf8(bytes)) as T };
}
