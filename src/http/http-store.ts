import type { Bytes } from '../base/bytes.ts';
import type { BackupSource } from '../node/backup/backup-source.ts';
import type { BackupTarget } from '../node/backup/backup-target.ts';
import type { KeyspaceCounts } from '../node/keyspace-handle.ts';
import type { RequestId } from '../shard/request-id.ts';
import type { Durability, StorageStats } from '../storage/storage.ts';
import type { ClusterAdmin } from './cluster-admin.ts';
import type { CollectionRecord, CollectionType } from './collection-json.ts';
import type { ShardAdmin } from './shard-admin.ts';

// What the HTTP door needs of a store. The adapter over the real one is redis-keyspace.ts.

export interface HttpStore {
  /** Undefined when there is no such keyspace. */
  keyspace(name: string): HttpKeyspace | undefined;
  keyspaceNames(): readonly string[];
  /** The value module without which a keyspace that is there is not served; undefined: there is no such keyspace. */
  missingModule?(name: string): string | undefined;
  /** Undefined when there is no such keyspace. */
  shardAdmin(name: string): ShardAdmin | undefined;
  /** Undefined on one machine. */
  readonly cluster?: ClusterAdmin | undefined;
  /** Undefined: it is neither backed up nor restored. */
  readonly backups?: (BackupSource & BackupTarget) | undefined;
  /** Undefined while writes are taken; else why they are refused for now. */
  readonly refusal: Error | undefined;
  readonly durability: Durability;
  storageStats(): StorageStats;
}

export interface HttpKeyspace {
  readonly name: string;
  /** The string at `key`; undefined when there is none. @throws KF_WRONG_TYPE when it holds something else. */
  get(key: Bytes): Promise<Found | undefined>;
  /** Stores a string, whatever was there before, if `condition` holds; the check and the write are one step. */
  put(key: Bytes, value: Bytes, options: WriteOptions & { readonly ttlMs: number | undefined }): Promise<PutOutcome>;
  /** All that `key` holds, of whatever type, in one step; undefined when it holds nothing. */
  read(key: Bytes): Promise<Held | undefined>;
  /** Writes a piece of a collection; the first one replaces what the key held. @throws KF_REFUSED when the pieces before it are not there. */
  restore(record: CollectionRecord, request: RequestId | undefined): Promise<PutOutcome>;
  /** Removes the key, whatever it holds, if `condition` holds. */
  delete(key: Bytes, options: WriteOptions): Promise<DeleteOutcome>;
  /** As KeyspaceHandle.scan: all keys of one position come together. Resolves when what it shows is durable. */
  scan(options: { readonly cursor: number; readonly limit: number }): Promise<ScanPage>;
  /** Runs a command of the keyspace's value module; undefined when the keyspace is served as strings. */
  readonly command?: (key: Bytes, command: unknown, request: RequestId | undefined) => Promise<unknown>;
  readonly query?: (key: Bytes, query: unknown) => Promise<unknown>;
  /** Exact, when it is durable. */
  counts(): Promise<KeyspaceCounts>;
  /** As far as this process knows: in a cluster as the leaders last reported. */
  readonly keyCount: number;
  readonly sizeBytes: number;
  readonly expiringCount: number;
  shards(): readonly ShardStatus[];
}

export interface WriteOptions {
  readonly condition: Condition;
  /** Names the request: however often it comes it is done once, and answered alike. @throws KF_REQUEST_MISMATCH for another one. */
  readonly request?: RequestId | undefined;
}

export interface Found {
  readonly value: Bytes;
  readonly ttlMs: number | undefined;
}

export interface Held {
  readonly type: 'string' | CollectionType;
  /** The string; or the parts of the collection, see {@link CollectionRecord}. */
  readonly parts: readonly Bytes[];
  readonly ttlMs: number | undefined;
}

/** The conditions of RFC 9110 §13.1 on entity tags; an absent one holds always. `*`: any value. Tags are {@link etagOf}, without quotes. */
export interface Condition {
  readonly ifMatch?: '*' | readonly string[];
  readonly ifNoneMatch?: '*' | readonly string[];
}

export type PutOutcome = 'created' | 'replaced' | 'condition-failed';
export type DeleteOutcome = 'deleted' | 'absent' | 'condition-failed';

export interface ScanPage {
  readonly records: readonly ScanRecord[];
  readonly next: number | undefined;
}

export interface ScanRecord {
  readonly key: Bytes;
  /** Undefined when the key holds something else than a string. */
  readonly value: Bytes | undefined;
  readonly type: string;
  readonly ttlMs: number | undefined;
  readonly sizeBytes: number;
}

export interface ShardStatus {
  readonly id: string;
  /** Owns the positions `from <= p < to`. */
  readonly from: number;
  readonly to: number;
  readonly keyCount: number;
  readonly sizeBytes: number;
  /** Work since the start, in units of one small command. */
  readonly load: number;
  /** Of a cluster: the node that leads it, as far as is known, and all that have it. */
  readonly leader?: string | undefined;
  readonly replicas?: readonly string[];
}
