/** Whether a pool's keys are where they belong, and whether a copy of a server is one. */
import type { Bytes } from '../../base/bytes.ts';
import type { PoolServer } from '../pool-config.ts';
import type { PoolMap } from '../pool-map.ts';
import { isReservedKey } from './guard-scripts.ts';
import { scanKeys } from './move-checks.ts';
import { type ServerAddress, ServerLink } from './move-link.ts';
import { showKey } from './show-key.ts';
import { compareKeys, type DifferenceKind } from './value-compare.ts';

export interface Misplaced {
  readonly key: string;
  /** Names of servers. */
  readonly on: string;
  readonly belongsTo: string;
  readonly alsoThere: boolean;
  /** How the two differ; `same` when they do not, absent when only one is there. */
  readonly copy?: DifferenceKind | 'same';
}

export interface VerifyReport {
  /** Keys that were looked at. */
  readonly keys: number;
  /** Whether these were all. */
  readonly isSample: boolean;
  /** Keys on a server that is not theirs; at most 1,000 are listed. */
  readonly misplaced: readonly Misplaced[];
  readonly misplacedCount: number;
  /** Of these, keys that their own server has too. */
  readonly twiceCount: number;
  /** With a copy to compare with: what is not the same there; at most 1,000 are listed. */
  readonly differences: readonly { readonly key: string; readonly kind: DifferenceKind; readonly what: string }[];
  readonly differenceCount: number;
}

export interface VerifyOptions {
  /** The map of now: asked again for whatever looks wrong, since keys may move meanwhile. */
  readonly map: () => PoolMap;
  readonly addressOf: (server: PoolServer) => ServerAddress;
  /** About so many keys of each server, by chance, instead of all. */
  readonly sample?: number | undefined;
  /** Compares the keys of one server, by its name, with a copy: types, values, times to live. */
  readonly against?: { readonly server: string; readonly copy: ServerAddress } | undefined;
  readonly onProgress?: (keys: number) => void;
  readonly signal?: AbortSignal;
}

const MOST_LISTED = 1_000;
const PAGE = 200;

/**
 * Walks every server of a pool: no key may be on a server that is not its own, and so none on two; where one is on two, both are compared. With `against` it compares one server
 * with a copy of it (the address it has moved from, a replica, a restored backup) key by key, both ways. Keys on the move may be on either side.
 *
 * Cost: a SCAN of every server, 1,000 keys at a time, or `sample` RANDOMKEYs; memory only for what is wrong; for a comparison also {@link compareKeys}.
 *
 * @throws KF_POOL_SERVER_LOST, KF_POOL_SERVER_REFUSED.
 */
export async function verifyPool(options: VerifyOptions): Promise<VerifyReport> {
  const { map, addressOf, against } = options;
  const links: ServerLink[] = [];
  const open = (address: ServerAddress): ServerLink => {
    const link = new ServerLink(address, { name: 'kf:verify' });
    links.push(link);
    return link;
  };
  const byName = new Map<string, ServerLink>();
  const linkOf = (server: PoolServer): ServerLink => {
    let link = byName.get(server.name);
    if (link === undefined) byName.set(server.name, (link = open(addressOf(server))));
    return link;
  };
  const report = {
    keys: 0,
    isSample: options.sample !== undefined,
    misplaced: [] as Misplaced[],
    misplacedCount: 0,
    twiceCount: 0,
    differences: [] as VerifyReport['differences'][number][],
    differenceCount: 0,
  };
  const copy = against === undefined ? undefined : open(against.copy);
  const differs = (difference: VerifyReport['differences'][number]): void => {
    report.differenceCount++;
    if (report.differences.length < MOST_LISTED) report.differences.push(difference);
  };
  try {
    for (const server of map().servers) {
      if (against !== undefined && server.name !== against.server) continue;
      const link = linkOf(server);
      for await (const page of pagesOf(link, options)) {
        report.keys += page.length;
        for (const key of page) if (!belongs(map(), key, server.name)) await misplaced(key, server, link);
        if (copy !== undefined)
          for (const [index, found] of (await compareKeys(link, copy, page)).entries())
            if (found !== undefined) differs({ key: showKey(page[index]!), ...found });
        options.onProgress?.(report.keys);
      }
      if (copy === undefined) continue;
      // The other way: what only the copy has.
      for await (const page of pagesOf(copy, options)) {
        const there = await Promise.all(page.map((key) => link.call(['EXISTS', key])));
        const extra = page.filter((_, index) => there[index] !== 1);
        for (const [index, found] of (await compareKeys(link, copy, extra)).entries())
          if (found?.kind === 'extra') differs({ key: showKey(extra[index]!), ...found });
      }
    }
  } finally {
    for (const link of links) link.close();
  }
  return report;

  async function misplaced(key: Bytes, server: PoolServer, link: ServerLink): Promise<void> {
    // It may have moved since it was found.
    if ((await link.call(['EXISTS', key])) !== 1 || belongs(map(), key, server.name)) return;
    const owner = map().serverOf(key);
    const ownerLink = linkOf(owner);
    const alsoThere = (await ownerLink.call(['EXISTS', key])) === 1;
    report.misplacedCount++;
    if (alsoThere) report.twiceCount++;
    if (report.misplaced.length >= MOST_LISTED) return;
    const [difference] = alsoThere ? await compareKeys(ownerLink, link, [key]) : [];
    report.misplaced.push({
      key: showKey(key),
      on: server.name,
      belongsTo: owner.name,
      alsoThere,
      ...(alsoThere ? { copy: difference?.kind ?? 'same' } : {}),
    });
  }
}

/** Whether a key may be on a server: it is the owner, or the key is on its way there. */
function belongs(map: PoolMap, key: Bytes, server: string): boolean {
  const slot = map.slotOf(key);
  const move = map.moveOf(slot);
  return map.servers[map.ownerOf(slot)]!.name === server || (move !== undefined && map.servers[move.to]!.name === server);
}

/** All keys of a server, or some by chance, a page at a time. */
async function* pagesOf(link: ServerLink, { sample, signal }: VerifyOptions): AsyncGenerator<Bytes[]> {
  if (sample === undefined) {
    for await (const page of scanKeys(link)) {
      for (let at = 0; at < page.length; at += PAGE) {
        signal?.throwIfAborted();
        yield page.slice(at, at + PAGE);
      }
    }
    return;
  }
  const seen = new Set<string>();
  for (let drawn = 0; drawn < sample; drawn += PAGE) {
    signal?.throwIfAborted();
    const draws = await Promise.all(Array.from({ length: Math.min(PAGE, sample - drawn) }, () => link.call(['RANDOMKEY'])));
    const page: Bytes[] = [];
    for (const key of draws) {
      if (!(key instanceof Uint8Array)) continue;
      const name = Buffer.from(key).toString('latin1');
      if (seen.has(name) || isReservedKey(key)) continue;
      seen.add(name);
      page.push(key);
    }
    yield page;
  }
}
