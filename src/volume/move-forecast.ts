import type { Bytes } from '../base/bytes.ts';
import type { BucketMap, VolumeNumber } from './bucket-map.ts';
import type { Metakeys } from './metakeys.ts';

/** What would move from one volume to another. */
export interface MoveForecast {
  readonly from: VolumeNumber;
  readonly to: VolumeNumber;
  readonly keyCount: number;
  readonly bytes: number;
}

/** Metakeys that are looked at in one turn of the event loop: some milliseconds. */
const PAGE = 1_000;

/** What a change of the buckets would move. One walk over the metakeys, others being served in between; nothing is changed. */
export async function forecastMoves(metakeys: Metakeys, map: BucketMap): Promise<MoveForecast[]> {
  const routes = new Map<string, { from: VolumeNumber; to: VolumeNumber; keyCount: number; bytes: number }>();
  let after: Bytes | undefined;
  do {
    const page = metakeys.page(after, PAGE);
    for (const metakey of page.metakeys) {
      if (metakey.deleting) continue;
      const missing = map.place(metakey.key, metakeys.replicas).filter((number) => !metakey.volumes.includes(number));
      for (const to of missing) {
        const from = metakey.volumes[0]!;
        const route = routes.get(`${from}>${to}`) ?? { from, to, keyCount: 0, bytes: 0 };
        route.keyCount++;
        route.bytes += metakey.sizeBytes;
        routes.set(`${from}>${to}`, route);
      }
    }
    after = page.next;
    await new Promise((resolve) => setImmediate(resolve));
  } while (after !== undefined);
  return [...routes.values()].sort((a, b) => a.from - b.from || a.to - b.to);
}
