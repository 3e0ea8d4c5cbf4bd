import type { Bytes } from '../../base/bytes.ts';
import { KeyfleetError } from '../../base/errors.ts';
import { showBytes, showCount } from '../../base/units.ts';
import type { Reply } from '../../shard/redis/reply.ts';
import { isReservedKey } from './guard-scripts.ts';
import { bytesList, errorText, type ServerLink, showAddress, textOf } from './move-link.ts';
import { info } from './server-info.ts';
import { showKey } from './show-key.ts';

/** What a look at both servers says about a move, before anything changes. */
export interface MoveForecast {
  readonly keys: number;
  readonly bytes: number;
  /** The target does not read the source's DUMP: keys are copied by type. */
  readonly byType: boolean;
  /** Why the move cannot start; empty when it can. */
  readonly problems: readonly string[];
}

const SAMPLE_KEYS = 1_000;
const MEMORY_FACTOR = 1.3;
const MOST_CLOCK_SKEW_MS = 50;

/**
 * PLAN: compares versions by trying, memory, eviction, roles and clocks, samples how much moves, and walks the target for keys that would
 * come to light there. Writes nothing but one key of ours at the target, for a moment.
 *
 * Cost: some thousand commands at the source, one pass of SCAN over the target.
 *
 * @throws KF_POOL_SERVER_LOST, also while one of them loads its data; KF_POOL_SERVER_REFUSED.
 */
export async function forecastMove(from: ServerLink, to: ServerLink, isMoving: (key: Bytes) => boolean): Promise<MoveForecast> {
  const problems: string[] = [];
  const [source, target] = [await info(from), await info(to)];
  const [fromName, toName] = [showAddress(from.server), showAddress(to.server)];
  for (const [name, facts] of [
    [fromName, source],
    [toName, target],
  ] as const) {
    if (facts.get('role') !== 'master') problems.push(`${name} is a ${facts.get('role') ?? 'server of unknown role'}, not a master`);
    if (facts.get('cluster_enabled') === '1') problems.push(`${name} is part of a Redis Cluster, which places keys itself`);
    if (facts.get('loading') === '1')
      throw new KeyfleetError('KF_POOL_SERVER_LOST', `${name} is still loading its data`, { retryable: true });
  }
  const skewMs = await clockSkewMs(from, to);
  if (skewMs > MOST_CLOCK_SKEW_MS)
    problems.push(`the clocks of ${fromName} and ${toName} are ${Math.round(skewMs)} ms apart: times to live would not be the same`);
  const sample = await sampleKeys(from, isMoving);
  const limit = Number(target.get('maxmemory') ?? 0);
  const used = Number(target.get('used_memory') ?? 0);
  if (limit > 0) {
    const policy = target.get('maxmemory_policy');
    if (policy !== 'noeviction') problems.push(`${toName} may evict keys (maxmemory-policy ${policy}): set it to noeviction for the move`);
    if (used + sample.bytes * MEMORY_FACTOR > limit)
      problems.push(
        `${toName} has ${showBytes(limit - used)} left of maxmemory, the move wants ${showBytes(sample.bytes * MEMORY_FACTOR)}`,
      );
  }
  const strays = await findStrays(to, isMoving);
  if (strays.count > 0)
    problems.push(
      `${toName} already holds ${showCount(strays.count)} key(s) that belong to ${fromName}, such as ${showKey(strays.first!)}: remove them, or say that they may be dropped`,
    );
  const byType = problems.length === 0 && !(await readsDumps(from, to, sample.byKind));
  return { keys: sample.keys, bytes: sample.bytes, byType, problems };
}

/** Removes the keys of a move that stand at its target before it begins. */
export async function dropStrays(to: ServerLink, isMoving: (key: Bytes) => boolean): Promise<number> {
  let count = 0;
  for await (const page of scanKeys(to)) {
    const strays = page.filter(isMoving);
    if (strays.length > 0) count += Number(await to.call(['UNLINK', ...strays]));
  }
  return count;
}

/** All keys of a server but ours, a page of SCAN at a time; a key may come twice. */
export async function* scanKeys(link: ServerLink, count = 1_000): AsyncGenerator<Bytes[]> {
  let cursor = '0';
  do {
    const [next, page] = (await link.call(['SCAN', cursor, 'COUNT', count])) as readonly Reply[];
    cursor = textOf(next);
    yield bytesList(page!).filter((key) => key !== undefined && !isReservedKey(key)) as Bytes[];
  } while (cursor !== '0');
}

async function clockSkewMs(a: ServerLink, b: ServerLink): Promise<number> {
  const offset = async (link: ServerLink): Promise<number> => {
    let best = { tripMs: Number.POSITIVE_INFINITY, offsetMs: 0 };
    for (let i = 0; i < 5; i++) {
      const sentMs = performance.now();
      const [seconds, micros] = (await link.call(['TIME'])) as readonly Reply[];
      const tripMs = performance.now() - sentMs;
      const serverMs = Number(textOf(seconds)) * 1_000 + Number(textOf(micros)) / 1_000;
      if (tripMs < best.tripMs) best = { tripMs, offsetMs: serverMs - (sentMs + tripMs / 2) };
    }
    return best.offsetMs;
  };
  return Math.abs((await offset(a)) - (await offset(b)));
}

async function sampleKeys(
  from: ServerLink,
  isMoving: (key: Bytes) => boolean,
): Promise<{ keys: number; bytes: number; byKind: Map<string, Bytes> }> {
  const all = Number(await from.call(['DBSIZE']));
  const byKind = new Map<string, Bytes>();
  let seen = 0;
  const moving: Bytes[] = [];
  for await (const page of scanKeys(from, 200)) {
    seen += page.length;
    moving.push(...page.filter(isMoving));
    if (seen >= SAMPLE_KEYS) break;
  }
  let bytes = 0;
  let measured = 0;
  for (let at = 0; at < moving.length; at += 100) {
    const keys = moving.slice(at, at + 100);
    const sizes = await Promise.all(keys.map((key) => from.raw(['MEMORY', 'USAGE', key])));
    const kinds = await Promise.all(keys.map((key) => from.raw(['TYPE', key])));
    for (const [index, key] of keys.entries()) {
      const size = sizes[index]!;
      if (typeof size === 'number') {
        bytes += size;
        measured++;
      }
      const kind = textOf(kinds[index]);
      if (kind !== 'none') byKind.set(kind, key);
    }
  }
  const keys = seen === 0 ? 0 : Math.round((all * moving.length) / seen);
  return { keys, bytes: measured === 0 ? 0 : Math.round((bytes / measured) * keys), byKind };
}

async function findStrays(to: ServerLink, isMoving: (key: Bytes) => boolean): Promise<{ count: number; first: Bytes | undefined }> {
  let count = 0;
  let first: Bytes | undefined;
  for await (const page of scanKeys(to)) {
    for (const key of page) {
      if (!isMoving(key)) continue;
      count++;
      first ??= key;
    }
  }
  return { count, first };
}

/** Tries a key of each type. */
async function readsDumps(from: ServerLink, to: ServerLink, byKind: ReadonlyMap<string, Bytes>): Promise<boolean> {
  for (const key of byKind.values()) {
    const size = await from.raw(['MEMORY', 'USAGE', key]);
    if (typeof size === 'number' && size > 1024 * 1024) continue;
    const payload = await from.call(['DUMP', key]);
    if (!(payload instanceof Uint8Array)) continue;
    const probe = `__kf:part:probe:${process.pid}`;
    const text = errorText(await to.raw(['RESTORE', probe, 60_000, payload, 'REPLACE']));
    await to.raw(['DEL', probe]);
    if (text !== undefined && /DUMP payload|Bad data format/i.test(text)) return false;
  }
  return true;
}
