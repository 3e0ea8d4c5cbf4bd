import type { NodeClock } from '../node-clock.ts';

/** Those who wait for a map to say something. */
export class MapWaiters {
  readonly #clock: NodeClock;
  readonly #waiting = new Set<() => void>();

  constructor(clock: NodeClock) {
    this.#clock = clock;
  }

  get isEmpty(): boolean {
    return this.#waiting.size === 0;
  }

  /** Looks whenever the map has changed; false when it did not come true in time. */
  within(ms: number, isTrue: () => boolean): Promise<boolean> {
    if (isTrue()) return Promise.resolve(true);
    return new Promise((resolve) => {
      const end = (outcome: boolean): void => {
        cancel();
        this.#waiting.delete(look);
        resolve(outcome);
      };
      const look = (): void => {
        if (isTrue()) end(true);
      };
      const cancel = this.#clock.after(ms, () => end(false));
      this.#waiting.add(look);
    });
  }

  changed(): void {
    for (const look of [...this.#waiting]) look();
  }
}
