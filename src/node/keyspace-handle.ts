import type { Bytes } from '../base/bytes.ts';
import type { AckLevel } from '../shard/replica/acks.ts';
import type { ReplySink } from '../shard/reply-sink.ts';
import type { RequestId } from '../shard/request-id.ts';
import type { ShardStatus } from '../shard/shard-state.ts';

export type { ReplySink } from '../shard/reply-sink.ts';

/** At once where the data are in this process and durable; a promise where they must be fetched or waited for. */
export type MaybePromise<T> = T | Promise<T>;

/** `lease` and `barrier`: linearizable, one way or the other. `local`: what a replica sees now, which may be old or yet undone by a crash. */
export type ReadMode = 'lease' | 'barrier' | 'local';

export interface SubmitOptions {
  /** When it is answered, in a cluster: as the log has it, the leader's disk too, or two disks. On one machine the log is the disk. Default: `log+1`. */
  readonly ack?: AckLevel | undefined;
  /** Whoever asks waits no longer: in a cluster what is known by then is told shortly before. On one machine there is nothing to wait for. */
  readonly timeoutMs?: number | undefined;
}

export interface AskOptions {
  /** Default: `lease`. */
  readonly read?: ReadMode | undefined;
  /** With `local`: the replica has run at least this entry of the shard's log. */
  readonly minSeq?: number;
  /** @see SubmitOptions.timeoutMs */
  readonly timeoutMs?: number | undefined;
}

/** A keyspace as the doors see it, whose data are in this process or on the nodes of a cluster. The `Store` for users is a thin layer over this. */
export interface KeyspaceHandle<Value, Command, Reply, Query, Answer> {
  readonly name: string;
  /** All its data are in this process: a command is run inside `submit`, and every change is told by {@link onChange} as it is made. */
  readonly isLocal: boolean;
  /**
   * Runs a command on the leader of the key's shard; with a `request`, once however often it is submitted.
   * Fails with KF_DISK_FULL, KF_OUTCOME_UNKNOWN, KF_VALUE_TOO_LARGE, KF_SESSION_EXPIRED, …
   */
  submit(key: Bytes, command: Command, sink: ReplySink<Reply>, token: number, request?: RequestId, options?: SubmitOptions): void;
  /** Runs a query; by default linearizable: the answer is held back until everything it saw is durable. */
  ask(key: Bytes, query: Query, sink: ReplySink<Answer>, token: number, options?: AskOptions): void;
  /** A command over several keys of one slot. @throws KF_CROSS_SLOT (to the sink) when `keys` are not in one slot. */
  submitMany(
    keys: readonly Bytes[],
    command: Command,
    sink: ReplySink<Reply>,
    token: number,
    request?: RequestId,
    options?: SubmitOptions,
  ): void;
  askMany(keys: readonly Bytes[], query: Query, sink: ReplySink<Answer>, token: number, options?: AskOptions): void;
  /**
   * Up to about `limit` live records in order of position, starting at `cursor`; all keys of one position come together, so that a key
   * present all along is seen exactly once however the keyspace changes. `next` is undefined at the end, or at position `end`. Told, like
   * {@link sample} and {@link counts}, when what it shows is durable. @throws KF_STORAGE_FAILED
   */
  scan(options: ScanOptions): MaybePromise<ScannedPage<Value>>;
  /** As {@link scan}, but only the keys are wanted: what lies under them is not read, where it is in this process and no key expires. */
  scanKeys(options: ScanOptions): MaybePromise<ScannedKeys>;
  /** A live record chosen by `unit`, a random number in [0, 1); undefined when there is none. */
  sample(unit: number): MaybePromise<ScannedRecord<Value> | undefined>;
  /** What is there, those included that have expired and are not yet removed. Exact: in a cluster the leaders of all shards are asked. */
  counts(): MaybePromise<KeyspaceCounts>;
  /** The counts as far as this process knows them: exact on one machine, in a cluster as the leaders last reported. */
  readonly keyCount: number;
  readonly sizeBytes: number;
  readonly expiringCount: number;
  /** The shards in order of position, as far as this process knows them. */
  shardStats(): readonly ShardStats[];
  /**
   * Calls `listener` with each key that a command has changed or that has expired, at once and before that is durable; undefined stands for
   * all keys. Of a keyspace that is not {@link isLocal}: for the shards that this process has a replica of, as the replica comes to it.
   * It must not throw, nor call the keyspace before it has returned. Returns how to stop.
   */
  onChange(listener: (key: Bytes | undefined) => void): () => void;
  /**
   * As {@link onChange}, for keys of one slot wherever their shard is: calls `listener` after each later change of one of them, and sometimes
   * without one. A change may be told after a command that ran behind it. Resolves, to how to stop, when nothing can be missed any more.
   */
  watch(keys: readonly Bytes[], listener: () => void): MaybePromise<() => void>;
  /** Removes every key of the keyspace. The space is reclaimed in the background. Resolves when durable. */
  clear(): Promise<void>;
}

export interface ScanOptions {
  readonly cursor: number;
  readonly limit: number;
  readonly end?: number;
}

export interface ScannedPage<Value> {
  readonly records: readonly ScannedRecord<Value>[];
  readonly next: number | undefined;
}

/** A page of which only the keys are asked for. */
export interface ScannedKeys {
  readonly records: readonly { readonly key: Bytes }[];
  readonly next: number | undefined;
}

export interface ScannedRecord<Value> {
  readonly key: Bytes;
  readonly position: number;
  readonly value: Value;
  readonly expireAtMs: number | undefined;
  readonly sizeBytes: number;
}

export interface KeyspaceCounts {
  readonly keyCount: number;
  readonly sizeBytes: number;
  /** Keys with an expiry. */
  readonly expiringCount: number;
}

export interface ShardStats extends KeyspaceCounts {
  readonly id: number;
  readonly from: number;
  readonly to: number;
  /** The number of its last entry. */
  readonly applied: number;
  /** Work done since the start, in units of one small command. */
  readonly load: number;
  /** Only `serving` for longer than milliseconds; see docs/protocol/split.md and merge.md for the others. */
  readonly status: ShardStatus;
  /** Of a cluster: the node that leads it, as far as this one knows. */
  readonly leader?: string | undefined;
  /** Of a cluster: the nodes that have it, the preferred leader first. */
  readonly replicas?: readonly string[];
}
