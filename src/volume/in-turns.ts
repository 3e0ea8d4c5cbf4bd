/** So long one turn of the event loop reads, writes or removes small files: each takes some ten microseconds, less than a trip to another thread. */
const SLICE_MS = 2;

/** Does `work` for 0 … count − 1 in order, for {@link SLICE_MS} in each turn of the event loop, so that others are served in between. */
export async function inSlices(count: number, work: (index: number) => Promise<void> | void): Promise<void> {
  for (let next = 0; next < count; ) {
    const untilMs = performance.now() + SLICE_MS;
    const waiting: Promise<void>[] = [];
    do {
      const promise = work(next++);
      if (promise !== undefined) waiting.push(promise);
    } while (next < count && performance.now() < untilMs);
    await Promise.all(waiting);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Runs `work` for 0 … count − 1, at most `limit` at a time. */
export async function inParallel(count: number, limit: number, work: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const runner = async (): Promise<void> => {
    while (next < count) await work(next++);
  };
  await Promise.all(Array.from({ length: Math.min(limit, count) }, runner));
}
