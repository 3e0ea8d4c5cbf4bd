import type { Bytes } from '../../src/base/bytes.ts';
import type { AppendOutcome, EntrySeq, LogRecord } from '../../src/log/log.ts';
import type { ClusterLog, MakeLogOptions, OpenLogOptions, ShardLogs } from '../../src/log/shard-logs.ts';

/** The logs as a node sees them that hears of what it appends itself later than others do. */
export class LateLogs implements ShardLogs {
  readonly #logs: ShardLogs;
  /** For so long after its append. */
  lateMs = 0;

  constructor(logs: ShardLogs) {
    this.#logs = logs;
  }

  async open(options: OpenLogOptions): Promise<ClusterLog> {
    return new LateLog(await this.#logs.open(options), () => this.lateMs);
  }

  generations(shard: number): Promise<readonly number[]> {
    return this.#logs.generations(shard);
  }

  make(options: MakeLogOptions): Promise<string> {
    return this.#logs.make(options);
  }

  delete(shard: number, generation: number): Promise<void> {
    return this.#logs.delete(shard, generation);
  }
}

class LateLog implements ClusterLog {
  readonly #log: ClusterLog;
  readonly #lateMs: () => number;
  readonly #listeners = new Set<() => void>();
  /** Entries from here on are not seen yet. */
  #hidden = Number.POSITIVE_INFINITY;

  constructor(log: ClusterLog, lateMs: () => number) {
    this.#log = log;
    this.#lateMs = lateMs;
  }

  get id(): string {
    return this.#log.id;
  }

  get basis(): ClusterLog['basis'] {
    return this.#log.basis;
  }

  get maxEntryBytes(): number {
    return this.#log.maxEntryBytes;
  }

  async append(entry: Bytes, expectedLastSeq: EntrySeq): Promise<AppendOutcome> {
    if (this.#lateMs() === 0) return this.#log.append(entry, expectedLastSeq);
    this.#hidden = Math.min(this.#hidden, expectedLastSeq + 1);
    const outcome = await this.#log.append(entry, expectedLastSeq);
    await new Promise((resolve) => setTimeout(resolve, this.#lateMs()));
    this.#hidden = Number.POSITIVE_INFINITY;
    for (const listener of [...this.#listeners]) listener();
    return outcome;
  }

  async *read(fromSeq: EntrySeq): AsyncIterableIterator<LogRecord> {
    for await (const record of this.#log.read(fromSeq)) {
      if (record.seq >= this.#hidden) return;
      yield record;
    }
  }

  truncate(uptoSeq: EntrySeq): Promise<void> {
    return this.#log.truncate(uptoSeq);
  }

  lastSeq(): Promise<EntrySeq> {
    return this.#log.lastSeq();
  }

  onGrew(listener: () => void): () => void {
    const stop = this.#log.onGrew(listener);
    this.#listeners.add(listener);
    return () => {
      stop();
      this.#listeners.delete(listener);
    };
  }

  close(): Promise<void> {
    return this.#log.close();
  }
}
