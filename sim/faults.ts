import type { Prng } from '../src/base/prng.ts';

/** What may go wrong. A seed chooses which of them exist in its run, and how often each strikes. */
export const FAULT_KINDS = [
  'crash',
  'death-in-step',
  'blackout',
  'log-lost',
  'pause',
  'pause-in-step',
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
  'truncation',
  'skipping-read',
  'resign',
  'sessions-expired',
] as const;

export type FaultKind = (typeof FAULT_KINDS)[number];

/** Which faults exist, and how often each struck. */
export class Faults {
  readonly enabled: ReadonlySet<FaultKind>;
  readonly counts = new Map<FaultKind, number>();
  readonly #chance: Prng;
  /** How often each kind strikes: from as said to eight times as often. */
  readonly #eagerness = new Map<FaultKind, number>();
  /** Off in the liveness phase: nothing new goes wrong. */
  active = true;

  /** `isEager`: each kind strikes as often as it may. */
  constructor(chance: Prng, enabled: readonly FaultKind[] | undefined, isEager: boolean) {
    this.#chance = chance;
    // One run in ten has none at all, the others each with even odds.
    const none = chance.below(10) === 0;
    this.enabled = new Set(enabled ?? FAULT_KINDS.filter((kind) => chance.below(2) === 0 && !none && kind !== 'log-lost'));
    for (const kind of FAULT_KINDS) this.#eagerness.set(kind, 2 ** (isEager ? 2 + chance.below(2) : chance.below(4)));
  }

  /** Whether the fault strikes now, one time in `oneIn` where it is least eager; counts it. */
  strikes(kind: FaultKind, oneIn: number): boolean {
    if (!this.active || !this.enabled.has(kind) || this.#chance.below(Math.ceil(oneIn / this.#eagerness.get(kind)!)) !== 0) return false;
    this.count(kind);
    return true;
  }

  count(kind: FaultKind): void {
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1);
  }
}
