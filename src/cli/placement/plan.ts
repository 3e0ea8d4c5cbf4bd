import type { Command } from 'commander';
import { showCount } from '../../base/units.ts';
import { Keyspace } from '../../partition/keyspace.ts';
import type { Partitioner } from '../../partition/partitioner.ts';
import type { NodePlan, Plan, PlanStep } from '../../partition/placement/plan.ts';
import { diffTables } from '../../partition/placement/plan-diff.ts';
import { type SlotTable, sampleTable } from '../../partition/placement/slot-table.ts';
import { bar, columns, percent, TextOutput } from '../terminal/text-output.ts';
import { usage } from '../terminal/usage.ts';
import { copiesOf, partitionersOf } from './algorithms.ts';
import type { Fleet, FleetNode } from './fleet.ts';
import {
  addChangeFlags,
  addFleetFlags,
  algorithmHelp,
  type ChangeFlags,
  changed,
  type FleetFlags,
  fleetOf,
  hasChange,
} from './fleet-flags.ts';

interface PlanFlags extends FleetFlags, ChangeFlags {
  readonly to?: string;
  readonly steps?: boolean;
  readonly json?: boolean;
}

export function define(command: Command): void {
  addChangeFlags(addFleetFlags(command))
    .option('--to <file>', 'the nodes afterwards, from a file, instead of --add, --remove and --reweigh')
    .option('--steps', 'print every range of positions (for a table of slots), not only the totals of each node')
    .option('--json', 'print the plan as JSON; Plan.fromJSON reads it')
    .addHelpText(
      'after',
      `${algorithmHelp()}

Examples:
  keyfleet plan --node a b c --add d --replicas 2
  keyfleet plan --nodes fleet.yml --remove old-1 --reweigh big=3 --steps
  keyfleet plan --nodes before.yml --to after.yml --json > plan.json`,
    )
    .action(runPlan);
}

async function runPlan(flags: PlanFlags): Promise<void> {
  const before = fleetOf(flags);
  if (flags.to !== undefined && hasChange(flags))
    throw usage('--to says all there is afterwards; it does not go with --add, --remove or --reweigh');
  if (flags.to === undefined && !hasChange(flags)) throw usage('nothing changes: give --add, --remove, --reweigh or --to');
  const { node: _, ...others } = flags;
  const after = flags.to === undefined ? changed(before, flags) : afterwards(before, fleetOf({ ...others, nodes: flags.to }));
  const partitioners = partitionersOf(before, after);
  const plan = diffTables(tableOf(before, partitioners.before), tableOf(after, partitioners.after));
  const isExact = partitioners.after instanceof Keyspace;
  const out = new TextOutput();
  out.write(flags.json ? `${JSON.stringify(plan)}\n` : planText(plan, after, { withSteps: flags.steps === true, isExact }));
  await out.settle();
}

/** Of the file of `--to` the nodes count, and where ranges start; how keys are placed stays as it is. */
function afterwards(before: Fleet, { nodes, splits }: Fleet): Fleet {
  return { ...before, nodes, splits: splits ?? before.splits };
}

const SAMPLES = 65_536;

function tableOf(fleet: Fleet, partitioner: Partitioner<FleetNode>): SlotTable {
  if (partitioner instanceof Keyspace) return partitioner.table;
  const replicaCount = copiesOf(fleet);
  return sampleTable({
    slotCount: SAMPLES,
    replicaCount,
    nodeIds: fleet.nodes.map(({ id }) => id),
    replicas: (key) => (replicaCount === 1 ? [partitioner.owner(key).id] : partitioner.replicas(key, replicaCount).map(({ id }) => id)),
  });
}

/** `isExact`: the plan is that of a table of slots, so its ranges are those of keys; else samples stand for the keys. */
export function planText(plan: Plan, after: Fleet, { withSteps, isExact }: { withSteps: boolean; isExact: boolean }): string {
  const { totals } = plan;
  const share = (slots: number): string => percent(slots / totals.slotCount);
  const slotsOf = (steps: readonly PlanStep[]): number => steps.reduce((sum, step) => sum + step.slots, 0);
  const ids = new Set(after.nodes.map(({ id }) => id));
  const row = ({ node, pulls, drops, promotions }: NodePlan): string[] => [
    node,
    share(slotsOf(pulls)),
    share(slotsOf(drops)),
    share(slotsOf(promotions)),
    ids.has(node) ? bar(slotsOf(pulls) / totals.slotCount, 30) : 'leaves',
    sourcesOf(pulls),
  ];
  const lines = [
    `${after.algorithm}: ${showCount(totals.replicasMoved)} of ${showCount(totals.replicas)} ${isExact ? 'copies of slots' : 'sampled copies'} move (${percent(totals.replicasMoved / totals.replicas)}); `,
    `the loads afterwards need ${showCount(totals.minimumMoves)}; ${share(totals.primariesChanged)} of the keys change owner, ${share(totals.minimumPrimaryChanges)} at least\n\n`,
    plan.nodes.size === 0
      ? 'Nothing moves.\n'
      : columns([['node', 'fetches', 'drops', 'becomes owner of', '', 'mostly from'], ...[...plan.nodes.values()].map(row)]),
  ];
  const stepRow = (step: PlanStep): string[] => [
    String(step.step),
    step.kind,
    step.node,
    showCount(step.slots),
    ...(isExact ? [`${hex(step.from)}-${hex(step.to - 1)}`] : []),
    step.kind === 'pull' ? step.sources.join(', ') : step.kind === 'promote' ? step.previous : '',
  ];
  if (withSteps)
    lines.push(
      '\n',
      columns([
        ['step', 'what', 'node', isExact ? 'slots' : 'samples', ...(isExact ? ['positions'] : []), 'from'],
        ...plan.steps.map(stepRow),
      ]),
    );
  return lines.join('');
}

function sourcesOf(pulls: NodePlan['pulls']): string {
  const counts = new Map<string, number>();
  for (const { sources, slots } of pulls) if (sources[0] !== undefined) counts.set(sources[0], (counts.get(sources[0]) ?? 0) + slots);
  const names = [...counts].sort((a, b) => b[1] - a[1]).map(([id]) => id);
  return names.length > 4 ? `${names.slice(0, 4).join(', ')} and ${names.length - 4} more` : names.join(', ');
}

function hex(position: number): string {
  return position.toString(16).padStart(8, '0');
}
