import { META_TABLE } from '../../shard/key-layout.ts';
import type { KeyspaceRecord, MetaRecord, NodesRecord } from '../../shard/meta/meta-records.ts';
import { metaModule } from '../../shard/meta-module.ts';
import type { StorageReader } from '../../storage/storage.ts';
import { RecordScanner } from '../record-scan.ts';
import { type ClusterMap, RecordedMap } from './cluster-map.ts';

/** What this node's replica of the meta shard says, read once after each change. It may be behind what others know. */
export class MetaView implements ClusterMap {
  readonly #storage: StorageReader;
  #read: { readonly records: readonly MetaRecord[]; readonly map: RecordedMap } | undefined;

  constructor(storage: StorageReader) {
    this.#storage = storage;
  }

  /** What was read holds no more. */
  changed(): void {
    this.#read = undefined;
  }

  get records(): readonly MetaRecord[] {
    return this.#look().records;
  }

  get cluster(): NodesRecord {
    return this.#look().map.cluster;
  }

  get nextShardId(): number {
    return this.#look().map.nextShardId;
  }

  get keyspaces(): ReadonlyMap<string, KeyspaceRecord> {
    return this.#look().map.keyspaces;
  }

  speaks(since: number): boolean {
    return this.#look().map.speaks(since);
  }

  keyspaceOfId(id: number): KeyspaceRecord | undefined {
    return this.#look().map.keyspaceOfId(id);
  }

  #look(): { readonly records: readonly MetaRecord[]; readonly map: RecordedMap } {
    if (this.#read) return this.#read;
    const scanner = new RecordScanner(this.#storage, metaModule.codec);
    const page = scanner.page({ table: META_TABLE, cursor: 0, limit: Number.POSITIVE_INFINITY, nowMs: 0 });
    const records = page.records.map(({ value }) => value);
    this.#read = { records, map: new RecordedMap(records) };
    return this.#read;
  }
}
