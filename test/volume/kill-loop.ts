import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Prng } from '../../src/base/prng.ts';
import { makeFleet } from './member.ts';

export interface KillReport {
  readonly seed: number;
  readonly kills: number;
  /** Writes and deletes that were answered. */
  readonly answered: number;
  readonly reads: number;
  readonly moves: number;
  readonly wrong: readonly string[];
}

/** What a key may hold: one value for sure, or, after a write whose answer never came, one of several. */
type Possible = readonly (string | undefined)[];

/**
 * Four volumes and a master under writers with exact expectations, while volumes are drained and taken back and processes are killed.
 * Everything read must be possible; at the end every key is read, and the files of all volumes are counted.
 */
export async function killLoop(options: {
  readonly seed: number;
  readonly keys: number;
  /** At most so long. */
  readonly seconds: number;
  /** Not longer than until so much has happened. */
  readonly enough?: { readonly kills: number; readonly answered: number; readonly moves: number };
}): Promise<KillReport> {
  const prng = new Prng(options.seed);
  const dir = await mkdtemp(join(tmpdir(), 'keyfleet-kill-'));
  const { volumes, master, url, addresses } = await makeFleet(dir, 4);
  const counts = { kills: 0, answered: 0, reads: 0, moves: 0 };
  const wrong: string[] = [];
  const possible = new Map<string, Possible>();
  let done = false;

  const request = (path: string, init: RequestInit = {}): Promise<Response | undefined> =>
    fetch(url + path, { ...init, signal: AbortSignal.timeout(10_000) }).catch(() => undefined);

  const readNow = async (key: string): Promise<string | undefined | 'unclear'> => {
    const response = await request(`/get/${key}`);
    if (response === undefined) return 'unclear';
    const text = await response.text().catch(() => undefined);
    if (text === undefined) return 'unclear';
    if (response.status === 200) return text;
    if (response.status === 404) return undefined;
    if (response.status !== 503) wrong.push(`GET ${key}: ${response.status} ${text}`);
    return 'unclear';
  };

  const check = async (key: string): Promise<void> => {
    const value = await readNow(key);
    if (value === 'unclear') return;
    counts.reads++;
    const allowed = possible.get(key)!;
    if (!allowed.includes(value))
      wrong.push(
        `${key} is ${JSON.stringify(value?.slice(0, 40))}, should be one of ${JSON.stringify(allowed.map((one) => one?.slice(0, 40)))}`,
      );
    // What was read once stays: an unknown outcome is known from now on.
    else possible.set(key, [value]);
  };

  const client = async (mine: readonly string[], random: Prng): Promise<void> => {
    for (let count = 0; !done; count++) {
      const key = random.pick(mine);
      const roll = random.below(10);
      if (roll >= 5) {
        await check(key);
        continue;
      }
      const value = roll === 0 ? undefined : `${key} ${count} ${'x'.repeat(random.below(3_000))}`;
      const before = possible.get(key)!;
      const response =
        value === undefined
          ? await request(`/delete/${key}`, { method: 'DELETE' })
          : await request(`/set/${key}`, { method: 'PUT', body: value });
      const text = await response?.text().catch(() => undefined);
      if (text !== undefined && (response?.status === 200 || (value === undefined && response?.status === 404))) {
        counts.answered++;
        if (response!.status === 404 && !before.includes(undefined)) wrong.push(`DELETE ${key}: nothing there, but it should be`);
        possible.set(key, [value]);
      } else possible.set(key, [...before, value]);
      if (response === undefined) await sleep(20);
    }
  };

  try {
    for (const volume of volumes) await volume.start();
    await master.start();
    const keys = Array.from({ length: options.keys }, (_, index) => `key-${index}`);
    for (const key of keys) possible.set(key, [undefined]);
    const clients = [0, 1, 2, 3].map((part) =>
      client(
        keys.filter((_, index) => index % 4 === part),
        new Prng(options.seed + part + 1),
      ),
    );
    const untilMs = Date.now() + options.seconds * 1_000;
    const { kills = Infinity, answered = Infinity, moves = Infinity } = options.enough ?? {};
    const isEnough = (): boolean => counts.kills >= kills && counts.answered >= answered && counts.moves >= moves;
    while (Date.now() < untilMs && !isEnough()) {
      const drained = prng.pick(addresses);
      const moved = await request('/admin/volumes/drain', { method: 'POST', body: JSON.stringify({ volume: drained }) });
      if (moved?.ok) counts.moves++;
      await moved?.text().catch(() => {});
      await sleep(prng.below(150));
      const victim = prng.pick([master, master, ...volumes]);
      await victim.kill();
      counts.kills++;
      await sleep(prng.below(200));
      await victim.start();
      const back = await request('/admin/volumes/add', { method: 'POST', body: JSON.stringify({ volume: drained }) });
      await back?.text().catch(() => {});
      await sleep(prng.below(300));
    }
    done = true;
    await Promise.all(clients);
    for (let tries = 0; tries < 300; tries++) {
      const status = (await (await request('/admin/moves/start', { method: 'POST' }))?.json().catch(() => undefined)) as
        | { moves: { state: string } }
        | undefined;
      if (status?.moves.state === 'idle') break;
      await sleep(100);
    }
    for (const key of keys) await check(key);
    await waitIdle(request);
    const present = keys.filter((key) => possible.get(key)![0] !== undefined).length;
    const files = await countFiles(dir);
    if (files !== present) wrong.push(`${files} files on the volumes for ${present} keys`);
  } finally {
    done = true;
    await master.kill();
    for (const volume of volumes) await volume.kill();
    await rm(dir, { recursive: true, force: true });
  }
  return { seed: options.seed, ...counts, wrong };
}

async function waitIdle(request: (path: string, init?: RequestInit) => Promise<Response | undefined>): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    const status = (await (await request('/admin/status'))?.json().catch(() => undefined)) as { moves: { state: string } } | undefined;
    if (status?.moves.state === 'idle') return;
    await sleep(100);
  }
}

async function countFiles(dir: string): Promise<number> {
  let count = 0;
  for (const index of [0, 1, 2, 3]) {
    const values = join(dir, `volume-${index}`, 'values');
    for (const folder of await readdir(values)) count += (await readdir(join(values, folder))).length;
  }
  return count;
}
