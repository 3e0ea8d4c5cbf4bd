import type { LogBasis } from '../shard/meta/shard-map.ts';
import type { EntrySeq, ShardLog } from './log.ts';

// The logs of a cluster's shards, as a node finds them. A shard has one log at a time: when it is lost, the next generation takes its place, and
// its numbers go on behind an entry that a replica has run: docs/protocol/log-generations.md.

/** A log as a replica uses it. */
export interface ClusterLog extends ShardLog {
  /** Given when it was made: one that was made anew under the same name has another. */
  readonly id: string;
  /** The entry behind which it begins; undefined: the shard's first. */
  readonly basis: LogBasis | undefined;
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
  /** Make it when there is none, one without a basis. */
  readonly create: boolean;
  /** The first entry that will be wanted. */
  readonly fromSeq: EntrySeq;
}

export interface MakeLogOptions {
  readonly shard: number;
  readonly generation: number;
  readonly basis: LogBasis;
  /** One that is there already is left, whatever it begins behind. */
  readonly isFirstFinal?: boolean;
}

export interface ShardLogs {
  /** The generations of a shard's log that there are. @throws KF_UNAVAILABLE. */
  generations(shard: number): Promise<readonly number[]>;
  /**
   * @throws KF_LOG_LOST when there is none and none was to be made: a log that was lost must not come back empty. KF_UNAVAILABLE, and it may be tried again.
   */
  open(options: OpenLogOptions): Promise<ClusterLog>;
  /**
   * Makes a log that begins behind an entry, and returns its id. One that is there already with this basis is left, with another it is replaced.
   * @throws KF_UNAVAILABLE, and it may be tried again.
   */
  make(options: MakeLogOptions): Promise<string>;
  /** Deletes a log with all its entries; when there is none, nothing. @throws KF_UNAVAILABLE. */
  delete(shard: number, generation: number): Promise<void>;
}
