/** `performance.now()`, read at most once in a turn of the event loop: for the hot path, where latencies are whole turns. */
export class TickClock {
  #nowMs = 0;
  #isFresh = false;
  readonly #expire = (): void => {
    this.#isFresh = false;
  };

  get nowMs(): number {
    if (this.#isFresh) return this.#nowMs;
    this.#isFresh = true;
    setImmediate(this.#expire);
    this.#nowMs = performance.now();
    return this.#nowMs;
  }
}
