import type { Bytes } from '../src/base/bytes.ts';
import { KeyfleetError } from '../src/base/errors.ts';
import type { AppendOutcome, LogRecord, ShardLog } from '../src/log/log.ts';
import type { Faults } from './faults.ts';
import type { Scheduler } from './scheduler.ts';

// The adversarial log of PROTOCOLS §2: one order of entries that never changes, and as little more than that as its contract allows. Requests and
// answers take time, get lost, arrive long after anybody waits for them, and twice; reads may show an earlier end, fail, or skip what is truncated.

/** The entries themselves: what a quorum has. */
export class SimLog {
  #entries: Bytes[] = [];
  #truncatedUpto = 0;
  readonly #listeners: ((seq: number) => void)[] = [];
  readonly #lurking: { readonly seq: number; readonly callback: () => void }[] = [];

  get lastSeq(): number {
    return this.#truncatedUpto + this.#entries.length;
  }

  get truncatedUpto(): number {
    return this.#truncatedUpto;
  }

  append(entry: Bytes, expectedLastSeq: number): AppendOutcome {
    const { lastSeq } = this;
    if (expectedLastSeq !== lastSeq) return { kind: 'conflict', lastSeq };
    this.#entries.push(entry);
    for (const listener of this.#listeners) listener(lastSeq + 1);
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
  }

  /** Calls back when entry `seq` has been appended, if that is still to come. */
  onceAt(seq: number, callback: () => void): void {
    this.#lurking.push({ seq, callback });
  }

  /** Calls `listener` when an entry has been appended. */
  onAppended(listener: (seq: number) => void): void {
    this.#listeners.push(listener);
  }
}

export interface LogLinkOptions {
  readonly log: SimLog;
  readonly scheduler: Scheduler;
  readonly faults: Faults;
  /** Whether the node can reach the log's servers now. */
  readonly isConnected: () => boolean;
  /** Whether the process that made the request still runs, and is let to hear of it: calls `deliver` then, perhaps later. */
  readonly deliver: (label: string, delayMs: number, action: () => void) => void;
}

/** The log as one process on one node sees it. */
export class LogLink implements ShardLog {
  readonly #options: LogLinkOptions;

  constructor(options: LogLinkOptions) {
    this.#options = options;
  }

  append(entry: Bytes, expectedLastSeq: number): Promise<AppendOutcome> {
    const { log, scheduler, faults, isConnected } = this.#options;
    return new Promise((resolve) => {
      const answer = (outcome: AppendOutcome): void => {
        if (!isConnected() || faults.strikes('append-answer-lost', 25)) return;
        this.#answer('append-answer', () => resolve(outcome));
      };
      // Who is cut off is told so at once half the time, and else nothing.
      if (!isConnected()) {
        if (scheduler.chance.below(2) === 0) this.#answer('append-refused', () => resolve({ kind: 'unknown' }));
        return;
      }
      if (faults.strikes('append-lost', 25)) return;
      let hasArrived = false;
      const arrive = (): void => {
        if (hasArrived) return;
        hasArrived = true;
        answer(log.append(entry, expectedLastSeq));
      };
      const isLate = faults.strikes('append-late', 25);
      // When it does the most harm: as soon as somebody else's entry makes its number fit; or else some time.
      if (isLate && scheduler.chance.below(2) === 0) log.onceAt(expectedLastSeq, () => scheduler.after(0, 'append-late', arrive));
      scheduler.after(this.#delayMs() + (isLate ? 500 + scheduler.chance.below(8_000) : 0), 'append', arrive);
      if (faults.strikes('append-doubled', 25)) {
        scheduler.after(this.#delayMs() + scheduler.chance.below(3_000), 'append-again', () => answer(log.append(entry, expectedLastSeq)));
      }
    });
  }

  async *read(fromSeq: number): AsyncIterableIterator<LogRecord> {
    const { log, scheduler, faults, isConnected } = this.#options;
    const records = await new Promise<LogRecord[]>((resolve, reject) => {
      const fails = !isConnected() || faults.strikes('read-failed', 30);
      const stale = faults.strikes('stale-read', 10) ? scheduler.chance.below(20) : 0;
      const skips = fromSeq <= log.truncatedUpto && faults.strikes('skipping-read', 2);
      this.#answer('read', () => {
        if (fails || !isConnected()) {
          reject(new KeyfleetError('KF_UNREACHABLE', 'the log cannot be reached'));
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
    const { log, scheduler, isConnected } = this.#options;
    if (isConnected()) scheduler.after(this.#delayMs(), 'truncate', () => log.truncate(uptoSeq));
  }

  lastSeq(): Promise<number> {
    return new Promise((resolve) => this.#answer('last-seq', () => resolve(this.#options.log.lastSeq)));
  }

  #answer(label: string, settle: () => void): void {
    this.#options.deliver(label, this.#delayMs(), () => {
      this.#options.scheduler.promisesMoved();
      settle();
    });
  }

  #delayMs(): number {
    const { scheduler, faults } = this.#options;
    const slow = faults.strikes('slow-log', 20) ? scheduler.chance.below(1_500) : 0;
    return 0.2 + scheduler.chance.unit() * 2 + slow;
  }
}
