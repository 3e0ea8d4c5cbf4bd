import type { Bytes } from '../base/bytes.ts';
import { isKeyfleetError } from '../base/errors.ts';
import type { LocalLog } from '../log/local.ts';
import type { Storage } from '../storage/storage.ts';
import { DueKeys } from './due-keys.ts';
import { Garbage } from './garbage.ts';
import type { AnyKeyspaceRuntime } from './keyspace-runtime.ts';
import { type SessionKeyspace, SessionSweeper } from './session-sweeper.ts';

// What a node does on its own, a little at a time: it removes keys that have expired, as entries of their shards (all replicas remove the
// same ones), and storage that nothing refers to any more (old tables, old cells), which no entry need say.

/** Between two looks when there was nothing to do. */
const IDLE_MS = 100;
/** Keys or pairs in one go: about a millisecond's work. */
const SLICE = 512;
/** So often a sweep begins at the start again, instead of where the last one came to: what was removed is still walked over for a while. */
const FRESH_EVERY = 100;

export interface SweeperOptions {
  readonly storage: Storage;
  readonly log: LocalLog;
  readonly keyspaces: () => Iterable<AnyKeyspaceRuntime>;
  readonly now: () => number;
  /** How long a session is kept after its last use. */
  readonly sessionRetentionMs: number;
  readonly onError: (error: Error) => void;
}

export class Sweeper {
  readonly #options: SweeperOptions;
  readonly #sessions: SessionSweeper;
  readonly #dueKeys: DueKeys;
  readonly #garbage: Garbage;
  #timer: NodeJS.Timeout | undefined;
  #running = false;
  #expired = 0;
  #sweeps = 0;

  constructor(options: SweeperOptions) {
    this.#options = options;
    this.#dueKeys = new DueKeys(options.storage);
    this.#garbage = new Garbage(options.storage);
    const { storage, log, sessionRetentionMs: retentionMs } = options;
    this.#sessions = new SessionSweeper({ storage, retentionMs, inBatch: (work) => log.inBatch(work) });
  }

  /** Keys that were removed because they had expired, since the start. */
  get expiredCount(): number {
    return this.#expired;
  }

  /** There is storage to reclaim. */
  noteGarbage(): void {
    this.#garbage.note();
  }

  start(): void {
    this.#running = true;
    this.#schedule(IDLE_MS);
  }

  stop(): void {
    this.#running = false;
    clearTimeout(this.#timer);
  }

  /** One look at everything, at most {@link SLICE} removals of each kind. True when there is more to do at once. */
  sweep(): boolean {
    let more = false;
    if (this.#sweeps++ % FRESH_EVERY === 0) this.#dueKeys.restart();
    for (const keyspace of this.#options.keyspaces()) {
      if (keyspace.expiringCount > 0 && this.#expire(keyspace)) more = true;
    }
    if (this.#garbage.reclaim((work) => this.#options.log.inBatch(work))) more = true;
    if (this.#sessions.sweep(this.#sessionPlaces(), this.#options.now())) more = true;
    return more;
  }

  *#sessionPlaces(): IterableIterator<SessionKeyspace> {
    const { log, keyspaces } = this.#options;
    for (const keyspace of keyspaces()) {
      yield {
        id: keyspace.id,
        leads: keyspace.shards.map((shard) => ({
          range: shard.machine.state.range,
          expire: (beforeMs: number) => log.inEntry(shard, (machine) => machine.expireSessions(beforeMs)),
        })),
        expiredBefore: (place) => keyspace.shards[keyspace.shardIndexAt(place)]!.machine.state.sessionsExpiredBeforeMs,
      };
    }
  }

  #schedule(delayMs: number): void {
    if (!this.#running) return;
    this.#timer = setTimeout(() => {
      let more = false;
      try {
        more = this.#options.storage.refusal === undefined && this.sweep();
      } catch (error) {
        // A full disk: what was to be removed waits.
        if (!isKeyfleetError(error)) throw error;
        this.#options.onError(error);
      }
      this.#schedule(more ? 1 : IDLE_MS);
    }, delayMs);
    this.#timer.unref();
  }

  #expire(keyspace: AnyKeyspaceRuntime): boolean {
    const { log, now } = this.#options;
    const table = keyspace.shards[0]!.machine.state.table;
    const { due, count, last } = this.#dueKeys.next(table, now(), SLICE);
    const byShard = new Map<number, Bytes[]>();
    for (const { key, position } of due) {
      const index = keyspace.shardIndexAt(position);
      const keys = byShard.get(index);
      if (keys) keys.push(key);
      else byShard.set(index, [key]);
    }
    let removed = 0;
    for (const [index, keys] of byShard) removed += log.inEntry(keyspace.shards[index]!, (machine) => machine.expireKeys(keys));
    this.#expired += removed;
    // An entry that was open already is of an earlier time, at which some had not expired: those come again.
    if (last && removed === count) this.#dueKeys.pass(table, last);
    return removed > 0 && count === SLICE;
  }
}
