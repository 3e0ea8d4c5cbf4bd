import { type Bytes, utf8 } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import type { ReplySink } from '../shard/reply-sink.ts';
import type { ValueModule } from '../shard/value-module.ts';
import { type CallOptions, type CommandOptions, callWithRetries, type QueryOptions } from './call-options.ts';
import type {
  KeyspaceCounts,
  KeyspaceHandle,
  ScannedKeys,
  ScannedPage,
  ScannedRecord,
  ScanOptions,
  ShardStats,
} from './keyspace-handle.ts';

const PAGE = 256;
/** Keys of a command on all keys that are in flight at once. */
const ALL_KEYS_PAGE = 512;

/** The types of a keyspace's commands and answers, from its value module. */
export type KeyspaceOf<M> = M extends ValueModule<infer V, infer C, infer R, infer Q, infer A> ? Keyspace<V, C, R, Q, A> : never;

/** Something that lies in a range of positions: a shard, or a part of the keyspace of one's own choice. */
export interface InRange {
  readonly from: number;
  /** Exclusive. */
  readonly to: number;
}

export interface AllKeysOptions extends CallOptions {
  /** Told after each page how many keys are done, and up to which position: nothing from there on has been touched. */
  readonly onProgress?: (progress: { readonly keyCount: number; readonly position: number }) => void;
}

/** A named set of keys whose values are those of one value module. A key is text or bytes; text stands for its UTF-8 bytes. */
export class Keyspace<Value, Command, Reply, Query, Answer> implements AsyncIterable<ScannedRecord<Value>> {
  readonly #handle: KeyspaceHandle<Value, Command, Reply, Query, Answer>;
  readonly #replies = new Waiters<Reply>();
  readonly #answers = new Waiters<Answer>();

  constructor(handle: KeyspaceHandle<Value, Command, Reply, Query, Answer>) {
    this.#handle = handle;
  }

  get name(): string {
    return this.#handle.name;
  }

  /** Keys, those included that have expired and are not yet removed. Exact on one machine; in a cluster as last heard, see {@link counts}. */
  get keyCount(): number {
    return this.#handle.keyCount;
  }

  /** Keys and values; exact as {@link keyCount} is. */
  get sizeBytes(): number {
    return this.#handle.sizeBytes;
  }

  /**
   * Changes one key. Resolves when the change is as durable as the store promises.
   * @throws what the module throws; KF_BAD_KEY, KF_DISK_FULL, KF_VALUE_TOO_LARGE, KF_KEY_TOO_LARGE, KF_CLOSED; KF_OUTCOME_UNKNOWN: it may have happened;
   *   with a request id also KF_SESSION_EXPIRED, KF_REQUEST_MISMATCH, KF_BAD_REQUEST_ID, KF_SESSION_FULL.
   */
  command(key: string | Bytes, command: Command, options?: CommandOptions): Promise<Reply> {
    const attempt = (): Promise<Reply> =>
      this.#replies.add((sink, token) => this.#handle.submit(bytesOf(key), command, sink, token, options?.request, options));
    return options ? callWithRetries(attempt, options, { isRepeatable: options.request !== undefined, changes: true }) : attempt();
  }

  /** Reads one key. Linearizable by default: sees every change whose promise has resolved, and shows none that could still be lost. */
  query(key: string | Bytes, query: Query, options?: QueryOptions): Promise<Answer> {
    const attempt = (): Promise<Answer> => this.#answers.add((sink, token) => this.#handle.ask(bytesOf(key), query, sink, token, options));
    return options ? callWithRetries(attempt, options, { isRepeatable: true, changes: false }) : attempt();
  }

  /** Changes several keys at once, all or nothing. @throws as {@link command}; KF_CROSS_SLOT when they are not in one slot; KF_NOT_SUPPORTED. */
  commandMany(keys: readonly (string | Bytes)[], command: Command, options?: CommandOptions): Promise<Reply> {
    const attempt = (): Promise<Reply> =>
      this.#replies.add((sink, token) => this.#handle.submitMany(keys.map(bytesOf), command, sink, token, options?.request, options));
    return options ? callWithRetries(attempt, options, { isRepeatable: options.request !== undefined, changes: true }) : attempt();
  }

  queryMany(keys: readonly (string | Bytes)[], query: Query, options?: QueryOptions): Promise<Answer> {
    const attempt = (): Promise<Answer> =>
      this.#answers.add((sink, token) => this.#handle.askMany(keys.map(bytesOf), query, sink, token, options));
    return options ? callWithRetries(attempt, options, { isRepeatable: true, changes: false }) : attempt();
  }

  /** What is there, exactly; in a cluster all leaders are asked. @throws as {@link query}. */
  async counts(): Promise<KeyspaceCounts> {
    return this.#handle.counts();
  }

  /** The shards in order of position, as they are now; in a cluster as last heard. */
  shards(): readonly ShardStats[] {
    return this.#handle.shardStats();
  }

  /** The keys at the positions of a shard (or of any range), in order of position; also when it is split or merged meanwhile. */
  async *keysInShard(shard: InRange): AsyncIterableIterator<Bytes> {
    for await (const { key } of this.#recordsIn(shard)) yield key;
  }

  /**
   * Runs `command` on every key at the positions of a shard (or of any range), a page at a time, in order of position. Pages are atomic: after a
   * crash a page was done whole or not at all. A key that is there all along gets it once; one that comes or goes meanwhile may be missed.
   * Resolves to how many keys it was. @throws as {@link command}; earlier pages stay done.
   */
  async commandOnAllKeys(shard: InRange, command: Command, options: AllKeysOptions = {}): Promise<number> {
    const { onProgress, ...callOptions } = options;
    let keyCount = 0;
    let cursor: number | undefined = shard.from;
    while (cursor !== undefined) {
      const { records, next }: ScannedKeys = await this.#handle.scanKeys({ cursor, end: shard.to, limit: ALL_KEYS_PAGE });
      // Submitted in one go they join one batch.
      await Promise.all(records.map(({ key }) => this.command(key, command, callOptions)));
      keyCount += records.length;
      cursor = next;
      onProgress?.({ keyCount, position: next ?? shard.to });
    }
    return keyCount;
  }

  /** All records, in order of position. A key that is there all along comes exactly once; one that comes or goes meanwhile may be missed. */
  [Symbol.asyncIterator](): AsyncIterableIterator<ScannedRecord<Value>> {
    return this.#recordsIn({ from: 0, to: 0x1_0000_0000 });
  }

  /**
   * One page of records from `cursor` on, 0 at first, and before position `end`; `next` is where to go on. Resolves when what the page shows is
   * durable.
   */
  async scan(options: ScanOptions): Promise<ScannedPage<Value>> {
    return this.#handle.scan(options);
  }

  /** Removes every key. Costs the same however many there are. */
  clear(): Promise<void> {
    return this.#handle.clear();
  }

  async *#recordsIn({ from, to }: InRange): AsyncIterableIterator<ScannedRecord<Value>> {
    if (!(from >= 0 && from < to && to <= 0x1_0000_0000))
      throw new KeyfleetError('KF_BAD_OPTION', `[${from}, ${to}) is no range of positions`);
    let cursor: number | undefined = from;
    while (cursor !== undefined) {
      const page: ScannedPage<Value> = await this.scan({ cursor, end: to, limit: PAGE });
      yield* page.records;
      cursor = page.next;
      // So that a long iteration over memory lets others have their turn.
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

/** Promises for the answers of sinks. */
class Waiters<T> implements ReplySink<T> {
  readonly #resolves: (((value: T) => void) | undefined)[] = [];
  readonly #rejects: (((error: Error) => void) | undefined)[] = [];
  readonly #free: number[] = [];

  add(start: (sink: ReplySink<T>, token: number) => void): Promise<T> {
    return new Promise((resolve, reject) => {
      const token = this.#free.pop() ?? this.#resolves.length;
      this.#resolves[token] = resolve;
      this.#rejects[token] = reject;
      try {
        start(this, token);
      } catch (error) {
        // A key that is none.
        this.failed(token, error as Error);
      }
    });
  }

  settled(token: number, reply: T): void {
    const resolve = this.#resolves[token];
    this.#release(token);
    resolve?.(reply);
  }

  failed(token: number, error: Error): void {
    const reject = this.#rejects[token];
    this.#release(token);
    reject?.(error);
  }

  #release(token: number): void {
    this.#resolves[token] = undefined;
    this.#rejects[token] = undefined;
    this.#free.push(token);
  }
}

function bytesOf(key: string | Bytes): Bytes {
  if (typeof key === 'string') return utf8(key);
  if (key instanceof Uint8Array) return key;
  throw new KeyfleetError('KF_BAD_KEY', `a key is a string or a Uint8Array, not ${key === null ? 'null' : typeof key}`);
}
