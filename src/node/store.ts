import { type Bytes, utf8 } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import type { ReplySink } from '../shard/reply-sink.ts';
import type { ValueModule } from '../shard/value-module.ts';
import type { KeyspaceHandle, ScannedRecord } from './keyspace-handle.ts';
import type { KeyspaceOptions, NodeStats, StoreNode } from './store-node.ts';

// The store for TypeScript users: promises and iteration over what a node offers with sinks and cursors.

const PAGE = 256;

/** The types of a keyspace's commands and answers, from its value module. */
export type KeyspaceOf<M> = M extends ValueModule<infer V, infer C, infer R, infer Q, infer A> ? Keyspace<V, C, R, Q, A> : never;

/** The keyspaces to open, by name. */
export type KeyspaceDefinitions = Readonly<Record<string, KeyspaceOptions<unknown, unknown, unknown, unknown, unknown>>>;

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

  /** Keys, those included that have expired and are not yet removed. Exact. */
  get keyCount(): number {
    return this.#handle.keyCount;
  }

  /** Keys and values. */
  get sizeBytes(): number {
    return this.#handle.sizeBytes;
  }

  /**
   * Changes one key. Resolves when the change is as durable as the store promises.
   * @throws what the module throws; KF_DISK_FULL, KF_VALUE_TOO_LARGE, KF_KEY_TOO_LARGE, KF_CLOSED; KF_OUTCOME_UNKNOWN: it may have happened.
   */
  command(key: string | Bytes, command: Command): Promise<Reply> {
    return this.#replies.add((sink, token) => this.#handle.submit(bytesOf(key), command, sink, token));
  }

  /** Reads one key. Linearizable: sees every change whose promise has resolved, and shows none that could still be lost. */
  query(key: string | Bytes, query: Query): Promise<Answer> {
    return this.#answers.add((sink, token) => this.#handle.ask(bytesOf(key), query, sink, token));
  }

  /** Changes several keys at once, all or nothing. @throws as {@link command}; KF_CROSS_SLOT when they are not in one slot; KF_NOT_SUPPORTED. */
  commandMany(keys: readonly (string | Bytes)[], command: Command): Promise<Reply> {
    return this.#replies.add((sink, token) => this.#handle.submitMany(keys.map(bytesOf), command, sink, token));
  }

  queryMany(keys: readonly (string | Bytes)[], query: Query): Promise<Answer> {
    return this.#answers.add((sink, token) => this.#handle.askMany(keys.map(bytesOf), query, sink, token));
  }

  /** All records, in order of position. A key that is there all along comes exactly once; one that comes or goes meanwhile may be missed. */
  async *[Symbol.asyncIterator](): AsyncIterableIterator<ScannedRecord<Value>> {
    let cursor: number | undefined = 0;
    while (cursor !== undefined) {
      const page: Awaited<ReturnType<typeof this.scan>> = await this.scan({ cursor, limit: PAGE });
      yield* page.records;
      cursor = page.next;
      // So that a long iteration over memory lets others have their turn.
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** One page of records from `cursor` on, 0 at first; `next` is where to go on. Resolves when what the page shows is durable. */
  async scan(options: { readonly cursor: number; readonly limit: number }): Promise<{
    readonly records: readonly ScannedRecord<Value>[];
    readonly next: number | undefined;
  }> {
    const page = this.#handle.scan(options);
    await this.#handle.whenShownIsDurable();
    return page;
  }

  /** Removes every key. Costs the same however many there are. */
  clear(): Promise<void> {
    return this.#handle.clear();
  }
}

export class Store<Definitions extends KeyspaceDefinitions = Record<never, never>> implements AsyncDisposable {
  /** What the store stands on; doors use it. */
  readonly node: StoreNode;
  readonly #keyspaces = new Map<string, Keyspace<never, never, unknown, never, unknown>>();

  /** Use `openStore`. */
  constructor(node: StoreNode) {
    this.node = node;
  }

  /** One of the keyspaces that the store was opened with. @throws KF_NO_KEYSPACE. */
  keyspace<Name extends keyof Definitions & string>(name: Name): KeyspaceOf<Definitions[Name]['module']> {
    const keyspace = this.#keyspaces.get(name);
    if (!keyspace)
      throw new KeyfleetError(
        'KF_NO_KEYSPACE',
        `there is no keyspace ${name}; this store has ${this.listKeyspaces().join(', ') || 'none'}`,
      );
    return keyspace as unknown as KeyspaceOf<Definitions[Name]['module']>;
  }

  /** Serves a keyspace, and makes it first if there is none of that name. @throws KF_BAD_KEYSPACE, KF_KEYSPACE_MISMATCH. */
  async registerKeyspace<V, C, R, Q, A>(name: string, options: KeyspaceOptions<V, C, R, Q, A>): Promise<Keyspace<V, C, R, Q, A>> {
    const keyspace = new Keyspace(await this.node.registerKeyspace(name, options));
    this.#keyspaces.set(name, keyspace as unknown as Keyspace<never, never, unknown, never, unknown>);
    return keyspace;
  }

  /** Takes a keyspace away with all its keys, for good. @throws KF_NO_KEYSPACE. */
  async deregisterKeyspace(name: string): Promise<void> {
    await this.node.deregisterKeyspace(name);
    this.#keyspaces.delete(name);
  }

  listKeyspaces(): string[] {
    return [...this.#keyspaces.keys()].sort();
  }

  stats(): NodeStats {
    return this.node.stats();
  }

  /** Makes everything durable and lets go of the files. Requests are refused with KF_CLOSED from now on. */
  close(): Promise<void> {
    return this.node.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
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
      start(this, token);
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
  return typeof key === 'string' ? utf8(key) : key;
}
