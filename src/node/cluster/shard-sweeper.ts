import type { Bytes } from '../../base/bytes.ts';
import { isKeyfleetError } from '../../base/errors.ts';
import { META_SHARD_ID } from '../../shard/meta/meta-records.ts';
import type { Storage } from '../../storage/storage.ts';
import { DueKeys } from '../due-keys.ts';
import { Garbage } from '../garbage.ts';
import type { GroupCommit } from '../group-commit.ts';
import type { NodeClock } from '../node-clock.ts';
import { type SessionKeyspace, SessionSweeper } from '../session-sweeper.ts';
import type { HostedShard } from './hosted-shard.ts';
import type { RemovedShards } from './removed-shards.ts';
import type { ShardHost } from './shard-host.ts';

// What a node of a cluster does on its own, a little at a time: as leader it has expired keys and sessions removed, by entries, so that all replicas
// remove the same; and it removes from its storage what nothing refers to any more, of which no entry need say.

const IDLE_MS = 100;
const BUSY_MS = 2;
/** Keys in one entry. */
const SLICE = 512;
const FRESH_EVERY = 100;

export interface ShardSweeperOptions {
  readonly storage: Storage;
  readonly commits: GroupCommit;
  readonly clock: NodeClock;
  readonly host: ShardHost;
  readonly removed: RemovedShards;
  readonly sessionRetentionMs: number;
  readonly onError: (error: Error) => void;
}

export class ShardSweeper {
  readonly garbage: Garbage;
  readonly #options: ShardSweeperOptions;
  readonly #dueKeys: DueKeys;
  readonly #sessions: SessionSweeper;
  /** Shards with expired keys on their way to the log. */
  readonly #expiring = new Set<number>();
  #sweeps = 0;
  #cancel: () => void = () => {};
  #isStopped = false;

  constructor(options: ShardSweeperOptions) {
    const { storage, sessionRetentionMs: retentionMs } = options;
    this.#options = options;
    this.garbage = new Garbage(storage);
    this.#dueKeys = new DueKeys(storage);
    this.#sessions = new SessionSweeper({ storage, retentionMs, inBatch: (work) => this.#inBatch(work) });
  }

  start(delayMs = IDLE_MS): void {
    if (this.#isStopped) return;
    this.#cancel = this.#options.clock.after(delayMs, () => {
      let more = false;
      try {
        more = this.#options.storage.refusal === undefined && this.#sweep();
      } catch (error) {
        // A full disk: what was to be removed waits.
        if (!isKeyfleetError(error)) throw error;
        this.#options.onError(error);
      }
      this.start(more ? BUSY_MS : IDLE_MS);
    });
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancel();
  }

  /** True when there is more to do at once. */
  #sweep(): boolean {
    const { clock, removed } = this.#options;
    const { wallMs } = clock.now();
    if (this.#sweeps++ % FRESH_EVERY === 0) this.#dueKeys.restart();
    const byKeyspace = new Map<number, HostedShard[]>();
    for (const shard of this.#options.host.all()) {
      if (!shard.machine) continue;
      const known = byKeyspace.get(shard.keyspace.id);
      if (known) known.push(shard);
      else byKeyspace.set(shard.keyspace.id, [shard]);
    }
    let more = false;
    for (const shards of byKeyspace.values()) if (this.#expire(shards, wallMs)) more = true;
    if (this.#sessions.sweep(sessionsOf(byKeyspace), wallMs)) more = true;
    if (this.garbage.reclaim((work) => this.#inBatch(work))) more = true;
    if (removed.remove((work) => this.#inBatch(work))) more = true;
    return more;
  }

  #expire(shards: readonly HostedShard[], nowMs: number): boolean {
    let more = false;
    const led = shards.filter((shard) => shard.leads && shard.id !== META_SHARD_ID && shard.state!.expiringCount > 0);
    for (const table of new Set(led.map(({ state }) => state!.table))) {
      const { due, count, last } = this.#dueKeys.next(table, nowMs, SLICE);
      let isWaiting = false;
      for (const shard of led) {
        const { range, status } = shard.state!;
        const keys = due.filter(({ position }) => position >= range.from && position < range.to).map(({ key }) => key);
        if (keys.length === 0 || status !== 'serving') continue;
        if (this.#expiring.has(shard.id)) isWaiting = true;
        else this.#submit(shard, keys);
      }
      if (last && !isWaiting) this.#dueKeys.pass(table, last);
      if (count === SLICE) more = true;
    }
    return more;
  }

  #submit(shard: HostedShard, keys: readonly Bytes[]): void {
    this.#expiring.add(shard.id);
    const over = (): void => {
      this.#expiring.delete(shard.id);
    };
    shard.driver?.submit({ kind: 'expire-keys', keys }, { settled: over, failed: over }, 0);
  }

  #inBatch(work: (batch: Storage) => void): void {
    const { storage, commits } = this.#options;
    const savepoint = storage.savepoint();
    try {
      work(storage);
    } catch (error) {
      storage.rollback(savepoint);
      throw error;
    }
    commits.wrote();
  }
}

function* sessionsOf(byKeyspace: ReadonlyMap<number, readonly HostedShard[]>): IterableIterator<SessionKeyspace> {
  for (const [id, shards] of byKeyspace) {
    yield {
      id,
      leads: shards
        .filter(({ leads }) => leads)
        .map((shard) => ({
          range: shard.state!.range,
          expire: (beforeMs: number) => shard.driver?.submit({ kind: 'expire-sessions', beforeMs }, NOBODY, 0),
        })),
      expiredBefore: (place) => {
        const shard = shards.find(({ state }) => state !== undefined && place >= state.range.from && place < state.range.to);
        return shard?.state?.sessionsExpiredBeforeMs;
      },
    };
  }
}

const NOBODY = { settled: (): void => {}, failed: (): void => {} };
