import { assert } from '../base/assert.ts';
import type { Bytes } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import { ChainHash } from './chain-hash.ts';
import {
  type Entry,
  type EntryCommand,
  encodeEntryHeader,
  hashClear,
  hashCommand,
  hashExpireKeys,
  hashExpireSessions,
  hashKeyed,
  KIND_COMMAND,
  KIND_COMMAND_MANY,
  type OnceCommand,
} from './entry.ts';
import { stateKey } from './key-layout.ts';
import { standingOf } from './leadership.ts';
import { openMany, openManyForQuery, type Ran } from './many-records.ts';
import { messagePack } from './message-pack.ts';
import { type Applied, isOursAlone, type Outcome, outcomeOf, told } from './outcome.ts';
import type { RequestId } from './request-id.ts';
import { fingerprintOf, Sessions } from './sessions.ts';
import { type CountChange, type RecordDuties, RecordView, ShardRecord } from './shard-record.ts';
import { encodeShardState, type ShardState } from './shard-state.ts';
import type { ShardReader, ShardStorage } from './shard-storage.ts';
import type { ValueModule } from './value-module.ts';

// A shard: a deterministic state machine over a range of a keyspace. It is fed in one of two ways, which run the same code:
//
//   eagerly    openEntry(now) · run(command) · run(command) · … · closeEntry()      the leader of a local log orders commands by running them
//   from a log applyEntry(entry, seq)                                              everyone else runs what the leader ordered
//
// Either way an entry's effects, its number and its hash are written to the same open batch of the storage, so they are durable together
// or not at all. A command that fails leaves no trace: nothing in storage, nothing in the counts, nothing in the entry.
// A command that changes nothing is not in the entry either: it happened, but nobody could tell.

export interface ShardMachineOptions<Value, Command, Reply, Query, Answer> {
  readonly storage: ShardStorage;
  readonly module: ValueModule<Value, Command, Reply, Query, Answer>;
  readonly positionOf: (key: Bytes) => number;
  readonly state: ShardState;
  readonly maxValueBytes: number;
  /** Under which number the keyspace's sessions lie. Default: 0, for a shard that has its storage to itself. */
  readonly keyspaceId?: number;
  /** Told when storage holds garbage to remove at leisure, see record-cells.ts. */
  readonly onGarbage?: () => void;
  /** Told what each closed entry was; only then are commands kept until then. */
  readonly onEntry?: (entry: Entry<Command>, seq: number) => void;
}

export class ShardMachine<Value, Command, Reply, Query, Answer> {
  readonly #storage: ShardStorage;
  readonly #module: ValueModule<Value, Command, Reply, Query, Answer>;
  readonly #positionOf: (key: Bytes) => number;
  readonly #duties: RecordDuties;
  readonly #onEntry: ((entry: Entry<Command>, seq: number) => void) | undefined;
  readonly #record: ShardRecord<Value>;
  readonly #view: RecordView<Value>;
  readonly #sessions: Sessions<Reply>;
  readonly #chain = new ChainHash();
  readonly #change: CountChange = { keys: 0, bytes: 0, expiring: 0 };
  readonly #stateKey: Bytes;
  #state: ShardState;
  /** As it was when the entry began. */
  #before: ShardState;
  #open = false;
  /** The open entry comes from a log, which knows its commands and their hash. */
  #logged = false;
  #entryNowMs = 0;
  #commandCount = 0;
  #kept: EntryCommand<Command>[] = [];
  #wrote = false;
  #load = 0;

  constructor(options: ShardMachineOptions<Value, Command, Reply, Query, Answer>) {
    const { storage, module, positionOf, state, maxValueBytes, keyspaceId = 0, onGarbage, onEntry } = options;
    this.#storage = storage;
    this.#module = module;
    this.#positionOf = positionOf;
    this.#state = { ...state };
    this.#before = this.#state;
    this.#stateKey = stateKey(state.id);
    this.#onEntry = onEntry;
    this.#duties = {
      maxValueBytes,
      newGeneration: () => this.#state.nextGeneration++,
      onWrite: () => {
        this.#wrote = true;
      },
      onGarbage: onGarbage ?? (() => {}),
    };
    this.#record = new ShardRecord(storage, module.codec, this.#duties);
    this.#view = new RecordView(storage, module.codec);
    this.#sessions = new Sessions({ storage, keyspaceId, replyCodec: module.replyCodec ?? messagePack() });
  }

  /**
   * Told of each key that a command has changed or that has expired, as soon as it has; undefined: of all keys. What it is told may yet be undone
   * with its batch. It must not throw, nor call the machine.
   */
  onChange: ((key: Bytes | undefined) => void) | undefined;

  get state(): Readonly<ShardState> {
    return this.#state;
  }

  get entryIsOpen(): boolean {
    return this.#open;
  }

  /** The last call of {@link run}, {@link runMany} or {@link expireKeys} changed something. */
  get changed(): boolean {
    return this.#wrote;
  }

  /** Work done since the machine was made, in units of one small command. The leader's own; not part of the state. */
  get load(): number {
    return this.#load;
  }

  /** Begins the next entry at `nowMs`, or at the time of the last one if that is later. */
  openEntry(nowMs: number): void {
    assert(!this.#open, () => `shard ${this.#state.id}: an entry is open`);
    this.#mustServe();
    const { epoch, leader, hash: prevHash } = this.#state;
    this.#before = { ...this.#state };
    this.#open = true;
    this.#entryNowMs = Math.max(nowMs, this.#state.nowMs);
    this.#commandCount = 0;
    this.#chain.start(encodeEntryHeader({ epoch, leader, prevHash, nowMs: this.#entryNowMs }));
  }

  /**
   * Runs a command on one key and adds it to the open entry. Cost over the storage's own: one read, the module, the codecs, one write.
   * @throws what the module throws, KF_VALUE_TOO_LARGE, or what the storage throws; the command has then left no trace.
   */
  run(key: Bytes, position: number, command: Command): Reply {
    const savepoint = this.#storage.savepoint();
    const generation = this.#state.nextGeneration;
    const change = this.#begin();
    try {
      const reply = this.#runOne(key, position, command, change);
      if (this.#wrote) {
        if (!this.#logged) hashKeyed(this.#chain, KIND_COMMAND, key, this.#module.commandCodec.encode(command));
        this.#finish(change);
        if (this.#onEntry && !this.#logged) this.#kept.push({ kind: 'command', key, command });
        this.onChange?.(key);
      }
      return reply;
    } catch (error) {
      this.#undo(savepoint, generation);
      throw error;
    }
  }

  /**
   * Runs a command on several keys, all or nothing, and adds it to the open entry.
   * @throws as {@link run}; KF_CROSS_SHARD when the module opens a key that is not the shard's; KF_NOT_SUPPORTED.
   */
  runMany(key: Bytes, command: Command): Reply {
    const module = this.#module;
    const savepoint = this.#storage.savepoint();
    const generation = this.#state.nextGeneration;
    const change = this.#begin();
    try {
      const { reply, changedKeys } = this.#runMany(command, change);
      if (this.#wrote) {
        if (!this.#logged) hashKeyed(this.#chain, KIND_COMMAND_MANY, key, module.commandCodec.encode(command));
        this.#finish(change);
        if (this.#onEntry && !this.#logged) this.#kept.push({ kind: 'command-many', key, command });
        if (this.onChange) for (const changed of changedKeys()) this.onChange(changed);
      }
      return reply;
    } catch (error) {
      this.#undo(savepoint, generation);
      throw error;
    }
  }

  /**
   * As {@link run}, but the same request is run once: when it comes again, what it came to then is returned or thrown once more. Errors of
   * the module are kept like replies; what fails for want of storage is as if it had never come.
   * Cost over a run: a read and a write of the session.
   * @throws as {@link run}; KF_SESSION_EXPIRED, KF_REQUEST_MISMATCH, KF_BAD_REQUEST_ID, KF_SESSION_FULL, and nothing was done.
   */
  runOnce(request: RequestId, key: Bytes, position: number, command: Command): Reply {
    return this.#once({ kind: 'command', key, command, request }, position, (change) => ({
      reply: this.#runOne(key, position, command, change),
      changedKeys: () => [key],
    }));
  }

  /** As {@link runOnce}, for {@link runMany}. */
  runManyOnce(request: RequestId, key: Bytes, command: Command): Reply {
    return this.#once({ kind: 'command-many', key, command, request }, this.#positionOf(key), (change) => this.#runMany(command, change));
  }

  #once(command: OnceCommand<Command>, position: number, run: (change: CountChange) => Ran<Reply>): Reply {
    const { kind, key, request } = command;
    const body = this.#module.commandCodec.encode(command.command);
    const fingerprint = fingerprintOf(kind === 'command' ? KIND_COMMAND : KIND_COMMAND_MANY, key, body);
    const clock = { nowMs: this.#entryNowMs, expiredBeforeMs: this.#state.sessionsExpiredBeforeMs };
    const savepoint = this.#storage.savepoint();
    const generation = this.#state.nextGeneration;
    const change = this.#begin();
    let outcome: Outcome<Ran<Reply>>;
    try {
      const session = this.#sessions.open(request, position, clock);
      const known = session.outcome(fingerprint);
      if (known) return told(known);
      outcome = outcomeOf(() => run(change));
      if (outcome.kind === 'error') {
        this.#undo(savepoint, generation);
        change.keys = change.bytes = change.expiring = 0;
      }
      session.keep(fingerprint, outcome.kind === 'error' ? outcome : { kind: 'reply', reply: outcome.reply.reply });
    } catch (error) {
      this.#undo(savepoint, generation);
      throw error;
    }
    const changed = this.#wrote;
    this.#wrote = true;
    if (!this.#logged) hashCommand(this.#chain, command, this.#module.commandCodec);
    this.#finish(change);
    if (this.#onEntry && !this.#logged) this.#kept.push(command);
    const { reply, changedKeys } = told(outcome);
    if (changed && this.onChange) for (const one of changedKeys()) this.onChange(one);
    return reply;
  }

  /** Lets sessions expire that were not used since `beforeMs`, and adds that to the open entry. O(1): their space is reclaimed at leisure. */
  expireSessions(beforeMs: number): void {
    this.#begin();
    if (beforeMs <= this.#state.sessionsExpiredBeforeMs) return;
    this.#wrote = true;
    this.#state.sessionsExpiredBeforeMs = beforeMs;
    this.#commandCount++;
    if (this.#logged) return;
    hashExpireSessions(this.#chain, beforeMs);
    if (this.#onEntry) this.#kept.push({ kind: 'expire-sessions', beforeMs });
  }

  /** Removes those of `keys` that have expired, and adds that to the open entry. Returns how many. @throws what the storage throws. */
  expireKeys(keys: readonly Bytes[]): number {
    const savepoint = this.#storage.savepoint();
    const change = this.#begin();
    try {
      const record = this.#record;
      for (const key of keys) {
        record.load(this.#state.table, this.#positionOf(key), key, this.#entryNowMs);
        if (!record.exists || record.value !== undefined) continue;
        record.take(undefined, undefined, undefined, change);
        this.onChange?.(key);
      }
      if (this.#wrote) {
        if (!this.#logged) hashExpireKeys(this.#chain, keys);
        this.#finish(change);
        if (this.#onEntry && !this.#logged) this.#kept.push({ kind: 'expire-keys', keys });
      }
      return -change.keys;
    } catch (error) {
      this.#undo(savepoint, this.#state.nextGeneration);
      throw error;
    }
  }

  /** Leaves all records behind, to be removed at leisure by whoever gave `table`, which must be empty. O(1). */
  clear(table: number): void {
    const { keyCount, sizeBytes, expiringCount } = this.#state;
    this.#wrote = true;
    this.#state.table = table;
    if (!this.#logged) hashClear(this.#chain, table);
    this.#finish({ keys: -keyCount, bytes: -sizeBytes, expiring: -expiringCount });
    if (this.#onEntry && !this.#logged) this.#kept.push({ kind: 'clear', table });
    this.onChange?.(undefined);
  }

  /**
   * Ends the open entry; its number, hash and counts go to the open batch. Returns the number of the last entry: an entry without
   * commands is none. @throws what the storage throws; roll back and {@link abandonEntry} then.
   */
  closeEntry(): number {
    assert(this.#open, () => `shard ${this.#state.id}: no entry is open`);
    const state = this.#state;
    if (this.#commandCount === 0) {
      this.#open = false;
      return state.applied;
    }
    state.applied++;
    state.hash = this.#chain.finish();
    state.nowMs = this.#entryNowMs;
    if (!this.#logged) state.leaderSeq = state.applied;
    this.#storage.put(this.#stateKey, encodeShardState(state));
    this.#open = false;
    if (this.#onEntry && !this.#logged) {
      const { epoch, leader, hash: prevHash } = this.#before;
      const commands = this.#kept;
      this.#kept = [];
      this.#onEntry({ epoch, leader, prevHash, nowMs: state.nowMs, commands }, state.applied);
    }
    return state.applied;
  }

  /**
   * Forgets the last entry opened, be it still open or just closed: the storage has been rolled back to where it was when the entry began.
   */
  abandonEntry(): void {
    this.#open = false;
    this.#kept = [];
    this.#state = { ...this.#before };
  }

  /**
   * Runs entry `seq` of the shard's log. What it changes goes to the open batch; commit that before telling anyone.
   * @throws KF_SHARD_FAULTED when the shard is; what the storage throws: the entry has then left no trace.
   */
  applyEntry(entry: Entry<Command>, seq: number): Applied<Reply> {
    assert(!this.#open, () => `shard ${this.#state.id}: an entry is open`);
    this.#mustServe();
    const before = (this.#before = { ...this.#state });
    if (seq !== before.applied + 1) return { kind: 'gap', expectedSeq: before.applied + 1 };
    const standing = standingOf(entry, before);
    if (standing === 'fault') {
      this.#storage.put(this.#stateKey, encodeShardState({ ...before, status: 'faulted' }));
      this.#state.status = 'faulted';
      return { kind: 'fault' };
    }
    const savepoint = this.#storage.savepoint();
    const stale = standing === 'void';
    const replies: (Reply | Error | undefined)[] = [];
    this.#open = true;
    this.#logged = true;
    this.#entryNowMs = stale ? before.nowMs : Math.max(entry.nowMs, before.nowMs);
    try {
      this.#chain.start(encodeEntryHeader(entry));
      for (const command of entry.commands) hashCommand(this.#chain, command, this.#module.commandCodec);
      // What follows from another past than ours says so in its own bytes; ours must be in the hash all the same.
      if (stale) this.#chain.add(before.hash);
      if (!stale) {
        this.#state.epoch = entry.epoch;
        this.#state.leader = entry.kind === 'resign' ? '' : entry.leader;
        this.#state.leaderSeq = seq;
        for (const command of entry.commands) replies.push(this.#runLogged(command));
      }
      // A log's entry counts even when it changed nothing.
      this.#commandCount = 1;
      this.closeEntry();
      return stale ? { kind: 'stale' } : { kind: 'applied', replies };
    } catch (error) {
      this.#storage.rollback(savepoint);
      this.abandonEntry();
      throw error;
    } finally {
      this.#logged = false;
    }
  }

  /** Answers a query about one key at `nowMs`, or at the time of the last entry if that is later. @throws what the module throws. */
  query(key: Bytes, position: number, query: Query, nowMs: number): Answer {
    this.#mustServe();
    const view = this.#view;
    view.load(this.#state.table, position, key, this.#queryNow(nowMs));
    const result = this.#module.query(view, view.value, query);
    this.#load += result.load ?? 1;
    return result.answer;
  }

  /** @throws as {@link query}; KF_CROSS_SHARD, KF_NOT_SUPPORTED. */
  queryMany(query: Query, nowMs: number): Answer {
    this.#mustServe();
    const module = this.#module;
    if (!module.queryMany) throw notSupported(module.name);
    const at = this.#queryNow(nowMs);
    const context = openManyForQuery<Value>({ nowMs: at, open: (key) => this.#openView(this.#storage, key, at) });
    const result = module.queryMany(context, query);
    this.#load += result.load ?? 1;
    return result.answer;
  }

  /** The time that a query at `nowMs` sees. */
  #queryNow(nowMs: number): number {
    return Math.max(nowMs, this.#open ? this.#entryNowMs : this.#state.nowMs);
  }

  #runLogged(command: EntryCommand<Command>): Reply | Error | undefined {
    try {
      switch (command.kind) {
        case 'command': {
          const { key, request } = command;
          const position = this.#positionOf(key);
          return request ? this.runOnce(request, key, position, command.command) : this.run(key, position, command.command);
        }
        case 'command-many': {
          const { key, request } = command;
          return request ? this.runManyOnce(request, key, command.command) : this.runMany(key, command.command);
        }
        case 'expire-sessions':
          this.expireSessions(command.beforeMs);
          return undefined;
        case 'expire-keys':
          this.expireKeys(command.keys);
          return undefined;
        case 'clear':
          this.clear(command.table);
          return undefined;
      }
    } catch (error) {
      if (isOursAlone(error)) throw error;
      return error as Error;
    }
  }

  #runOne(key: Bytes, position: number, command: Command, change: CountChange): Reply {
    const record = this.#record;
    record.load(this.#state.table, position, key, this.#entryNowMs);
    const result = this.#module.command(record, record.value, command);
    record.take(result.value, result.expireAtMs, result.sizeBytes, change);
    this.#load += result.load ?? 1;
    return result.reply;
  }

  #runMany(command: Command, change: CountChange): Ran<Reply> {
    const module = this.#module;
    if (!module.commandMany) throw notSupported(module.name);
    const many = openMany<Value>({ nowMs: this.#entryNowMs, open: (one) => this.#openRecord(one) });
    const result = module.commandMany(many.context, command);
    many.take(change);
    this.#load += result.load ?? 1;
    return { reply: result.reply, changedKeys: many.changedKeys };
  }

  #begin(): CountChange {
    assert(this.#open, () => `shard ${this.#state.id}: no entry is open`);
    this.#wrote = false;
    const change = this.#change;
    change.keys = 0;
    change.bytes = 0;
    change.expiring = 0;
    return change;
  }

  #finish(change: CountChange): void {
    const state = this.#state;
    state.keyCount += change.keys;
    state.sizeBytes += change.bytes;
    state.expiringCount += change.expiring;
    this.#commandCount++;
  }

  #undo(savepoint: number, generation: number): void {
    this.#storage.rollback(savepoint);
    this.#state.nextGeneration = generation;
    this.#wrote = false;
  }

  #openRecord(key: Bytes): ShardRecord<Value> {
    const record = new ShardRecord(this.#storage, this.#module.codec, this.#duties);
    record.load(this.#state.table, this.#ownPosition(key), key, this.#entryNowMs);
    return record;
  }

  #openView(reader: ShardReader, key: Bytes, nowMs: number): RecordView<Value> {
    const view = new RecordView(reader, this.#module.codec);
    view.load(this.#state.table, this.#ownPosition(key), key, nowMs);
    return view;
  }

  #ownPosition(key: Bytes): number {
    const position = this.#positionOf(key);
    const { from, to } = this.#state.range;
    if (position < from || position >= to) {
      throw new KeyfleetError('KF_CROSS_SHARD', `a key at position ${position} in a command to the shard of [${from}, ${to})`);
    }
    return position;
  }

  #mustServe(): void {
    if (this.#state.status === 'serving') return;
    const { id, applied } = this.#state;
    throw new KeyfleetError('KF_SHARD_FAULTED', `shard ${id} stopped at entry ${applied}: the next one does not follow from its state`);
  }
}

function notSupported(module: string): KeyfleetError {
  return new KeyfleetError('KF_NOT_SUPPORTED', `the value module ${module} has no commands over several keys`);
}
