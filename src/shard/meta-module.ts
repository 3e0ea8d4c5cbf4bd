import { fromUtf8, utf8 } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import { type ClusterCommand, type ClusterReply, checkPlaces, placesForNew, runCluster } from './meta/cluster-command.ts';
import { decide, type ShardSize } from './meta/decide.ts';
import { logsOf } from './meta/hosting.ts';
import {
  changeMap,
  type KeyspaceRecord,
  leaveLogs,
  type MetaContext,
  type MetaRecord,
  mapOf,
  NODES_KEY,
  nodesOf,
  ofKind,
  openAllocator,
} from './meta/meta-records.ts';
import type { MapChange } from './meta/shard-map.ts';
import { changedPolicy, type KeyspacePolicy, newPolicy } from './policy.ts';
import type { PositionSchemeName } from './position-scheme.ts';
import type { ValueCodec, ValueModule } from './value-module.ts';

// The keyspaces themselves are one more shard, the *meta shard*: the same machine, the same entries, with this module. What it keeps:
// meta/meta-records.ts.

/** About one keyspace. */
export type KeyspaceCommand =
  /**
   * Leaves a keyspace that exists as it is; refuses with KF_KEYSPACE_MISMATCH when its module or scheme is another. `starts`: of its shards. In a
   * cluster they are placed on nodes at once. @throws KF_BAD_POLICY; KF_NO_NODES when none is up.
   */
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
  /** Changes the map of its shards. @throws KF_NO_SHARD, KF_SHARD_BUSY, KF_BAD_SPLIT_POINT, KF_BAD_MOVE, KF_UNKNOWN_NODE; nothing is changed then. */
  | { readonly kind: 'change-map'; readonly name: string; readonly change: MapChange }
  /** Begins the splits and merges that these sizes call for. */
  | { readonly kind: 'decide'; readonly name: string; readonly sizes: readonly ShardSize[] };

export type MetaCommand = KeyspaceCommand | ClusterCommand;

export interface KeyspaceReply {
  /** As it is now; for `deregister`: as it was. */
  readonly keyspace: KeyspaceRecord;
  /** It was made, changed, cleared or taken away just now. */
  readonly changed: boolean;
  /** The table that it left. */
  readonly oldTable: number | undefined;
}

/** To a {@link KeyspaceCommand} a {@link KeyspaceReply}, to a {@link ClusterCommand} a {@link ClusterReply}. */
export type MetaReply = KeyspaceReply | ClusterReply;

/** The keyspaces. Queried by a keyspace's name: its record, if there is one; for those that know other keys of it: any record. */
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
    return { reply: 'name' in command ? runKeyspace(ctx, command) : runCluster(ctx, command) };
  },
};

/** By which key a command goes through the log: of those that it opens, one. */
export function metaKeyOf(command: MetaCommand): Uint8Array {
  return 'name' in command ? utf8(command.name) : NODES_KEY;
}

function runKeyspace(ctx: MetaContext, command: KeyspaceCommand): KeyspaceReply {
  if (command.name.startsWith('\0')) throw new KeyfleetError('KF_NO_KEYSPACE', `there is no keyspace ${JSON.stringify(command.name)}`);
  const record = ctx.open(utf8(command.name));
  const known = ofKind(record.value, 'keyspace');
  if (command.kind === 'register') {
    if (!known) return register(ctx, command);
    if (known.module === command.module && known.scheme === command.scheme) return { keyspace: known, changed: false, oldTable: undefined };
    throw new KeyfleetError(
      'KF_KEYSPACE_MISMATCH',
      `keyspace ${command.name} was made with value module ${known.module} and scheme ${known.scheme}, not ${command.module} and ${command.scheme}`,
    );
  }
  if (!known) throw new KeyfleetError('KF_NO_KEYSPACE', `there is no keyspace ${command.name}`);
  switch (command.kind) {
    case 'deregister':
      return deregister(ctx, known);
    case 'set-policy': {
      const keyspace: KeyspaceRecord = { ...known, policy: changedPolicy(known.policy, command.policy) };
      record.set(keyspace);
      return { keyspace, changed: true, oldTable: undefined };
    }
    case 'change-map':
    case 'decide': {
      if (command.kind === 'change-map') checkPlaces(ctx, command.change);
      const changes =
        command.kind === 'change-map'
          ? [command.change]
          : decide({ map: mapOf(known), policy: known.policy, sizes: command.sizes, nowMs: ctx.nowMs });
      const keyspace = changeMap(ctx, known, changes);
      return { keyspace, changed: keyspace !== known, oldTable: undefined };
    }
    case 'clear': {
      if (mapOf(known).workflows.some(({ kind }) => kind === 'split' || kind === 'merge')) {
        throw new KeyfleetError('KF_SHARD_BUSY', `shards of keyspace ${known.name} are being split or merged`, { retryable: true });
      }
      const allocator = openAllocator(ctx);
      const keyspace: KeyspaceRecord = { ...known, table: allocator.value.nextTable };
      allocator.advance(0);
      record.set(keyspace);
      return { keyspace, changed: true, oldTable: known.table };
    }
  }
}

function register(ctx: MetaContext, command: KeyspaceCommand & { kind: 'register' }): KeyspaceReply {
  const { name, module, scheme, starts } = command;
  const allocator = openAllocator(ctx);
  const { nextShardId, nextTable } = allocator.value;
  const places = placesForNew(
    ctx,
    starts.map((_, index) => nextShardId + index),
  );
  const shards = starts.map((from, index) => ({
    id: nextShardId + index,
    range: { from, to: starts[index + 1] ?? 0x1_0000_0000 },
    ...(places ? { replicas: places[index]! } : {}),
  }));
  const policy = newPolicy(command.policy ?? {}, starts.length);
  const keyspace: KeyspaceRecord = { kind: 'keyspace', id: nextTable, name, module, scheme, table: nextTable, policy, shards };
  allocator.advance(shards.length);
  ctx.open(utf8(name)).set(keyspace);
  const nodes = nodesOf(ctx);
  if (nodes) ctx.open(NODES_KEY).set({ ...nodes, keyspaces: [...nodes.keyspaces, name] });
  return { keyspace, changed: true, oldTable: undefined };
}

function deregister(ctx: MetaContext, known: KeyspaceRecord): KeyspaceReply {
  ctx.open(utf8(known.name)).set(undefined);
  leaveLogs(ctx, logsOf(mapOf(known)), []);
  const nodes = nodesOf(ctx);
  if (nodes) ctx.open(NODES_KEY).set({ ...nodes, keyspaces: nodes.keyspaces.filter((name) => name !== known.name) });
  return { keyspace: known, changed: true, oldTable: known.table };
}

function jsonCodec<T>(): ValueCodec<T> {
  return { encode: (value) => utf8(JSON.stringify(value)), decode: (bytes) => JSON.parse(fromUtf8(bytes)) as T };
}
