import { parseArgs } from 'node:util';
import { showCount } from '../src/base/units.ts';
import { CLUSTER_HUNTS, simulateCluster } from './cluster/cluster-simulation.ts';
import type { FaultKind } from './faults.ts';
import { HUNTS, simulate } from './simulation.ts';
import type { SimulationResult } from './simulation-result.ts';

// npm run sim: many seeds one after the other, what they came to, and for a failure the one command that shows it again.

const USAGE = `usage: npm run sim -- [--seeds N] [--first SEED] [--seconds S] [--seed SEED] [--cluster] [--hunt NAME] [--verbose] [--json]

  --seeds N      how many seeds to run, default 200
  --first SEED   the first of them; default: the clock's choice
  --seed SEED    this one alone
  --seconds S    simulated seconds of trouble for each, default 60
  --hunt NAME    what each is after, instead of what its seed chooses: ${HUNTS.join(', ')}
  --cluster      a whole cluster: the meta shard, splits, merges, moves, drained nodes; --hunt: ${CLUSTER_HUNTS.join(', ')}
  --verbose      of a cluster: what its nodes meet, and how each ends
  --json         the result in one line, for programs`;

function usageError(why: string): never {
  console.error(`${why}\n\n${USAGE}`);
  process.exit(2);
}

function wholeNumber(text: string, name: string, least: number): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < least) usageError(`${name} must be a whole number from ${least}, not ${text}`);
  return value;
}

function parse() {
  try {
    const { values } = parseArgs({
      options: {
        seeds: { type: 'string', default: '200' },
        first: { type: 'string' },
        seed: { type: 'string' },
        seconds: { type: 'string', default: '60' },
        hunt: { type: 'string' },
        cluster: { type: 'boolean', default: false },
        verbose: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    });
    return values;
  } catch (error) {
    return usageError((error as Error).message);
  }
}

const flags = parse();
if (flags.help) {
  console.log(USAGE);
  process.exit(0);
}
const seconds = wholeNumber(flags.seconds, '--seconds', 1);
const single = flags.seed === undefined ? undefined : wholeNumber(flags.seed, '--seed', 0);
const first = single ?? (flags.first === undefined ? Date.now() % 1_000_000_000 : wholeNumber(flags.first, '--first', 0));
// Where errors come from matters when one run is looked at; it costs a twentieth of the time of many.
if (single === undefined) Error.stackTraceLimit = 0;
const seeds = single === undefined ? wholeNumber(flags.seeds, '--seeds', 1) : 1;
const hunts: readonly string[] = flags.cluster ? CLUSTER_HUNTS : HUNTS;
const { hunt } = flags;
if (hunt !== undefined && !hunts.includes(hunt)) usageError(`--hunt is one of ${hunts.join(', ')}, not ${flags.hunt}`);
/** Shows a seed again. */
const command = (seed: number): string =>
  `npm run sim -- --seed ${seed} --seconds ${seconds}${hunt ? ` --hunt ${hunt}` : ''}${flags.cluster ? ' --cluster' : ''}`;
const runOne = (seed: number): Promise<SimulationResult> => {
  const options = { seed, seconds, tell: flags.verbose ? (line: string) => console.log(line) : undefined };
  if (flags.cluster) return simulateCluster({ ...options, hunt: CLUSTER_HUNTS.find((one) => one === flags.hunt) });
  return simulate({ ...options, hunt: HUNTS.find((one) => one === flags.hunt) });
};
const commit = process.env['KEYFLEET_COMMIT'] ?? 'unknown';

const total = { simulatedMs: 0, events: 0, requests: 0, answered: 0, histories: 0, undecided: 0, entries: 0, leaderships: 0 };
const faults = new Map<FaultKind, number>();
const workflows = new Map<string, number>();
const began = performance.now();
let failed: SimulationResult | undefined;
let lastShown = began;
let ran = 0;
let running = first;
process.on('unhandledRejection', (error) => {
  console.error(`seed ${running} at commit ${commit} FAILED: a promise broke: ${error instanceof Error ? error.stack : error}`);
  console.error(`\nagain: ${command(running)}`);
  process.exit(1);
});
for (let seed = first; seed < first + seeds && !failed; seed++) {
  running = seed;
  const result = await runOne(seed);
  ran++;
  for (const name of Object.keys(total) as (keyof typeof total)[]) total[name] += result[name];
  for (const [kind, count] of result.faults) faults.set(kind, (faults.get(kind) ?? 0) + count);
  for (const [kind, count] of result.workflows ?? []) workflows.set(kind, (workflows.get(kind) ?? 0) + count);
  if (result.failure !== undefined) failed = result;
  if (performance.now() - lastShown > 5_000) {
    lastShown = performance.now();
    console.error(`${ran} of ${seeds} seeds, ${Math.round(total.simulatedMs / 1_000)} simulated seconds`);
  }
}
const wallMs = performance.now() - began;
const speed = total.simulatedMs / wallMs;
if (flags.json) {
  console.log(
    JSON.stringify({
      commit,
      first,
      seeds: ran,
      seconds,
      wallMs,
      speed,
      ...total,
      faults: Object.fromEntries(faults),
      workflows: Object.fromEntries(workflows),
      failed,
    }),
  );
} else {
  console.log(`${ran} seeds from ${first}, commit ${commit}`);
  console.log(
    `  simulated   ${showCount(total.simulatedMs / 1_000)} s in ${(wallMs / 1_000).toFixed(1)} s: ${showCount(speed)} × as fast as time`,
  );
  console.log(`  events      ${showCount(total.events)}, ${showCount(total.events / (wallMs / 1_000))} a second`);
  console.log(`  requests    ${showCount(total.requests)}, answered ${showCount(total.answered)}; ${showCount(total.entries)} entries`);
  console.log(`  leaderships ${showCount(total.leaderships)}`);
  console.log(`  histories   ${showCount(total.histories)} judged, ${showCount(total.undecided)} workloads too hard to judge`);
  if (workflows.size > 0) console.log(`  workflows   ${[...workflows].map(([kind, count]) => `${kind} ${showCount(count)}`).join(', ')}`);
  const shown = [...faults].sort((a, b) => b[1] - a[1]).map(([kind, count]) => `${kind} ${showCount(count)}`);
  console.log(`  faults      ${shown.join(', ') || 'none'}`);
  if (single !== undefined) console.log(`  trace       ${failed?.traceHash ?? (await runOne(first)).traceHash}`);
}
if (failed) {
  console.error(`\nseed ${failed.seed} at commit ${commit} FAILED ${failed.failure}`);
  console.error(`\nagain: ${command(failed.seed)}`);
  process.exit(1);
}
