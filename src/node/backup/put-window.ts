// How much of a restore is under way at a time. Blocks need no order, so many may be; but what is under way waits for the same disks as the requests of
// everybody else, and more of it than keeps those disks busy only makes all wait longer. So there is more of it for as long as that does not make a block
// take longer than one does alone, and soon less when it does.

/** One block, unless a value is longer. */
const LEAST_BYTES = 256 * 1024;
const MOST_BYTES = 4 * 1024 * 1024;
/** A block may take this much longer than the fastest so far. */
const PATIENCE_MS = 100;

export class PutWindow {
  #limitBytes = LEAST_BYTES;
  #busyBytes = 0;
  #fastestMs = Number.POSITIVE_INFINITY;
  /** When the window was last made smaller; what began before that has seen it as it was. Undefined: never yet. */
  #cutMs: number | undefined;
  readonly #waiting: (() => void)[] = [];

  /** What may be under way now. */
  get limitBytes(): number {
    return this.#limitBytes;
  }

  /** Fulfilled when there is room for `bytes`, or nothing else is under way. They are to {@link leave}. */
  async enter(bytes: number): Promise<void> {
    while (this.#busyBytes > 0 && this.#busyBytes + bytes > this.#limitBytes) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    this.#busyBytes += bytes;
  }

  leave(bytes: number): void {
    this.#busyBytes -= bytes;
    for (const wake of this.#waiting.splice(0)) wake();
  }

  /** A block was put that began at `beganMs` and was done at `endedMs`. */
  took(bytes: number, beganMs: number, endedMs: number): void {
    const ms = endedMs - beganMs;
    this.#fastestMs = Math.min(this.#fastestMs, ms);
    if (ms <= 2 * this.#fastestMs + PATIENCE_MS) {
      // Twice as much with each window that was put, at first; then a block more.
      const more = this.#cutMs === undefined ? bytes : (LEAST_BYTES * bytes) / this.#limitBytes;
      this.#limitBytes = Math.min(MOST_BYTES, this.#limitBytes + more);
    } else {
      this.failed(beganMs, endedMs);
    }
  }

  /** A block took too long, was refused, or nobody knows what became of it. */
  failed(beganMs: number, endedMs: number): void {
    if (this.#cutMs !== undefined && beganMs < this.#cutMs) return;
    this.#limitBytes = Math.max(LEAST_BYTES, this.#limitBytes / 2);
    this.#cutMs = endedMs;
  }
}
