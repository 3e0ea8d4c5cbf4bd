import { once } from 'node:events';
import { PassThrough } from 'node:stream';

/**
 * Gives the same pieces to `count` readers, as fast as the slowest of them. A reader that is destroyed is left out from then on.
 * When the source fails, so do the readers.
 */
export function tee(source: AsyncIterable<Buffer>, count: number): PassThrough[] {
  const readers = Array.from({ length: count }, () => new PassThrough());
  for (const reader of readers) reader.on('error', () => {});
  void (async () => {
    try {
      for await (const piece of source) {
        const full = readers.filter((reader) => !reader.destroyed && !reader.write(piece));
        await Promise.all(full.map((reader) => Promise.race([once(reader, 'drain'), once(reader, 'close')]).catch(() => {})));
        if (readers.every((reader) => reader.destroyed)) return;
      }
      for (const reader of readers) reader.end();
    } catch (error) {
      for (const reader of readers) reader.destroy(error as Error);
    }
  })();
  return readers;
}
