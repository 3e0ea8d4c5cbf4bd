import type { LookupCounts } from '../shard/redis/handler.ts';
import type { StorageStats } from '../storage/storage.ts';

/** What INFO, SCAN and CONFIG GET show of the store behind the door; the runtime fills in what it has. */
export interface InfoSource {
  /** Keyfleet's own version. */
  readonly version: string;
  /** Where the data is; empty when it is only in memory. */
  readonly directory?: string;
  storage?(): StorageStats;
  /** How the keyspace is divided. */
  shards?(): readonly ShardInfo[];
  /** The type of a stored value, as TYPE names it. */
  typeOf(value: unknown): string;
  /** Keys that reads found and did not find; CONFIG RESETSTAT sets them to zero. */
  readonly lookups?: LookupCounts;
  /** Undefined while writes are taken; else why not. */
  refusal?(): Error | undefined;
}

export interface ShardInfo {
  readonly id: string | number;
  readonly from: number;
  readonly to: number;
  readonly keyCount: number;
  readonly sizeBytes: number;
}
