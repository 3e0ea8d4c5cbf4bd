import { SYSTEM_TIME, type TimeSource } from './node-clock.ts';

/** How fast time goes on while it is ahead of the wall clock. */
const PACE = 0.5;

/**
 * The time by which keys of one machine expire: the wall clock's, in whole milliseconds since 1970, but never earlier than it has been. When the wall
 * clock is set back, time goes on from where it was at half the pace until the wall clock has caught up. Standing still for an hour instead
 * would keep a lock of ten seconds for an hour; so it is kept for twenty seconds.
 */
export class ForwardClock {
  readonly #source: TimeSource;
  /** A time that was told, and when that was by the steady clock: from there it goes on. */
  #fromMs = 0;
  #fromSteadyMs = 0;

  constructor(source: TimeSource = SYSTEM_TIME) {
    this.#source = source;
  }

  readonly now = (): number => {
    const wallMs = this.#source.wallMs();
    const steadyMs = this.#source.steadyMs();
    const leastMs = this.#fromMs + Math.floor(PACE * (steadyMs - this.#fromSteadyMs));
    if (wallMs < leastMs) return leastMs;
    this.#fromMs = wallMs;
    this.#fromSteadyMs = steadyMs;
    return wallMs;
  };
}
