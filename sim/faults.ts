import type { Prng } from '../src/base/prng.ts';

/** What may go wrong. A seed chooses which of them exist in its run, and how often each strikes. */
export const FAULT_KINDS = [
  'crash',
  'pause',
  'partition',
  'disk-full',
  'slow-disk',
  'slow-log',
  'append-lost',
  'append-answer-lost',
  'append-late',
  'append-doubled',
  'stale-read',
  'read-failed',
  'hint-lost',
  'message-lost',
  'message-doubled',
  'clock-rates',
  'resign',
] as const;

export type FaultKind = (typeof FAULT_KINDS)[number];

/** Which faults exist, and how often each struck. */
export class Faults {
  readonly enabled: ReadonlySet<FaultKind>;
  readonly counts = new Map<FaultKind, number>();
  readonly #chance: Prng;
  /** Off in the liveness phase: nothing new goes wrong. */
  active = true;

  constructor(chance: Prng, enabled?: readonly FaultKind[]) {
    this.#chance = chance;
    // One run in ten has none at all, the others each with even odds.
    const none = chance.below(10) === 0;
    this.enabled = new Set(enabled ?? FAULT_KINDS.filter(() => chance.below(2) === 0 && !none));
  }

  /** Whether the fault strikes now, one time in `oneIn`; counts it. */
  strikes(kind: FaultKind, oneIn: number): boolean {
    if (!this.active || !this.enabled.has(kind) || this.#chance.below(oneIn) !== 0) return false;
    this.count(kind);
    return true;
  }

  count(kind: FaultKind): void {
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1);
  }
}
