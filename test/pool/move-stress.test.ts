import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import { MoveEngine } from '../../src/pool/moves/move-engine.ts';
import { ServerLink } from '../../src/pool/moves/move-link.ts';
import { planChange } from '../../src/pool/moves/move-plan.ts';
import { POOL_DEFAULTS, type PoolConfig, type PoolServer } from '../../src/pool/pool-config.ts';
import { PoolMap } from '../../src/pool/pool-map.ts';
import type { Reply } from '../../src/shard/redis/reply.ts';
import { ExactWorker } from './exact-workload.ts';
import { hasRedis, RedisServer } from './redis-servers.ts';
import { LocalRouters, TestRouter } from './test-router.ts';

const SECONDS = Number(process.env['KEYFLEET_POOL_SECONDS'] ?? 6);
const SEED = Number(process.env['KEYFLEET_POOL_SEED'] ?? 4_211);
/** There and back again, at least; a machine that is busy with other things gets longer for it. */
const LEAST_MOVES = 2;
const MOST_EXTRA_MS = 40_000;
const DURABLE = ['--appendonly', 'yes', '--appendfsync', 'always'];

interface Outcome {
  readonly operations: number;
  readonly errors: number;
  readonly wrong: readonly string[];
  readonly moves: number;
}

let started: RedisServer[] = [];
afterEach(() => Promise.all(started.splice(0).map((server) => server.stop())));

describe.runIf(hasRedis)('keys that move to and fro under a workload that knows every answer', () => {
  test(
    'no answer is wrong, whichever of mover and servers dies',
    async () => {
      const outcome = await stress({ mover: 'ours', killMover: true, killServers: true, seconds: SECONDS });
      expect(outcome.wrong).toEqual([]);
      expect(outcome.moves).toBeGreaterThanOrEqual(LEAST_MOVES);
      expect(outcome.operations).toBeGreaterThan(1_000);
    },
    SECONDS * 1_000 + 90_000,
  );

  test('a mover of SCAN, DUMP, RESTORE and DEL is caught by the same workload', async () => {
    const outcome = await stress({ mover: 'naive', killMover: false, killServers: false, seconds: 40 });
    expect(outcome.wrong.length).toBeGreaterThan(0);
  }, 100_000);
});

async function stress(options: {
  readonly mover: 'ours' | 'naive';
  readonly killMover: boolean;
  readonly killServers: boolean;
  readonly seconds: number;
}): Promise<Outcome> {
  const servers = await Promise.all([RedisServer.start(DURABLE), RedisServer.start(DURABLE)]);
  started = servers;
  const dir = mkdtempSync(join(tmpdir(), 'keyfleet-stress-'));
  const random = randomOf(SEED);
  const both: PoolServer[] = servers.map(({ port }, index) => ({ name: `s${index}`, address: { host: '127.0.0.1', port }, weight: 1 }));
  const config: PoolConfig = { name: 'p', redis: true, ...POOL_DEFAULTS, distribution: 'slots', servers: both };
  let saved = PoolMap.of(config);
  const routers = new LocalRouters();
  let engine: MoveEngine;
  const takeOver = async (): Promise<void> => {
    engine = await MoveEngine.open({
      config,
      map: saved,
      routers,
      journalPath: join(dir, 'journal'),
      saveMap: (map) => {
        saved = map;
      },
      addressOf: ({ address }) => address as { host: string; port: number },
      timeoutMs: 1_000,
      // Small steps, so that a move takes long enough to be disturbed.
      limits: { batchKeys: 10 },
      pace: { bytesPerSecond: 100_000 },
    });
  };
  await takeOver();
  for (let i = 0; i < 3; i++) routers.routers.push(new TestRouter(saved, (moveId, keys) => engine.pull(moveId, keys)));
  const endMs = Date.now() + options.seconds * 1_000;
  let moves = 0;
  const workers = routers.routers.flatMap((router, index) =>
    Array.from({ length: 6 }, (_, lane) => {
      const send = (name: string, key: string, rest: readonly (string | number)[], write: boolean): Promise<Reply> =>
        router.call(name, [key], rest, write ? 'write' : 'read');
      return new ExactWorker(`r${index}w${lane}`, send, randomOf(SEED + 100 * index + lane));
    }),
  );
  /** The naive mover has shown what it is with its first wrong answer. */
  const isOver = (): boolean =>
    (Date.now() > endMs && (moves >= LEAST_MOVES || Date.now() > endMs + MOST_EXTRA_MS)) ||
    (options.mover === 'naive' && workers.some(({ report }) => report.wrong.length > 0));
  const running = Promise.all(workers.map((worker) => worker.run(isOver)));
  const killer = kill();
  for (let toFirst = true; !isOver() && (moves < LEAST_MOVES || Date.now() < endMs - 500); toFirst = !toFirst) {
    const after = toFirst ? [both[1]!] : both;
    if (options.mover === 'naive') await naiveMove(toFirst);
    else await move(after);
    moves++;
  }
  await killer;
  const reports = await running;
  await engine!.close();
  for (const router of routers.routers) router.close();
  rmSync(dir, { recursive: true, force: true });
  return {
    operations: reports.reduce((sum, { operations }) => sum + operations, 0),
    errors: reports.reduce((sum, { errors }) => sum + errors, 0),
    wrong: reports.flatMap(({ wrong }) => wrong),
    moves,
  };

  async function move(after: readonly PoolServer[]): Promise<void> {
    for (;;) {
      const mine = engine;
      try {
        if (mine.status().state === 'idle') {
          if (mine.map.servers.length === after.length) return;
          await mine.start(planChange(mine.map, config, after, 'to and fro'));
        }
        await mine.settled();
        if (engine === mine && mine.status().state === 'idle' && mine.map.servers.length === after.length) return;
      } catch {
        // A server that is down just now; the killer brings it back.
      }
      if (Date.now() > endMs + MOST_EXTRA_MS) throw new Error(`the moves stand still: ${JSON.stringify(engine.status())}`);
      await sleep(20);
    }
  }

  /** Moves all slots of the first server, or half of the second's, with no regard for who writes meanwhile. */
  async function naiveMove(toFirst: boolean): Promise<void> {
    const [a, b] = servers.map(({ port }) => new ServerLink({ host: '127.0.0.1', port })) as [ServerLink, ServerLink];
    const [from, to] = toFirst ? [a, b] : [b, a];
    const [, target] = toFirst ? [0, 1] : [1, 0];
    const slots = saved.slotsOf(1 - target).filter((_, index) => toFirst || index % 2 === 0);
    const map = saved.withOwner(slots, target);
    let cursor = '0';
    do {
      const [next, keys] = (await from.call(['SCAN', cursor])) as [Uint8Array, Uint8Array[]];
      cursor = Buffer.from(next).toString();
      for (const key of keys) {
        if (map.ownerOf(map.slotOf(key)) !== target) continue;
        const payload = await from.call(['DUMP', key]);
        const left = Number(await from.call(['PTTL', key]));
        if (payload instanceof Uint8Array) await to.call(['RESTORE', key, Math.max(0, left), payload, 'REPLACE']);
      }
    } while (cursor !== '0');
    saved = map;
    await routers.publish(map);
    for (const key of (await from.call(['KEYS', '*'])) as Uint8Array[])
      if (map.ownerOf(map.slotOf(key)) === target) await from.call(['DEL', key]);
    a.close();
    b.close();
  }

  async function kill(): Promise<void> {
    if (!options.killMover) return;
    while (Date.now() < endMs - 1_500) {
      await sleep(150 + random() * 500);
      const dead = engine;
      await dead.close();
      await takeOver();
      if (options.killServers && random() < 0.4) {
        const server = servers[Math.floor(random() * 2)]!;
        await server.kill();
        await sleep(50 + random() * 200);
        await server.start();
      }
    }
  }
}

function randomOf(seed: number): () => number {
  const prng = new Prng(seed);
  return () => prng.u32() / 0x1_0000_0000;
}
