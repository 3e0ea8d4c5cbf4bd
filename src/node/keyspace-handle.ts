import type { Bytes } from '../base/bytes.ts';
import type { ReplySink } from '../shard/reply-sink.ts';
import type { RequestId } from '../shard/request-id.ts';

export type { ReplySink } from '../shard/reply-sink.ts';

/** A keyspace as the doors see it. The promise-returning `Store` for users is a thin layer over this. */
export interface KeyspaceHandle<Value, Command, Reply, Query, Answer> {
  readonly name: string;
  /**
   * Runs a command on the leader of the key's shard; with a `request`, once however often it is submitted.
   * Fails with KF_DISK_FULL, KF_OUTCOME_UNKNOWN, KF_VALUE_TOO_LARGE, KF_SESSION_EXPIRED, …
   */
  submit(key: Bytes, command: Command, sink: ReplySink<Reply>, token: number, request?: RequestId): void;
  /** Runs a query; linearizable: the answer is held back until everything it saw is durable. */
  ask(key: Bytes, query: Query, sink: ReplySink<Answer>, token: number): void;
  /** Runs a query on what this process sees now, durable or not. @throws what {@link ask} fails with. */
  peek(key: Bytes, query: Query): Answer;
  /** A command over several keys of one slot. @throws KF_CROSS_SLOT (to the sink) when `keys` are not in one slot. */
  submitMany(keys: readonly Bytes[], command: Command, sink: ReplySink<Reply>, token: number, request?: RequestId): void;
  askMany(keys: readonly Bytes[], query: Query, sink: ReplySink<Answer>, token: number): void;
  /**
   * Up to about `limit` live records in order of position, starting at `cursor`; all keys of one position come together, so that a key
   * present all along is seen exactly once however the keyspace changes. `next` is undefined at the end, or at position `end`.
   */
  scan(options: { readonly cursor: number; readonly limit: number; readonly end?: number }): {
    readonly records: readonly ScannedRecord<Value>[];
    readonly next: number | undefined;
  };
  /**
   * For what `scan`, `sample` and the counts show: undefined when all of it is durable, else a promise of the moment when what they show now
   * is. To be awaited between looking and telling, since nobody may be told of what a crash could undo. @throws KF_STORAGE_FAILED
   */
  whenShownIsDurable(): Promise<void> | undefined;
  /** A live record chosen by `unit`, a random number in [0, 1); undefined when there is none. */
  sample(unit: number): ScannedRecord<Value> | undefined;
  /**
   * Calls `listener` with each key that a command has changed or that has expired, at once and before that is durable; undefined stands for
   * all keys. It must not throw, nor call the keyspace before it has returned. Returns how to stop.
   */
  onChange(listener: (key: Bytes | undefined) => void): () => void;
  /** Live keys, plus those that have expired and are not yet removed. Exact, O(shards). */
  readonly keyCount: number;
  readonly sizeBytes: number;
  /** Keys with an expiry. */
  readonly expiringCount: number;
  /** Removes every key of the keyspace. Visible at once; the space is reclaimed in the background. Resolves when durable. */
  clear(): Promise<void>;
}

export interface ScannedRecord<Value> {
  readonly key: Bytes;
  readonly position: number;
  readonly value: Value;
  readonly expireAtMs: number | undefined;
  readonly sizeBytes: number;
}
