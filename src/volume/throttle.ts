import { setTimeout as sleep } from 'node:timers/promises';

/** Lets through at most so many bytes a second on average; a single piece may be larger. No limit: lets everything through at once. */
export class Throttle {
  readonly #bytesPerSecond: number | undefined;
  #freeAtMs = 0;
  #waiting = new AbortController();

  constructor(bytesPerSecond: number | undefined) {
    this.#bytesPerSecond = bytesPerSecond;
  }

  async take(bytes: number): Promise<void> {
    if (this.#bytesPerSecond === undefined) return;
    const nowMs = performance.now();
    const startMs = Math.max(nowMs, this.#freeAtMs);
    this.#freeAtMs = startMs + (bytes / this.#bytesPerSecond) * 1_000;
    if (startMs > nowMs) await sleep(startMs - nowMs, undefined, { signal: this.#waiting.signal }).catch(() => {});
  }

  /** Lets all who wait through. */
  release(): void {
    this.#freeAtMs = 0;
    this.#waiting.abort();
    this.#waiting = new AbortController();
  }
}
