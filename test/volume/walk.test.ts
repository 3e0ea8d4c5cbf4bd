import { existsSync } from 'node:fs';
import { appendFile, cp, mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { freePort, Member, makeFleet, runKeyfleet } from './member.ts';
import { digestTree } from './tree-run.ts';

// The whole way of a new user, through real processes: a tree goes in over three volumes and comes back identical; a fourth joins while
// others read and write, and in the middle of it source, target and master are killed; then one volume goes, and is empty.

const PROJECT_DOCS = fileURLToPath(new URL('../../docs/', import.meta.url));
const SYSTEM_DOCS = '/usr/share/doc';
const MOST_FILES = 120;
const MOST_BYTES = 64 * 1024;

let dir: string;
let fleet: Awaited<ReturnType<typeof makeFleet>>;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'keyfleet-walk-'));
  fleet = await makeFleet(dir, 3);
  // Slow enough that a move has a middle.
  await appendFile(join(dir, 'master.yml'), `moveBytesPerSecond: ${64 * 1024}\nmoveConcurrency: 1\n`);
  for (const volume of fleet.volumes) await volume.start();
  await fleet.master.start();
}, 60_000);
afterAll(async () => {
  await fleet.master.kill();
  for (const volume of fleet.volumes) await volume.kill();
  await rm(dir, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
});

/** Some files of a real tree, in their folders. */
async function takeTree(to: string): Promise<number> {
  const from = existsSync(SYSTEM_DOCS) ? SYSTEM_DOCS : PROJECT_DOCS;
  let count = 0;
  for (const entry of await readdir(from, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (count === MOST_FILES || !entry.isFile() || (await stat(path)).size > MOST_BYTES) continue;
    const target = join(to, relative(from, path));
    await mkdir(dirname(target), { recursive: true });
    await cp(path, target);
    count++;
  }
  return count;
}

async function expectSameTree(name: string): Promise<void> {
  await runKeyfleet(['export', '--dir', join(dir, name), '--prefix', 'tree/', '--url', fleet.url]);
  expect(await digestTree(join(dir, name))).toBe(await digestTree(join(dir, 'tree')));
}

/** What a master says of itself; undefined while it is away. */
async function summary(): Promise<{ readonly moves: string; readonly keyCount: number } | undefined> {
  return fetch(fleet.url, { signal: AbortSignal.timeout(5_000) }).then(
    (answer) => answer.json() as Promise<{ moves: string; keyCount: number }>,
    () => undefined,
  );
}

async function until(what: () => Promise<boolean>): Promise<void> {
  for (const untilMs = Date.now() + 120_000; Date.now() < untilMs; await sleep(20)) if (await what()) return;
  throw new Error(`it did not come to be: ${JSON.stringify(await summary())} ${fleet.master.output}`);
}

/** Writes new keys and reads them again until it is told to stop; only what was answered must be there. */
class Traffic {
  readonly answered: string[] = [];
  readonly wrong: string[] = [];
  #isDone = false;
  readonly #running: Promise<void>;

  constructor() {
    this.#running = this.#run();
  }

  async #run(): Promise<void> {
    for (let count = 0; !this.#isDone; count++) {
      const key = `live-${count}`;
      const put = await this.#ask('PUT', `/set/${key}`, `value of ${key}`);
      if (put?.status === 200) this.answered.push(key);
      const known = this.answered[Math.floor(count / 2)];
      if (known !== undefined) await this.check(known);
      await sleep(5);
    }
  }

  async check(key: string): Promise<boolean> {
    const got = await this.#ask('GET', `/get/${key}`);
    if (got === undefined || got.status === 503) return false;
    if (got.status !== 200 || got.text !== `value of ${key}`) this.wrong.push(`${key}: ${got.status} ${got.text}`);
    return true;
  }

  async #ask(method: string, path: string, body?: string): Promise<{ status: number; text: string } | undefined> {
    try {
      const init = { method, signal: AbortSignal.timeout(10_000), ...(body === undefined ? {} : { body }) };
      const answer = await fetch(fleet.url + path, init);
      return { status: answer.status, text: await answer.text() };
    } catch {
      return undefined;
    }
  }

  async stop(): Promise<void> {
    this.#isDone = true;
    await this.#running;
  }
}

test('a tree in, a fourth volume under traffic and kill -9, all there again, and a volume less', async () => {
  const count = await takeTree(join(dir, 'tree'));
  expect(count).toBeGreaterThan(5);
  const imported = await runKeyfleet(['import', '--dir', join(dir, 'tree'), '--prefix', 'tree/', '--url', fleet.url]);
  expect(imported).toContain(`${count} stored and compared`);
  await expectSameTree('copy-1');

  const traffic = new Traffic();
  const port = await freePort();
  await writeFile(join(dir, 'volume-3.yml'), `port: ${port}\npath: ./volume-3\n`);
  const fourth = new Member(['volume', '--config', join(dir, 'volume-3.yml')], port);
  fleet.volumes.push(fourth);
  await fourth.start();
  const added = await fetch(`${fleet.url}/admin/volumes/add`, {
    method: 'POST',
    body: JSON.stringify({ volume: `http://127.0.0.1:${port}` }),
  });
  expect(added.status, await added.text()).toBe(200);
  expect((await summary())?.moves).not.toBe('idle');
  for (const member of [fleet.volumes[0]!, fourth, fleet.master]) {
    await member.kill();
    await sleep(100);
    await member.start();
  }
  await until(async () => (await summary())?.moves === 'idle');
  const before = traffic.answered.length;
  await until(async () => traffic.answered.length > before + 5);
  await traffic.stop();
  for (const key of traffic.answered) await until(() => traffic.check(key));
  expect(traffic.wrong).toEqual([]);
  await expectSameTree('copy-2');
  const filesOn = async (index: number): Promise<number> => {
    const entries = await readdir(join(dir, `volume-${index}`, 'values'), { recursive: true, withFileTypes: true });
    return entries.filter((entry) => entry.isFile()).length;
  };
  expect(await filesOn(3)).toBeGreaterThan(0);

  expect(await filesOn(1)).toBeGreaterThan(0);
  await runKeyfleet(['volumes', 'remove', '2', '--url', fleet.url]);
  await until(async () => (await summary())?.moves === 'idle' && (await filesOn(1)) === 0);
  const left = await Promise.all([0, 2, 3].map(filesOn));
  expect(left.reduce((sum, files) => sum + files, 0)).toBe((await summary())?.keyCount);
  await expectSameTree('copy-3');
  for (const key of traffic.answered) await until(() => traffic.check(key));
  expect(traffic.wrong).toEqual([]);
}, 300_000);
