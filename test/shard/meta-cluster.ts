import { toHex, utf8 } from '../../src/base/bytes.ts';
import { META_TABLE, recordKey } from '../../src/shard/key-layout.ts';
import { type ClusterCommand, EMPTY_CLUSTER } from '../../src/shard/meta/cluster-command.ts';
import {
  type KeyspaceRecord,
  META_SHARD_ID,
  type MetaRecord,
  mapOf,
  NODES_KEY,
  type NodesRecord,
} from '../../src/shard/meta/meta-records.ts';
import type { MapChange, MappedShard, ShardMap } from '../../src/shard/meta/shard-map.ts';
import { type MetaCommand, type MetaReply, metaKeyOf, metaModule } from '../../src/shard/meta-module.ts';
import type { KeyspacePolicy } from '../../src/shard/policy.ts';
import { evenStarts, positionScheme } from '../../src/shard/position-scheme.ts';
import { decodeRecordHeader, type RecordHeader } from '../../src/shard/record.ts';
import { ShardMachine } from '../../src/shard/shard-machine.ts';
import { newShardState } from '../../src/shard/shard-state.ts';
import { MemoryStorage } from '../../src/storage/memory.ts';

/** The meta shard of a cluster of which there is nothing else, and a clock that is set by hand. */
export class MetaCluster {
  readonly storage = new MemoryStorage();
  nowMs = 1_000_000;
  readonly #machine = new ShardMachine({
    storage: this.storage,
    module: metaModule,
    positionOf: () => 0,
    state: newShardState({ id: META_SHARD_ID, range: { from: 0, to: 0x1_0000_0000 }, table: META_TABLE, leader: 'meta' }),
    maxValueBytes: 1 << 20,
  });

  /** @throws what the command throws. */
  run(command: MetaCommand): MetaReply {
    this.#machine.openEntry(this.nowMs);
    try {
      return this.#machine.runMany(metaKeyOf(command), command);
    } finally {
      this.#machine.closeEntry();
      this.storage.commit();
    }
  }

  join(id: string, more: { readonly weight?: number; readonly zone?: string } = {}): void {
    this.run({ kind: 'node-join', node: { id, release: '1.0.0', protocol: { min: 1, max: 1 }, addresses: {}, ...more } });
  }

  register(name: string, shards: number, policy: Partial<KeyspacePolicy> = {}): void {
    const starts = evenStarts(positionScheme('hash'), shards);
    this.run({ kind: 'register', name, module: 'plain-bytes', scheme: 'hash', starts, policy });
  }

  change(name: string, change: MapChange): void {
    this.run({ kind: 'change-map', name, change });
  }

  cluster(command: ClusterCommand): boolean {
    return this.run(command).changed;
  }

  get nodes(): NodesRecord {
    return (this.#read(NODES_KEY) as NodesRecord | undefined) ?? EMPTY_CLUSTER;
  }

  keyspace(name: string): KeyspaceRecord {
    return this.#read(utf8(name)) as KeyspaceRecord;
  }

  map(name: string): ShardMap {
    return mapOf(this.keyspace(name));
  }

  /** Of all keyspaces. */
  shards(): MappedShard[] {
    return this.nodes.keyspaces.flatMap((name) => this.map(name).shards);
  }

  /** All that is stored, but for what each entry changes. */
  dump(): string[] {
    const records: string[] = [];
    for (const { key, value } of this.storage.scan({ from: recordKey(META_TABLE, 0, new Uint8Array(0)) })) {
      records.push(`${toHex(key)} ${toHex(value)}`);
    }
    return records;
  }

  #read(key: Uint8Array): MetaRecord | undefined {
    const stored = this.storage.get(recordKey(META_TABLE, 0, key));
    if (!stored) return undefined;
    const header: RecordHeader = { expireAtMs: undefined, generation: 0, sizeBytes: 0, key: undefined };
    return metaModule.codec.decode(stored.subarray(decodeRecordHeader(stored, header)));
  }
}
