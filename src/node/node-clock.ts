import type { Instant } from '../shard/replica/host.ts';

/** Time for the parts of a node that keep leases and timeouts. The simulator has its own. */
export interface NodeClock {
  now(): Instant;
  /** Calls back once, after `ms` by this clock; returns the call that prevents it. */
  after(ms: number, callback: () => void): () => void;
  /** Calls back when all that this turn of the event loop brings has arrived. */
  atTurnEnd(callback: () => void): void;
}

/** What the time is taken from; tests put their own in its place. */
export interface TimeSource {
  readonly steadyMs: () => number;
  readonly wallMs: () => number;
}

export const SYSTEM_TIME: TimeSource = { steadyMs: () => performance.now(), wallMs: () => Date.now() };
/** The wall clock may run ahead by this much before it is taken for a suspend. */
const SUSPEND_MS = 50;

/**
 * The system's clocks. `monoMs` counts the time that the machine was suspended: the system's steady clock does not, so whatever the wall clock
 * is ahead of it is added. A wall clock set forward counts as a suspend too, which ends leases early and harms nothing; set back, it changes nothing.
 */
export class SystemClock implements NodeClock {
  readonly #source: TimeSource;
  /** The wall clock less the steady one, as it was last time. */
  #apart: number;
  #suspendedMs = 0;

  constructor(source: TimeSource = SYSTEM_TIME) {
    this.#source = source;
    this.#apart = source.wallMs() - source.steadyMs();
  }

  now(): Instant {
    const wallMs = this.#source.wallMs();
    const steadyMs = this.#source.steadyMs();
    const apart = wallMs - steadyMs;
    if (apart > this.#apart + SUSPEND_MS) this.#suspendedMs += apart - this.#apart;
    if (apart > this.#apart + SUSPEND_MS || apart < this.#apart) this.#apart = apart;
    return { monoMs: steadyMs + this.#suspendedMs, wallMs };
  }

  after(ms: number, callback: () => void): () => void {
    const timer = setTimeout(callback, ms);
    return () => clearTimeout(timer);
  }

  atTurnEnd(callback: () => void): void {
    setImmediate(callback);
  }
}
