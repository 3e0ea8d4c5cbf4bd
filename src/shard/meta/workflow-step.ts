import type { ControlCommand } from '../control-command.ts';
import type { ShardState } from '../shard-state.ts';
import type { MapChange, Workflow } from './shard-map.ts';

// The next step of a split, merge or move, found from what the meta shard and the shards say of themselves and from nothing else. So it does not
// matter who took the steps before, or when he died: whoever looks next goes on from there, and two who look at once do the same.

export type WorkflowStep =
  /** An entry of a shard. */
  | { readonly kind: 'append'; readonly shard: number; readonly command: ControlCommand }
  /** A command to the meta shard. */
  | { readonly kind: 'meta'; readonly change: MapChange }
  /**
   * The state of a shard that was taken over goes, and the meta shard forgets it, in one batch. In a cluster: the meta shard forgets it, and then each
   * node removes what it has of it (hosting.ts).
   */
  | { readonly kind: 'forget'; readonly shard: number; readonly change: MapChange };

/** What a node has said last of its copy of a shard. */
export interface ReplicaReport {
  /** It has read the shard's log to its end since it has the shard, and so far it is durable. */
  readonly isCaughtUp: boolean;
  readonly durableSeq: number;
  /** The workflow for which it was brought the shard: what it said of a copy that it had before counts for nothing. */
  readonly joins?: number | undefined;
}

/** What is known of a cluster's nodes, by the leader of the meta shard. */
export interface ClusterSight {
  /** Undefined: nothing, lately. */
  report(shard: number, node: string): ReplicaReport | undefined;
  /** It is up or draining. */
  isLive(node: string): boolean;
  /** The nodes that are to have a shard; none when there is no such shard. */
  replicas(shard: number): readonly string[];
  /** Who has run no fewer entries of a shard goes on by its log, which may have forgotten those before. */
  neededSeq(shard: number): number;
}

/**
 * Undefined: there is nothing to do for now, since this node has not run what has been appended, or does not have the shards. `sight`: without it, on
 * one machine, and on nodes that do not lead the meta shard, no step is seen that depends on what other nodes have.
 */
export function nextStep(
  workflow: Workflow,
  stateOf: (shard: number) => ShardState | undefined,
  sight?: ClusterSight,
): WorkflowStep | undefined {
  switch (workflow.kind) {
    case 'split':
      return nextOfSplit(workflow, stateOf);
    case 'merge':
      return workflow.gathers ? nextOfGathering(workflow, workflow.gathers, sight) : nextOfMerge(workflow, stateOf);
    case 'retire':
      return nextOfRetire(workflow, stateOf, sight);
    case 'move': {
      const { op, shard, add } = workflow;
      return sight?.isLive(add) && hasJoined(sight, op, shard, add) ? { kind: 'meta', change: { kind: 'move-done', op } } : undefined;
    }
  }
}

function hasJoined(sight: ClusterSight, op: number, shard: number, node: string): boolean {
  const report = sight.report(shard, node);
  return report?.joins === op && report.isCaughtUp;
}

/** It has all that only replicas can give. */
function isCurrent(sight: ClusterSight, shard: number, node: string): boolean {
  const report = sight.report(shard, node);
  if (!report || !sight.isLive(node)) return false;
  return report.isCaughtUp && report.durableSeq >= sight.neededSeq(shard);
}

/** The change takes a replica away from a shard, and none of those that stay has all that only replicas can give: what the others lack would be lost. */
export function leavesNobodyCurrent(change: MapChange, sight: ClusterSight): boolean {
  if (change.kind !== 'move' || change.remove === undefined || change.add !== undefined) return false;
  const { shard, remove } = change;
  return !sight.replicas(shard).some((node) => node !== remove && isCurrent(sight, shard, node));
}

/**
 * Those nodes of the left shard that live have the right one too: from now on it is theirs, and the merge is between neighbours on each of them. One of them at
 * least goes on by the log, and the others have what they lack from it: a node that was a replica before may be far behind those that are none from now on.
 */
function nextOfGathering(
  { op, left, right }: Workflow & { kind: 'merge' },
  gathers: readonly string[],
  sight: ClusterSight | undefined,
): WorkflowStep | undefined {
  if (!sight) return undefined;
  const has = (node: string): boolean => !gathers.includes(node) || hasJoined(sight, op, right, node);
  const nodes = sight.replicas(left).filter(has);
  const missing = gathers.filter((node) => sight.isLive(node) && !nodes.includes(node));
  if (missing.length > 0 || !nodes.some((node) => isCurrent(sight, right, node))) return undefined;
  return { kind: 'meta', change: { kind: 'gathered', op, nodes } };
}

/** A replica of the left shard that has not run the commit needs the right one to run it. */
function nextOfRetire(
  workflow: Workflow & { kind: 'retire' },
  stateOf: (shard: number) => ShardState | undefined,
  sight: ClusterSight | undefined,
): WorkflowStep | undefined {
  const { op, shard, left, leftSeq = 0, replicas } = workflow;
  const forget: WorkflowStep = { kind: 'forget', shard, change: { kind: 'retired', op } };
  if (!replicas || left === undefined) {
    return stateOf(shard)?.status === 'frozen' ? { kind: 'append', shard, command: { kind: 'retired', op } } : forget;
  }
  if (!sight) return undefined;
  const needs = (node: string): boolean => sight.replicas(left).includes(node) && !((sight.report(left, node)?.durableSeq ?? 0) >= leftSeq);
  return replicas.some(needs) ? undefined : forget;
}

function nextOfSplit(workflow: Workflow & { kind: 'split' }, stateOf: (shard: number) => ShardState | undefined): WorkflowStep | undefined {
  const { op, parent: shard, at, child, isCancelling } = workflow;
  const parent = stateOf(shard);
  if (!parent) return undefined;
  if (parent.op < op) {
    return { kind: 'append', shard, command: isCancelling ? { kind: 'split-cancel', op } : { kind: 'split-mark', op, at, child } };
  }
  if (parent.op === op && parent.phase === 'cancelled') return { kind: 'meta', change: { kind: 'cancelled', op } };
  const born = stateOf(child);
  if (!born) return undefined;
  if (born.status !== 'awaiting-genesis') return { kind: 'meta', change: { kind: 'split-done', op } };
  return { kind: 'append', shard: child, command: { kind: 'genesis', op, parent: born.peer, parentSeq: born.peerSeq } };
}

function nextOfMerge(workflow: Workflow & { kind: 'merge' }, stateOf: (shard: number) => ShardState | undefined): WorkflowStep | undefined {
  const { op, left, right, isCancelling } = workflow;
  const leftState = stateOf(left);
  const rightState = stateOf(right);
  if (!leftState || !rightState) return undefined;
  const toLeft = (command: ControlCommand): WorkflowStep => ({ kind: 'append', shard: left, command });
  const toRight = (command: ControlCommand): WorkflowStep => ({ kind: 'append', shard: right, command });
  const cancel = toLeft({ kind: 'merge-cancel', op });
  if (leftState.op < op) return isCancelling ? cancel : toLeft({ kind: 'merge-prepare', op, right });
  const rightPhase = rightState.op === op ? rightState.phase : 'none';
  switch (leftState.phase) {
    case 'prepared':
      if (isCancelling || rightPhase === 'cancelled') return cancel;
      if (rightPhase === 'none') return toRight({ kind: 'freeze', op, left });
      return toLeft({ kind: 'merge-commit', op, right, rightSeq: rightState.applied, rightHash: rightState.hash });
    case 'committed':
      return { kind: 'meta', change: { kind: 'merge-done', op, leftSeq: leftState.applied } };
    default:
      // The left one has decided against it; the right one hears so before the workflow is forgotten, so that no late freeze can hold it.
      if (rightPhase !== 'cancelled') return toRight({ kind: 'unfreeze', op });
      return { kind: 'meta', change: { kind: 'cancelled', op } };
  }
}
