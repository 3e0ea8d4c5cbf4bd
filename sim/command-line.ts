import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { CLUSTER_HUNTS } from './cluster/cluster-simulation.ts';
import { hasFailed, type SeedRunOptions } from './seed-run.ts';
import { runSeeds } from './seed-workers.ts';
import { HUNTS } from './simulation.ts';
import type { SimulationResult } from './simulation-result.ts';
import { Totals } from './totals.ts';

// npm run sim: many seeds, what they came to, and for a failure the one command that shows it again.

const USAGE = `usage: npm run sim -- [--seeds N] [--first SEED] [--seconds S] [--seed SEED] [--cluster] [--hunt NAME] [--workers N] [--verbose] [--json]

  --seeds N      how many seeds to run, default 200
  --first SEED   the first of them; default: the clock's choice
  --seed SEED    this one alone
  --seconds S    simulated seconds of trouble for each, default 60
  --hunt NAME    what each is after, instead of what its seed chooses: ${HUNTS.join(', ')}
  --cluster      a whole cluster: the meta shard, splits, merges, moves, drained nodes; --hunt: ${CLUSTER_HUNTS.join(', ')}
  --workers N    threads that run seeds side by side; default: one for each core. What comes out is the same
  --verbose      of a cluster: what its nodes meet, and how each ends; on one thread
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
        workers: { type: 'string' },
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

/** Runs what the command line asks for, and ends the process with 1 when something was found. `program`: where this one is. */
export async function runCommandLine(program: URL): Promise<void> {
  const flags = parse();
  if (flags.help) {
    console.log(USAGE);
    return;
  }
  const seconds = wholeNumber(flags.seconds, '--seconds', 1);
  const single = flags.seed === undefined ? undefined : wholeNumber(flags.seed, '--seed', 0);
  const first = single ?? (flags.first === undefined ? Date.now() % 1_000_000_000 : wholeNumber(flags.first, '--first', 0));
  const seeds = single === undefined ? wholeNumber(flags.seeds, '--seeds', 1) : 1;
  const hunts: readonly string[] = flags.cluster ? CLUSTER_HUNTS : HUNTS;
  const { cluster, hunt, verbose } = flags;
  if (hunt !== undefined && !hunts.includes(hunt)) usageError(`--hunt is one of ${hunts.join(', ')}, not ${hunt}`);
  const asked = flags.workers === undefined ? availableParallelism() : wholeNumber(flags.workers, '--workers', 1);
  const workers = verbose ? 1 : Math.min(asked, seeds);
  /** Shows a seed again. */
  const command = (seed: number): string =>
    `npm run sim -- --seed ${seed} --seconds ${seconds}${hunt ? ` --hunt ${hunt}` : ''}${cluster ? ' --cluster' : ''}`;
  const commit = process.env['KEYFLEET_COMMIT'] ?? 'unknown';
  const totals = new Totals();
  const began = performance.now();
  let failed: SimulationResult | undefined;
  let lastShown = began;
  const run: SeedRunOptions = { seconds, cluster, hunt, verbose, withStacks: single !== undefined };
  for await (const outcome of runSeeds({ first, seeds, workers, run, program })) {
    if ('broken' in outcome) {
      console.error(`seed ${outcome.seed} at commit ${commit} FAILED: a promise broke: ${outcome.broken}`);
      console.error(`\nagain: ${command(outcome.seed)}`);
      process.exit(1);
    }
    totals.add(outcome.result);
    if (hasFailed(outcome)) failed = outcome.result;
    if (performance.now() - lastShown > 5_000) {
      lastShown = performance.now();
      console.error(`${totals.seeds} of ${seeds} seeds, ${Math.round(totals.sums.simulatedMs / 1_000)} simulated seconds`);
    }
  }
  const wallMs = performance.now() - began;
  if (flags.json) console.log(JSON.stringify({ commit, first, seconds, wallMs, ...totals.report(wallMs), failed }));
  else {
    console.log(`${totals.seeds} seeds from ${first}, commit ${commit}`);
    for (const line of totals.lines(wallMs)) console.log(line);
  }
  if (failed) {
    console.error(`\nseed ${failed.seed} at commit ${commit} FAILED ${failed.failure}`);
    console.error(`\nagain: ${command(failed.seed)}`);
    process.exitCode = 1;
  }
}
