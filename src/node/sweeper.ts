import { type Bytes, equalBytes } from '../base/bytes.ts';
import { isKeyfleetError } from '../base/errors.ts';
import type { LocalLog } from '../log/local.ts';
import { behindPrefix, dueRange, expiryTarget, garbageKey, parseStorageKey, systemKey } from '../shard/key-layout.ts';
import { decodeRecordHeader } from '../shard/record.ts';
import type { Storage } from '../storage/storage.ts';
import type { KeyspaceRuntime } from './keyspace-runtime.ts';
import { SessionSweeper } from './session-sweeper.ts';

// What a node does on its own, a little at a time: it removes keys that have expired, as entries of their shards (all replicas remove the
// same ones), and storage that nothing refers to any more (old tables, old cells), which no entry need say.

/** Between two looks when there was nothing to do. */
const IDLE_MS = 100;
/** Keys or pairs in one go: about a millisecond's work. */
const SLICE = 512;
/** So often a sweep begins at the start again, instead of where the last one came to: what was removed is still walked over for a while. */
const FRESH_EVERY = 100;

export type AnyKeyspaceRuntime = KeyspaceRuntime<never, never, unknown, never, unknown>;

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
  #garbage = true;
  #timer: NodeJS.Timeout | undefined;
  #running = false;
  #expired = 0;
  /** How far the sweep of a table's order of expiry has come. */
  readonly #sweptTo = new Map<number, Bytes>();
  #sweeps = 0;
  /** How far the removal of the first range of garbage has come. */
  #reclaimed: { readonly note: Bytes; readonly to: Bytes } | undefined;

  constructor(options: SweeperOptions) {
    this.#options = options;
    this.#sessions = new SessionSweeper({ ...options, retentionMs: options.sessionRetentionMs });
  }

  /** Keys that were removed because they had expired, since the start. */
  get expiredCount(): number {
    return this.#expired;
  }

  /** There is storage to reclaim. */
  noteGarbage(): void {
    this.#garbage = true;
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
    if (this.#sweeps++ % FRESH_EVERY === 0) this.#sweptTo.clear();
    for (const keyspace of this.#options.keyspaces()) {
      if (keyspace.expiringCount > 0 && this.#expire(keyspace)) more = true;
    }
    if (this.#garbage && this.#reclaim()) more = true;
    if (this.#sessions.sweep(this.#options.keyspaces(), this.#options.now())) more = true;
    return more;
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
    const { storage, log, now } = this.#options;
    const table = keyspace.shards[0]!.machine.state.table;
    const due = new Map<number, Bytes[]>();
    let count = 0;
    const range = dueRange(table, now());
    const from = this.#sweptTo.get(table) ?? range.from;
    let last: Bytes | undefined;
    for (const { key: indexKey } of storage.scan({ from, to: range.to, limit: SLICE })) {
      count++;
      last = indexKey;
      const { recordStorageKey } = expiryTarget(indexKey);
      const parsed = parseStorageKey(recordStorageKey);
      const key = parsed.key ?? fullKey(storage, recordStorageKey);
      if (!key) continue;
      const index = keyspace.shardIndexAt(parsed.position);
      const keys = due.get(index);
      if (keys) keys.push(key);
      else due.set(index, [key]);
    }
    let removed = 0;
    for (const [index, keys] of due) removed += log.inEntry(keyspace.shards[index]!, (machine) => machine.expireKeys(keys));
    this.#expired += removed;
    // An entry that was open already is of an earlier time, at which some had not expired: those come again.
    if (last && removed === count) this.#sweptTo.set(table, last);
    return removed > 0 && count === SLICE;
  }

  /** Removes some of the first range of garbage; the note goes when the range is empty. */
  #reclaim(): boolean {
    const { storage, log } = this.#options;
    const notes = systemKey('g', new Uint8Array(0));
    const [note] = storage.scan({ from: notes, to: behindPrefix(notes), limit: 1 });
    if (!note) {
      this.#garbage = false;
      return false;
    }
    const from = note.key.slice(notes.length);
    const resumed = this.#reclaimed && equalBytes(this.#reclaimed.note, note.key) ? this.#reclaimed.to : from;
    const keys: Bytes[] = [];
    for (const { key } of storage.scan({ from: resumed, to: note.value, limit: SLICE })) keys.push(key);
    log.inBatch((batch) => {
      for (const key of keys) batch.delete(key);
      if (keys.length < SLICE) batch.delete(garbageKey(from));
    });
    this.#reclaimed = keys.length < SLICE ? undefined : { note: note.key, to: keys.at(-1)! };
    return true;
  }
}

function fullKey(storage: Storage, recordStorageKey: Bytes): Bytes | undefined {
  const stored = storage.get(recordStorageKey);
  if (!stored) return undefined;
  const header = { expireAtMs: undefined, generation: 0, sizeBytes: 0, key: undefined as Bytes | undefined };
  decodeRecordHeader(stored, header);
  return header.key;
}
