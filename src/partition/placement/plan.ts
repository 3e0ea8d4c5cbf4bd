/**
 * What must move from one slot table to the next, as numbered steps that can be done one by one, marked, written down and resumed.
 *
 * Order of work: every pull (copy a range from a source), then promotions (another replica becomes the primary), then drops.
 * A plan done in that order never has fewer good copies of a range than the fewer of before and after.
 */
import { KeyfleetError } from '../../base/errors.ts';
import type { PositionRange } from './slot-table.ts';

export interface PullStep extends PositionRange {
  readonly kind: 'pull';
  /** Its number in the plan, from 0. */
  readonly step: number;
  /** Who copies the range. */
  readonly node: string;
  readonly slots: number;
  /** From whom, best first: replicas that stay, then those that drop the range, then removed nodes. Empty when all are dead. */
  readonly sources: readonly string[];
}

export interface PromoteStep extends PositionRange {
  readonly kind: 'promote';
  readonly step: number;
  /** Who becomes the primary. */
  readonly node: string;
  readonly slots: number;
  /** Who was. */
  readonly previous: string;
}

export interface DropStep extends PositionRange {
  readonly kind: 'drop';
  readonly step: number;
  /** Who need not hold the range any more. */
  readonly node: string;
  readonly slots: number;
  /** The node is not in the new table at all. */
  readonly leaving: boolean;
}

export type PlanStep = PullStep | PromoteStep | DropStep;

export interface PlanTotals {
  readonly slotCount: number;
  /** Replicas in the new table: slots × RF. */
  readonly replicas: number;
  /** Replicas copied. */
  readonly replicasMoved: number;
  /** No plan that ends with these per-node counts copies fewer: Σ max(0, held after − held before). */
  readonly minimumMoves: number;
  readonly replicasDropped: number;
  /** Slots whose primary is another one now. */
  readonly primariesChanged: number;
  /** No plan that ends with these counts of primaries changes fewer: Σ max(0, led after − led before). */
  readonly minimumPrimaryChanges: number;
  /** Slots of which a replica moves, as a share of the keyspace, 0 … 1. */
  readonly keyspaceShare: number;
  /** Replicas without any living source: their keys are lost unless they come from elsewhere. */
  readonly withoutSource: number;
}

/** What one node has to do. */
export interface NodePlan {
  readonly node: string;
  readonly pulls: readonly PullStep[];
  readonly drops: readonly DropStep[];
  readonly promotions: readonly PromoteStep[];
}

/** How a plan is written down. `done` lists step numbers as inclusive pairs: `[[0, 6], [9, 9]]`. */
export interface PlanJson {
  readonly format: 'keyfleet-plan-1';
  readonly before: number;
  readonly after: number;
  readonly totals: PlanTotals;
  readonly steps: readonly PlanStep[];
  readonly done: readonly (readonly [number, number])[];
}

/** Steps that are not written out until they are asked for: there may be as many as replicas move. */
export interface UnwrittenSteps {
  readonly count: number;
  write(): readonly PlanStep[];
}

export class Plan {
  /** Version of the keyspace the plan starts from; 0 for bare tables. */
  readonly before: number;
  readonly after: number;
  readonly totals: PlanTotals;
  #steps: readonly PlanStep[] | UnwrittenSteps;
  readonly #done: Uint8Array;
  #doneCount = 0;
  #perNode: Map<string, NodePlan> | undefined;

  constructor(
    steps: readonly PlanStep[] | UnwrittenSteps,
    totals: PlanTotals,
    versions: { readonly before: number; readonly after: number },
  ) {
    this.#steps = steps;
    this.totals = totals;
    this.before = versions.before;
    this.after = versions.after;
    this.#done = new Uint8Array('write' in steps ? steps.count : steps.length);
  }

  /** In order of work; `steps[i].step === i`. */
  get steps(): readonly PlanStep[] {
    if ('write' in this.#steps) this.#steps = this.#steps.write();
    return this.#steps;
  }

  /** What each concerned node has to do, by id. */
  get nodes(): ReadonlyMap<string, NodePlan> {
    this.#perNode ??= groupByNode(this.steps);
    return this.#perNode;
  }

  /** Share of the keys whose primary is another one now. */
  get movedShare(): number {
    return this.totals.primariesChanged / this.totals.slotCount;
  }

  get doneCount(): number {
    return this.#doneCount;
  }

  get isDone(): boolean {
    return this.#doneCount === this.#done.length;
  }

  isStepDone(step: number): boolean {
    this.#check(step);
    return this.#done[step] === 1;
  }

  /** Marks a step done; once more is the same. @throws KF_PLAN_NO_SUCH_STEP */
  markDone(step: number): void {
    this.#check(step);
    if (this.#done[step] === 1) return;
    this.#done[step] = 1;
    this.#doneCount++;
  }

  /** The steps not yet marked, in order of work: where a half-done plan goes on. */
  *remaining(): Generator<PlanStep> {
    for (const step of this.steps) if (this.#done[step.step] === 0) yield step;
  }

  toJSON(): PlanJson {
    const done: [number, number][] = [];
    for (let step = 0; step < this.steps.length; step++) {
      if (this.#done[step] === 0) continue;
      const last = done.at(-1);
      if (last !== undefined && last[1] === step - 1) last[1] = step;
      else done.push([step, step]);
    }
    return { format: 'keyfleet-plan-1', before: this.before, after: this.after, totals: this.totals, steps: this.steps, done };
  }

  /** A plan as {@link toJSON} wrote it, marks included. @throws KF_PLAN_INVALID */
  static fromJSON(json: unknown): Plan {
    const { before, after, totals, steps, done } = parsePlan(json);
    const plan = new Plan(steps, totals, { before, after });
    for (const [from, to] of done) for (let step = from; step <= to; step++) plan.markDone(step);
    return plan;
  }

  #check(step: number): void {
    if (!Number.isInteger(step) || step < 0 || step >= this.#done.length)
      throw new KeyfleetError('KF_PLAN_NO_SUCH_STEP', `the plan has steps 0 … ${this.#done.length - 1}, not ${step}`);
  }
}

function groupByNode(steps: readonly PlanStep[]): Map<string, NodePlan> {
  const nodes = new Map<string, { node: string; pulls: PullStep[]; drops: DropStep[]; promotions: PromoteStep[] }>();
  for (const step of steps) {
    let one = nodes.get(step.node);
    if (one === undefined) {
      one = { node: step.node, pulls: [], drops: [], promotions: [] };
      nodes.set(step.node, one);
    }
    if (step.kind === 'pull') one.pulls.push(step);
    else if (step.kind === 'promote') one.promotions.push(step);
    else one.drops.push(step);
  }
  return nodes;
}

const TOTALS = [
  'slotCount',
  'replicas',
  'replicasMoved',
  'minimumMoves',
  'replicasDropped',
  'primariesChanged',
  'minimumPrimaryChanges',
  'keyspaceShare',
  'withoutSource',
] as const;

function parsePlan(json: unknown): PlanJson {
  const plan = record(json, 'the plan');
  if (plan['format'] !== 'keyfleet-plan-1') throw invalid(`format is ${JSON.stringify(plan['format'])}, not "keyfleet-plan-1"`);
  const totals = record(plan['totals'], 'totals');
  for (const name of TOTALS) number(totals[name], `totals.${name}`);
  const steps = list(plan['steps'], 'steps').map(parseStep);
  const done = list(plan['done'], 'done').map((pair, i): [number, number] => {
    const ends = list(pair, `done[${i}]`);
    const [from, to] = [count(ends[0], `done[${i}][0]`), count(ends[1], `done[${i}][1]`)];
    if (ends.length !== 2 || from > to || to >= steps.length) throw invalid(`done[${i}] is not a pair of steps of this plan`);
    return [from, to];
  });
  return {
    format: 'keyfleet-plan-1',
    before: count(plan['before'], 'before'),
    after: count(plan['after'], 'after'),
    totals: Object.fromEntries(TOTALS.map((name) => [name, totals[name]])) as unknown as PlanTotals,
    steps,
    done,
  };
}

function parseStep(value: unknown, index: number): PlanStep {
  const at = `steps[${index}]`;
  const step = record(value, at);
  if (step['step'] !== index) throw invalid(`${at}.step is ${JSON.stringify(step['step'])}, not ${index}`);
  const from = count(step['from'], `${at}.from`);
  const to = count(step['to'], `${at}.to`);
  if (from >= to || to > 0x1_0000_0000) throw invalid(`${at} has the empty or impossible range [${from}, ${to})`);
  const shared = { step: index, node: text(step['node'], `${at}.node`), from, to, slots: count(step['slots'], `${at}.slots`) };
  switch (step['kind']) {
    case 'pull':
      return { kind: 'pull', ...shared, sources: list(step['sources'], `${at}.sources`).map((id, i) => text(id, `${at}.sources[${i}]`)) };
    case 'promote':
      return { kind: 'promote', ...shared, previous: text(step['previous'], `${at}.previous`) };
    case 'drop':
      if (typeof step['leaving'] !== 'boolean') throw invalid(`${at}.leaving is not true or false`);
      return { kind: 'drop', ...shared, leaving: step['leaving'] };
    default:
      throw invalid(`${at}.kind is ${JSON.stringify(step['kind'])}, not pull, promote or drop`);
  }
}

function record(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid(`${what} is not an object`);
  return value as Record<string, unknown>;
}

function list(value: unknown, what: string): readonly unknown[] {
  if (!Array.isArray(value)) throw invalid(`${what} is not a list`);
  return value;
}

function text(value: unknown, what: string): string {
  if (typeof value !== 'string') throw invalid(`${what} is not text`);
  return value;
}

function number(value: unknown, what: string): number {
  if (typeof value !== 'number' || !(value >= 0) || !Number.isFinite(value)) throw invalid(`${what} is not a number from 0`);
  return value;
}

function count(value: unknown, what: string): number {
  if (!Number.isSafeInteger(number(value, what))) throw invalid(`${what} is not a whole number`);
  return value as number;
}

function invalid(what: string): KeyfleetError {
  return new KeyfleetError('KF_PLAN_INVALID', `not a plan: ${what}`);
}
