import { KeyfleetError } from '../../base/errors.ts';
import { type DropStep, Plan, type PlanStep, type PlanTotals, type PromoteStep, type PullStep } from './plan.ts';
import { heldCounts, indexById, primaryCounts, type SlotTable, slotStart } from './slot-table.ts';

export interface DiffOptions {
  /** Ids of nodes that cannot be read any more: never named as a source. Removed nodes that are not listed are sources of last resort. */
  readonly dead?: Iterable<string>;
  /** Numbers to keep in the plan: the versions of the keyspace it leads from and to. */
  readonly versions?: { readonly before: number; readonly after: number };
}

/**
 * What must be copied, promoted and dropped to get from `before` to `after`. The tables may come from any algorithms, with any nodes and
 * replica counts; only the slot count must be the same. Adjacent slots with the same node and the same sources become one step.
 *
 * Which of several sources comes first is spread, so that no node sends more than it must.
 *
 * Cost: O(slots × RF²), some milliseconds for 65,536 slots; the steps are written out when they are first asked for.
 *
 * @throws KF_TABLE_MISMATCH when the slot counts differ.
 */
export function diffTables(before: SlotTable, after: SlotTable, options: DiffOptions = {}): Plan {
  if (before.slotCount !== after.slotCount)
    throw new KeyfleetError('KF_TABLE_MISMATCH', `one table has ${before.slotCount} slots, the other ${after.slotCount}`);
  return new Diff(before, after, new Set(options.dead ?? [])).plan(options.versions ?? { before: 0, after: 0 });
}

/** Runs of adjacent slots that one step each will cover, before they have numbers: columns, for there may be as many as replicas move. */
class Runs {
  /** Sources for each run. */
  readonly width: number;
  count = 0;
  slotCount = 0;
  node: Int32Array = new Int32Array(1_024);
  from: Int32Array = new Int32Array(1_024);
  to: Int32Array = new Int32Array(1_024);
  /** `width` for each run, best first; −1 after the last. */
  sources: Int32Array;
  /** The last run of each node; −1 for none. */
  readonly #last: Int32Array;

  constructor(width: number, nodeCount: number) {
    this.width = width;
    this.sources = new Int32Array(1_024 * width);
    this.#last = new Int32Array(nodeCount).fill(-1);
  }

  /** Prolongs the last run of `node` when it ends at `slot` and has these sources in any order, or begins another. The run's first source. */
  add(node: number, slot: number, sources: Int32Array): number {
    this.slotCount++;
    let run = this.#last[node]!;
    if (run < 0 || this.to[run] !== slot || !this.#hasSources(run, sources)) {
      run = this.#begin(node, slot);
      for (let i = 0; i < this.width; i++) this.sources[run * this.width + i] = sources[i]!;
    }
    this.to[run] = slot + 1;
    return this.width === 0 ? -1 : this.sources[run * this.width]!;
  }

  /** Run numbers in order of node, then of slot. */
  inOrder(): Int32Array {
    const start = new Int32Array(this.#last.length + 1);
    for (let run = 0; run < this.count; run++) start[this.node[run]! + 1]!++;
    for (let node = 1; node < start.length; node++) start[node]! += start[node - 1]!;
    const order = new Int32Array(this.count);
    for (let run = 0; run < this.count; run++) order[start[this.node[run]!]!++] = run;
    return order;
  }

  #begin(node: number, slot: number): number {
    if (this.count === this.node.length) {
      this.node = twice(this.node);
      this.from = twice(this.from);
      this.to = twice(this.to);
      this.sources = twice(this.sources);
    }
    this.node[this.count] = node;
    this.from[this.count] = slot;
    this.#last[node] = this.count;
    return this.count++;
  }

  #hasSources(run: number, sources: Int32Array): boolean {
    const base = run * this.width;
    for (let i = 0; i < this.width; i++) {
      const source = sources[i]!;
      if (source < 0) return this.sources[base + i]! < 0;
      let at = base;
      while (at < base + this.width && this.sources[at] !== source) at++;
      if (at === base + this.width) return false;
    }
    return true;
  }
}

function twice(column: Int32Array): Int32Array {
  const longer = new Int32Array(2 * column.length);
  longer.set(column);
  return longer;
}

class Diff {
  readonly #before: SlotTable;
  readonly #after: SlotTable;
  /** Ids of the new table, then those only the old one has; every node below is a number of this list. */
  readonly #ids: string[];
  readonly #oldToAll: Int32Array;
  readonly #dead: Uint8Array;
  readonly #sent: Uint32Array;
  /** The class of each source of the present slot. */
  readonly #rank: Uint8Array;
  /** The sources of the present slot; −1 after the last. */
  readonly #sources: Int32Array;
  readonly #pulls: Runs;
  readonly #promotions: Runs;
  readonly #drops: Runs;
  #withoutSource = 0;
  #touched = 0;

  constructor(before: SlotTable, after: SlotTable, dead: ReadonlySet<string>) {
    this.#before = before;
    this.#after = after;
    this.#ids = [...after.nodeIds];
    const indexOf = indexById(after.nodeIds);
    this.#oldToAll = Int32Array.from(before.nodeIds, (id) => {
      const known = indexOf.get(id);
      return known ?? this.#ids.push(id) - 1;
    });
    this.#dead = Uint8Array.from(this.#ids, (id) => (dead.has(id) ? 1 : 0));
    this.#sent = new Uint32Array(this.#ids.length);
    this.#rank = new Uint8Array(this.#ids.length);
    this.#sources = new Int32Array(before.replicaCount);
    this.#pulls = new Runs(before.replicaCount, this.#ids.length);
    this.#promotions = new Runs(1, this.#ids.length);
    this.#drops = new Runs(0, this.#ids.length);
  }

  plan(versions: { readonly before: number; readonly after: number }): Plan {
    const { slotCount } = this.#after;
    for (let slot = 0; slot < slotCount; slot++) this.#slot(slot);
    const totals: PlanTotals = {
      slotCount,
      replicas: slotCount * this.#after.replicaCount,
      replicasMoved: this.#pulls.slotCount,
      minimumMoves: this.#minimum(heldCounts),
      replicasDropped: this.#drops.slotCount,
      primariesChanged: this.#promotions.slotCount,
      minimumPrimaryChanges: this.#minimum(primaryCounts),
      keyspaceShare: this.#touched / slotCount,
      withoutSource: this.#withoutSource,
    };
    const count = this.#pulls.count + this.#promotions.count + this.#drops.count;
    return new Plan({ count, write: () => this.#steps() }, totals, versions);
  }

  #slot(slot: number): void {
    const old = this.#before.cells;
    const now = this.#after.cells;
    const oldFrom = slot * this.#before.replicaCount;
    const oldTo = oldFrom + this.#before.replicaCount;
    const nowFrom = slot * this.#after.replicaCount;
    const nowTo = nowFrom + this.#after.replicaCount;
    let isTouched = false;
    for (let at = nowFrom; at < nowTo; at++) {
      const node = now[at]!;
      if (this.#holds(old, oldFrom, oldTo, node)) continue;
      if (!isTouched) this.#findSources(slot);
      isTouched = true;
      if (this.#sources[0] === -1) this.#withoutSource++;
      const sender = this.#pulls.add(node, slot, this.#sources);
      if (sender >= 0) this.#sent[sender]!++;
    }
    if (isTouched) this.#touched++;
    const oldPrimary = this.#oldToAll[old[oldFrom]!]!;
    const nowPrimary = now[nowFrom]!;
    if (oldPrimary !== nowPrimary) {
      this.#sources[0] = oldPrimary;
      this.#promotions.add(nowPrimary, slot, this.#sources);
    }
    for (let at = oldFrom; at < oldTo; at++) {
      const node = this.#oldToAll[old[at]!]!;
      if (!includes(now, nowFrom, nowTo, node)) this.#drops.add(node, slot, this.#sources);
    }
  }

  #holds(old: Uint16Array, from: number, to: number, node: number): boolean {
    for (let at = from; at < to; at++) if (this.#oldToAll[old[at]!] === node) return true;
    return false;
  }

  /** Previous replicas that can be read: those that stay, those that drop the slot, those removed; in each class who sent least first. */
  #findSources(slot: number): void {
    const { cells: old, replicaCount: oldCount } = this.#before;
    const { cells: now, replicaCount: nowCount, nodeIds } = this.#after;
    const sources = this.#sources;
    let count = 0;
    for (let from = slot * oldCount; from < (slot + 1) * oldCount; from++) {
      const node = this.#oldToAll[old[from]!]!;
      if (this.#dead[node] === 1) continue;
      this.#rank[node] = node >= nodeIds.length ? 2 : includes(now, slot * nowCount, (slot + 1) * nowCount, node) ? 0 : 1;
      let at = count++;
      for (; at > 0 && this.#isBefore(node, sources[at - 1]!); at--) sources[at] = sources[at - 1]!;
      sources[at] = node;
    }
    sources.fill(-1, count);
  }

  #isBefore(a: number, b: number): boolean {
    return (this.#rank[a]! - this.#rank[b]! || this.#sent[a]! - this.#sent[b]! || a - b) < 0;
  }

  /** In order of work, and within a kind in order of node. */
  #steps(): PlanStep[] {
    const ids = this.#ids;
    const steps: PlanStep[] = [];
    for (const [kind, runs] of [
      ['pull', this.#pulls],
      ['promote', this.#promotions],
      ['drop', this.#drops],
    ] as const)
      for (const run of runs.inOrder()) {
        const step = steps.length;
        const number = runs.node[run]!;
        const node = ids[number]!;
        const slots = runs.to[run]! - runs.from[run]!;
        const from = slotStart(runs.from[run]!, this.#after.slotCount);
        const to = slotStart(runs.to[run]!, this.#after.slotCount);
        if (kind === 'drop') {
          steps.push({ kind, step, node, from, to, slots, leaving: number >= this.#after.nodeIds.length } satisfies DropStep);
          continue;
        }
        const first = run * runs.width;
        if (kind === 'promote') {
          steps.push({ kind, step, node, from, to, slots, previous: ids[runs.sources[first]!]! } satisfies PromoteStep);
          continue;
        }
        const sources: string[] = [];
        for (let i = first; i < first + runs.width && runs.sources[i]! >= 0; i++) sources.push(ids[runs.sources[i]!]!);
        steps.push({ kind, step, node, from, to, slots, sources } satisfies PullStep);
      }
    return steps;
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
