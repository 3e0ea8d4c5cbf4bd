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

/** What chance may choose for a cluster, whose leaders resign and whose sessions expire by themselves. */
export const CLUSTER_FAULT_KINDS = FAULT_KINDS.filter((kind) => !['resign', 'sessions-expired', 'log-lost'].includes(kind));

/** Which faults exist, and how often each struck. */
export class Faults {
  readonly enabled: ReadonlySet<FaultKind>;
  readonly counts = new Map<FaultKind, number>();
  readonly #chance: Prng;
  /** How often each kind strikes: from as said to eight times as often. */
  readonly #eagerness = new Map<FaultKind, number>();
  readonly #orders = new Set<{ readonly kind: FaultKind; readonly where: string; left: number }>();
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

  /** From now on a kind strikes at one place every time, whatever the seed chose; at most `times`. Returns the call that ends it. */
  order(kind: FaultKind, where: string, times = Number.POSITIVE_INFINITY): () => void {
    const order = { kind, where, left: times };
    this.#orders.add(order);
    return () => this.#orders.delete(order);
  }

  /** Whether the fault strikes now, one time in `oneIn` where it is least eager; counts it. `where`: a place that {@link order} may mean. */
  strikes(kind: FaultKind, oneIn: number, where?: string): boolean {
    for (const order of this.#orders) {
      if (order.kind !== kind || order.where !== where || order.left-- <= 0) continue;
      this.count(kind);
      return true;
    }
    if (!this.active || !this.enabled.has(kind) || this.#chance.below(Math.ceil(oneIn / this.#eagerness.get(kind)!)) !== 0) return false;
    this.count(kind);
    return true;
  }

  count(kind: FaultKind): void {
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1);
  }
}
