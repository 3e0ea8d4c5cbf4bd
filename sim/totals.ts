import { showCount } from '../src/base/units.ts';
import type { SimulationResult } from './simulation-result.ts';

/** What many runs came to. */
export class Totals {
  seeds = 0;
  readonly sums = { simulatedMs: 0, events: 0, requests: 0, answered: 0, histories: 0, undecided: 0, entries: 0, leaderships: 0 };
  readonly #faults = new Map<string, number>();
  readonly #workflows = new Map<string, number>();
  /** Of one run its own. */
  #trace = 0;

  add(result: SimulationResult): void {
    this.seeds++;
    for (const name of Object.keys(this.sums) as (keyof typeof this.sums)[]) this.sums[name] += result[name];
    for (const [kind, count] of result.faults) this.#faults.set(kind, (this.#faults.get(kind) ?? 0) + count);
    for (const [kind, count] of result.workflows ?? []) this.#workflows.set(kind, (this.#workflows.get(kind) ?? 0) + count);
    this.#trace = (Math.imul(this.#trace, 31) + Number.parseInt(result.traceHash, 16)) >>> 0;
  }

  /** Of all events of all runs, in their order: equal when all went the same way. */
  get trace(): string {
    return this.#trace.toString(16).padStart(8, '0');
  }

  report(wallMs: number) {
    const { seeds, sums, trace } = this;
    const speed = sums.simulatedMs / wallMs;
    return { seeds, speed, ...sums, faults: Object.fromEntries(this.#faults), workflows: Object.fromEntries(this.#workflows), trace };
  }

  lines(wallMs: number): string[] {
    const { simulatedMs, events, requests, answered, entries, leaderships, histories, undecided } = this.sums;
    const shown = (counts: ReadonlyMap<string, number>): string =>
      [...counts].map(([kind, count]) => `${kind} ${showCount(count)}`).join(', ');
    const byCount = new Map([...this.#faults].sort((a, b) => b[1] - a[1]));
    const inTime = `${showCount(simulatedMs / 1_000)} s in ${(wallMs / 1_000).toFixed(1)} s: ${showCount(simulatedMs / wallMs)} × as fast as time`;
    return [
      `  simulated   ${inTime}`,
      `  events      ${showCount(events)}, ${showCount(events / (wallMs / 1_000))} a second`,
      `  requests    ${showCount(requests)}, answered ${showCount(answered)}; ${showCount(entries)} entries`,
      `  leaderships ${showCount(leaderships)}`,
      `  histories   ${showCount(histories)} judged, ${showCount(undecided)} workloads too hard to judge`,
      ...(this.#workflows.size > 0 ? [`  workflows   ${shown(this.#workflows)}`] : []),
      `  faults      ${shown(byCount) || 'none'}`,
      `  trace       ${this.trace}`,
    ];
  }
}
