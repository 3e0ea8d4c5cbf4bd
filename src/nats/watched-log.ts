import type { Bytes } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import type { AppendOutcome, EntrySeq, LogRecord } from '../log/log.ts';
import type { ClusterLog } from '../log/shard-logs.ts';
import type { LogBasis } from '../shard/meta/shard-map.ts';
import type { JetStreamLog } from './jetstream-log.ts';

// The log as a replica uses it: it is told when entries have come, and reads the newest from memory, where one long-lived consumer puts them. What
// is older it reads from the servers.

export interface WatchOptions {
  /** The first entry that will be wanted: behind what the replica has run. */
  readonly fromSeq: EntrySeq;
  /** The watch has ended for good: the log is gone, or truncated beyond `fromSeq`. Whoever reads hears so too. */
  readonly onEnded?: (why: KeyfleetError) => void;
  /** Newest entries are kept up to this. Default 8 MiB. */
  readonly keptBytes?: number;
}

/** A read waits for entries that are known to be there and on their way, but not for longer. */
const PATIENCE_MS = 500;
/** After servers could not be reached. */
const RETRY_MS = 200;

/** @see ClusterLog, for what each method promises. Close it before the log's connection. */
export class WatchedLog implements ClusterLog {
  readonly #log: JetStreamLog;
  readonly #listeners = new Set<() => void>();
  readonly #onEnded: (why: KeyfleetError) => void;
  readonly #keptBytes: number;
  readonly #abort = new AbortController();
  readonly #watching: Promise<void>;
  /** Entries `#first`, `#first + 1`, … */
  #kept: Bytes[] = [];
  #first: EntrySeq;
  #bytes = 0;
  /** When an entry was delivered last. */
  #heardMs: number | undefined;
  /** Calls of those who wait for entries. */
  readonly #waiting = new Set<() => void>();

  constructor(log: JetStreamLog, options: WatchOptions) {
    this.#log = log;
    this.#first = options.fromSeq;
    this.#onEnded = options.onEnded ?? (() => {});
    this.#keptBytes = options.keptBytes ?? 8 * 1024 * 1024;
    this.#watching = this.#watch();
  }

  get id(): string {
    return this.#log.id;
  }

  get basis(): LogBasis | undefined {
    return this.#log.basis;
  }

  get maxEntryBytes(): number {
    return this.#log.maxEntryBytes;
  }

  onGrew(listener: () => void): () => void {
    const heard = (): void => listener();
    this.#listeners.add(heard);
    return () => this.#listeners.delete(heard);
  }

  append(entry: Bytes, expectedLastSeq: EntrySeq): Promise<AppendOutcome> {
    return this.#log.append(entry, expectedLastSeq);
  }

  async *read(fromSeq: EntrySeq): AsyncIterableIterator<LogRecord> {
    if (fromSeq < this.#first || this.#abort.signal.aborted) {
      yield* this.#log.read(fromSeq);
      return;
    }
    const { highestSeen } = this.#log;
    // Whoever reads has all that the servers have spoken of: it need not come here too.
    if (fromSeq > highestSeen && fromSeq > this.#last()) return;
    await this.#waitFor(highestSeen);
    // The servers have spoken of entries that do not come: a consumer that has gone with its server, or a leader that spoke of what it lost.
    if (this.#last() < highestSeen) {
      yield* this.#log.read(fromSeq);
      return;
    }
    for (let seq = fromSeq; seq <= this.#last(); seq++) {
      // Meanwhile it may have been dropped.
      if (seq < this.#first) {
        yield* this.#log.read(seq);
        return;
      }
      yield { seq, entry: this.#kept[seq - this.#first]! };
    }
  }

  truncate(uptoSeq: EntrySeq): Promise<void> {
    return this.#log.truncate(uptoSeq);
  }

  lastSeq(): Promise<EntrySeq> {
    return this.#log.lastSeq();
  }

  describe(): string {
    const quiet =
      this.#heardMs === undefined ? 'none since it was opened' : `the last ${((Date.now() - this.#heardMs) / 1_000).toFixed(1)} s ago`;
    return `log: entries up to ${this.#last()} were delivered, ${quiet}; ${this.#log.describe()}`;
  }

  /** Stops watching; reads still work, from the servers. */
  async close(): Promise<void> {
    this.#abort.abort();
    this.#wake();
    await this.#watching;
  }

  async #watch(): Promise<void> {
    const { signal } = this.#abort;
    while (!signal.aborted) {
      try {
        for await (const record of this.#log.follow(this.#last() + 1, signal)) this.#keep(record);
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof KeyfleetError)) throw error;
        if (!error.retryable) {
          this.#abort.abort();
          this.#wake();
          this.#onEnded(error);
          this.#tell();
          return;
        }
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }

  #keep({ entry }: LogRecord): void {
    this.#heardMs = Date.now();
    this.#kept.push(entry);
    this.#bytes += entry.length;
    if (this.#bytes > this.#keptBytes) this.#drop();
    this.#wake();
    this.#tell();
  }

  #tell(): void {
    for (const listener of [...this.#listeners]) listener();
  }

  /** The older half at once, so that each entry costs little. */
  #drop(): void {
    let dropped = 0;
    while (this.#bytes > this.#keptBytes / 2 && dropped < this.#kept.length - 1) this.#bytes -= this.#kept[dropped++]!.length;
    this.#kept = this.#kept.slice(dropped);
    this.#first += dropped;
  }

  #last(): EntrySeq {
    return this.#first + this.#kept.length - 1;
  }

  #wake(): void {
    for (const wake of this.#waiting) wake();
  }

  async #waitFor(seq: EntrySeq): Promise<void> {
    if (this.#last() >= seq) return;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(wake);
        resolve();
      };
      const wake = (): void => {
        if (this.#last() >= seq || this.#abort.signal.aborted) done();
      };
      const timer = setTimeout(done, PATIENCE_MS);
      this.#waiting.add(wake);
    });
  }
}
