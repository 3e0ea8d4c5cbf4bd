import type { EntrySeq, ShardLog } from './log.ts';

// The logs of a cluster's shards, as a node finds them. A shard has one log at a time: when it is lost, the next generation takes its place.

/** A log as a replica uses it. */
export interface ClusterLog extends ShardLog {
  /** The longest entry that it takes, in bytes. */
  readonly maxEntryBytes: number;
  /** Calls `listener` when there are entries to read that were not there before, now or a little later; returns the call that ends it. */
  onGrew(listener: () => void): () => void;
  /** What it knows and waits for, in one line: for people who look for a fault. */
  describe?(): string;
  /** Listens no more. What is under way may still fail. */
  close(): Promise<void>;
}

export interface OpenLogOptions {
  readonly shard: number;
  readonly generation: number;
  /** Make it when there is none. */
  readonly create: boolean;
  /** The first entry that will be wanted. */
  readonly fromSeq: EntrySeq;
}

export interface ShardLogs {
  /**
   * @throws KF_LOG_LOST when there is none and none was to be made: a log that was lost must not come back empty. KF_UNAVAILABLE, and it may be tried again.
   */
  open(options: OpenLogOptions): Promise<ClusterLog>;
  /** Deletes a log with all its entries; when there is none, nothing. */
  delete(shard: number, generation: number): Promise<void>;
}
