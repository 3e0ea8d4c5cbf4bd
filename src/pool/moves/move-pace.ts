import { setTimeout as sleep } from 'node:timers/promises';

export interface PaceLimits {
  /** Bytes moved a second; undefined for as fast as it goes. */
  readonly bytesPerSecond?: number | undefined;
  /** The walk slows down while the foreground's 99th percentile is above so many milliseconds. */
  readonly foregroundP99Ms?: number | undefined;
}

const SLOWEST_PAUSE_MS = 200;
const LOOK_EVERY_MS = 250;

/**
 * Holds a walk back: by bytes a second, and by what the walk does to others. While the foreground's latency is above its limit, the pause after every batch doubles
 * (up to 200 ms); while it is below, the pause shrinks by a quarter at each look.
 */
export class MovePace {
  limits: PaceLimits;
  readonly #foregroundMs: () => number | undefined;
  #freeAtMs = 0;
  #pauseMs = 0;
  #lookedMs = 0;

  /** @param foregroundMs - The foreground's p99 of the last moment; undefined when nobody measured. */
  constructor(limits: PaceLimits, foregroundMs: () => number | undefined) {
    this.limits = limits;
    this.#foregroundMs = foregroundMs;
  }

  /** The pause after each batch that the foreground's latency calls for now. */
  get pauseMs(): number {
    return this.#pauseMs;
  }

  async take(bytes: number): Promise<void> {
    this.note();
    const nowMs = performance.now();
    const { bytesPerSecond } = this.limits;
    let waitMs = this.#pauseMs;
    if (bytesPerSecond !== undefined) {
      this.#freeAtMs = Math.max(nowMs, this.#freeAtMs) + (bytes / bytesPerSecond) * 1_000;
      waitMs = Math.max(waitMs, this.#freeAtMs - nowMs);
    }
    if (waitMs >= 1) await sleep(waitMs);
  }

  /** Looks at the foreground, when it is time. */
  note(): void {
    const limitMs = this.limits.foregroundP99Ms;
    const nowMs = performance.now();
    if (limitMs === undefined || nowMs - this.#lookedMs < LOOK_EVERY_MS) return;
    this.#lookedMs = nowMs;
    const measuredMs = this.#foregroundMs();
    if (measuredMs === undefined) return;
    this.#pauseMs = measuredMs > limitMs ? Math.min(SLOWEST_PAUSE_MS, Math.max(1, this.#pauseMs * 2)) : this.#pauseMs * 0.75;
    if (this.#pauseMs < 0.5) this.#pauseMs = 0;
  }
}
