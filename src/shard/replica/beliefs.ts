import type { EntryKind } from '../entry.ts';
import type { ShardState, ShardStatus } from '../shard-state.ts';
import type { Patience } from './patience.ts';
import type { Proposal } from './pipeline.ts';
import type { Footing, Reign } from './reign.ts';

/** What a replica believes and waits for. Times are milliseconds from now. */
export interface ReplicaBeliefs {
  readonly role: Footing | 'follower';
  readonly status: ShardStatus;
  readonly epoch: number;
  /** Empty: nobody leads. */
  readonly leader: string;
  /** The leader's last entry that has had effect here. */
  readonly leaderSeq: number;
  readonly applied: number;
  /** Since it ran that entry. */
  readonly silentMs: number;
  /** For how long it may answer by its lease. */
  readonly leaseMs: number;
  /** Until it claims, if it hears nothing. */
  readonly claimInMs: number;
  readonly isResigning: boolean;
  /** What it has sent to the log and not run. */
  readonly sent: readonly { readonly kind: EntryKind; readonly seq: number; readonly fate: string; readonly ageMs: number }[];
  readonly isReading: boolean;
  readonly isStalled: boolean;
  readonly hasCaughtUp: boolean;
  readonly needsSnapshot: boolean;
}

/** What a replica's parts say at `nowMs` by its clock. */
export function beliefsOf(
  parts: {
    readonly state: Readonly<ShardState>;
    readonly reign: Reign | undefined;
    readonly leaseUntilMs: number;
    readonly patience: Patience;
    readonly proposals: readonly Proposal<unknown>[];
  } & Pick<ReplicaBeliefs, 'isReading' | 'isStalled' | 'hasCaughtUp' | 'needsSnapshot'>,
  nowMs: number,
): ReplicaBeliefs {
  const { state, reign, leaseUntilMs, patience, proposals, isReading, isStalled, hasCaughtUp, needsSnapshot } = parts;
  const { status, epoch, leader, leaderSeq, applied } = state;
  const silentMs = patience.silentMs(nowMs);
  return {
    role: reign?.footing ?? 'follower',
    ...{ status, epoch, leader, leaderSeq, applied, silentMs },
    leaseMs: leaseUntilMs - nowMs,
    claimInMs: patience.waitMs(nowMs, state) - silentMs,
    isResigning: reign?.resigning ?? false,
    sent: proposals.map(({ kind, seq, fate, sentMs }) => ({ kind, seq, fate, ageMs: nowMs - sentMs })),
    ...{ isReading, isStalled, hasCaughtUp, needsSnapshot },
  };
}

/** Somebody leads, as far as this replica can know: it does itself, or has heard of the leader within `patienceMs`. */
export function isLed({ role, leader, leaseMs, silentMs }: ReplicaBeliefs, patienceMs: number): boolean {
  if (role !== 'follower') return leaseMs > 0;
  return leader !== '' && silentMs < patienceMs;
}

/** In one line. */
export function showBeliefs(one: ReplicaBeliefs): string {
  const { role, status, epoch, leader, leaderSeq, applied, silentMs, leaseMs, claimInMs, sent } = one;
  const said: string[] = [
    role === 'follower'
      ? `follows ${leader || 'nobody'} in epoch ${epoch}, heard ${seconds(silentMs)} ago at entry ${leaderSeq}`
      : `leads in epoch ${epoch}${one.isResigning ? ', resigning' : ''} (${role}), its lease ${leaseMs > 0 ? `has ${seconds(leaseMs)} left` : 'is over'}`,
    `has run entry ${applied}`,
  ];
  if (role === 'follower') said.push(claimInMs > 0 ? `claims in ${seconds(claimInMs)}` : `could claim since ${seconds(-claimInMs)}`);
  for (const { kind, seq, fate, ageMs } of sent.slice(0, 4)) said.push(`sent ${kind} ${seq} ${seconds(ageMs)} ago (${fate})`);
  if (sent.length > 4) said.push(`and ${sent.length - 4} more`);
  if (status !== 'serving') said.push(`is ${status}`);
  if (one.isReading) said.push('is reading its log');
  if (one.isStalled) said.push('could not run its next entry');
  if (!one.hasCaughtUp) said.push('has not read its log to the end');
  if (one.needsSnapshot) said.push('waits for data from another node');
  return said.join('; ');
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`;
}
