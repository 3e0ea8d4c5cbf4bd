import { hookCursorKey, stateKey } from '../key-layout.ts';
import { encodeShardState, type PositionRange, type ShardState } from '../shard-state.ts';
import type { ShardStorage } from '../shard-storage.ts';
import { countsRange, removeCounts } from '../slot-counts.ts';
import { clearData, type KeyRange, recordRanges } from './shard-data.ts';

/**
 * Takes a shard away from a node that is to have it no more (../meta/hosting.ts), a little at a time. All calls write to the open batch. The state says
 * `faulted` from the first write on and goes with the last, so a node that dies in between finds that it has no sound copy, and begins again.
 *
 * What another shard of this node has as its own stays: the records of a shard that was taken over are those of its left neighbour here.
 */
export class ShardRemoval {
  readonly #storage: ShardStorage;
  readonly #state: ShardState;
  readonly #ranges: readonly KeyRange[];

  /** `beside`: the states of all other shards of this node. */
  constructor(options: {
    readonly storage: ShardStorage;
    readonly state: ShardState;
    readonly keyspaceId: number;
    readonly beside: Iterable<Pick<ShardState, 'id' | 'table' | 'range'>>;
  }) {
    const { storage, state, keyspaceId, beside } = options;
    this.#storage = storage;
    this.#state = state;
    let own: readonly PositionRange[] = [state.range];
    for (const { id, table, range } of beside) {
      if (id !== state.id && table === state.table) own = own.flatMap((part) => without(part, range));
    }
    this.#ranges = [countsRange(state.id), ...own.flatMap((range) => recordRanges(state.table, range, keyspaceId))];
  }

  /** Says that what is here is no sound copy from now on. @throws what the storage throws. */
  begin(): void {
    this.#storage.put(stateKey(this.#state.id), encodeShardState({ ...this.#state, status: 'faulted' }));
  }

  /** Removes at most `limit` pairs; true when nothing is left, not even the state. */
  step(limit: number): boolean {
    if (!clearData(this.#storage, this.#state.table, this.#ranges, limit)) return false;
    this.#storage.delete(hookCursorKey(this.#state.id));
    this.#storage.delete(stateKey(this.#state.id));
    return true;
  }
}

/**
 * Forgets a shard whose records are about to be, or are, another's: one that was taken over by the shard of which a snapshot is brought here. In the
 * batch that begins the snapshot, so that the forgotten one's log is run over the new records by nobody.
 */
export function forgetShard(storage: ShardStorage, id: number): void {
  removeCounts(storage, id);
  storage.delete(hookCursorKey(id));
  storage.delete(stateKey(id));
}

/** What of `whole` is not in `part`. */
function without(whole: PositionRange, part: PositionRange): PositionRange[] {
  const pieces = [
    { from: whole.from, to: Math.min(whole.to, part.from) },
    { from: Math.max(whole.from, part.to), to: whole.to },
  ];
  return pieces.filter(({ from, to }) => from < to);
}
