import type { ControlCommand } from '../control-command.ts';
import type { ShardState } from '../shard-state.ts';
import type { MapChange, Workflow } from './shard-map.ts';

// The next step of a split or merge, found from what the meta shard and the shards say of themselves and from nothing else. So it does not
// matter who took the steps before, or when he died: whoever looks next goes on from there, and two who look at once do the same.

export type WorkflowStep =
  /** An entry of a shard. */
  | { readonly kind: 'append'; readonly shard: number; readonly command: ControlCommand }
  /** A command to the meta shard. */
  | { readonly kind: 'meta'; readonly change: MapChange }
  /** The state of a shard that was taken over goes, and the meta shard forgets it, in one batch. */
  | { readonly kind: 'forget'; readonly shard: number; readonly change: MapChange };

/** Undefined: there is nothing to do for now, since this node has not run what has been appended, or does not have the shards. */
export function nextStep(workflow: Workflow, stateOf: (shard: number) => ShardState | undefined): WorkflowStep | undefined {
  switch (workflow.kind) {
    case 'split':
      return nextOfSplit(workflow, stateOf);
    case 'merge':
      return nextOfMerge(workflow, stateOf);
    case 'retire': {
      const { op, shard } = workflow;
      const state = stateOf(shard);
      if (state?.status === 'frozen') return { kind: 'append', shard, command: { kind: 'retired', op } };
      return { kind: 'forget', shard, change: { kind: 'retired', op } };
    }
  }
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
      return { kind: 'meta', change: { kind: 'merge-done', op } };
    default:
      // The left one has decided against it; the right one hears so before the workflow is forgotten, so that no late freeze can hold it.
      if (rightPhase !== 'cancelled') return toRight({ kind: 'unfreeze', op });
      return { kind: 'meta', change: { kind: 'cancelled', op } };
  }
}
