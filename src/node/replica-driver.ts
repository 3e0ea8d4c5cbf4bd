import type { Bytes } from '../base/bytes.ts';
import { KeyfleetError, messageOf } from '../base/errors.ts';
import type { AppendOutcome, LogRecord, ShardLog } from '../log/log.ts';
import { ZERO_HASH } from '../shard/chain-hash.ts';
import { type Entry, type EntryCommand, encodeEntry } from '../shard/entry.ts';
import type { Applied } from '../shard/outcome.ts';
import type { AckLevel } from '../shard/replica/acks.ts';
import type { ReplicaBeliefs } from '../shard/replica/beliefs.ts';
import { Digests, type Vote } from '../shard/replica/digests.ts';
import type { PendingRead, ReplicaHost } from '../shard/replica/host.ts';
import { NotLeaderError } from '../shard/replica/not-leader-error.ts';
import { Replica } from '../shard/replica/replica.ts';
import { DEFAULT_LIMITS, DEFAULT_TIMING, type ReplicaLimits, type ReplicaTiming } from '../shard/replica/timing.ts';
import type { ReplySink } from '../shard/reply-sink.ts';
import type { ShardMachine } from '../shard/shard-machine.ts';
import type { ValueCodec, ValueModule } from '../shard/value-module.ts';
import type { Storage } from '../storage/storage.ts';
import type { GroupCommit } from './group-commit.ts';
import type { ReadMode } from './keyspace-handle.ts';
import type { NodeClock } from './node-clock.ts';

/** How replicas of a shard talk to each other. Messages may be lost, late and doubled. */
export interface ReplicaPeers {
  /** Tells `leader` how far the storage of this replica is, and what it found when it was last asked. */
  report(leader: string, durableSeq: number, vote?: Vote): void;
  /** What this replica has is not what most have: KF_REPLICA_DIFFERS. It wants its data anew. */
  differs?(error: KeyfleetError): void;
  /** The data of the shard must come from another replica; this driver is of no more use. */
  wantSnapshot(): void;
  /** An entry has been run, and had effect. What is written to the storage now is in the batch of its effects. */
  ran?(entry: Entry<unknown>, seq: number, applied: Applied<unknown> & { readonly kind: 'applied' }): void;
  /** It has read the log to its end for the first time. */
  caughtUp?(): void;
  /** The next entry waits for another shard's replica here to have run its entry `seq`: `goOn` when it has. */
  waitsFor?(shard: number, seq: number): void;
  /** Another leads than before, or nobody does. */
  leaderChanged?(): void;
  /** Somebody waits for the storages of other replicas: they are to say at once how far they are, for a while. */
  urge?(): void;
  /** The log is gone, as far as one answer says; `hasForgotten`: it has given anew the numbers of entries that this replica has run. */
  logLost?(hasForgotten: boolean): void;
  /** The last entry that another replica is known to have run; none: 0. */
  ranElsewhere?(): number;
}

export type { ReadMode } from './keyspace-handle.ts';

export interface ReplicaDriverOptions<Value, Command, Reply, Query, Answer> {
  readonly self: string;
  readonly rank: number;
  readonly log: ShardLog;
  readonly storage: Storage;
  readonly commits: GroupCommit;
  readonly clock: NodeClock;
  readonly peers: ReplicaPeers;
  readonly machine: ShardMachine<Value, Command, Reply, Query, Answer>;
  readonly module: ValueModule<Value, Command, Reply, Query, Answer>;
  readonly positionOf: (key: Bytes) => number;
  readonly timing?: Partial<ReplicaTiming>;
  readonly limits?: Partial<ReplicaLimits>;
}

/** So long a replica reports at once when it was asked to. */
const URGED_MS = 2_000;
const NO_KEY: Bytes = new Uint8Array(0);
const NO_COMMANDS: ValueCodec<never> = { encode: () => NO_KEY, decode: () => undefined as never };
/** Entries that are handed over at a time when the log is read. */
const READ_BATCH = 64;

/** Feeds a replica with time and with what its log and storage say, and does what it asks for. Holds no state of the protocol. */
export class ReplicaDriver<Value, Command, Reply, Query, Answer> implements ReplicaHost {
  readonly replica: Replica<Value, Command, Reply, Query, Answer>;
  readonly #log: ShardLog;
  readonly #commits: GroupCommit;
  readonly #clock: NodeClock;
  readonly #peers: ReplicaPeers;
  readonly #digests: Digests;
  readonly #tickMs: number;
  readonly #stopListening: readonly (() => void)[];
  #turnEndIsDue = false;
  #urgedUntilMs = Number.NEGATIVE_INFINITY;
  #lastUrgeMs = Number.NEGATIVE_INFINITY;
  #cancelTick: () => void = () => {};
  #stopped = false;
  #isSealed = false;
  #isProbing = false;

  constructor(options: ReplicaDriverOptions<Value, Command, Reply, Query, Answer>) {
    const { log, storage, commits, clock, peers } = options;
    this.#log = log;
    this.#commits = commits;
    this.#clock = clock;
    this.#peers = peers;
    const { tickMs, reportMs } = { ...DEFAULT_TIMING, ...options.timing };
    this.#tickMs = tickMs;
    this.#digests = new Digests({
      reader: storage,
      state: () => options.machine.state,
      positionOf: options.positionOf,
      every: options.limits?.digestEvery ?? DEFAULT_LIMITS.digestEvery,
      votingMs: 3 * reportMs,
    });
    this.replica = new Replica({ ...options, host: this, now: clock.now() });
    this.#stopListening = [
      storage.onDurable((durable) => {
        this.replica.storageDurable(durable);
        if (this.#isUrged) this.#reportNow();
      }),
      storage.onFailed((error) => this.stop(new KeyfleetError('KF_STORAGE_FAILED', messageOf(error), { cause: error }))),
    ];
    this.#armTick();
    this.replica.logGrew();
  }

  /** Whoever asks waits until `untilMs`. @see Replica.submit */
  submit(command: EntryCommand<Command>, sink: ReplySink<Reply>, token: number, ack?: AckLevel, untilMs?: number): void {
    if (this.#stopped) sink.failed(token, stopped());
    else if (this.#isSealed) sink.failed(token, this.#sealed());
    else this.replica.submit(command, sink, token, this.#clock.now(), { ack, untilMs });
    if (ack === 'log+quorum') this.#urge();
  }

  /** @see Replica.ask */
  ask(key: Bytes, query: Query, sink: ReplySink<Answer>, token: number, mode: ReadMode = 'lease', minSeq = 0, untilMs?: number): void {
    this.#ask({ key, query, many: false, sink, token }, mode, minSeq, untilMs);
  }

  /** A query over several keys of the shard; `key` is one of them. */
  askMany(key: Bytes, query: Query, sink: ReplySink<Answer>, token: number, mode: ReadMode = 'lease', minSeq = 0, untilMs?: number): void {
    this.#ask({ key, query, many: true, sink, token }, mode, minSeq, untilMs);
  }

  /** Answers what `look` finds in this replica's data, as true as the answer to a query. */
  look<T>(look: () => T, sink: ReplySink<T>, token: number, mode: ReadMode = 'lease', minSeq = 0, untilMs?: number): void {
    this.#ask({ key: NO_KEY, query: undefined, many: false, look, sink, token }, mode, minSeq, untilMs);
  }

  /** The leader wants to hear at once how far the storage of this replica is, for a while. */
  urged(): void {
    if (this.#isOver) return;
    this.#urgedUntilMs = this.#clock.now().monoMs + URGED_MS;
    this.#commits.wrote();
    this.#reportNow();
  }

  get #isUrged(): boolean {
    return this.#clock.now().monoMs < this.#urgedUntilMs;
  }

  #reportNow(): void {
    const { leads, state, durableSeq, self } = this.replica;
    if (!leads && state.leader !== '' && state.leader !== self) this.report(state.leader, durableSeq);
  }

  #urge(): void {
    const nowMs = this.#clock.now().monoMs;
    if (nowMs - this.#lastUrgeMs < URGED_MS / 2) return;
    this.#lastUrgeMs = nowMs;
    this.#peers.urge?.();
  }

  /** Somebody says that the log has grown. */
  logGrew(): void {
    if (!this.#isOver) this.replica.logGrew();
  }

  /** A replica says how far its storage is, and what it found. */
  reported(from: string, durableSeq: number, vote?: Vote): void {
    if (this.#isOver) return;
    this.replica.reported(from, durableSeq, this.#clock.now());
    if (vote) this.#digests.voted(from, vote);
  }

  /** A replica is being brought the shard as of entry `seq`: the log is to keep what comes behind it. */
  brought(from: string, seq: number): void {
    if (!this.#isOver) this.replica.reported(from, seq, this.#clock.now(), false);
  }

  /** @see Replica.beliefs */
  beliefs(): ReplicaBeliefs {
    return this.replica.beliefs(this.#clock.now());
  }

  resign(): void {
    if (!this.#isOver) this.replica.resign(this.#clock.now());
  }

  /** @see Replica.claimSoon */
  claimSoon(): void {
    if (!this.#isOver) this.replica.claimSoon(this.#clock.now());
  }

  /** @see Replica.goOn */
  goOn(): void {
    if (!this.#isOver) this.replica.goOn(this.#clock.now());
  }

  /** Whoever waits is told what is known. The storage and the log are the caller's. */
  stop(why: KeyfleetError): void {
    if (this.#stopped) return;
    this.#stopped = true;
    for (const stop of this.#stopListening) stop();
    this.#end(why);
  }

  /**
   * The log is lost: this replica stays where it is for good, and answers local reads alone. True: until now it led, and its lease runs, so that
   * nobody else has led since its last entry.
   */
  seal(): boolean {
    if (this.#isOver) return false;
    let ledByLease = false;
    const sink = {
      settled: () => {
        ledByLease = true;
      },
      failed: () => {},
    };
    // What is answered by lease is answered at once.
    this.look(() => undefined, sink, 0);
    const wasLed = ledByLease;
    this.#isSealed = true;
    // Who has not been sent off may be asked elsewhere: the log may be gone because another shard has taken this one over.
    this.#end(this.#sealed());
    return wasLed;
  }

  get #isOver(): boolean {
    return this.#stopped || this.#isSealed;
  }

  #end(why: KeyfleetError): void {
    this.#cancelTick();
    this.replica.stop(why);
  }

  #ask(read: Omit<PendingRead, 'deadlineMs'>, mode: ReadMode, minSeq: number, untilMs?: number): void {
    if (this.#stopped) read.sink.failed(read.token, stopped());
    else if (this.#isSealed && (mode !== 'local' || this.replica.state.applied < minSeq)) read.sink.failed(read.token, this.#sealed());
    else if (mode === 'local') this.replica.askLocal(read, minSeq, this.#clock.now(), untilMs);
    else this.replica.ask(read, mode, this.#clock.now(), untilMs);
  }

  #armTick(): void {
    this.#cancelTick = this.#clock.after(this.#tickMs, () => {
      this.#armTick();
      this.replica.tick(this.#clock.now());
      if (this.replica.leads) this.#compare();
    });
  }

  /** Has the replicas compare what they have, when it is time. */
  #compare(): void {
    const { monoMs } = this.#clock.now();
    const command = this.#digests.next(this.replica.self, monoMs);
    if (!command) return;
    const settled = (wasRun: boolean): void => this.#digests.settled(wasRun, this.#clock.now().monoMs);
    this.submit(command, { settled: () => settled(true), failed: () => settled(false) }, 0);
  }

  // What the replica asks for.

  append(serial: number, entry: Bytes, expectedLastSeq: number): void {
    // Only of who leads not yet: whoever leads has run what stands before.
    const ranElsewhere = this.replica.leads ? 0 : (this.#peers.ranElsewhere?.() ?? 0);
    const settle = (outcome: AppendOutcome): void => {
      if (this.#isOver) return;
      // A number that an entry had which another replica has run: the log has forgotten that one, and nobody is to lead in its place.
      if (outcome.kind === 'appended' && outcome.seq <= ranElsewhere) {
        this.#peers.logLost?.(true);
        return;
      }
      if (outcome.kind === 'conflict') this.#probe(outcome.lastSeq);
      this.replica.appendSettled(serial, outcome, this.#clock.now());
    };
    this.#log.append(entry, expectedLastSeq).then(settle, () => settle({ kind: 'unknown' }));
  }

  /**
   * The log says that it ends before what this replica has run of it. Whoever answers that may be behind; so it is asked to append an entry there,
   * one that has no effect for anyone: a log that does so gives a number away for the second time, and is not the one that it was.
   */
  #probe(lastSeq: number): void {
    const { state, self } = this.replica;
    if (lastSeq >= state.applied || this.#isProbing) return;
    this.#isProbing = true;
    const entry = encodeEntry({ kind: 'predicted', epoch: 0, leader: self, prevHash: ZERO_HASH, nowMs: 0, commands: [] }, NO_COMMANDS);
    const settle = (outcome: AppendOutcome): void => {
      this.#isProbing = false;
      if (outcome.kind === 'appended' && !this.#isOver) this.#peers.logLost?.(true);
    };
    this.#log.append(entry, lastSeq).then(settle, () => settle({ kind: 'unknown' }));
  }

  read(fromSeq: number): void {
    this.#readAll(fromSeq).then(
      () => this.#readEnded('reached'),
      (error: unknown) => {
        const code = error instanceof KeyfleetError ? error.code : undefined;
        this.#readEnded(code === 'KF_LOG_TRUNCATED' ? 'truncated' : 'failed');
        if (code === 'KF_LOG_LOST' && !this.#isOver) this.#peers.logLost?.(false);
      },
    );
  }

  async #readAll(fromSeq: number): Promise<void> {
    let batch: LogRecord[] = [];
    const handOver = (): void => {
      if (batch.length > 0 && !this.#isOver) this.replica.entriesRead(batch, this.#clock.now());
      batch = [];
    };
    for await (const record of this.#log.read(fromSeq)) {
      if (this.#isOver) return;
      if (batch.push(record) >= READ_BATCH) handOver();
    }
    handOver();
  }

  #readEnded(end: 'reached' | 'failed' | 'truncated'): void {
    if (!this.#isOver) this.replica.readEnded(end, this.#clock.now());
  }

  truncate(uptoSeq: number): void {
    // The next time will do as well.
    this.#log.truncate(uptoSeq).catch(() => {});
  }

  /** Who follows has what it runs in the log; nobody waits for its storage, unless the leader says so. */
  wrote(): number {
    return this.#commits.wrote(this.replica.leads || this.#isUrged);
  }

  wantTurnEnd(): void {
    if (this.#turnEndIsDue) return;
    this.#turnEndIsDue = true;
    this.#clock.atTurnEnd(() => {
      this.#turnEndIsDue = false;
      if (!this.#isOver) this.replica.turnEnded(this.#clock.now());
    });
  }

  tellLeased(read: PendingRead, answer: unknown, leaseUntilMs: number): void {
    if (this.#clock.now().monoMs < leaseUntilMs) read.sink.settled(read.token, answer as never);
    else this.replica.askedAgain(read);
  }

  report(leader: string, durableSeq: number): void {
    this.#peers.report(leader, durableSeq, this.#digests.vote);
  }

  wantSnapshot(): void {
    this.#peers.wantSnapshot();
  }

  ran(entry: Entry<unknown>, seq: number, applied: Applied<unknown> & { readonly kind: 'applied' }): void {
    if (this.#digests.ran(entry, seq)) this.#clock.atTurnEnd(() => this.#quarantine(seq));
    this.#peers.ran?.(entry, seq, applied);
  }

  caughtUp(): void {
    this.#peers.caughtUp?.();
  }

  #sealed(): KeyfleetError {
    const { id } = this.replica.state;
    return new NotLeaderError(id, undefined, 'its log is lost');
  }

  #quarantine(seq: number): void {
    if (this.#isOver) return;
    const { id } = this.replica.state;
    const why = `shard ${id}: at entry ${seq} most replicas have something else than this one; its data are brought anew`;
    this.#peers.differs?.(new KeyfleetError('KF_REPLICA_DIFFERS', why));
    this.replica.quarantine();
  }

  waitsFor(shard: number, seq: number): void {
    this.#peers.waitsFor?.(shard, seq);
  }

  leaderChanged(): void {
    this.#peers.leaderChanged?.();
  }
}

function stopped(): KeyfleetError {
  return new KeyfleetError('KF_CLOSED', 'this replica has been stopped');
}
