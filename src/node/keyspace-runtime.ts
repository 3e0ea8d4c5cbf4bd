import { type Bytes, equalBytes } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import type { LocalLog, LocalShard } from '../log/local.ts';
import { stillLoading } from '../shard/load.ts';
import type { PositionScheme } from '../shard/position-scheme.ts';
import type { ReplySink } from '../shard/reply-sink.ts';
import type { RequestId } from '../shard/request-id.ts';
import { faulted, ShardMovedError } from '../shard/shard-moved-error.ts';
import type { ValueModule } from '../shard/value-module.ts';
import type { Storage } from '../storage/storage.ts';
import { tellingSink } from './answer-teller.ts';
import { LocalBackup } from './backup/local-backup.ts';
import type { KeyspaceBackup } from './backup/range-reading.ts';
import type {
  AskOptions,
  KeyspaceCounts,
  KeyspaceHandle,
  MaybePromise,
  ScannedKeys,
  ScannedPage,
  ScannedRecord,
  ScanOptions,
  ShardStats,
} from './keyspace-handle.ts';
import { ParkedRequests } from './parked-requests.ts';
import { RecordScanner } from './record-scan.ts';
import { ShardTable } from './shard-table.ts';

export interface KeyspaceRuntimeOptions<Value, Command, Reply, Query, Answer> {
  readonly name: string;
  /** Never another keyspace's. */
  readonly id: number;
  readonly log: LocalLog;
  readonly storage: Storage;
  readonly module: ValueModule<Value, Command, Reply, Query, Answer>;
  readonly scheme: PositionScheme;
  /** Those that there are, see {@link ShardTable}. */
  readonly shards: readonly LocalShard<Value, Command, Reply, Query, Answer>[];
  readonly maxKeyBytes: number;
  readonly now: () => number;
  /** Gives every shard a fresh table and leaves the old one as garbage, in one batch. */
  readonly clear: () => Promise<void>;
  /** Told of each answered query. */
  readonly onAnswer?: (key: Bytes, query: Query, answer: Answer) => void;
}

export type AnyKeyspaceRuntime = KeyspaceRuntime<never, never, unknown, never, unknown>;

/** A keyspace served by this process: routes each key to its shard. */
export class KeyspaceRuntime<Value, Command, Reply, Query, Answer> implements KeyspaceHandle<Value, Command, Reply, Query, Answer> {
  readonly name: string;
  readonly isLocal = true;
  readonly id: number;
  readonly module: ValueModule<Value, Command, Reply, Query, Answer>;
  readonly scheme: PositionScheme;
  readonly backup: KeyspaceBackup;
  readonly #log: LocalLog;
  #table: ShardTable<Value, Command, Reply, Query, Answer>;
  readonly #parked = new ParkedRequests();
  readonly #maxKeyBytes: number;
  readonly #now: () => number;
  readonly #clear: () => Promise<void>;
  readonly #onAnswer: ((key: Bytes, query: Query, answer: Answer) => void) | undefined;
  readonly #scanner: RecordScanner<Value>;
  readonly #listeners = new Set<(key: Bytes | undefined) => void>();
  /** Why requests are refused; undefined: they are not. */
  #refusal: KeyfleetError | undefined;

  constructor(options: KeyspaceRuntimeOptions<Value, Command, Reply, Query, Answer>) {
    this.name = options.name;
    this.id = options.id;
    this.module = options.module;
    this.scheme = options.scheme;
    this.#log = options.log;
    this.#table = new ShardTable(options.shards);
    this.#maxKeyBytes = options.maxKeyBytes;
    this.#now = options.now;
    this.#clear = options.clear;
    this.#onAnswer = options.onAnswer;
    this.backup = new LocalBackup(options.log, options.storage, this as unknown as AnyKeyspaceRuntime);
    this.#scanner = new RecordScanner(options.storage, options.module.codec);
  }

  /** In order of position; together they cover it all. */
  get shards(): readonly LocalShard<Value, Command, Reply, Query, Answer>[] {
    return this.#table.shards;
  }

  get table(): ShardTable<Value, Command, Reply, Query, Answer> {
    return this.#table;
  }

  /** The shards are these from now on. */
  setTable(table: ShardTable<Value, Command, Reply, Query, Answer>): void {
    this.#table = table;
    if (this.#listeners.size > 0) for (const { machine } of table.shards) machine.onChange = this.#tell;
  }

  /** Requests that found no shard to serve them are tried again. */
  retryParked(): void {
    this.#parked.release();
  }

  submit(key: Bytes, command: Command, sink: ReplySink<Reply>, token: number, request?: RequestId): void {
    if (key.length > this.#maxKeyBytes || this.#refusal) {
      sink.failed(token, this.#whyNot(key));
      return;
    }
    const position = this.scheme.position(key);
    const shard = this.#shardAt(position);
    if (shard.machine.isServing) this.#log.submit(shard, key, position, command, sink, token, request);
    else this.#park(shard, position, sink, token, () => this.submit(key, command, sink, token, request));
  }

  ask(key: Bytes, query: Query, sink: ReplySink<Answer>, token: number, options?: AskOptions): void {
    if (key.length > this.#maxKeyBytes || this.#refusal) {
      sink.failed(token, this.#whyNot(key));
      return;
    }
    const position = this.scheme.position(key);
    const shard = this.#shardAt(position);
    const { machine } = shard;
    if (options?.read === 'local') {
      this.#look(sink, token, () => machine.query(key, position, query, this.#now()));
      return;
    }
    const tell = this.#onAnswer;
    if (machine.isServing)
      this.#log.ask(shard, key, position, query, tell ? tellingSink(sink, (answer) => tell(key, query, answer)) : sink, token);
    else this.#park(shard, position, sink, token, () => this.ask(key, query, sink, token));
  }

  submitMany(keys: readonly Bytes[], command: Command, sink: ReplySink<Reply>, token: number, request?: RequestId): void {
    const shard = this.#shardOfAll(keys, sink, token);
    if (shard?.machine.isServing) this.#log.submitMany(shard, keys[0]!, command, sink, token, request);
    else if (shard) this.#park(shard, undefined, sink, token, () => this.submitMany(keys, command, sink, token, request));
  }

  askMany(keys: readonly Bytes[], query: Query, sink: ReplySink<Answer>, token: number, options?: AskOptions): void {
    const shard = this.#shardOfAll(keys, sink, token);
    if (shard && options?.read === 'local') this.#look(sink, token, () => shard.machine.queryMany(keys[0]!, query, this.#now()));
    else if (shard?.machine.isServing) this.#log.askMany(shard, keys[0]!, query, sink, token);
    else if (shard) this.#park(shard, undefined, sink, token, () => this.askMany(keys, query, sink, token));
  }

  /** Answers with what is there now, durable or not. */
  #look(sink: ReplySink<Answer>, token: number, query: () => Answer): void {
    let answer: Answer;
    try {
      answer = query();
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      sink.failed(token, error);
      return;
    }
    sink.settled(token, answer);
  }

  scan(options: ScanOptions): MaybePromise<ScannedPage<Value>> {
    if (this.#refusal) throw this.#refusal;
    return this.#whenDurable(this.#scanner.page({ ...options, table: this.shards[0]!.machine.state.table, nowMs: this.#now() }));
  }

  scanKeys(options: ScanOptions): MaybePromise<ScannedKeys> {
    if (this.#refusal) throw this.#refusal;
    const { table } = this.shards[0]!.machine.state;
    const mayExpire = this.expiringCount > 0;
    return this.#whenDurable(this.#scanner.keys({ ...options, table, nowMs: this.#now(), mayExpire }));
  }

  sample(unit: number): MaybePromise<ScannedRecord<Value> | undefined> {
    if (this.#refusal) throw this.#refusal;
    return this.#whenDurable(this.#sample(unit));
  }

  counts(): MaybePromise<KeyspaceCounts> {
    const { keyCount, sizeBytes, expiringCount } = this;
    return this.#whenDurable({ keyCount, sizeBytes, expiringCount });
  }

  /** `shown` as soon as all of it is durable, since nobody may be told of what a crash could undo: at once but for a moment after a write. */
  #whenDurable<T>(shown: T): MaybePromise<T> {
    return this.#log.whenDurable(this.shards)?.then(() => shown) ?? shown;
  }

  /** Chooses a shard by its count of keys, then a place between its first and its last position: O(1), and fair enough for RANDOMKEY. */
  #sample(unit: number): ScannedRecord<Value> | undefined {
    let at = unit * this.keyCount;
    let index = 0;
    for (; index < this.shards.length - 1; index++) {
      const { keyCount } = this.shards[index]!.machine.state;
      if (at < keyCount) break;
      at -= keyCount;
    }
    const nowMs = this.#now();
    for (let tried = 0; tried < this.shards.length; tried++) {
      const { state } = this.shards[(index + tried) % this.shards.length]!.machine;
      if (state.keyCount === 0) continue;
      // What is left of the chance after choosing the shard.
      const within = tried === 0 ? Math.min(at / state.keyCount, 1 - Number.EPSILON) : unit;
      const record = this.#scanner.sample({ table: state.table, range: state.range, unit: within, nowMs });
      if (record) return record;
    }
    return undefined;
  }

  onChange(listener: (key: Bytes | undefined) => void): () => void {
    this.#listeners.add(listener);
    for (const { machine } of this.shards) machine.onChange = this.#tell;
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) for (const { machine } of this.shards) machine.onChange = undefined;
    };
  }

  readonly #tell = (key: Bytes | undefined): void => {
    for (const listener of this.#listeners) listener(key);
  };

  watch(keys: readonly Bytes[], listener: () => void): () => void {
    return this.onChange((changed) => {
      if (changed === undefined || keys.some((key) => equalBytes(key, changed))) listener();
    });
  }

  get keyCount(): number {
    let sum = 0;
    for (const { machine } of this.shards) sum += machine.state.keyCount;
    return sum;
  }

  get sizeBytes(): number {
    let sum = 0;
    for (const { machine } of this.shards) sum += machine.state.sizeBytes;
    return sum;
  }

  get expiringCount(): number {
    let sum = 0;
    for (const { machine } of this.shards) sum += machine.state.expiringCount;
    return sum;
  }

  shardStats(): ShardStats[] {
    return this.shards.map(({ machine }) => {
      const { id, range, keyCount, sizeBytes, expiringCount, applied, status } = machine.state;
      return { id, from: range.from, to: range.to, keyCount, sizeBytes, expiringCount, applied, load: machine.load, status };
    });
  }

  clear(): Promise<void> {
    return this.#refusal ? Promise.reject(this.#refusal) : this.#clear();
  }

  /** The keyspace is no more, or the store is closed: all requests are refused with `why` from now on. */
  refuse(why: KeyfleetError): void {
    this.#refusal ??= why;
    this.#parked.release();
  }

  /** Takes {@link refuse} back: the keyspace is there after all. */
  serveAgain(): void {
    this.#refusal = undefined;
  }

  /** Which of {@link shards} has `position`. */
  shardIndexAt(position: number): number {
    return this.#table.indexAt(position);
  }

  #shardAt(position: number): LocalShard<Value, Command, Reply, Query, Answer> {
    return this.#table.shards[this.#table.indexAt(position)]!;
  }

  /** Keeps a request until the shards have changed. */
  #park(
    { machine }: LocalShard<Value, Command, Reply, Query, Answer>,
    position: number | undefined,
    sink: ReplySink<never>,
    token: number,
    retry: () => void,
  ): void {
    const { status, id, applied } = machine.state;
    if (status === 'faulted') sink.failed(token, faulted(id, applied));
    else if (status === 'loading') sink.failed(token, stillLoading(machine.state));
    else this.#parked.add(retry, (why) => sink.failed(token, why), new ShardMovedError(machine.state, position));
  }

  #shardOfAll(keys: readonly Bytes[], sink: ReplySink<never>, token: number): LocalShard<Value, Command, Reply, Query, Answer> | undefined {
    const { groupShift } = this.scheme;
    let shardIndex = -1;
    let group = -1;
    for (const key of keys) {
      if (key.length > this.#maxKeyBytes || this.#refusal) {
        sink.failed(token, this.#whyNot(key));
        return undefined;
      }
      const position = this.scheme.position(key);
      const index = this.shardIndexAt(position);
      const ofKey = groupShift === undefined ? index : position >>> groupShift;
      if (shardIndex >= 0 && ofKey !== group) {
        const together = groupShift === undefined ? 'shard' : 'slot; a hash tag {…} keeps keys in one';
        sink.failed(token, new KeyfleetError('KF_CROSS_SLOT', `the ${keys.length} keys of the command are not in one ${together}`));
        return undefined;
      }
      shardIndex = index;
      group = ofKey;
    }
    if (shardIndex >= 0) return this.shards[shardIndex]!;
    sink.failed(token, new KeyfleetError('KF_BAD_COMMAND', 'a command over several keys names no key'));
    return undefined;
  }

  #whyNot(key: Bytes): KeyfleetError {
    return this.#refusal ?? new KeyfleetError('KF_KEY_TOO_LARGE', `a key of ${key.length} bytes; the limit is ${this.#maxKeyBytes}`);
  }
}
