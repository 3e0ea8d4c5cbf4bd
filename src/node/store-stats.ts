import type { PositionScheme, PositionSchemeName } from '../shard/position-scheme.ts';
import type { StorageStats } from '../storage/storage.ts';
import type { ShardStats } from './keyspace-handle.ts';

export interface KeyspaceStats {
  readonly name: string;
  readonly module: string;
  readonly scheme: PositionSchemeName;
  readonly keyCount: number;
  readonly sizeBytes: number;
  readonly expiringCount: number;
  readonly shards: readonly ShardStats[];
}

export interface StoreStats {
  readonly nodeId: string;
  readonly keyspaces: readonly KeyspaceStats[];
}

export interface NodeStats extends StoreStats {
  /** Why writes are refused for now; undefined: they are taken. */
  readonly refusal: string | undefined;
  /** Keys removed because they had expired, since the start. */
  readonly expiredCount: number;
  readonly storage: StorageStats;
}

/** What is counted of a keyspace. */
interface CountedKeyspace {
  readonly name: string;
  readonly module: { readonly name: string };
  readonly scheme: PositionScheme;
  readonly keyCount: number;
  readonly sizeBytes: number;
  readonly expiringCount: number;
  shardStats(): readonly ShardStats[];
}

export function statsOf(keyspaces: readonly CountedKeyspace[]): KeyspaceStats[] {
  return keyspaces.map((keyspace) => ({
    name: keyspace.name,
    module: keyspace.module.name,
    scheme: keyspace.scheme.name,
    keyCount: keyspace.keyCount,
    sizeBytes: keyspace.sizeBytes,
    expiringCount: keyspace.expiringCount,
    shards: keyspace.shardStats(),
  }));
}
