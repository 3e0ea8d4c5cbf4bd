import { assert } from '../base/assert.ts';
import { type Bytes, copyBytes } from '../base/bytes.ts';
import { CommitProgress, storageFailed } from './commit-progress.ts';
import { after, DeadRuns, NOTED_FROM } from './dead-runs.ts';
import { fromLatin1, latin1 } from './latin1.ts';
import { type KeyCursor, OrderedKeys } from './ordered-keys.ts';
import {
  type CommitNumber,
  checkKey,
  type ScanOptions,
  type Storage,
  type StoragePair,
  type StorageReader,
  type StorageSnapshot,
  type StorageStats,
  type ValueViewer,
} from './storage.ts';

// The storage port in memory: for tests, simulation and stores that need not outlive their process.
//
// A map from key to value, and the keys in order beside it. A write keeps what was there before, twice: in the undo log of its batch, for
// `rollback` and for a simulated crash, and, when snapshots are held, in the newest of them, so that taking a snapshot costs nothing. A
// snapshot reads a key from the first of itself and the newer ones that kept it, else from the live map.

/** What was there before: undefined says that the key was absent. */
type Before = Bytes | undefined;

interface Undo {
  readonly keys: string[];
  readonly befores: Before[];
}

export interface MemoryStorageOptions {
  /** Batches become durable only when {@link MemoryStorage.release} says so. Default: each by itself, a microtask after its commit. */
  readonly holdDurability?: boolean;
  /** Told the number of each batch when it is closed. */
  readonly onCommit?: (number: CommitNumber) => void;
}

/** @see Storage, for what each method promises. */
export class MemoryStorage implements Storage {
  readonly #values: Map<string, Bytes>;
  readonly #order = new OrderedKeys();
  readonly #dead = new DeadRuns();
  /** Keys in `#order` that are gone from `#values`. */
  #goneCount = 0;
  #bytes = 0;
  #committed: CommitNumber;
  #undo: Undo = { keys: [], befores: [] };
  /** The undo logs of closed batches that are not durable, oldest first. */
  readonly #undurable: Undo[] = [];
  readonly #snapshots: MemorySnapshot[] = [];
  readonly #progress: CommitProgress;
  #refusal: Error | undefined;
  #holding: boolean;
  #advanceIsDue = false;
  #closed = false;
  readonly #onCommit: ((number: CommitNumber) => void) | undefined;

  constructor(
    options: MemoryStorageOptions = {},
    state: { values: Map<string, Bytes>; number: CommitNumber } = { values: new Map(), number: 0 },
  ) {
    this.#holding = options.holdDurability ?? false;
    this.#onCommit = options.onCommit;
    this.#values = state.values;
    this.#committed = state.number;
    this.#progress = new CommitProgress(state.number);
    for (const [key, value] of state.values) {
      this.#order.add(key);
      this.#bytes += key.length + value.length;
    }
  }

  get(key: Bytes): Bytes | undefined {
    return this.#values.get(latin1(key));
  }

  show(key: Bytes, viewer: ValueViewer): boolean {
    const value = this.get(key);
    if (value) viewer.view(value, 0, value.length);
    return value !== undefined;
  }

  has(key: Bytes): boolean {
    return this.#values.has(latin1(key));
  }

  scan(options: ScanOptions): IterableIterator<StoragePair> {
    return new MapScan(options, this.#order, (key) => this.#values.get(key), this.#dead);
  }

  put(key: Bytes, value: Bytes): void {
    this.#write(key, copyBytes(value));
  }

  delete(key: Bytes): void {
    this.#write(key, undefined);
  }

  savepoint(): number {
    return this.#undo.keys.length;
  }

  rollback(savepoint: number): void {
    const { keys, befores } = this.#undo;
    assert(savepoint <= keys.length, () => `rollback to ${savepoint} of ${keys.length} writes`);
    while (keys.length > savepoint) this.#set(keys.pop()!, befores.pop());
  }

  commit(): CommitNumber {
    assert(!this.#closed, () => 'commit on a closed storage');
    if (this.#undo.keys.length === 0) return this.#committed;
    this.#undurable.push(this.#undo);
    this.#undo = { keys: [], befores: [] };
    this.#committed++;
    this.#onCommit?.(this.#committed);
    if (!this.#holding && !this.#advanceIsDue) {
      this.#advanceIsDue = true;
      queueMicrotask(() => {
        this.#advanceIsDue = false;
        if (!this.#holding) this.release();
      });
    }
    return this.#committed;
  }

  get openNumber(): CommitNumber {
    return this.#committed + 1;
  }

  get committed(): CommitNumber {
    return this.#committed;
  }

  get durable(): CommitNumber {
    return this.#progress.durable;
  }

  onDurable(listener: (durable: CommitNumber) => void): () => void {
    return this.#progress.onDurable(listener);
  }

  onFailed(listener: (error: Error) => void): () => void {
    return this.#progress.onFailed(listener);
  }

  whenDurable(number: CommitNumber): Promise<void> {
    return this.#progress.whenDurable(number);
  }

  get refusal(): Error | undefined {
    return this.#progress.failure ?? this.#refusal;
  }

  snapshot(): StorageSnapshot {
    assert(this.#undo.keys.length === 0, () => 'snapshot while the open batch has writes');
    const snapshot = new MemorySnapshot(this.#committed, this.#snapshots, this.#values, this.#order);
    this.#snapshots.push(snapshot);
    return snapshot;
  }

  stats(): StorageStats {
    return {
      durability: 'none',
      diskBytes: 0,
      journalBytes: 0,
      memtableBytes: this.#bytes,
      memtableEntries: this.#values.size,
      syncCount: 0,
      syncSeconds: 0,
      flushCount: 0,
    };
  }

  async close(): Promise<void> {
    assert(this.#undo.keys.length === 0, () => 'close while the open batch has writes');
    if (this.#closed) return;
    if (!this.#progress.failure) this.release();
    this.#closed = true;
  }

  // Beyond the port, for tests and simulation.

  /** From now on durability waits for {@link release}. */
  hold(): void {
    this.#holding = true;
  }

  /** Ends {@link hold}: batches become durable by themselves again. */
  resume(): void {
    this.#holding = false;
    this.release();
  }

  /** Makes closed batches up to `number` durable; without it, all. */
  release(number: CommitNumber = this.#committed): void {
    const upTo = Math.min(number, this.#committed);
    const count = upTo - this.#progress.durable;
    if (count <= 0) return;
    this.#undurable.splice(0, count);
    this.#progress.advance(upTo);
  }

  /** Refuses writes with `error`, as a full disk does; undefined takes them again. */
  refuse(error: Error | undefined): void {
    this.#refusal = error;
  }

  /** Fails for good, as a disk that no longer writes does. */
  fail(cause: Error): void {
    this.#progress.fail(storageFailed(`storage failed: ${cause.message}`, cause));
  }

  /**
   * What a process that starts after a crash finds: the state as of batch `number`, at least the durable one and by default that one.
   * This storage must not be used any more.
   */
  crash(options: MemoryStorageOptions = {}, number: CommitNumber = this.#progress.durable): MemoryStorage {
    assert(number >= this.#progress.durable && number <= this.#committed, () => `crash at ${number}`);
    this.rollback(0);
    for (let lost = this.#committed; lost > number; lost--) {
      const { keys, befores } = this.#undurable.pop()!;
      while (keys.length > 0) this.#set(keys.pop()!, befores.pop());
    }
    this.#closed = true;
    return new MemoryStorage(options, { values: new Map(this.#values), number });
  }

  #write(key: Bytes, value: Bytes | undefined): void {
    checkKey(key);
    assert(!this.#closed, () => 'write to a closed storage');
    const refusal = this.refusal;
    if (refusal) throw refusal;
    const name = latin1(key);
    this.#undo.keys.push(name);
    this.#undo.befores.push(this.#set(name, value));
  }

  #set(key: string, value: Bytes | undefined): Before {
    const before = this.#values.get(key);
    this.#snapshots.at(-1)?.keep(key, before);
    if (before) this.#bytes -= key.length + before.length;
    if (value) {
      this.#bytes += key.length + value.length;
      this.#values.set(key, value);
      if (!before) {
        this.#order.add(key);
        if (!this.#dead.isEmpty) this.#dead.cut(key);
      }
    } else if (before) {
      this.#values.delete(key);
      this.#goneCount++;
      if (this.#goneCount > 1_000 + this.#values.size && this.#snapshots.length === 0) {
        this.#order.rebuild(this.#values.keys());
        this.#goneCount = 0;
      }
    }
    return before;
  }
}

class MemorySnapshot implements StorageSnapshot, StorageReader {
  readonly number: CommitNumber;
  readonly #kept = new Map<string, Before>();
  readonly #all: MemorySnapshot[];
  readonly #live: ReadonlyMap<string, Bytes>;
  readonly #order: OrderedKeys;

  constructor(number: CommitNumber, all: MemorySnapshot[], live: ReadonlyMap<string, Bytes>, order: OrderedKeys) {
    this.number = number;
    this.#all = all;
    this.#live = live;
    this.#order = order;
  }

  keep(key: string, before: Before): void {
    if (!this.#kept.has(key)) this.#kept.set(key, before);
  }

  get(key: Bytes): Bytes | undefined {
    return this.#get(latin1(key));
  }

  show(key: Bytes, viewer: ValueViewer): boolean {
    const value = this.get(key);
    if (value) viewer.view(value, 0, value.length);
    return value !== undefined;
  }

  has(key: Bytes): boolean {
    return this.#get(latin1(key)) !== undefined;
  }

  scan(options: ScanOptions): IterableIterator<StoragePair> {
    return new MapScan(options, this.#order, (key) => this.#get(key));
  }

  release(): void {
    const at = this.#all.indexOf(this);
    if (at < 0) return;
    this.#all.splice(at, 1);
    const older = this.#all[at - 1];
    if (!older) return;
    for (const [key, before] of this.#kept) older.keep(key, before);
  }

  #get(key: string): Bytes | undefined {
    const at = this.#all.indexOf(this);
    assert(at >= 0, () => 'read from a released snapshot');
    for (let i = at; i < this.#all.length; i++) {
      const { kept } = this.#all[i]!;
      if (kept.has(key)) return kept.get(key);
    }
    return this.#live.get(key);
  }

  private get kept(): ReadonlyMap<string, Before> {
    return this.#kept;
  }
}

const NO_VALUE: Bytes = new Uint8Array(0);

class MapScan implements IterableIterator<StoragePair> {
  readonly #order: OrderedKeys;
  readonly #get: (key: string) => Bytes | undefined;
  readonly #cursor: KeyCursor;
  readonly #from: string;
  readonly #to: string | undefined;
  readonly #reverse: boolean;
  readonly #keysOnly: boolean;
  readonly #dead: DeadRuns | undefined;
  #left: number;
  /** The last key visited. */
  #last: string | undefined;

  constructor(options: ScanOptions, order: OrderedKeys, get: (key: string) => Bytes | undefined, dead?: DeadRuns) {
    this.#order = order;
    this.#get = get;
    this.#dead = dead;
    this.#from = latin1(options.from);
    this.#to = options.to && latin1(options.to);
    this.#reverse = options.reverse ?? false;
    this.#keysOnly = options.keysOnly ?? false;
    this.#left = options.limit ?? Number.POSITIVE_INFINITY;
    this.#cursor = order.cursor(this.#reverse);
  }

  next(): IteratorResult<StoragePair> {
    if (this.#left <= 0) return { done: true, value: undefined };
    const cursor = this.#cursor;
    const reverse = this.#reverse;
    const start = this.#last ?? (reverse ? this.#to : this.#from);
    this.#order.settle();
    if (this.#last === undefined) cursor.seek(start);
    else cursor.advance();
    for (let passed = 0; ; passed++) {
      const key = cursor.key;
      const isOver = key === undefined || (reverse ? key < this.#from : this.#to !== undefined && key >= this.#to);
      const value = isOver ? undefined : this.#get(key);
      if (isOver || value) {
        if (passed >= NOTED_FROM) this.#noteDead(start, isOver ? undefined : key);
        if (!value) return this.return();
        this.#last = key;
        this.#left--;
        return { done: false, value: { key: fromLatin1(key!), value: this.#keysOnly ? NO_VALUE : value } };
      }
      const beyond = passed % NOTED_FROM === 0 && this.#dead?.isEmpty === false ? this.#beyond(key) : undefined;
      if (beyond === undefined) cursor.advance();
      else {
        cursor.seek(beyond);
        passed = NOTED_FROM;
      }
    }
  }

  #beyond(key: string): string | undefined {
    return this.#reverse ? this.#dead!.startBelow(after(key)) : this.#dead!.endFrom(key);
  }

  /** Nothing lives between `start` and `stop`, undefined: where the scan ends. */
  #noteDead(start: string | undefined, stop: string | undefined): void {
    const high = this.#reverse ? start : (stop ?? this.#to);
    const low = this.#reverse ? stop : this.#last;
    if (high !== undefined) this.#dead?.note(low === undefined ? this.#from : after(low), high);
  }

  return(): IteratorResult<StoragePair> {
    this.#left = 0;
    return { done: true, value: undefined };
  }

  [Symbol.iterator](): this {
    return this;
  }
}
