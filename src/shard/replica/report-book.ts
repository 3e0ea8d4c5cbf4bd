/**
 * What replicas have said of how far their storages are, and so what the log may forget: what all of those heard of lately have, less a margin,
 * and never what fewer than two have. A replica that was silent for long comes back by a snapshot.
 */
export class ReportBook {
  readonly #lostMs: number;
  readonly #keptEntries: number;
  readonly #reports = new Map<string, { durableSeq: number; atMs: number }>();

  constructor(options: { readonly lostMs: number; readonly keptEntries: number }) {
    this.#lostMs = options.lostMs;
    this.#keptEntries = options.keptEntries;
  }

  /** A late report of less than is known says nothing new, except that its replica lives. */
  note(from: string, durableSeq: number, nowMs: number): void {
    const known = this.#reports.get(from);
    this.#reports.set(from, { durableSeq: Math.max(durableSeq, known?.durableSeq ?? 0), atMs: nowMs });
  }

  /** 0: nothing. */
  truncateUpto(nowMs: number): number {
    let lowest = Number.POSITIVE_INFINITY;
    let count = 0;
    for (const { durableSeq, atMs } of this.#reports.values()) {
      if (nowMs - atMs > this.#lostMs) continue;
      lowest = Math.min(lowest, durableSeq);
      count++;
    }
    return count < 2 ? 0 : Math.max(0, lowest - this.#keptEntries);
  }
}
