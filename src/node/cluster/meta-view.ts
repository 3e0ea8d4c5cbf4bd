import { META_TABLE } from '../../shard/key-layout.ts';
import { EMPTY_CLUSTER } from '../../shard/meta/cluster-command.ts';
import type { AllocatorRecord, KeyspaceRecord, NodesRecord } from '../../shard/meta/meta-records.ts';
import { FIRST_PROTOCOL } from '../../shard/meta/node-record.ts';
import { metaModule } from '../../shard/meta-module.ts';
import type { StorageReader } from '../../storage/storage.ts';
import { RecordScanner } from '../record-scan.ts';

/** What this node's replica of the meta shard says, read once after each change. It may be behind what others know. */
export class MetaView {
  readonly #storage: StorageReader;
  #isStale = true;
  #byName = new Map<string, KeyspaceRecord>();
  #byId = new Map<number, KeyspaceRecord>();
  #cluster: NodesRecord = EMPTY_CLUSTER;
  #nextShardId = 1;

  constructor(storage: StorageReader) {
    this.#storage = storage;
  }

  /** What was read holds no more. */
  changed(): void {
    this.#isStale = true;
  }

  get cluster(): NodesRecord {
    this.#look();
    return this.#cluster;
  }

  /** All nodes know the forms of that protocol, see SINCE in cluster-options.ts: they may be used. */
  speaks(since: number): boolean {
    return (this.cluster.protocol ?? FIRST_PROTOCOL) >= since;
  }

  /** Shards from this number on may be there, and are not known here yet. */
  get nextShardId(): number {
    this.#look();
    return this.#nextShardId;
  }

  /** By name, in the order of the names. */
  get keyspaces(): ReadonlyMap<string, KeyspaceRecord> {
    this.#look();
    return this.#byName;
  }

  keyspaceOfId(id: number): KeyspaceRecord | undefined {
    this.#look();
    return this.#byId.get(id);
  }

  #look(): void {
    if (!this.#isStale) return;
    this.#isStale = false;
    const scanner = new RecordScanner(this.#storage, metaModule.codec);
    const { records } = scanner.page({ table: META_TABLE, cursor: 0, limit: Number.POSITIVE_INFINITY, nowMs: 0 });
    const values = records.map(({ value }) => value);
    const keyspaces = values.filter((value): value is KeyspaceRecord => value.kind === 'keyspace');
    keyspaces.sort((a, b) => (a.name < b.name ? -1 : 1));
    this.#byName = new Map(keyspaces.map((one) => [one.name, one]));
    this.#byId = new Map(keyspaces.map((one) => [one.id, one]));
    this.#cluster = values.find((value): value is NodesRecord => value.kind === 'nodes') ?? EMPTY_CLUSTER;
    this.#nextShardId = values.find((value): value is AllocatorRecord => value.kind === 'allocator')?.nextShardId ?? 1;
  }
}
