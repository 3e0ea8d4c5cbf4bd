import type { KeyspaceRecord } from '../../shard/meta/meta-records.ts';

/** Who leads a shard, as far as somebody has said. A hint: whoever is asked knows better, and the log best. */
export interface LeaderHint {
  readonly leader: string;
  readonly epoch: number;
}

export class LeaderHints {
  readonly #hints = new Map<number, LeaderHint>();
  readonly #self: string;
  readonly #onNews: (shard: number) => void;

  /** `onNews`: another leader than before has become known. */
  constructor(self: string, onNews: (shard: number) => void) {
    this.#self = self;
    this.#onNews = onNews;
  }

  of(shard: number): LeaderHint | undefined {
    return this.#hints.get(shard);
  }

  /**
   * Somebody says who leads; what is of an older epoch than what is known says nothing. Epoch 0: the epoch is not known. That this node leads nobody
   * knows better than itself: who says so has not heard yet that it was replaced.
   */
  note(shard: number, leader: string, epoch = 0): void {
    const known = this.#hints.get(shard);
    if (leader === '' || leader === this.#self || (epoch !== 0 && known !== undefined && epoch < known.epoch)) return;
    if (known?.leader === leader && known.epoch >= epoch) return;
    this.#hints.set(shard, { leader, epoch: Math.max(epoch, known?.epoch ?? 0) });
    this.#onNews(shard);
  }

  /** It does not lead any more, or cannot be reached. */
  forget(shard: number, leader: string): void {
    const known = this.#hints.get(shard);
    if (known?.leader === leader) this.#hints.set(shard, { leader: '', epoch: known.epoch });
  }

  drop(shard: number): void {
    this.#hints.delete(shard);
  }
}

/** The shard of a map that has `position`. */
export function mappedShardAt({ shards }: KeyspaceRecord, position: number): KeyspaceRecord['shards'][number] {
  let low = 0;
  let high = shards.length;
  while (high - low > 1) {
    const middle = (low + high) >>> 1;
    if (shards[middle]!.range.from <= position) low = middle;
    else high = middle;
  }
  return shards[low]!;
}
