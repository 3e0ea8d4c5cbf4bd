import { type Bytes, equalBytes } from '../base/bytes.ts';
import { sessionKeyOf, sessionPlace, sessionRange } from '../shard/key-layout.ts';
import { sessionUsedMs } from '../shard/sessions.ts';
import type { PositionRange } from '../shard/shard-state.ts';
import type { Storage } from '../storage/storage.ts';

// Lets sessions expire that were not used for so long, as entries of their shards, and then removes them from storage a little at a time, which no
// entry need say: an expired session counts as absent.

/** So many times in the life of a session it is looked whether it is over. */
const LOOKS = 16;
/** Pairs in one go. */
const SLICE = 512;

const ALL = { from: 0, to: 0x1_0000_0000 };

/** The sessions of a keyspace, as far as they are here. */
export interface SessionKeyspace {
  readonly id: number;
  /** The shards whose entries are made here. */
  readonly leads: readonly { readonly range: PositionRange; expire(beforeMs: number): void }[];
  /** Sessions of a place not used since have expired; undefined: the place is not here. */
  expiredBefore(place: number): number | undefined;
}

export interface SessionSweeperOptions {
  readonly storage: Storage;
  /** How long a session is kept after its last use. */
  readonly retentionMs: number;
  readonly inBatch: (work: (batch: Storage) => void) => void;
}

export class SessionSweeper {
  readonly #options: SessionSweeperOptions;
  #nextLookMs = 0;
  /** Where the removal goes on, by keyspace; absent: there is nothing to remove. */
  readonly #cursors = new Map<number, Bytes>();

  constructor(options: SessionSweeperOptions) {
    this.#options = options;
  }

  /** A look at every shard when it is time, and some removal. True when there is more to remove at once. */
  sweep(keyspaces: Iterable<SessionKeyspace>, nowMs: number): boolean {
    const isDue = nowMs >= this.#nextLookMs;
    if (isDue) this.#nextLookMs = nowMs + this.#options.retentionMs / LOOKS;
    else if (this.#cursors.size === 0) return false;
    let more = false;
    for (const keyspace of keyspaces) {
      if (isDue) this.#expire(keyspace, nowMs - this.#options.retentionMs);
      if (this.#remove(keyspace)) more = true;
    }
    return more;
  }

  #expire(keyspace: SessionKeyspace, beforeMs: number): void {
    if (beforeMs <= 0) return;
    for (const shard of keyspace.leads) {
      const [session] = this.#options.storage.scan({ ...sessionRange(keyspace.id, shard.range), limit: 1 });
      if (session) shard.expire(beforeMs);
    }
    const all = sessionRange(keyspace.id, ALL);
    const [any] = this.#options.storage.scan({ ...all, limit: 1 });
    if (any) this.#cursors.set(keyspace.id, all.from);
  }

  #remove(keyspace: SessionKeyspace): boolean {
    const from = this.#cursors.get(keyspace.id);
    if (!from) return false;
    const { storage, inBatch } = this.#options;
    const dead: Bytes[] = [];
    let session: Bytes | undefined;
    let isDead = false;
    let count = 0;
    let last = from;
    for (const { key, value } of storage.scan({ from, to: sessionRange(keyspace.id, ALL).to, limit: SLICE })) {
      count++;
      last = key;
      const owner = sessionKeyOf(key);
      if (owner === key) {
        session = key;
        isDead = sessionUsedMs(value) < (keyspace.expiredBefore(sessionPlace(key)) ?? Number.NEGATIVE_INFINITY);
      } else if (!session || !equalBytes(owner, session)) {
        // The slice before ended among a session's results: they are dead when it was.
        session = owner;
        isDead = !storage.has(owner);
      }
      if (isDead) dead.push(key);
    }
    if (dead.length > 0) {
      inBatch((batch) => {
        for (const key of dead) batch.delete(key);
      });
    }
    if (count < SLICE) {
      this.#cursors.delete(keyspace.id);
      return false;
    }
    const next = new Uint8Array(last.length + 1);
    next.set(last);
    this.#cursors.set(keyspace.id, next);
    return true;
  }
}
