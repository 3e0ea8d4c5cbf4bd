import type { Bytes } from '../base/bytes.ts';
import type { AppendOutcome, LogRecord } from '../shard/replica/host.ts';

// The log of a shard: entries in one order that everyone agrees on. Adapters: memory (here), and those that replicate. On one machine
// without replicas the storage's own journal is the log and no entry is stored: see local.ts.

/** The number of an entry, from 1, without gaps. 0 stands before the first. */
export type EntrySeq = number;

export type { AppendOutcome, LogRecord };

export interface ShardLog {
  /** Appends `entry` as number `expectedLastSeq + 1`, or not at all. The bytes are the log's from here on. */
  append(entry: Bytes, expectedLastSeq: EntrySeq): Promise<AppendOutcome>;
  /**
   * The entries from `fromSeq` on, in order and without gaps, up to the last one at the time of the call.
   * @throws KF_LOG_TRUNCATED when `fromSeq` has been truncated: bring a snapshot.
   */
  read(fromSeq: EntrySeq): AsyncIterable<LogRecord>;
  /** Forgets the entries up to `uptoSeq`; the numbers go on. Beyond the last entry: up to the last. */
  truncate(uptoSeq: EntrySeq): Promise<void>;
  /** The number of the last entry, truncated or not. A hint: by the time it is told, there may be later ones. */
  lastSeq(): Promise<EntrySeq>;
}
