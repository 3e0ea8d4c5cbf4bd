import type { Workflow } from '../../src/shard/meta/shard-map.ts';
import type { WorkflowStep } from '../../src/shard/meta/workflow-step.ts';
import type { ShardState } from '../../src/shard/shard-state.ts';

// How a conversation with a cluster shows what there is.

export function showState({ status, applied, keyCount }: ShardState): string {
  return status === 'faulted' ? 'in part' : `${status === 'serving' ? '' : `${status}, `}${keyCount} keys, entry ${applied}`;
}

export function showStep(step: WorkflowStep): string {
  return step.kind === 'append' ? `${step.command.kind} to s${step.shard}` : `${step.change.kind} to the meta shard`;
}

export function showWorkflow(workflow: Workflow): string {
  const { op } = workflow;
  switch (workflow.kind) {
    case 'split':
      return `${op}: s${workflow.parent} is cut, s${workflow.child} is born`;
    case 'merge':
      return `${op}: s${workflow.left} takes over s${workflow.right}${workflow.gathers ? `, which comes to ${workflow.gathers.join(', ') || 'nobody else'}` : ''}`;
    case 'retire':
      return `${op}: s${workflow.shard} is put away`;
    case 'move':
      return `${op}: s${workflow.shard} comes to ${workflow.add}${workflow.remove ? ` instead of ${workflow.remove}` : ''}`;
  }
}
