import { KeyfleetError } from '../../base/errors.ts';
import { isLed, showBeliefs } from '../../shard/replica/beliefs.ts';
import type { NodeClock } from '../node-clock.ts';
import type { HostedShard } from './hosted-shard.ts';
import type { ShardHost } from './shard-host.ts';

// A shard that nobody leads for longer than any take-over lasts is a fault, of ours or of what is below. Each node says what it believes of such a shard
// while that lasts, so that the fault explains itself: whose entries it waits for, what it has sent, what its log says.

const LOOK_MS = 500;
/** After it was told, for as long as nothing changes. */
const AGAIN_MS = 10_000;
/** An append that is not answered for so long met more than a busy server. */
const LATE_APPEND_MS = 1_500;

export interface LeaderWatchOptions {
  readonly clock: NodeClock;
  readonly host: ShardHost;
  /** So long a shard may be without a leader, as when one is replaced. */
  readonly patienceMs: number;
  /** KF_SHARD_LEADERLESS. */
  readonly onNews: (error: KeyfleetError) => void;
}

export class LeaderWatch {
  readonly #options: LeaderWatchOptions;
  /** Since when nobody leads, and when that was told last. */
  readonly #without = new Map<number, { readonly sinceMs: number; toldMs: number }>();
  #cancel: () => void = () => {};

  constructor(options: LeaderWatchOptions) {
    this.#options = options;
  }

  start(): void {
    this.#cancel = this.#options.clock.after(LOOK_MS, () => {
      this.start();
      this.#look();
    });
  }

  stop(): void {
    this.#cancel();
  }

  #look(): void {
    const { clock, host, patienceMs, onNews } = this.#options;
    const nowMs = clock.now().monoMs;
    const seen = new Set<number>();
    for (const shard of host.all()) {
      if (isWell(shard, patienceMs)) continue;
      seen.add(shard.id);
      const silentMs = shard.driver?.beliefs().silentMs ?? 0;
      let one = this.#without.get(shard.id);
      if (!one) this.#without.set(shard.id, (one = { sinceMs: nowMs - silentMs, toldMs: Number.NEGATIVE_INFINITY }));
      if (nowMs - one.sinceMs < patienceMs || nowMs - one.toldMs < AGAIN_MS) continue;
      one.toldMs = nowMs;
      const howLong = `${((nowMs - one.sinceMs) / 1_000).toFixed(1)} s`;
      onNews(
        new KeyfleetError('KF_SHARD_LEADERLESS', `nobody has led shard ${shard.id} for ${howLong}. This node ${beliefsOf(shard)}`, {
          retryable: true,
        }),
      );
    }
    for (const id of this.#without.keys()) if (!seen.has(id)) this.#without.delete(id);
  }
}

/** Somebody leads it as far as this node can know, or nobody is to. A node that is brought a shard knows nothing of it yet. */
function isWell({ driver }: HostedShard, patienceMs: number): boolean {
  if (!driver) return true;
  const beliefs = driver.beliefs();
  return (beliefs.status !== 'serving' && beliefs.status !== 'frozen') || isLed(beliefs, patienceMs);
}

/** What this node believes of a shard, and waits for. */
export function beliefsOf({ driver, log, isBringingData, lostReport, state }: HostedShard): string {
  if (lostReport)
    return state ? `has found its log lost, and stopped at entry ${state.applied}` : 'has found its log lost, and has no copy';
  if (driver) return [showBeliefs(driver.beliefs()), log?.describe?.()].filter((part) => part !== undefined).join('; ');
  return isBringingData ? 'is brought its data from another node' : 'has not opened its log';
}

/** What keeps a shard from being led, if this node has sent its log something and knows of no answer for longer than one takes. */
export function logTroubleOf({ driver }: HostedShard): string | undefined {
  const { sent = [], silentMs = 0 } = driver?.beliefs() ?? {};
  // What nobody knows of is remembered for a while after the log has gone on.
  if (silentMs <= LATE_APPEND_MS || !sent.some(({ fate, ageMs }) => fate !== 'appended' && ageMs > LATE_APPEND_MS)) return undefined;
  return `its log has taken no entry for ${(silentMs / 1_000).toFixed(1)} s; are most of its servers up?`;
}
