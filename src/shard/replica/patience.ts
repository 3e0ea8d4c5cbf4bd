import type { ShardState } from '../shard-state.ts';
import type { ReplicaTiming } from './timing.ts';

/**
 * How long a replica waits before it claims a leadership: until no lease of the leader can last by any clock, and then for its turn. The argument:
 * docs/protocol/replication.md.
 */
export class Patience {
  /** Replicas claim in the order of their ranks. */
  rank: number;
  readonly #self: string;
  readonly #timing: ReplicaTiming;
  /** When this replica ran the last entry of the leader. */
  #heardMs: number;
  /** Added when it has resigned itself, so that another comes first. */
  #courtesyMs = 0;
  /** Until then it claims a vacant leadership without waiting for its turn. */
  #eagerUntilMs = Number.NEGATIVE_INFINITY;

  constructor({
    self,
    timing,
    rank,
    nowMs,
  }: { readonly self: string; readonly timing: ReplicaTiming; readonly rank: number; readonly nowMs: number }) {
    this.#self = self;
    this.#timing = timing;
    this.rank = rank;
    this.#heardMs = nowMs;
  }

  /** An entry of the leader has been run. */
  heard(nowMs: number): void {
    this.#heardMs = nowMs;
    this.#courtesyMs = 0;
  }

  /** This replica's own resignation has been run. */
  resigned(nowMs: number): void {
    this.#heardMs = nowMs;
    this.#courtesyMs = this.#timing.leaseMs / 2;
  }

  /** It is to lead as soon as nobody does. */
  hurry(nowMs: number): void {
    this.#eagerUntilMs = nowMs + this.#timing.leaseMs;
  }

  silentMs(nowMs: number): number {
    return nowMs - this.#heardMs;
  }

  /** How long it waits after the last entry of the leader. */
  waitMs(nowMs: number, { leader }: Readonly<ShardState>): number {
    // Nobody answers by a lease when nobody leads, or when this replica did before it was restarted.
    const isVacant = leader === '' || leader === this.#self;
    if (isVacant && nowMs < this.#eagerUntilMs) return 0;
    const { leaseMs, drift, claimStaggerMs } = this.#timing;
    return (isVacant ? 0 : leaseMs * (1 + drift)) + this.rank * claimStaggerMs + this.#courtesyMs;
  }
}
