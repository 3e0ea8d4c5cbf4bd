import { setTimeout as sleep } from 'node:timers/promises';

/** Gives on what `source` gives, and `beat` whenever that has been silent for `everyMs`, so that who waits can tell work from death. */
export async function* withBeat<T>(source: AsyncIterable<T>, beat: T, everyMs = 5_000): AsyncGenerator<T, void> {
  const iterator = source[Symbol.asyncIterator]();
  let next = iterator.next();
  try {
    for (;;) {
      const timer = new AbortController();
      const silence = sleep(everyMs, undefined, { signal: timer.signal }).catch(() => undefined);
      const got = await Promise.race([next, silence]).finally(() => timer.abort());
      if (got === undefined) {
        yield beat;
        continue;
      }
      if (got.done) return;
      yield got.value;
      next = iterator.next();
    }
  } finally {
    // Not waited for: the source may be in the middle of something long.
    next.catch(() => {});
    void iterator.return?.().catch(() => {});
  }
}
