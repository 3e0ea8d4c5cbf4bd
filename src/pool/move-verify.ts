import type { Bytes } from '../base/bytes.ts';
import { scanKeys } from './move-checks.ts';
import { type ServerAddress, ServerLink } from './move-link.ts';
import { show } from './move-walk.ts';
import type { PoolServer } from './pool-config.ts';
import type { PoolMap } from './pool-map.ts';

export interface VerifyReport {
  readonly keys: number;
  /** Keys on a server that is not theirs, by the names of both; at most 1,000 are listed. */
  readonly misplaced: readonly { readonly key: string; readonly on: string; readonly belongsTo: string; readonly alsoThere: boolean }[];
  readonly misplacedCount: number;
  /** Of these, keys that their own server has too. */
  readonly twiceCount: number;
}

/**
 * Walks every server of a pool: no key may be on a server that is not its own. A key that is on two servers is on a wrong one, so that this finds those as well. Meant
 * for a pool whose keys do not move just now.
 *
 * Cost: a SCAN of every server, 1,000 keys at a time; memory only for what is wrong.
 */
export async function verifyPool(
  map: PoolMap,
  addressOf: (server: PoolServer) => ServerAddress,
  onProgress?: (keys: number) => void,
): Promise<VerifyReport> {
  const links = map.servers.map((server) => new ServerLink(addressOf(server), { name: 'kf:verify' }));
  const misplaced: VerifyReport['misplaced'][number][] = [];
  let keys = 0;
  let misplacedCount = 0;
  let twiceCount = 0;
  try {
    for (const [index, link] of links.entries()) {
      for await (const page of scanKeys(link)) {
        keys += page.length;
        const wrong = page.filter((key) => map.ownerOf(map.slotOf(key)) !== index);
        for (const key of wrong) {
          const owner = map.ownerOf(map.slotOf(key));
          const alsoThere = (await links[owner]!.call(['EXISTS', key])) === 1;
          misplacedCount++;
          if (alsoThere) twiceCount++;
          if (misplaced.length < 1_000)
            misplaced.push({ key: show(key), on: map.servers[index]!.name, belongsTo: map.servers[owner]!.name, alsoThere });
        }
        onProgress?.(keys);
      }
    }
  } finally {
    for (const link of links) link.close();
  }
  return { keys, misplaced, misplacedCount, twiceCount };
}

/** Whether a key has one value on both servers: type, value and time to live to within 50 ms. For what a clone made. */
export async function sameValue(a: ServerLink, b: ServerLink, key: Bytes): Promise<boolean> {
  const look = async (link: ServerLink): Promise<[string, number]> => {
    const [type, ttl, payload] = await Promise.all([link.call(['TYPE', key]), link.call(['PTTL', key]), link.call(['DUMP', key])]);
    const body = payload instanceof Uint8Array ? Buffer.from(payload).toString('base64') : '';
    return [`${JSON.stringify(type)} ${body}`, Number(ttl)];
  };
  const [one, other] = await Promise.all([look(a), look(b)]);
  return one[0] === other[0] && Math.abs(one[1] - other[1]) <= 50;
}
