import { KeyfleetError } from '../../base/errors.ts';
import { type DropStep, Plan, type PlanStep, type PromoteStep, type PullStep } from './plan.ts';
import { heldCounts, indexById, primaryCounts, rangeOfSlots, type SlotTable } from './slot-table.ts';

export interface DiffOptions {
  /** Ids of nodes that cannot be read any more: never named as a source. Removed nodes that are not listed are sources of last resort. */
  readonly dead?: Iterable<string>;
  /** Numbers to keep in the plan: the versions of the keyspace it leads from and to. */
  readonly versions?: { readonly before: number; readonly after: number };
}

/** A run of adjacent slots that one step will cover, before it has a number. */
interface Run {
  readonly kind: PlanStep['kind'];
  readonly node: number;
  readonly from: number;
  to: number;
  readonly sources: readonly number[];
}

/**
 * What must be copied, promoted and dropped to get from `before` to `after`. The tables may come from any algorithms, with any nodes and
 * replica counts; only the slot count must be the same. Adjacent slots with the same node and the same sources become one step.
 *
 * Which of several sources comes first is spread, so that no node sends more than it must.
 *
 * Cost: O(slots × RF²) plus the size of the plan.
 *
 * @throws KF_TABLE_MISMATCH when the slot counts differ.
 */
export function diffTables(before: SlotTable, after: SlotTable, options: DiffOptions = {}): Plan {
  if (before.slotCount !== after.slotCount)
    throw new KeyfleetError('KF_TABLE_MISMATCH', `one table has ${before.slotCount} slots, the other ${after.slotCount}`);
  return new Diff(before, after, new Set(options.dead ?? [])).plan(options.versions ?? { before: 0, after: 0 });
}

class Diff {
  readonly #before: SlotTable;
  readonly #after: SlotTable;
  /** Ids of the new table, then those only the old one has; every node below is a number of this list. */
  readonly #ids: string[];
  readonly #oldToAll: Uint32Array;
  readonly #dead: Uint8Array;
  readonly #sent: Uint32Array;
  /** The class of each source of the present slot. */
  readonly #rank: Uint8Array;
  readonly #pulls: Run[] = [];
  readonly #promotions: Run[] = [];
  readonly #drops: Run[] = [];
  readonly #openPull = new Map<number, Run>();
  readonly #openDrop = new Map<number, Run>();
  #withoutSource = 0;
  #touched = 0;

  constructor(before: SlotTable, after: SlotTable, dead: ReadonlySet<string>) {
    this.#before = before;
    this.#after = after;
    this.#ids = [...after.nodeIds];
    const indexOf = indexById(after.nodeIds);
    this.#oldToAll = Uint32Array.from(before.nodeIds, (id) => {
      const known = indexOf.get(id);
      return known ?? this.#ids.push(id) - 1;
    });
    this.#dead = Uint8Array.from(this.#ids, (id) => (dead.has(id) ? 1 : 0));
    this.#sent = new Uint32Array(this.#ids.length);
    this.#rank = new Uint8Array(this.#ids.length);
  }

  plan(versions: { readonly before: number; readonly after: number }): Plan {
    const { slotCount } = this.#after;
    for (let slot = 0; slot < slotCount; slot++) this.#slot(slot);
    const byNode = (a: Run, b: Run): number => a.node - b.node || a.from - b.from;
    const runs = [...this.#pulls.sort(byNode), ...this.#promotions.sort(byNode), ...this.#drops.sort(byNode)];
    const moved = slotsOf(this.#pulls);
    return new Plan(
      runs.map((run, step) => this.#step(run, step)),
      {
        slotCount,
        replicas: slotCount * this.#after.replicaCount,
        replicasMoved: moved,
        minimumMoves: this.#minimum(heldCounts),
        replicasDropped: slotsOf(this.#drops),
        primariesChanged: slotsOf(this.#promotions),
        minimumPrimaryChanges: this.#minimum(primaryCounts),
        keyspaceShare: this.#touched / slotCount,
        withoutSource: this.#withoutSource,
      },
      versions,
    );
  }

  #slot(slot: number): void {
    const old = this.#before.cells;
    const now = this.#after.cells;
    const oldFrom = slot * this.#before.replicaCount;
    const oldTo = oldFrom + this.#before.replicaCount;
    const nowFrom = slot * this.#after.replicaCount;
    const nowTo = nowFrom + this.#after.replicaCount;
    let sources: number[] | undefined;
    for (let at = nowFrom; at < nowTo; at++) {
      const node = now[at]!;
      if (this.#holds(old, oldFrom, oldTo, node)) continue;
      sources ??= this.#sourcesOf(slot);
      this.#pull(node, slot, sources);
    }
    if (sources !== undefined) this.#touched++;
    const oldPrimary = this.#oldToAll[old[oldFrom]!]!;
    const nowPrimary = now[nowFrom]!;
    if (oldPrimary !== nowPrimary) {
      const last = this.#promotions.at(-1);
      if (last !== undefined && last.to === slot && last.node === nowPrimary && last.sources[0] === oldPrimary) last.to = slot + 1;
      else this.#promotions.push({ kind: 'promote', node: nowPrimary, from: slot, to: slot + 1, sources: [oldPrimary] });
    }
    for (let at = oldFrom; at < oldTo; at++) {
      const node = this.#oldToAll[old[at]!]!;
      if (!includes(now, nowFrom, nowTo, node))
        extend(this.#openDrop, this.#drops, { kind: 'drop', node, from: slot, to: slot + 1, sources: [] });
    }
  }

  #holds(old: Uint16Array, from: number, to: number, node: number): boolean {
    for (let at = from; at < to; at++) if (this.#oldToAll[old[at]!] === node) return true;
    return false;
  }

  /** Previous replicas that can be read: those that stay, those that drop the slot, those removed; in each class who sent least first. */
  #sourcesOf(slot: number): number[] {
    const { cells: old, replicaCount: oldCount } = this.#before;
    const { cells: now, replicaCount: nowCount, nodeIds } = this.#after;
    const sources: number[] = [];
    for (let from = slot * oldCount; from < (slot + 1) * oldCount; from++) {
      const node = this.#oldToAll[old[from]!]!;
      if (this.#dead[node] === 1) continue;
      this.#rank[node] = node >= nodeIds.length ? 2 : includes(now, slot * nowCount, (slot + 1) * nowCount, node) ? 0 : 1;
      let at = sources.length;
      for (; at > 0 && this.#isBefore(node, sources[at - 1]!); at--) sources[at] = sources[at - 1]!;
      sources[at] = node;
    }
    return sources;
  }

  #isBefore(a: number, b: number): boolean {
    return (this.#rank[a]! - this.#rank[b]! || this.#sent[a]! - this.#sent[b]! || a - b) < 0;
  }

  #pull(node: number, slot: number, sources: readonly number[]): void {
    if (sources.length === 0) this.#withoutSource++;
    const open = this.#openPull.get(node);
    if (open !== undefined && open.to === slot && sameSet(open.sources, sources)) {
      open.to = slot + 1;
    } else {
      const run: Run = { kind: 'pull', node, from: slot, to: slot + 1, sources };
      this.#openPull.set(node, run);
      this.#pulls.push(run);
    }
    const sender = this.#openPull.get(node)!.sources[0];
    if (sender !== undefined) this.#sent[sender]!++;
  }

  #step(run: Run, step: number): PlanStep {
    const { from, to } = rangeOfSlots(run.from, run.to, this.#after.slotCount);
    const shared = { step, node: this.#ids[run.node]!, from, to, slots: run.to - run.from };
    switch (run.kind) {
      case 'pull':
        return { kind: 'pull', ...shared, sources: run.sources.map((node) => this.#ids[node]!) } satisfies PullStep;
      case 'promote':
        return { kind: 'promote', ...shared, previous: this.#ids[run.sources[0]!]! } satisfies PromoteStep;
      case 'drop':
        return { kind: 'drop', ...shared, leaving: run.node >= this.#after.nodeIds.length } satisfies DropStep;
    }
  }

  /** What nodes have more of after than before, in all. */
  #minimum(countsOf: (table: SlotTable) => Uint32Array): number {
    const more = Int32Array.from(countsOf(this.#after));
    for (const [node, count] of countsOf(this.#before).entries()) {
      const all = this.#oldToAll[node]!;
      if (all < more.length) more[all]! -= count;
    }
    return more.reduce((sum, extra) => sum + Math.max(0, extra), 0);
  }
}

function includes(cells: Uint16Array, from: number, to: number, node: number): boolean {
  for (let at = from; at < to; at++) if (cells[at] === node) return true;
  return false;
}

function sameSet(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((node) => b.includes(node));
}

function extend(open: Map<number, Run>, runs: Run[], run: Run): void {
  const last = open.get(run.node);
  if (last !== undefined && last.to === run.from) {
    last.to = run.to;
    return;
  }
  open.set(run.node, run);
  runs.push(run);
}

function slotsOf(runs: readonly Run[]): number {
  return runs.reduce((sum, run) => sum + run.to - run.from, 0);
}
