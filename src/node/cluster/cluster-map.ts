import { EMPTY_CLUSTER } from '../../shard/meta/cluster-command.ts';
import type { AllocatorRecord, KeyspaceRecord, MetaRecord, NodesRecord } from '../../shard/meta/meta-records.ts';
import { FIRST_PROTOCOL } from '../../shard/meta/node-record.ts';

/** Nodes, keyspaces and shards, as the meta shard had them at some time: as its replica here has run it, or as a node has told. */
export interface ClusterMap {
  readonly cluster: NodesRecord;
  /** By name, in the order of the names. */
  readonly keyspaces: ReadonlyMap<string, KeyspaceRecord>;
  /** Shards from this number on may be there, and are not known here yet. */
  readonly nextShardId: number;
  keyspaceOfId(id: number): KeyspaceRecord | undefined;
  /** All nodes know the forms of that protocol, see SINCE in cluster-options.ts: they may be used. */
  speaks(since: number): boolean;
}

/** The map that the records of the meta shard make. */
export class RecordedMap implements ClusterMap {
  readonly cluster: NodesRecord;
  readonly keyspaces: ReadonlyMap<string, KeyspaceRecord>;
  readonly nextShardId: number;
  readonly #byId: ReadonlyMap<number, KeyspaceRecord>;

  constructor(records: readonly MetaRecord[]) {
    const keyspaces = records.filter((one): one is KeyspaceRecord => one.kind === 'keyspace');
    keyspaces.sort((a, b) => (a.name < b.name ? -1 : 1));
    this.keyspaces = new Map(keyspaces.map((one) => [one.name, one]));
    this.#byId = new Map(keyspaces.map((one) => [one.id, one]));
    this.cluster = records.find((one): one is NodesRecord => one.kind === 'nodes') ?? EMPTY_CLUSTER;
    this.nextShardId = records.find((one): one is AllocatorRecord => one.kind === 'allocator')?.nextShardId ?? 1;
  }

  keyspaceOfId(id: number): KeyspaceRecord | undefined {
    return this.#byId.get(id);
  }

  speaks(since: number): boolean {
    return (this.cluster.protocol ?? FIRST_PROTOCOL) >= since;
  }
}
