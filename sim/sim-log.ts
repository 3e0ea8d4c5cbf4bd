import type { Bytes } from '../src/base/bytes.ts';
import { KeyfleetError } from '../src/base/errors.ts';
import type { AppendOutcome, LogRecord, ShardLog } from '../src/log/log.ts';
import type { Faults } from './faults.ts';
import type { Scheduler } from './scheduler.ts';
import type { SimMachine } from './sim-machine.ts';

// The adversarial log of PROTOCOLS §2: one order of entries that never changes, and as little more than that as its contract allows. Requests and
// answers take time, get lost, arrive long after anybody waits for them, and twice; reads may show an earlier end, fail, or skip what is truncated.

/** The entries themselves: what a quorum has. */
export class SimLog {
  /** For faults that are ordered at one log. */
  readonly name: string;
  #entries: Bytes[] = [];
  #truncatedUpto = 0;
  #generation = 1;
  readonly #listeners = new Set<(seq: number) => void>();
  /** It is gone, and comes back no more. */
  isDeleted = false;
  readonly #lurking: { readonly seq: number; readonly callback: () => void }[] = [];

  constructor(name = 'log') {
    this.name = name;
  }

  get lastSeq(): number {
    return this.#truncatedUpto + this.#entries.length;
  }

  get truncatedUpto(): number {
    return this.#truncatedUpto;
  }

  /** Which log this is: another one after each loss. What was sent to an earlier one never arrives. */
  get generation(): number {
    return this.#generation;
  }

  /** All entries are lost; a new log goes on behind entry `seq`, which some replica has run. */
  restart(seq: number): void {
    this.#generation++;
    this.#entries = [];
    this.#truncatedUpto = seq;
    this.#lurking.length = 0;
  }

  append(entry: Bytes, expectedLastSeq: number): AppendOutcome {
    const { lastSeq } = this;
    if (expectedLastSeq !== lastSeq) return { kind: 'conflict', lastSeq };
    this.#entries.push(entry);
    for (const listener of [...this.#listeners]) listener(lastSeq + 1);
    for (let i = this.#lurking.length - 1; i >= 0; i--) {
      if (this.#lurking[i]!.seq > lastSeq + 1) continue;
      const [one] = this.#lurking.splice(i, 1);
      if (one!.seq === lastSeq + 1) one!.callback();
    }
    return { kind: 'appended', seq: lastSeq + 1 };
  }

  at(seq: number): Bytes | undefined {
    return this.#entries[seq - this.#truncatedUpto - 1];
  }

  truncate(uptoSeq: number): void {
    const upto = Math.min(uptoSeq, this.lastSeq);
    if (upto <= this.#truncatedUpto) return;
    this.#entries = this.#entries.slice(upto - this.#truncatedUpto);
    this.#truncatedUpto = upto;
    this.onTruncated();
  }

  onTruncated: () => void = () => {};

  /** Calls back when entry `seq` has been appended, if that is still to come. */
  onceAt(seq: number, callback: () => void): void {
    this.#lurking.push({ seq, callback });
  }

  /** Calls `listener` when an entry has been appended; returns the call that ends it. */
  onAppended(listener: (seq: number) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

/** The second byte of an entry says what it is: these and above, who leads. */
const CLAIM = 2;

export interface LogLinkOptions {
  readonly log: SimLog;
  readonly scheduler: Scheduler;
  readonly faults: Faults;
  /** Whose process has the link. */
  readonly machine: Pick<SimMachine<unknown>, 'name' | 'life' | 'logIsCutOff' | 'later' | 'emit'>;
}

/** The log as one process on one node sees it. */
export class LogLink implements ShardLog {
  readonly #options: LogLinkOptions;
  readonly #life: number;
  /** Which process at which log. */
  readonly #where: string;

  constructor(options: LogLinkOptions) {
    this.#options = options;
    this.#life = options.machine.life;
    this.#where = `${options.machine.name} ${options.log.name}`;
  }

  append(entry: Bytes, expectedLastSeq: number): Promise<AppendOutcome> {
    const { log, scheduler, faults, machine } = this.#options;
    const { generation } = log;
    // Claims and resignations are few, and it matters much who hears of them.
    const lostOneIn = entry[1]! >= CLAIM ? 4 : 25;
    return new Promise((resolve) => {
      const answer = (outcome: AppendOutcome): void => {
        if (machine.logIsCutOff || faults.strikes('append-answer-lost', lostOneIn, this.#where)) return;
        this.#answer('append-answer', () => resolve(outcome));
      };
      // Who is cut off is told so at once half the time, and else nothing.
      if (machine.logIsCutOff) {
        if (scheduler.chance.below(2) === 0) this.#answer('append-refused', () => resolve({ kind: 'unknown' }));
        return;
      }
      if (faults.strikes('append-lost', 25, this.#where)) return;
      const arrive = (): void => {
        if (log.isDeleted) answer({ kind: 'unknown' });
        else if (log.generation === generation) answer(log.append(entry, expectedLastSeq));
      };
      let hasArrived = false;
      const arriveOnce = (): void => {
        if (!hasArrived) arrive();
        hasArrived = true;
      };
      const isLate = faults.strikes('append-late', 25, this.#where);
      const delayMs = this.#delayMs() + (isLate ? 500 + scheduler.chance.below(8_000) : 0);
      // When it does the most harm: as soon as somebody else's entry makes its number fit; or else some time.
      const lurks = isLate && scheduler.chance.below(2) === 0;
      machine.emit('append', lurks ? 0 : delayMs, () => {
        if (!lurks) {
          arriveOnce();
          return;
        }
        log.onceAt(expectedLastSeq, () => scheduler.after(0, 'append-late', arriveOnce));
        scheduler.after(delayMs, 'append', arriveOnce);
      });
      if (faults.strikes('append-doubled', 25, this.#where))
        machine.emit('append-again', this.#delayMs() + scheduler.chance.below(3_000), arrive);
    });
  }

  async *read(fromSeq: number): AsyncIterableIterator<LogRecord> {
    const { log, scheduler, faults, machine } = this.#options;
    const records = await new Promise<LogRecord[]>((resolve, reject) => {
      const fails = machine.logIsCutOff || faults.strikes('read-failed', 30, this.#where);
      const stale = faults.strikes('stale-read', 10, this.#where) ? scheduler.chance.below(20) : 0;
      const skips = fromSeq <= log.truncatedUpto && faults.strikes('skipping-read', 2, this.#where);
      this.#answer('read', () => {
        if (fails || machine.logIsCutOff) {
          reject(new KeyfleetError('KF_UNREACHABLE', 'the log cannot be reached'));
          return;
        }
        if (log.isDeleted) {
          reject(new KeyfleetError('KF_LOG_LOST', 'the log is gone'));
          return;
        }
        const lastSeq = log.lastSeq - stale;
        if (fromSeq <= log.truncatedUpto && lastSeq >= fromSeq && !skips) {
          reject(new KeyfleetError('KF_LOG_TRUNCATED', `entry ${fromSeq} is gone: the log begins at ${log.truncatedUpto + 1}`));
          return;
        }
        const found: LogRecord[] = [];
        for (let seq = Math.max(fromSeq, log.truncatedUpto + 1); seq <= lastSeq; seq++) found.push({ seq, entry: log.at(seq)! });
        resolve(found);
      });
    });
    yield* records;
  }

  async truncate(uptoSeq: number): Promise<void> {
    const { log, machine } = this.#options;
    const { generation } = log;
    if (machine.logIsCutOff) return;
    machine.emit('truncate', this.#delayMs(), () => {
      if (log.generation === generation) log.truncate(uptoSeq);
    });
  }

  lastSeq(): Promise<number> {
    return new Promise((resolve) => this.#answer('last-seq', () => resolve(this.#options.log.lastSeq)));
  }

  #answer(label: string, settle: () => void): void {
    const { machine, scheduler } = this.#options;
    const action = (): void => {
      scheduler.promisesMoved();
      settle();
    };
    machine.later(label, this.#delayMs(), action, this.#life);
  }

  #delayMs(): number {
    const { scheduler, faults } = this.#options;
    const slow = faults.strikes('slow-log', 20) ? scheduler.chance.below(1_500) : 0;
    return 0.2 + scheduler.chance.unit() * 2 + slow;
  }
}
