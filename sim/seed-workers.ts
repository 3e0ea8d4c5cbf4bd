import { parentPort, Worker, workerData } from 'node:worker_threads';
import { hasFailed, runSeed, type SeedOutcome, type SeedRunOptions } from './seed-run.ts';

// Many seeds, on several threads. A run is decided by its seed alone, so it does not matter who runs it, nor beside what: outcomes come in the order of
// the seeds, and are the same as those of one thread.

export interface SeedsOptions {
  readonly first: number;
  readonly seeds: number;
  readonly workers: number;
  readonly run: SeedRunOptions;
  /** The program, which calls {@link serveSeeds} when it is not the main thread. */
  readonly program: URL;
}

/** The outcomes, up to the last seed or the first that failed. */
export async function* runSeeds(options: SeedsOptions): AsyncGenerator<SeedOutcome> {
  const { first, seeds, workers, run } = options;
  if (workers > 1) {
    yield* runInWorkers(options);
    return;
  }
  for (let seed = first; seed < first + seeds; seed++) {
    const outcome = await runSeed(seed, run);
    yield outcome;
    if (hasFailed(outcome)) return;
  }
}

async function* runInWorkers({ first, seeds, workers, run, program }: SeedsOptions): AsyncGenerator<SeedOutcome> {
  const end = first + seeds;
  const outcomes = new Map<number, SeedOutcome>();
  let next = first;
  let error: Error | undefined;
  let wake = (): void => {};
  const crew = Array.from({ length: workers }, () => new Worker(program, { workerData: run }));
  for (const worker of crew) {
    const give = (): void => {
      if (next < end) worker.postMessage(next++);
    };
    worker.on('message', (outcome: SeedOutcome) => {
      outcomes.set(outcome.seed, outcome);
      // Those before it were given before it, and are waited for.
      if (hasFailed(outcome)) next = end;
      give();
      wake();
    });
    worker.on('error', (why: Error) => {
      error = why;
      wake();
    });
    give();
  }
  try {
    for (let seed = first; seed < end; seed++) {
      while (!outcomes.has(seed)) {
        if (error) throw error;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      const outcome = outcomes.get(seed)!;
      outcomes.delete(seed);
      yield outcome;
      if (hasFailed(outcome)) return;
    }
  } finally {
    await Promise.all(crew.map((worker) => worker.terminate()));
  }
}

/** What a thread does that is not the main one: runs the seeds that it is given. */
export function serveSeeds(): void {
  const port = parentPort!;
  const options = workerData as SeedRunOptions;
  port.on('message', (seed: number) => {
    void runSeed(seed, options).then((outcome) => port.postMessage(outcome));
  });
}
