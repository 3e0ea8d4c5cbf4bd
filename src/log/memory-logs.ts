import type { Bytes } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import type { LogBasis } from '../shard/meta/shard-map.ts';
import type { AppendOutcome, EntrySeq, LogRecord } from './log.ts';
import { MemoryLog } from './memory.ts';
import type { ClusterLog, MakeLogOptions, OpenLogOptions, ShardLogs } from './shard-logs.ts';

interface Kept {
  readonly log: MemoryLog;
  readonly id: string;
  readonly basis: LogBasis | undefined;
  readonly listeners: Set<() => void>;
  isLost: boolean;
}

/** The logs of a cluster whose nodes live in one process, kept in memory: for tests. */
export class MemoryLogs implements ShardLogs {
  readonly #kept = new Map<string, Kept>();
  readonly #maxEntryBytes: number;
  #made = 0;

  constructor(options: { readonly maxEntryBytes?: number } = {}) {
    this.#maxEntryBytes = options.maxEntryBytes ?? 1024 * 1024;
  }

  async open({ shard, generation, create }: OpenLogOptions): Promise<ClusterLog> {
    const name = nameOf(shard, generation);
    const kept = this.#kept.get(name);
    if (!kept && !create) throw lost(name);
    return new MemoryClusterLog(name, kept ?? this.#make(name, undefined), this.#maxEntryBytes);
  }

  async generations(shard: number): Promise<readonly number[]> {
    const generations: number[] = [];
    for (const name of this.#kept.keys())
      if (name.startsWith(nameOf(shard, ''))) generations.push(Number(name.slice(nameOf(shard, '').length)));
    return generations;
  }

  async make({ shard, generation, basis, isFirstFinal = false }: MakeLogOptions): Promise<string> {
    const kept = this.#kept.get(nameOf(shard, generation));
    if (kept && isFirstFinal) return kept.id;
    if (kept?.basis?.seq === basis.seq && kept.basis.hash === basis.hash) return kept.id;
    await this.delete(shard, generation);
    return this.#make(nameOf(shard, generation), basis).id;
  }

  #make(name: string, basis: LogBasis | undefined): Kept {
    const kept: Kept = { log: new MemoryLog(basis?.seq), id: `made ${++this.#made}`, basis, listeners: new Set(), isLost: false };
    this.#kept.set(name, kept);
    return kept;
  }

  async delete(shard: number, generation: number): Promise<void> {
    const name = nameOf(shard, generation);
    const kept = this.#kept.get(name);
    if (!kept) return;
    kept.isLost = true;
    this.#kept.delete(name);
    for (const listener of [...kept.listeners]) listener();
  }

  /** Whether the shard has a log of that generation. */
  has(shard: number, generation: number): boolean {
    return this.#kept.has(nameOf(shard, generation));
  }
}

/** One node's view of a log. */
class MemoryClusterLog implements ClusterLog {
  readonly id: string;
  readonly basis: LogBasis | undefined;
  readonly maxEntryBytes: number;
  readonly #name: string;
  readonly #kept: Kept;
  readonly #stops = new Set<() => void>();

  constructor(name: string, kept: Kept, maxEntryBytes: number) {
    this.#name = name;
    this.#kept = kept;
    this.id = kept.id;
    this.basis = kept.basis;
    this.maxEntryBytes = maxEntryBytes;
  }

  async append(entry: Bytes, expectedLastSeq: EntrySeq): Promise<AppendOutcome> {
    if (entry.length > this.maxEntryBytes) {
      throw new KeyfleetError('KF_ENTRY_TOO_LARGE', `an entry of ${entry.length} bytes; this log takes ${this.maxEntryBytes}`);
    }
    if (this.#kept.isLost) return { kind: 'unknown' };
    const outcome = await this.#kept.log.append(entry, expectedLastSeq);
    if (outcome.kind === 'appended') for (const listener of [...this.#kept.listeners]) listener();
    return outcome;
  }

  async *read(fromSeq: EntrySeq): AsyncIterableIterator<LogRecord> {
    if (this.#kept.isLost) throw lost(this.#name);
    yield* this.#kept.log.read(fromSeq);
  }

  async truncate(uptoSeq: EntrySeq): Promise<void> {
    await this.#kept.log.truncate(uptoSeq);
  }

  lastSeq(): Promise<EntrySeq> {
    return this.#kept.log.lastSeq();
  }

  onGrew(listener: () => void): () => void {
    const heard = (): void => listener();
    const stop = (): void => {
      this.#kept.listeners.delete(heard);
      this.#stops.delete(stop);
    };
    this.#kept.listeners.add(heard);
    this.#stops.add(stop);
    return stop;
  }

  async close(): Promise<void> {
    for (const stop of [...this.#stops]) stop();
  }
}

function nameOf(shard: number, generation: number | ''): string {
  return `${shard} generation ${generation}`;
}

function lost(name: string): KeyfleetError {
  return new KeyfleetError('KF_LOG_LOST', `the log of shard ${name} is gone`);
}
