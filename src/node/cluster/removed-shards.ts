import { type Bytes, concatBytes, fromUtf8, utf8 } from '../../base/bytes.ts';
import {
  behindPrefix,
  hookCursorKey,
  hookHeir,
  hookHeirKey,
  hookHeirRange,
  hookHeirShard,
  positionStart,
  sessionRange,
  shardOutboxRange,
  stateKey,
  systemKey,
  tableStart,
} from '../../shard/key-layout.ts';
import { expiryOf } from '../../shard/replica/shard-data.ts';
import { decodeShardState, type PositionRange, type ShardState } from '../../shard/shard-state.ts';
import { removeCounts } from '../../shard/slot-counts.ts';
import type { Storage } from '../../storage/storage.ts';

// What is left in storage of shards that have moved away, or were cleared: removed a little at a time, however often the node starts meanwhile. A
// shard is a range of a table, and ranges come back under other shards; so what a shard that is here has is never touched.

/** Pairs in one go: about a millisecond's work. */
const SLICE = 512;

interface Note {
  readonly keyspaceId: number;
  readonly table: number;
  readonly range: PositionRange;
  /** The sessions of its keys go too. */
  readonly sessions: boolean;
  /** So does what its hook was not told, unless another shard here is its heir. */
  readonly hookOf?: number;
}

const NOTES = systemKey('r', new Uint8Array(0));
const STATES = systemKey('s', new Uint8Array(0));

export class RemovedShards {
  readonly #storage: Storage;
  readonly #keyspaceIdOf: (shard: number) => number | undefined;
  #isDue = true;

  /** `keyspaceIdOf`: of a shard that is here, as far as that is known. */
  constructor(storage: Storage, keyspaceIdOf: (shard: number) => number | undefined) {
    this.#storage = storage;
    this.#keyspaceIdOf = keyspaceIdOf;
  }

  /** The shards whose state is in storage. */
  *stored(): IterableIterator<ShardState> {
    for (const { value } of this.#storage.scan({ from: STATES, to: behindPrefix(STATES) })) yield decodeShardState(value);
  }

  /** A shard is not on this node any more: its state goes now, its records later. Joins the open batch. */
  left(state: ShardState, keyspaceId: number): void {
    const { id, table, range } = state;
    this.givenUp(id);
    this.#note(id, { keyspaceId, table, range, sessions: true, hookOf: id });
  }

  /** A shard's state goes, and its records become another's. Joins the open batch. */
  givenUp(id: number): void {
    this.#storage.delete(stateKey(id));
    removeCounts(this.#storage, id);
    this.#storage.delete(hookCursorKey(id));
  }

  /** A shard has gone on in another table. Joins the open batch. */
  cleared(id: number, keyspaceId: number, table: number, range: PositionRange): void {
    this.#note(id, { keyspaceId, table, range, sessions: false });
  }

  /** Removes some, in a batch that `inBatch` opens. True when there is more to do at once. */
  remove(inBatch: (work: (batch: Storage) => void) => void): boolean {
    if (!this.#isDue) return false;
    const [found] = this.#storage.scan({ from: NOTES, to: behindPrefix(NOTES), limit: 1 });
    if (!found) {
      this.#isDue = false;
      return false;
    }
    const note = JSON.parse(fromUtf8(found.value)) as Note;
    const doomed = this.#doomed(note);
    inBatch((batch) => {
      for (const key of doomed) batch.delete(key);
      if (doomed.length < SLICE) batch.delete(found.key);
    });
    return true;
  }

  #note(id: number, note: Note): void {
    this.#storage.put(concatBytes(NOTES, tableStart(id), tableStart(note.table)), utf8(JSON.stringify(note)));
    this.#isDue = true;
  }

  /** The next keys to remove. */
  #doomed({ keyspaceId, table, range, sessions, hookOf }: Note): Bytes[] {
    const present = [...this.stored()];
    const doomed: Bytes[] = [];
    const sameTable = present.filter((state) => state.table === table).map((state) => state.range);
    for (const { from, to } of without(range, sameTable)) {
      const pairs = this.#storage.scan({ from: positionStart(table, from), to: positionStart(table, to), limit: SLICE - doomed.length });
      for (const { key, value } of pairs) {
        const expiry = expiryOf(table, key, value);
        if (expiry) doomed.push(expiry);
        doomed.push(key);
      }
      if (doomed.length >= SLICE) return doomed;
    }
    if (!sessions) return doomed;
    // Sessions know no table: those of every shard stay that is here and of this keyspace, or of which that is not known.
    const sameKeyspace = present.filter(({ id }) => (this.#keyspaceIdOf(id) ?? keyspaceId) === keyspaceId).map((state) => state.range);
    for (const place of without(range, sameKeyspace)) {
      for (const { key } of this.#storage.scan({ ...sessionRange(keyspaceId, place), limit: Math.max(1, SLICE - doomed.length) }))
        doomed.push(key);
      if (doomed.length >= SLICE) return doomed;
    }
    if (hookOf !== undefined && present.every(({ id }) => id !== hookOf))
      doomed.push(...this.#untold(keyspaceId, hookOf, SLICE - doomed.length));
    return doomed;
  }

  /** What the hook of a shard that is not here was not told, and of those that it took over; but for those of which a shard here is the heir. */
  #untold(keyspaceId: number, shard: number, limit: number): Bytes[] {
    const heirs = hookHeirRange(keyspaceId, shard);
    const untold: Bytes[] = [];
    const inherited = new Set<number>();
    const all = { from: hookHeirKey(keyspaceId, 0, 0), to: hookHeirKey(keyspaceId + 1, 0, 0) };
    for (const { key } of this.#storage.scan(all)) if (hookHeir(key) !== shard) inherited.add(hookHeirShard(key));
    const own = [...this.#storage.scan(heirs)].map(({ key }) => key);
    for (const from of [shard, ...own.map(hookHeirShard)]) {
      if (inherited.has(from)) continue;
      for (const { key } of this.#storage.scan({ ...shardOutboxRange(keyspaceId, from), limit: Math.max(1, limit - untold.length) }))
        untold.push(key);
      if (untold.length >= limit) return untold;
    }
    return [...untold, ...own];
  }
}

/** What of `range` is in none of `others`. */
export function without(range: PositionRange, others: readonly PositionRange[]): PositionRange[] {
  let left: PositionRange[] = [range];
  for (const other of others) {
    left = left.flatMap(({ from, to }) => {
      if (other.to <= from || other.from >= to) return [{ from, to }];
      const pieces: PositionRange[] = [];
      if (other.from > from) pieces.push({ from, to: other.from });
      if (other.to < to) pieces.push({ from: other.to, to });
      return pieces;
    });
  }
  return left;
}
