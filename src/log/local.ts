import { assert, InvariantError } from '../base/assert.ts';
import type { Bytes } from '../base/bytes.ts';
import { KeyfleetError, messageOf } from '../base/errors.ts';
import type { ControlCommand, ControlOutcome } from '../shard/control-command.ts';
import { HeldAnswers } from '../shard/held-answers.ts';
import type { ReplySink } from '../shard/reply-sink.ts';
import type { RequestId } from '../shard/request-id.ts';
import type { ShardMachine } from '../shard/shard-machine.ts';
import type { CommitNumber, Storage, StorageSnapshot } from '../storage/storage.ts';

// The local log: one machine, no entries stored. Commands are run as they arrive, straight into the open batch of the storage; the entry of
// each shard that they touched is closed with the batch. The storage's journal holds the entries' effects, numbers and hashes, so it is the log.
//
//   run · run · run │ close entries, commit │ fdatasync │ answer
//                     run · run · run · run             │ close entries, commit │ fdatasync │ answer
//
// While the disk is idle a batch ends with the turn of the event loop; while it syncs, all that arrives shares the next batch, which ends with
// the turn in which the sync does. So one command alone waits for one sync, and a thousand at once share one.
//
// Nobody is told of what is not durable. A command's answer waits for its batch; a query's for the last batch that changed its shard, which
// is nearly always durable already, and then it is answered at once. Docs: docs/protocol/shard.md.

/** A shard of this log. */
export interface LocalShard<Value, Command, Reply, Query, Answer> {
  readonly machine: ShardMachine<Value, Command, Reply, Query, Answer>;
  /** The batch that last changed the shard. */
  lastWrite: CommitNumber;
}

/** A shard of whatever module. */
export type AnyLocalShard = LocalShard<never, never, unknown, never, unknown>;

export interface LocalLogOptions {
  readonly storage: Storage;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** Calls back at the end of the turn of the event loop. Default: setImmediate. */
  readonly atTurnEnd?: (callback: () => void) => void;
}

interface Closable {
  readonly machine: { closeEntry(): number; abandonEntry(): void; settle(): void; readonly entryIsOpen: boolean };
  lastWrite: CommitNumber;
}

export class LocalLog {
  readonly #storage: Storage;
  readonly #now: () => number;
  readonly #atTurnEnd: (callback: () => void) => void;
  readonly #onTurnEnd = (): void => {
    this.#turnEndIsDue = false;
    // A sync that began meanwhile takes the batch along when it ends.
    if (this.#batchIsOpen && this.#storage.committed === this.#storage.durable) this.#commit();
  };
  /** Answers by the batch they wait for; the first is for `#firstNumber`. */
  readonly #held: HeldAnswers[] = [];
  #firstNumber: CommitNumber;
  readonly #spare: HeldAnswers[] = [];
  /** The shards that the open batch has changed, or may. */
  readonly #batchShards = new Set<Closable>();
  /** To be called, the last first, when the open batch never happened. */
  readonly #undo: (() => void)[] = [];
  #batchIsOpen = false;
  #batchStart = 0;
  #turnEndIsDue = false;
  #failure: Error | undefined;
  #closed = false;
  readonly #stopListening: readonly (() => void)[];

  constructor(options: LocalLogOptions) {
    this.#storage = options.storage;
    this.#now = options.now;
    this.#atTurnEnd = options.atTurnEnd ?? ((callback) => setImmediate(callback));
    this.#firstNumber = options.storage.durable + 1;
    this.#stopListening = [
      options.storage.onDurable((durable) => this.#onDurable(durable)),
      options.storage.onFailed((error) => this.#onFailed(error)),
    ];
  }

  /** Runs a command on one key; with a `request`, once however often it comes. `sink` hears KF_DISK_FULL, KF_STORAGE_FAILED, KF_OUTCOME_UNKNOWN, KF_VALUE_TOO_LARGE, or what the module threw. */
  submit<V, C, R, Q, A>(
    shard: LocalShard<V, C, R, Q, A>,
    key: Bytes,
    position: number,
    command: C,
    sink: ReplySink<R>,
    token: number,
    request?: RequestId,
  ): void {
    let reply: R;
    try {
      this.#enter(shard);
      reply = request ? shard.machine.runOnce(request, key, position, command) : shard.machine.run(key, position, command);
    } catch (error) {
      sink.failed(token, worldly(error));
      return;
    }
    this.#answerCommand(shard, reply, sink, token);
  }

  /** Runs a command on several keys of one shard; `key` is the first of them. */
  submitMany<V, C, R, Q, A>(
    shard: LocalShard<V, C, R, Q, A>,
    key: Bytes,
    command: C,
    sink: ReplySink<R>,
    token: number,
    request?: RequestId,
  ): void {
    let reply: R;
    try {
      this.#enter(shard);
      reply = request ? shard.machine.runManyOnce(request, key, command) : shard.machine.runMany(key, command);
    } catch (error) {
      sink.failed(token, worldly(error));
      return;
    }
    this.#answerCommand(shard, reply, sink, token);
  }

  ask<V, C, R, Q, A>(shard: LocalShard<V, C, R, Q, A>, key: Bytes, position: number, query: Q, sink: ReplySink<A>, token: number): void {
    let answer: A;
    try {
      if (this.#closed) throw closed();
      answer = shard.machine.query(key, position, query, this.#now);
    } catch (error) {
      sink.failed(token, worldly(error));
      return;
    }
    this.#answerQuery(shard, answer, sink, token);
  }

  /** Asks about several keys of one shard; `key` is the first of them. */
  askMany<V, C, R, Q, A>(shard: LocalShard<V, C, R, Q, A>, key: Bytes, query: Q, sink: ReplySink<A>, token: number): void {
    let answer: A;
    try {
      if (this.#closed) throw closed();
      answer = shard.machine.queryMany(key, query, this.#now());
    } catch (error) {
      sink.failed(token, worldly(error));
      return;
    }
    this.#answerQuery(shard, answer, sink, token);
  }

  /** Does `work` inside the shard's open entry, at once. What it changes joins the open batch; {@link flush} says when that is durable. */
  inEntry<V, C, R, Q, A, T>(shard: LocalShard<V, C, R, Q, A>, work: (machine: ShardMachine<V, C, R, Q, A>) => T): T {
    this.#enter(shard);
    const result = work(shard.machine);
    if (shard.machine.changed) shard.lastWrite = this.#storage.openNumber;
    return result;
  }

  /**
   * Takes a step of a split or of a merge, an entry of its own in the open batch. When it cannot, the whole open batch never happened.
   * @throws KF_SHARD_FAULTED, or what the storage throws.
   */
  control<V, C, R, Q, A>(shard: LocalShard<V, C, R, Q, A>, command: ControlCommand): ControlOutcome {
    this.#begin();
    const { machine } = shard;
    try {
      if (machine.entryIsOpen) machine.closeEntry();
      // A genesis follows from the cut alone, its time included.
      machine.openEntry(command.kind === 'genesis' ? 0 : this.#now());
      this.#batchShards.add(shard);
      const outcome = machine.control(command);
      shard.lastWrite = this.#storage.openNumber;
      return outcome;
    } catch (error) {
      this.#abandonBatch(asError(error));
      throw error;
    }
  }

  /** Calls `undo` if the open batch never happens: for what is kept in memory of it. There must be one. */
  onAbandon(undo: () => void): void {
    assert(this.#batchIsOpen, () => 'there is no open batch to be undone');
    this.#undo.push(undo);
  }

  /** Does `work` on the storage itself, in the open batch. All or nothing. @throws what `work` throws. */
  inBatch<T>(work: (storage: Storage) => T): T {
    this.#begin();
    const savepoint = this.#storage.savepoint();
    try {
      return work(this.#storage);
    } catch (error) {
      this.#storage.rollback(savepoint);
      throw error;
    }
  }

  /**
   * Does `work` on the storage and, by {@link inEntry}, on shards: all of it or nothing, with what the open batch already holds. When it
   * throws, the whole open batch never happened, and whoever waits for it hears of the same error.
   */
  atomically<T>(work: (batch: Storage) => T): T {
    this.#begin();
    try {
      return work(this.#storage);
    } catch (error) {
      this.#abandonBatch(asError(error));
      throw error;
    }
  }

  /** Makes everything done so far durable. @throws KF_DISK_FULL, KF_STORAGE_FAILED, KF_OUTCOME_UNKNOWN. */
  flush(): Promise<void> {
    if (!this.#batchIsOpen) return this.#storage.whenDurable(this.#storage.committed);
    return new Promise((resolve, reject) => {
      this.#heldFor(this.#storage.openNumber).add(
        { settled: () => resolve(), failed: (_token, error) => reject(error) },
        0,
        undefined,
        true,
      );
    });
  }

  /** Undefined when all that has changed `shards` is durable; else resolves when it is. @throws KF_STORAGE_FAILED. */
  whenDurable(shards: readonly { readonly lastWrite: CommitNumber }[]): Promise<void> | undefined {
    let lastWrite = 0;
    for (const shard of shards) if (shard.lastWrite > lastWrite) lastWrite = shard.lastWrite;
    if (lastWrite <= this.#storage.durable) return undefined;
    return new Promise((resolve, reject) => {
      this.#answerQuery({ lastWrite }, undefined, { settled: () => resolve(), failed: (_token, error) => reject(error) }, 0);
    });
  }

  /** What there is now, of shards that are whole: the open batch is closed first. @throws KF_CLOSED. */
  snapshot(): StorageSnapshot {
    if (this.#closed) throw closed();
    if (this.#batchIsOpen) this.#commit();
    return this.#storage.snapshot();
  }

  /** Makes everything durable and takes nothing more: KF_CLOSED from then on. The storage stays open. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    try {
      if (!this.#failure) await this.flush();
    } finally {
      for (const stop of this.#stopListening) stop();
    }
  }

  #begin(): void {
    if (this.#closed) throw closed();
    if (this.#batchIsOpen) return;
    this.#batchIsOpen = true;
    this.#batchStart = this.#storage.savepoint();
    if (this.#storage.committed === this.#storage.durable) this.#commitAtTurnEnd();
  }

  #commitAtTurnEnd(): void {
    if (this.#turnEndIsDue) return;
    this.#turnEndIsDue = true;
    this.#atTurnEnd(this.#onTurnEnd);
  }

  #enter<V, C, R, Q, A>(shard: LocalShard<V, C, R, Q, A>): void {
    if (shard.machine.entryIsOpen) return;
    this.#begin();
    shard.machine.openEntry(this.#now());
    this.#batchShards.add(shard);
  }

  #answerCommand<V, C, R, Q, A>(shard: LocalShard<V, C, R, Q, A>, reply: R, sink: ReplySink<R>, token: number): void {
    if (!shard.machine.changed) {
      this.#answerQuery(shard, reply, sink, token);
      return;
    }
    const number = this.#storage.openNumber;
    shard.lastWrite = number;
    this.#heldFor(number).add(sink, token, reply, true);
  }

  #answerQuery<T>(shard: { readonly lastWrite: CommitNumber }, answer: T, sink: ReplySink<T>, token: number): void {
    if (shard.lastWrite <= this.#storage.durable) sink.settled(token, answer);
    else if (this.#failure) sink.failed(token, readRefused(this.#failure));
    else this.#heldFor(shard.lastWrite).add(sink, token, answer, false);
  }

  #heldFor(number: CommitNumber): HeldAnswers {
    const index = number - this.#firstNumber;
    while (this.#held.length <= index) this.#held.push(this.#spare.pop() ?? new HeldAnswers());
    return this.#held[index]!;
  }

  /** Closes the entries and the batch, and hands it to the disk. When the storage refuses, none of it happened. */
  #commit(): void {
    const shards = this.#batchShards;
    try {
      for (const { machine } of shards) if (machine.entryIsOpen) machine.closeEntry();
      this.#storage.commit();
    } catch (error) {
      this.#abandonBatch(asError(error));
      return;
    }
    for (const { machine } of shards) machine.settle();
    shards.clear();
    this.#undo.length = 0;
    this.#batchIsOpen = false;
    // A batch that turned out empty takes no number, and whoever waits for it waits for the one before.
    const { committed, durable } = this.#storage;
    const empty = this.#held[committed + 1 - this.#firstNumber];
    if (empty && empty.count > 0) {
      this.#held.length = committed + 1 - this.#firstNumber;
      if (committed <= durable) empty.settle();
      else
        this.#storage.whenDurable(committed).then(
          () => empty.settle(),
          (error) => empty.fail(asError(error), asError(error)),
        );
    }
  }

  #abandonBatch(error: Error): void {
    this.#storage.rollback(this.#batchStart);
    const { committed } = this.#storage;
    for (const shard of this.#batchShards) {
      shard.machine.abandonEntry();
      if (shard.lastWrite > committed) shard.lastWrite = committed;
    }
    this.#batchShards.clear();
    this.#batchIsOpen = false;
    for (const undo of this.#undo.splice(0).reverse()) undo();
    const held = this.#held[committed + 1 - this.#firstNumber];
    if (!held) return;
    this.#held.length = committed + 1 - this.#firstNumber;
    held.fail(error, error);
  }

  #onDurable(durable: CommitNumber): void {
    const ready: HeldAnswers[] = [];
    while (this.#firstNumber <= durable) {
      this.#firstNumber++;
      const held = this.#held.shift();
      if (held) ready.push(held);
    }
    // What arrived meanwhile waits for the turn's end, and with it what those send who are answered now: writing it at once would leave the
    // clients in two groups that take turns, each with a write of its own to pay for.
    if (this.#batchIsOpen && this.#storage.committed === durable) this.#commitAtTurnEnd();
    for (const held of ready) {
      held.settle();
      if (this.#spare.length < 4) this.#spare.push(held);
    }
  }

  #onFailed(error: Error): void {
    this.#failure = error;
    const unknown = new KeyfleetError(
      'KF_OUTCOME_UNKNOWN',
      `the storage failed before it confirmed the write, which may have happened: ${messageOf(error)}`,
      { cause: error },
    );
    const open = this.#held.splice(this.#storage.committed + 1 - this.#firstNumber);
    const unconfirmed = this.#held.splice(0);
    this.#held.length = 0;
    if (this.#batchIsOpen) this.#abandonBatch(error);
    for (const held of unconfirmed) held.fail(unknown, readRefused(error));
    for (const held of open) held.fail(error, readRefused(error));
  }
}

function closed(): KeyfleetError {
  return new KeyfleetError('KF_CLOSED', 'the store is closed');
}

function readRefused(failure: Error): Error {
  return new KeyfleetError(
    'KF_STORAGE_FAILED',
    `the answer would show writes that the storage did not confirm before it failed: ${messageOf(failure)}`,
    { cause: failure },
  );
}

/** What a caller may be told of. A broken promise of our own ends the process instead of being one more error to carry on after. */
function worldly(error: unknown): Error {
  if (error instanceof InvariantError) {
    setImmediate(() => {
      throw error;
    });
  }
  return asError(error);
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(messageOf(error));
}
