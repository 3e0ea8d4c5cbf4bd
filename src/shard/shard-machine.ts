import { assert } from '../base/assert.ts';
import type { Bytes } from '../base/bytes.ts';
import type { KeyfleetError } from '../base/errors.ts';
import { ChangeLedger } from './change-ledger.ts';
import type { ControlCommand, ControlOutcome } from './control-command.ts';
import { type Entry, f64Bytes, KIND_COMMAND, KIND_COMMAND_MANY, type OnceCommand } from './entry.ts';
import { EntryDraft } from './entry-draft.ts';
import { hookCursorKey, stateKey } from './key-layout.ts';
import { standingOf } from './leadership.ts';
import { type LoadCommand, type LoadReply, runLoad, stillLoading } from './load.ts';
import type { Ran } from './many-records.ts';
import { messagePack } from './message-pack.ts';
import { ModuleRunner } from './module-runner.ts';
import { type Applied, type Outcome, outcomeOf, told } from './outcome.ts';
import type { RequestId } from './request-id.ts';
import { runLogged } from './run-logged.ts';
import { fingerprintOf, Sessions } from './sessions.ts';
import { applyControl, type BornShard, type ControlSubject, waitsFor } from './shard-control.ts';
import type { ShardMachineOptions } from './shard-machine-options.ts';
import { faulted, ShardMovedError } from './shard-moved-error.ts';
import type { RecordDuties } from './shard-record.ts';
import { encodeShardState, type ShardState } from './shard-state.ts';
import type { ShardStorage } from './shard-storage.ts';
import { SlotCounts } from './slot-counts.ts';

// A shard: a deterministic state machine over a range of a keyspace. It is fed in one of two ways, which run the same code:
//
//   eagerly    openEntry(now) · run(command) · run(command) · … · closeEntry()      the leader of a local log orders commands by running them
//   from a log applyEntry(entry, seq)                                              everyone else runs what the leader ordered
//
// Either way an entry's effects, its number and its hash are written to the same open batch of the storage, so they are durable together
// or not at all. A command that fails leaves no trace: nothing in storage, nothing in the counts, nothing in the entry.
// A command that changes nothing is not in the entry either: it happened, but nobody could tell. A command for a key that the shard does not
// serve is not run and not in the entry: KF_SHARD_MOVED. In a log it may stand, and has no effect.

export class ShardMachine<Value, Command, Reply, Query, Answer> {
  readonly #options: ShardMachineOptions<Value, Command, Reply, Query, Answer>;
  readonly #storage: ShardStorage;
  readonly #runner: ModuleRunner<Value, Command, Reply, Query, Answer>;
  readonly #sessions: Sessions<Reply>;
  readonly #draft: EntryDraft<Command>;
  readonly #ledger = new ChangeLedger();
  readonly #stateKey: Bytes;
  #state: ShardState;
  #counts: SlotCounts | undefined;
  #born: BornShard | undefined;
  /** The positions that it serves now; none unless it is serving. */
  #from = 0;
  #to = 0;
  /** As it was at the last {@link settle}, once an entry has been opened since. */
  #before: { readonly state: ShardState; readonly counts: SlotCounts | undefined } | undefined;
  #open = false;
  #entryNowMs = 0;
  #wrote = false;
  #keptAnswer = false;
  #load = 0;
  /** Another replica leads, as far as the last entry of the log tells. */
  #isLedElsewhere = false;

  constructor(options: ShardMachineOptions<Value, Command, Reply, Query, Answer>) {
    const { storage, module, positionOf, state, maxValueBytes, keyspaceId = 0, slotShift, counts, onGarbage, onEntry } = options;
    this.#options = options;
    this.#storage = storage;
    this.#state = { ...state };
    this.#draft = new EntryDraft(module.commandCodec, onEntry !== undefined);
    if (slotShift !== undefined) {
      this.#counts = counts ?? SlotCounts.load(storage, { ...state, shift: slotShift, since: state.countsSince });
    }
    this.#look();
    this.#stateKey = stateKey(state.id);
    const duties: RecordDuties = {
      maxValueBytes,
      newGeneration: () => this.#state.nextGeneration++,
      onWrite: () => {
        this.#wrote = true;
      },
      onGarbage: onGarbage ?? (() => {}),
    };
    const worked = (position: number, load = 1): void => {
      this.#load += load;
      if (!this.#isLedElsewhere) this.#counts?.addLoad(position, load);
    };
    this.#runner = new ModuleRunner({ storage, module, positionOf, duties, ledger: this.#ledger, worked });
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

  /** By slot, exact. Only of a shard that keeps them. */
  get counts(): SlotCounts {
    assert(this.#counts !== undefined, () => `shard ${this.#state.id} keeps no counts by slot`);
    return this.#counts;
  }

  /** The child of the split that was its last step, until another entry is run: its machine takes the counts over. */
  get born(): BornShard | undefined {
    return this.#born;
  }

  /** It runs commands and queries for its range; else it redirects all of them. */
  get isServing(): boolean {
    return this.#to > this.#from;
  }

  get entryIsOpen(): boolean {
    return this.#open;
  }

  /** The last command or {@link expireKeys} changed something, if only what the shard remembers of requests. */
  get changed(): boolean {
    return this.#wrote || this.#keptAnswer;
  }

  /** Work done since the machine was made, in units of one small command. The leader's own; not part of the state. */
  get load(): number {
    return this.#load;
  }

  /** What a query of a key that is not there counts as work. */
  set loadPerQueryToMissingKey(load: number) {
    this.#runner.loadPerQueryToMissingKey = load;
  }

  /** Begins the next entry at `nowMs`, or at the time of the last one if that is later. */
  openEntry(nowMs: number): void {
    assert(!this.#open, () => `shard ${this.#state.id}: an entry is open`);
    this.#mustBeSound();
    const { epoch, leader, hash: prevHash } = this.#state;
    this.#before ??= { state: { ...this.#state }, counts: this.#counts };
    this.#open = true;
    this.#entryNowMs = Math.max(nowMs, this.#state.nowMs);
    this.#draft.begin({ epoch, leader, prevHash, nowMs: this.#entryNowMs });
  }

  /**
   * Runs a command on one key and adds it to the open entry. Cost over the storage's own: one read, the module, the codecs, one write.
   * @throws what the module throws, KF_SHARD_MOVED, KF_VALUE_TOO_LARGE, or what the storage throws; the command has then left no trace.
   */
  run(key: Bytes, position: number, command: Command): Reply {
    if (position < this.#from || position >= this.#to) throw this.#elsewhere(position);
    const savepoint = this.#storage.savepoint();
    const generation = this.#state.nextGeneration;
    this.#begin();
    try {
      const reply = this.#runner.command(this.#state, this.#entryNowMs, key, position, command);
      if (this.#wrote) {
        this.#draft.addKeyed('command', key, command);
        this.#ledger.takeOver(this.#state, this.#counts);
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
    const position = this.#servedPosition(key);
    const savepoint = this.#storage.savepoint();
    const generation = this.#state.nextGeneration;
    this.#begin();
    try {
      const { reply, changedKeys } = this.#runner.commandMany(this.#state, this.#entryNowMs, position, command);
      if (this.#wrote) {
        this.#draft.addKeyed('command-many', key, command);
        this.#ledger.takeOver(this.#state, this.#counts);
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
    if (position < this.#from || position >= this.#to) throw this.#elsewhere(position);
    return this.#once({ kind: 'command', key, command, request }, position, () => ({
      reply: this.#runner.command(this.#state, this.#entryNowMs, key, position, command),
      changedKeys: () => [key],
    }));
  }

  /** As {@link runOnce}, for {@link runMany}. */
  runManyOnce(request: RequestId, key: Bytes, command: Command): Reply {
    const position = this.#servedPosition(key);
    return this.#once({ kind: 'command-many', key, command, request }, position, () =>
      this.#runner.commandMany(this.#state, this.#entryNowMs, position, command),
    );
  }

  #once(command: OnceCommand<Command>, position: number, run: () => Ran<Reply>): Reply {
    const { kind, key, request } = command;
    const body = this.#options.module.commandCodec.encode(command.command);
    const fingerprint = fingerprintOf(kind === 'command' ? KIND_COMMAND : KIND_COMMAND_MANY, key, body);
    const clock = { nowMs: this.#entryNowMs, expiredBeforeMs: this.#state.sessionsExpiredBeforeMs };
    const savepoint = this.#storage.savepoint();
    const generation = this.#state.nextGeneration;
    this.#begin();
    let outcome: Outcome<Ran<Reply>>;
    try {
      const session = this.#sessions.open(request, position, clock);
      const known = session.outcome(fingerprint);
      if (known) return told(known);
      outcome = outcomeOf(run);
      if (outcome.kind === 'error') {
        this.#undo(savepoint, generation);
        this.#ledger.begin();
      }
      session.keep(fingerprint, outcome.kind === 'error' ? outcome : { kind: 'reply', reply: outcome.reply.reply });
    } catch (error) {
      this.#undo(savepoint, generation);
      throw error;
    }
    this.#keptAnswer = true;
    this.#draft.add(command, this.#wrote);
    this.#ledger.takeOver(this.#state, this.#counts);
    const { reply, changedKeys } = told(outcome);
    if (this.#wrote && this.onChange) for (const one of changedKeys()) this.onChange(one);
    return reply;
  }

  /** Lets sessions expire that were not used since `beforeMs`, and adds that to the open entry. O(1): their space is reclaimed at leisure. */
  expireSessions(beforeMs: number): void {
    this.#begin();
    if (beforeMs <= this.#state.sessionsExpiredBeforeMs || !this.isServing) return;
    this.#wrote = true;
    this.#state.sessionsExpiredBeforeMs = beforeMs;
    this.#draft.add({ kind: 'expire-sessions', beforeMs });
  }

  /** The hook has been told of all entries up to `seq`, of this shard or of one that it took over: whoever leads next goes on behind it. */
  hookDone(seq: number, shard = this.#state.id): void {
    this.#begin();
    this.#storage.put(hookCursorKey(shard), f64Bytes(seq));
    this.#wrote = true;
    this.#draft.add({ kind: 'hook-done', seq, ...(shard === this.#state.id ? {} : { shard }) });
  }

  /** Removes those of `keys` that have expired, and adds that to the open entry. Returns how many. @throws what the storage throws. */
  expireKeys(keys: readonly Bytes[]): number {
    const savepoint = this.#storage.savepoint();
    this.#begin();
    let count = 0;
    try {
      for (const key of keys) {
        const position = this.#options.positionOf(key);
        if (position < this.#from || position >= this.#to) continue;
        if (!this.#runner.expire(this.#state, this.#entryNowMs, key, position)) continue;
        count++;
        this.onChange?.(key);
      }
      if (this.#wrote) {
        this.#draft.add({ kind: 'expire-keys', keys });
        this.#ledger.takeOver(this.#state, this.#counts);
      }
      return count;
    } catch (error) {
      this.#undo(savepoint, this.#state.nextGeneration);
      throw error;
    }
  }

  /** Leaves all records behind, to be removed at leisure by whoever gave `table`, which must be empty. Gives a restore up. O(1). */
  clear(table: number): void {
    const state = this.#state;
    this.#begin();
    if (!this.isServing && state.status !== 'loading') return;
    this.#wrote = true;
    const countsSince = state.applied + 1;
    Object.assign(state, { table, keyCount: 0, sizeBytes: 0, expiringCount: 0, countsSince, status: 'serving', loadId: '' });
    this.#look();
    this.#counts = this.#counts?.emptied(state.range);
    this.#draft.add({ kind: 'clear', table });
    this.onChange?.(undefined);
  }

  /** Takes a step of the restore of a backup, and adds it to the open entry. @throws as {@link runLoad}; it has then left no trace. */
  restore(load: LoadCommand): LoadReply {
    const state = this.#state;
    const { storage, keyspaceId = 0, positionOf } = this.#options;
    const savepoint = storage.savepoint();
    this.#begin();
    try {
      this.#wrote = runLoad({ state, storage, keyspaceId, positionOf, ledger: this.#ledger }, load);
    } catch (error) {
      this.#undo(savepoint, state.nextGeneration);
      throw error;
    }
    if (this.#wrote) {
      this.#draft.add({ kind: 'load', load });
      this.#ledger.takeOver(state, this.#counts);
      this.#look();
    }
    return { range: state.range, isLoading: state.status === 'loading' };
  }

  /**
   * Runs a step of a split or of a merge, alone in the open entry, and closes that. @throws what the storage throws; roll back and
   * {@link abandonEntry} then.
   */
  control(control: ControlCommand): ControlOutcome {
    assert(this.#open && this.#draft.isEmpty, () => `shard ${this.#state.id}: a step of a workflow stands alone in its entry`);
    this.#draft.add({ kind: 'control', control });
    this.#state.leaderSeq = this.#state.applied + 1;
    return this.#close(control);
  }

  /**
   * Ends the open entry; its number, hash and counts go to the open batch. Returns the number of the last entry: an entry without
   * commands is none. @throws what the storage throws; roll back and {@link abandonEntry} then.
   */
  closeEntry(): number {
    assert(this.#open, () => `shard ${this.#state.id}: no entry is open`);
    if (this.#draft.isEmpty) {
      this.#open = false;
    } else {
      this.#state.leaderSeq = this.#state.applied + 1;
      this.#close();
    }
    return this.#state.applied;
  }

  /** Ends the open entry, the outcome of `control` being that of its step. */
  #close(control?: ControlCommand): ControlOutcome {
    const state = this.#state;
    state.applied++;
    state.hash = this.#draft.hash();
    state.nowMs = this.#entryNowMs;
    let outcome: ControlOutcome = 'done';
    this.#born = undefined;
    if (control) {
      const subject: ControlSubject = { state, counts: this.counts, storage: this.#storage, countsOf: this.#options.countsOf };
      outcome = applyControl(subject, control);
      this.#counts = subject.counts;
      this.#born = subject.born;
      this.#look();
    }
    this.#counts?.close(this.#storage, state.id, state.applied);
    this.#storage.put(this.#stateKey, encodeShardState(state));
    this.#open = false;
    const entry = this.#draft.entry();
    if (entry) this.#options.onEntry?.(entry, state.applied, this.#draft.changed);
    return outcome;
  }

  /** What has happened so far will not be abandoned any more. */
  settle(): void {
    this.#before = undefined;
    this.#counts?.settle();
  }

  /** Forgets all entries since {@link settle}, the open one included: the storage has been rolled back to where it was then. */
  abandonEntry(): void {
    this.#open = false;
    if (!this.#before) return;
    const { state, counts } = this.#before;
    this.#before = undefined;
    this.#born = undefined;
    this.#state = { ...state };
    counts?.undo();
    this.#counts = counts;
    this.#look();
  }

  /**
   * Runs entry `seq` of the shard's log. What it changes goes to the open batch; commit that before telling anyone. `bytes`: the entry as it
   * stands in the log, where it is at hand, so that it is not written anew to be hashed; `hash`: theirs, of an entry that this replica has sent.
   * @throws KF_SHARD_FAULTED when the shard is; what the storage throws: the entry has then left no trace.
   */
  applyEntry(entry: Entry<Command>, seq: number, bytes?: Bytes, hash?: Bytes): Applied<Reply> {
    assert(!this.#open, () => `shard ${this.#state.id}: an entry is open`);
    this.#mustBeSound();
    this.settle();
    const before = { ...this.#state };
    this.#before = { state: before, counts: this.#counts };
    if (seq !== before.applied + 1) return { kind: 'gap', expectedSeq: before.applied + 1 };
    const standing = standingOf(entry, before);
    if (standing === 'fault') {
      this.quarantine();
      return { kind: 'fault' };
    }
    const control = standing === 'effective' && entry.commands[0]?.kind === 'control' ? entry.commands[0].control : undefined;
    const missing = control && waitsFor(this.#storage, control);
    if (missing) return { kind: 'waits', ...missing };
    const savepoint = this.#storage.savepoint();
    const stale = standing === 'void';
    this.#isLedElsewhere = hash === undefined;
    const [replies, changed] = [[] as (Reply | Error | undefined)[], [] as boolean[]];
    this.#open = true;
    // For a frozen shard time stands still, so that whoever takes it over finds the same behind whichever of its later entries.
    this.#entryNowMs = stale || before.status === 'frozen' ? before.nowMs : Math.max(entry.nowMs, before.nowMs);
    try {
      // What follows from another past than ours says so in its own bytes; ours must be in the hash all the same.
      this.#draft.beginLogged(entry, stale ? before.hash : undefined, bytes, hash);
      if (!stale) {
        this.#state.epoch = entry.epoch;
        this.#state.leader = entry.kind === 'resign' ? '' : entry.leader;
        this.#state.leaderSeq = seq;
        if (control) return { kind: 'applied', replies, changed, control: this.#close(control) };
        for (const command of entry.commands) {
          this.#wrote = false;
          replies.push(runLogged(this, this.#options.positionOf, command));
          changed.push(this.#wrote);
        }
      }
      // A log's entry counts even when it changed nothing.
      this.#close();
      return stale ? { kind: 'stale' } : { kind: 'applied', replies, changed };
    } catch (error) {
      this.#storage.rollback(savepoint);
      this.abandonEntry();
      throw error;
    }
  }

  /** What is here is no sound copy: it answers nothing from now on, and its data must be brought anew. To the open batch. */
  quarantine(): void {
    this.#state.status = 'faulted';
    this.#storage.put(this.#stateKey, encodeShardState(this.#state));
    this.#look();
  }

  /**
   * Answers a query about one key at the time `now`, or at that of the last entry if that is later. A clock for `now` is only asked where the
   * time matters. @throws what the module throws; KF_SHARD_MOVED.
   */
  query(key: Bytes, position: number, query: Query, now: number | (() => number)): Answer {
    if (position < this.#from || position >= this.#to) throw this.#elsewhere(position);
    return typeof now === 'number'
      ? this.#runner.query(this.#state, this.#queryNow(now), undefined, key, position, query)
      : this.#runner.query(this.#state, this.#queryNow(0), now, key, position, query);
  }

  /** `key`: the first of the keys. @throws as {@link query}; KF_CROSS_SHARD, KF_NOT_SUPPORTED. */
  queryMany(key: Bytes, query: Query, nowMs: number): Answer {
    return this.#runner.queryMany(this.#state, this.#queryNow(nowMs), this.#servedPosition(key), query);
  }

  /** The time that a query at `nowMs` sees. */
  #queryNow(nowMs: number): number {
    return Math.max(nowMs, this.#open ? this.#entryNowMs : this.#state.nowMs);
  }

  #begin(): void {
    assert(this.#open, () => `shard ${this.#state.id}: no entry is open`);
    this.#wrote = false;
    this.#keptAnswer = false;
    this.#ledger.begin();
  }

  #undo(savepoint: number, generation: number): void {
    this.#storage.rollback(savepoint);
    this.#state.nextGeneration = generation;
    this.#wrote = false;
  }

  /** @throws KF_SHARD_MOVED. */
  #servedPosition(key: Bytes): number {
    const position = this.#options.positionOf(key);
    if (position < this.#from || position >= this.#to) throw this.#elsewhere(position);
    return position;
  }

  #elsewhere(position: number): KeyfleetError {
    this.#mustBeSound();
    return this.#state.status === 'loading' ? stillLoading(this.#state) : new ShardMovedError(this.#state, position);
  }

  /** Range or status have changed. */
  #look(): void {
    const { status, range } = this.#state;
    this.#from = range.from;
    this.#to = status === 'serving' ? range.to : range.from;
  }

  #mustBeSound(): void {
    if (this.#state.status === 'faulted') throw faulted(this.#state.id, this.#state.applied);
  }
}
