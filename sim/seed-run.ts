import { CLUSTER_HUNTS, simulateCluster } from './cluster/cluster-simulation.ts';
import { HUNTS, simulate } from './simulation.ts';
import type { SimulationResult } from './simulation-result.ts';

/** What is run of each seed. */
export interface SeedRunOptions {
  readonly seconds: number;
  readonly cluster: boolean;
  readonly hunt: string | undefined;
  readonly verbose: boolean;
  /** Of the errors of the code that is run. It matters when one run is looked at, and costs a twentieth of the time of many. */
  readonly withStacks: boolean;
}

/** `broken`: a promise that nobody waited for failed. */
export type SeedOutcome = { readonly seed: number; readonly result: SimulationResult } | { readonly seed: number; readonly broken: string };

export function hasFailed(outcome: SeedOutcome): boolean {
  return 'broken' in outcome || outcome.result.failure !== undefined;
}

/** Runs a seed. Never rejects. */
export function runSeed(seed: number, options: SeedRunOptions): Promise<SeedOutcome> {
  if (!options.withStacks) Error.stackTraceLimit = 0;
  return new Promise((resolve) => {
    const end = (outcome: SeedOutcome): void => {
      process.off('unhandledRejection', broke);
      resolve(outcome);
    };
    const broke = (error: unknown): void => end({ seed, broken: error instanceof Error ? `${error.stack}` : `${error}` });
    process.on('unhandledRejection', broke);
    simulated(seed, options).then((result) => end({ seed, result }), broke);
  });
}

function simulated(seed: number, { seconds, cluster, hunt, verbose }: SeedRunOptions): Promise<SimulationResult> {
  const options = { seed, seconds, tell: verbose ? (line: string) => console.log(line) : undefined };
  if (cluster) return simulateCluster({ ...options, hunt: CLUSTER_HUNTS.find((one) => one === hunt) });
  return simulate({ ...options, hunt: HUNTS.find((one) => one === hunt) });
}
