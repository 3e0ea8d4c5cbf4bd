/** What a shard counts of its work. */
export interface Worker {
  /** Since it was opened, in units of one small command. */
  readonly load: number;
  readonly counts: { fadeLoad(): void };
}

/** A rate is taken over at least so long. */
const WINDOW_MS = 1_000;

/** How much work shards do a second: the last window for one half, those before for the other. */
export class LoadMeter {
  readonly #now: () => number;
  readonly #seen = new WeakMap<Worker, { load: number; atMs: number; perSecond: number }>();

  constructor(now: () => number) {
    this.#now = now;
  }

  /** To be called now and then. */
  look(worker: Worker): void {
    const nowMs = this.#now();
    const seen = this.#seen.get(worker);
    if (!seen) {
      this.#seen.set(worker, { load: worker.load, atMs: nowMs, perSecond: 0 });
      return;
    }
    const tookMs = nowMs - seen.atMs;
    if (tookMs < WINDOW_MS) return;
    const lately = ((worker.load - seen.load) / tookMs) * 1_000;
    this.#seen.set(worker, { load: worker.load, atMs: nowMs, perSecond: (seen.perSecond + lately) / 2 });
    worker.counts.fadeLoad();
  }

  perSecond(worker: Worker): number {
    return this.#seen.get(worker)?.perSecond ?? 0;
  }
}
