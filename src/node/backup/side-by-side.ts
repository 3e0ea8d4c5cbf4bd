/** What the workers of a queue know of each other. */
export interface Work {
  /** What one of them ended with: the others end too. */
  readonly failure: unknown;
}

/**
 * Does `work` for each of a queue, `concurrency` at a time; it may add to the queue. After a failure no further one begins.
 * @throws the first failure, once none is under way any more.
 */
export async function sideBySide<T>(queue: T[], concurrency: number, work: (item: T, all: Work) => Promise<void>): Promise<void> {
  const all: { failure: unknown } = { failure: undefined };
  const worker = async (): Promise<void> => {
    for (let item = queue.shift(); item !== undefined && all.failure === undefined; item = queue.shift()) await work(item, all);
  };
  await Promise.all(
    Array.from({ length: Math.max(1, concurrency) }, () =>
      worker().catch((error: unknown) => {
        all.failure ??= error;
      }),
    ),
  );
  if (all.failure !== undefined) throw all.failure;
}
