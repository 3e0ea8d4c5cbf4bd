import { assert } from '../../base/assert.ts';
import type { Bytes } from '../../base/bytes.ts';
import { KeyfleetError } from '../../base/errors.ts';
import { bodyOf, decodeEntry, type Entry, type EntryCommand } from '../entry.ts';
import type { Applied } from '../outcome.ts';
import type { ReplySink } from '../reply-sink.ts';
import type { ShardMachine } from '../shard-machine.ts';
import type { ValueModule } from '../value-module.ts';
import { Acks } from './acks.ts';
import { answerOf } from './answer.ts';
import { beliefsOf, type ReplicaBeliefs } from './beliefs.ts';
import type { AppendOutcome, CommandTerms, Instant, LogRecord, PendingCommand, PendingRead, ReplicaHost } from './host.ts';
import { NotLeaderError } from './not-leader-error.ts';
import { Patience } from './patience.ts';
import { isFreeze, Pipeline, type Proposal } from './pipeline.ts';
import { newReign, type Reign } from './reign.ts';
import type { ReplicaOptions } from './replica-options.ts';
import { ReportBook } from './report-book.ts';
import { DEFAULT_LIMITS, DEFAULT_TIMING, type ReplicaLimits, type ReplicaTiming } from './timing.ts';
import { deadlineMs, failRead, failSent, outcomeUnknown, sizeOf, Waiting } from './waiting.ts';

// One replica of a shard whose log is shared: it runs the log's entries, and while it leads it decides what the next ones are. No clock, no
// chance, nothing awaited: the driver (src/node/replica-driver.ts) tells it what happens and at what time, and does what it asks of its host.
// What each part guarantees, and what happens when a node dies in the middle: docs/protocol/replication.md.
//
//   follower ── waited long enough: sends a claim, and runs it ──► leader ── runs somebody else's claim ──► follower
//                                                                  │  ▲
//                            an append conflicts or nobody knows ──▼  │── its barrier has been run
//                                                                 uncertain: reads the log to its end, sends a barrier behind it
//
// Answers come from running entries, never from appending them. A leader that is replaced knows of all it sent that it had no effect: what it had
// not run when it ran the other's claim is void wherever it may still land.

export class Replica<Value, Command, Reply, Query, Answer> {
  readonly self: string;
  readonly #machine: ShardMachine<Value, Command, Reply, Query, Answer>;
  readonly #module: ValueModule<Value, Command, Reply, Query, Answer>;
  readonly #positionOf: (key: Bytes) => number;
  readonly #host: ReplicaHost;
  readonly #timing: ReplicaTiming;
  readonly #limits: ReplicaLimits;
  readonly #pipeline: Pipeline<Command>;
  readonly #reports: ReportBook;
  #reign: Reign | undefined;
  #leaseUntilMs = Number.NEGATIVE_INFINITY;
  readonly #patience: Patience;
  readonly #waiting = new Waiting<Command>();
  readonly #acks: Acks;
  #reading = false;
  #readFromSeq = 1;
  #readAgain = false;
  /** The storage refused an entry; it is run again later. */
  #stalled = false;
  #needsSnapshot = false;
  #hasCaughtUp = false;
  #lastReportMs: number;

  constructor(options: ReplicaOptions<Value, Command, Reply, Query, Answer>) {
    this.self = options.self;
    this.#machine = options.machine;
    this.#module = options.module;
    this.#positionOf = options.positionOf;
    this.#host = options.host;
    this.#timing = { ...DEFAULT_TIMING, ...options.timing };
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#pipeline = new Pipeline(options.module.commandCodec);
    this.#patience = new Patience({ ...options, timing: this.#timing, nowMs: options.now.monoMs });
    this.#lastReportMs = options.now.monoMs;
    this.#acks = new Acks(options.machine.state.applied);
    this.#reports = new ReportBook({ lostMs: this.#timing.lostMs, keptEntries: this.#limits.keptEntries });
  }

  /** It holds the newest leadership that it knows of, and may answer. */
  get leads(): boolean {
    return this.#reign !== undefined;
  }

  /** It has read the log to its end since it began. */
  get hasCaughtUp(): boolean {
    return this.#hasCaughtUp;
  }

  /** The last entry whose effects are durable here. */
  get durableSeq(): number {
    return this.#acks.durableSeq;
  }

  get state(): ShardMachine<Value, Command, Reply, Query, Answer>['state'] {
    return this.#machine.state;
  }

  /** What it believes and waits for: for people who look for a fault. */
  beliefs(now: Instant): ReplicaBeliefs {
    const reads = { isReading: this.#reading, hasCaughtUp: this.#hasCaughtUp };
    const waits = { isStalled: this.#stalled, needsSnapshot: this.#needsSnapshot };
    const parts = { state: this.#machine.state, reign: this.#reign, patience: this.#patience, proposals: this.#pipeline.proposals };
    return beliefsOf({ ...parts, ...reads, ...waits, leaseUntilMs: this.#leaseUntilMs }, now.monoMs);
  }

  /**
   * Has a command run, once, by the log. `sink` hears the reply when as many have it as `ack` says, or what the module threw; of a step of a workflow,
   * its outcome. KF_NOT_LEADER, KF_SHARD_BUSY and KF_VALUE_TOO_LARGE: it had no effect; KF_OUTCOME_UNKNOWN.
   */
  submit(command: EntryCommand<Command>, sink: ReplySink<Reply>, token: number, now: Instant, terms: CommandTerms = {}): void {
    const reign = this.#reign;
    if (!reign || reign.resigning) {
      sink.failed(token, this.#notLeader('a command came to a replica that does not lead it'));
      return;
    }
    if (this.#waiting.commandCount >= this.#limits.maxQueued) {
      const why = `shard ${this.#machine.state.id}: ${this.#waiting.commandCount} commands wait for their place in its log`;
      sink.failed(token, new KeyfleetError('KF_SHARD_BUSY', why, { retryable: true }));
      return;
    }
    const body = bodyOf(command, this.#module.commandCodec);
    const sizeBytes = sizeOf(command, body);
    if (sizeBytes > this.#limits.maxCommandBytes) {
      const why = `a command of ${sizeBytes} bytes, its key included; an entry of the log has room for ${this.#limits.maxCommandBytes}`;
      sink.failed(token, new KeyfleetError('KF_VALUE_TOO_LARGE', why));
      return;
    }
    const { ack = 'log+1', untilMs } = terms;
    this.#waiting.addCommand({ command, body, sink, token, deadlineMs: deadlineMs(this.#timing, now, untilMs), ack });
    this.#host.wantTurnEnd();
  }

  /**
   * Answers a query as of a moment between now and the answer. `lease`: from here, without asking the log, as long as nobody else can lead;
   * `barrier`: behind an entry of its own. @see submit, for the errors.
   */
  ask(read: Omit<PendingRead, 'deadlineMs'>, mode: 'lease' | 'barrier', now: Instant, untilMs?: number): void {
    const pending: PendingRead = { deadlineMs: deadlineMs(this.#timing, now, untilMs), ...read };
    const reign = this.#reign;
    if (!reign || reign.resigning) failRead(pending, this.#notLeader('a query came to a replica that does not lead it'));
    else if (mode === 'lease' && now.monoMs < this.#leaseUntilMs) this.#answer(pending, now, this.#leaseUntilMs);
    else this.askedAgain(pending);
  }

  /** Answers a query from what this replica has run, at least up to entry `minSeq`. It may be old; it never goes back on this replica. */
  askLocal(read: Omit<PendingRead, 'deadlineMs'>, minSeq: number, now: Instant, untilMs?: number): void {
    const pending: PendingRead = { deadlineMs: deadlineMs(this.#timing, now, untilMs), ...read };
    if (this.#machine.state.applied >= minSeq) this.#answer(pending, now, undefined);
    else this.#waiting.addLocal(pending, minSeq);
  }

  /** A read whose lease had run out when its answer was ready: it goes behind a barrier. */
  askedAgain(read: PendingRead): void {
    if (!this.#reign) {
      failRead(read, this.#notLeader('it was replaced before it could answer'));
      return;
    }
    this.#waiting.addRead(read);
    this.#host.wantTurnEnd();
  }

  /** All that arrived in this turn has arrived: sends it off. */
  turnEnded(now: Instant): void {
    this.#pump(now);
  }

  appendSettled(serial: number, outcome: AppendOutcome, now: Instant): void {
    const proposal = this.#pipeline.find(serial);
    if (proposal?.fate !== 'open') return;
    if (outcome.kind === 'appended') {
      assert(outcome.seq === proposal.seq, () => `entry ${outcome.seq} was to be ${proposal.seq}`);
      proposal.fate = 'appended';
      this.#runOwn(now);
    } else {
      this.#doubt(proposal);
    }
    this.#pump(now);
  }

  /** Entries that the log has, in order. */
  entriesRead(records: readonly LogRecord[], now: Instant): void {
    for (const { seq, entry } of records) {
      const { applied } = this.#machine.state;
      if (seq <= applied) continue;
      if (this.#stalled || this.#needsSnapshot) return;
      if (seq > applied + 1) {
        this.#wantSnapshot();
        return;
      }
      const own = this.#pipeline.match(seq, entry);
      this.#run(own?.entry ?? decodeEntry(entry, this.#module.commandCodec), seq, entry, own, now);
    }
  }

  /** The log has been read to what was its end, or could not be. */
  readEnded(end: 'reached' | 'failed' | 'truncated', now: Instant): void {
    this.#reading = false;
    // What it forgot meanwhile may have been run: one's own entries need no reading.
    if (end === 'truncated') this.#machine.state.applied < this.#readFromSeq ? this.#wantSnapshot() : this.#read();
    if (end !== 'reached') return;
    this.#runOwn(now);
    if (this.#readAgain) {
      this.#read();
      return;
    }
    if (!this.#hasCaughtUp) this.#host.caughtUp();
    this.#hasCaughtUp = true;
    const reign = this.#reign;
    if (reign?.footing === 'uncertain' && !this.#stalled && !this.#needsSnapshot) {
      this.#pipeline.restart();
      reign.footing = 'barrier';
      reign.barrierSerial = this.#send(now, [], []);
    }
    this.#pump(now);
  }

  /** The log may have more entries. A leader on firm ground knows what it has. */
  logGrew(): void {
    if (this.#reign?.footing !== 'certain') this.#read();
  }

  /** Batches of the storage up to `number` are durable. */
  storageDurable(number: number): void {
    this.#acks.storageDurable(number);
  }

  /** A replica says how far its storage is; or, not durably, the snapshot that it is being brought. */
  reported(from: string, seq: number, now: Instant, isDurable = true): void {
    this.#reports.note(from, seq, now.monoMs);
    if (isDurable) this.#acks.otherDurable(seq);
  }

  /** Replicas claim in the order of their ranks: from now on this one has `rank`. */
  setRank(rank: number): void {
    this.#patience.rank = rank;
  }

  /** If nobody leads, or soon nobody will, this replica is to claim at once. */
  claimSoon(now: Instant): void {
    this.#patience.hurry(now.monoMs);
    this.#read();
    this.#challenge(now);
  }

  /** What it has is not what the others have: it answers nothing any more, and wants its data anew. */
  quarantine(): void {
    this.#machine.quarantine();
    this.#host.wrote();
    this.#wantSnapshot('its data are not those of the other replicas');
  }

  /** What its next entry waited for may have happened. */
  goOn(now: Instant): void {
    if (!this.#stalled) return;
    this.#stalled = false;
    this.#runOwn(now);
    this.#read();
  }

  /** Gives up the leadership at once instead of letting it run out. */
  resign(now: Instant): void {
    if (!this.#reign) return;
    this.#reign.resigning = true;
    this.#leaseUntilMs = Number.NEGATIVE_INFINITY;
    this.#pump(now);
  }

  /** Looks what is due. To be called every {@link ReplicaTiming.tickMs}. */
  tick(now: Instant): void {
    const { appendTimeoutMs, renewMs, reportMs } = this.#timing;
    for (const proposal of this.#pipeline.proposals) {
      if (proposal.fate === 'open' && now.monoMs - proposal.sentMs >= appendTimeoutMs) this.#doubt(proposal);
    }
    const late = (): KeyfleetError => this.#notLeader('its log took nothing in time; are most of its servers up?');
    this.#waiting.expire(now.monoMs, late, this.#pipeline.proposals);
    this.#acks.expire(now.monoMs, () => outcomeUnknown('no other replica has said in time that its storage has it'));
    this.#stalled = false;
    if (!this.#takesPart) {
      this.#read();
      return;
    }
    this.#runOwn(now);
    const reign = this.#reign;
    if (!reign || reign.footing === 'uncertain') this.#read();
    if (!reign) this.#challenge(now);
    else if (reign.footing === 'certain' && !this.#stalled && now.monoMs - reign.lastSentMs >= renewMs) this.#send(now, [], []);
    if (now.monoMs - this.#lastReportMs >= reportMs) this.#report(now);
    this.#pump(now);
  }

  /** Everyone who waits is told what is known; the replica is not to be used again. */
  stop(why: KeyfleetError): void {
    this.#reign = undefined;
    const unknown = outcomeUnknown(why.message);
    failSent(this.#pipeline.takeAll(), unknown, why);
    this.#waiting.fail(why);
    this.#waiting.failLocal(why);
    this.#acks.fail(unknown, why);
  }

  // Running entries.

  /** Runs those of one's own entries that are known to stand next in the log. */
  #runOwn(now: Instant): void {
    while (!this.#stalled && !this.#needsSnapshot) {
      const seq = this.#machine.state.applied + 1;
      const next = this.#pipeline.proposals.find((one) => one.seq === seq && one.fate === 'appended');
      if (!next) break;
      this.#run(next.entry, seq, next.bytes, next, now);
    }
    // While the storage takes nothing there is nothing to read for.
    if (!this.#stalled && this.#pipeline.proposals.some((one) => one.fate === 'appended')) this.#read();
  }

  #run(entry: Entry<Command>, seq: number, bytes: Bytes, own: Proposal<Command> | undefined, now: Instant): void {
    let applied: Applied<Reply>;
    try {
      applied = this.#machine.applyEntry(entry, seq, bytes, own?.hash);
    } catch (error) {
      // What the module says is a reply; what is thrown is the storage's, or a broken promise of our own.
      if (!(error instanceof KeyfleetError)) throw error;
      this.#stalled = true;
      return;
    }
    if (applied.kind === 'waits') {
      this.#stalled = true;
      this.#host.waitsFor(applied.shard, applied.seq);
      return;
    }
    const number = this.#host.wrote();
    if (applied.kind === 'fault') {
      this.#wantSnapshot('its past is not that of its log');
      return;
    }
    assert(applied.kind !== 'gap', () => `entry ${seq} behind ${this.#machine.state.applied}`);
    this.#acks.ran(seq, number);
    if (own) this.#pipeline.remove(own);
    if (applied.kind === 'applied') this.#ran(entry, own, now);
    if (applied.kind === 'applied') this.#host.ran(entry, seq, applied);
    for (const read of this.#waiting.takeLocal(seq)) this.#answer(read, { monoMs: 0, wallMs: this.#machine.state.nowMs }, undefined);
    if (!own) return;
    if (applied.kind === 'applied') {
      for (const [index, one] of own.commands.entries()) this.#acks.add(one, applied.control ?? applied.replies[index]);
      for (const read of own.reads) this.#answer(read, now, undefined);
    } else {
      if (this.#reign?.footing === 'certain') this.#doubt(own);
      this.#takeBack([own]);
    }
  }

  /** An entry had effect: who leads now, and since when. */
  #ran(entry: Entry<Command>, own: Proposal<Command> | undefined, now: Instant): void {
    const { kind } = entry;
    if (kind === 'resign' && this.#reign) this.#patience.resigned(now.monoMs);
    else this.#patience.heard(now.monoMs);
    if (kind === 'claim' || kind === 'resign') this.#host.leaderChanged();
    if (kind === 'claim') {
      // Whatever this replica has on its way is of an older epoch now.
      this.#depose('another replica has claimed the leadership');
      if (own) this.#reign = newReign(now.monoMs);
    }
    if (kind === 'resign' && this.#reign) this.#depose('it has resigned');
    else if (kind === 'resign') this.#challenge(now);
    const reign = this.#reign;
    if (!reign || !own) return;
    // Behind a freeze the leader of another shard may answer for this one.
    if (!reign.resigning && !this.#pipeline.proposals.some(isFreeze)) {
      const { leaseMs, drift } = this.#timing;
      this.#leaseUntilMs = Math.max(this.#leaseUntilMs, own.sentMs + leaseMs * (1 - drift));
    }
    if (reign.footing === 'barrier' && own.serial === reign.barrierSerial) {
      reign.footing = 'certain';
      this.#takeBack(this.#pipeline.takeBefore(own.serial));
    }
  }

  /** What was sent without effect goes to the front of the queue, in its old order, or is refused when this replica leads no more. */
  #takeBack(proposals: readonly Proposal<Command>[]): void {
    this.#waiting.putBack(proposals);
    if (!this.#reign) this.#waiting.fail(this.#notLeader('it was replaced before the request had an effect'));
  }

  // Leading.

  /** Sends off what waits, as far as there is room on the way. */
  #pump(now: Instant): void {
    const reign = this.#reign;
    if (reign?.footing !== 'certain' || this.#stalled) return;
    const { maxInFlight, maxEntryBytes } = this.#limits;
    while (!this.#waiting.isEmpty && this.#pipeline.proposals.length < maxInFlight) {
      const { commands, reads } = this.#waiting.takeForEntry(maxEntryBytes);
      this.#send(now, commands, reads);
    }
    if (reign.resigning && this.#pipeline.proposals.length === 0) this.#send(now, [], [], { kind: 'resign' });
  }

  #send(
    now: Instant,
    commands: readonly PendingCommand<Command>[],
    reads: readonly PendingRead[],
    special: { readonly kind?: 'claim' | 'resign'; readonly basis?: number } = {},
  ): number {
    const { applied: seq, hash, nowMs, epoch } = this.#machine.state;
    const proposal = this.#pipeline.propose({
      applied: { seq, hash, nowMs },
      epoch: special.kind === 'claim' ? epoch + 1 : epoch,
      leader: this.self,
      wallMs: now.wallMs,
      sentMs: now.monoMs,
      commands,
      reads,
      ...special,
    });
    if (this.#reign) this.#reign.lastSentMs = now.monoMs;
    if (isFreeze(proposal)) this.#leaseUntilMs = Number.NEGATIVE_INFINITY;
    this.#host.append(proposal.serial, proposal.bytes, proposal.seq - 1);
    return proposal.serial;
  }

  /** Nobody knows what became of an entry, or another stands in its place: nothing more is sent until that is known. */
  #doubt(proposal: Proposal<Command>): void {
    proposal.fate = 'unknown';
    // When the barrier that was sent behind it has been run, it is known what became of this one too.
    if (this.#reign?.footing === 'barrier' && proposal.serial < this.#reign.barrierSerial) return;
    if (this.#reign) this.#reign.footing = 'uncertain';
    this.#read();
  }

  /** Claims the leadership when nobody has it, or its holder was not heard of for as long as its lease can last by any clock. */
  #challenge(now: Instant): void {
    if (this.#reign || this.#stalled || this.#needsSnapshot || !this.#hasCaughtUp || !this.#takesPart) return;
    if (this.#patience.silentMs(now.monoMs) < this.#patience.waitMs(now.monoMs, this.#machine.state)) return;
    this.#pipeline.forgetUpto(this.#machine.state.applied);
    if (this.#pipeline.proposals.some((one) => now.monoMs - one.sentMs < this.#timing.appendTimeoutMs)) return;
    this.#pipeline.restart();
    this.#send(now, [], [], { kind: 'claim', basis: this.#machine.state.leaderSeq });
  }

  /** Another leads. What was sent and not run is void wherever it may still land, so by default everyone may be told that it had no effect. */
  #depose(why: string, ofSent: KeyfleetError = this.#notLeader(why)): void {
    this.#reign = undefined;
    this.#leaseUntilMs = Number.NEGATIVE_INFINITY;
    failSent(this.#pipeline.takeAll(), ofSent, this.#notLeader(why));
    this.#waiting.fail(this.#notLeader(why));
  }

  // Answering.

  #answer(read: PendingRead, now: Instant, leaseUntilMs: number | undefined): void {
    let answer: unknown;
    try {
      answer = answerOf(this.#machine, this.#positionOf, read, now.wallMs);
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      failRead(read, error);
      return;
    }
    if (leaseUntilMs === undefined) read.sink.settled(read.token, answer as never);
    else this.#host.tellLeased(read, answer, leaseUntilMs);
  }

  /** A frozen shard serves nobody and still has a leader, who is to let it go. One that awaits its genesis has none before that. */
  get #takesPart(): boolean {
    const { status } = this.#machine.state;
    return status === 'serving' || status === 'frozen' || status === 'loading';
  }

  #notLeader(why: string): NotLeaderError {
    const { id, leader } = this.#machine.state;
    return new NotLeaderError(id, leader === this.self || leader === '' ? undefined : leader, why);
  }

  // The log and the other replicas.

  #read(): void {
    const { status } = this.#machine.state;
    if (this.#needsSnapshot || status === 'faulted' || status === 'retired') return;
    this.#readAgain = this.#reading;
    if (this.#reading) return;
    this.#reading = true;
    this.#readFromSeq = this.#machine.state.applied + 1;
    this.#host.read(this.#readFromSeq);
  }

  #wantSnapshot(why = 'the log has forgotten entries that it had not run'): void {
    if (this.#needsSnapshot) return;
    this.#needsSnapshot = true;
    // What was sent may stand among the entries that it leaves out.
    this.#depose(why, outcomeUnknown(why));
    this.#host.wantSnapshot();
  }

  /** Followers say how far they are; the leader lets the log forget what all have. */
  #report(now: Instant): void {
    this.#lastReportMs = now.monoMs;
    const { leader } = this.#machine.state;
    if (!this.#reign) {
      if (leader !== '' && leader !== this.self) this.#host.report(leader, this.durableSeq);
      return;
    }
    this.#reports.note(this.self, this.durableSeq, now.monoMs);
    const upto = this.#reports.truncateUpto(now.monoMs);
    if (upto > 0) this.#host.truncate(upto);
  }
}
