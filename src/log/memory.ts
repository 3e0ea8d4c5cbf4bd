import type { Bytes } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import type { AppendOutcome, EntrySeq, LogRecord, ShardLog } from './log.ts';

/** A log in memory: for tests, replay and simulation. @see ShardLog, for what each method promises. */
export class MemoryLog implements ShardLog {
  #entries: Bytes[] = [];
  #truncatedUpto: EntrySeq;

  /** `basis`: the number of the entry behind which it begins. Default: 0. */
  constructor(basis: EntrySeq = 0) {
    this.#truncatedUpto = basis;
  }

  async append(entry: Bytes, expectedLastSeq: EntrySeq): Promise<AppendOutcome> {
    const lastSeq = this.#last();
    if (expectedLastSeq !== lastSeq) return { kind: 'conflict', lastSeq };
    this.#entries.push(entry);
    return { kind: 'appended', seq: lastSeq + 1 };
  }

  async *read(fromSeq: EntrySeq): AsyncIterableIterator<LogRecord> {
    const lastSeq = this.#last();
    for (let seq = fromSeq; seq <= lastSeq; seq++) {
      if (seq <= this.#truncatedUpto) {
        throw new KeyfleetError('KF_LOG_TRUNCATED', `entry ${seq} is gone: the log begins at ${this.#truncatedUpto + 1}`);
      }
      yield { seq, entry: this.#entries[seq - this.#truncatedUpto - 1]! };
    }
  }

  async truncate(uptoSeq: EntrySeq): Promise<void> {
    const upto = Math.min(uptoSeq, this.#last());
    if (upto <= this.#truncatedUpto) return;
    this.#entries = this.#entries.slice(upto - this.#truncatedUpto);
    this.#truncatedUpto = upto;
  }

  async lastSeq(): Promise<EntrySeq> {
    return this.#last();
  }

  #last(): EntrySeq {
    return this.#truncatedUpto + this.#entries.length;
  }
}
