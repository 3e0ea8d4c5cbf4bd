import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { createPool } from '../../src/pool/index.ts';
import { MoveEngine } from '../../src/pool/moves/move-engine.ts';
import { planChange } from '../../src/pool/moves/move-plan.ts';
import { hasRedis, type RedisServer, startRedisServers } from './redis-servers.ts';

const LANES = 8;
const KEYS_A_LANE = 40;

describe.runIf(hasRedis)('a client of the library, while a server joins', () => {
  let servers: RedisServer[] = [];
  afterEach(() => Promise.all(servers.map((server) => server.stop())));

  test('sees no wrong answer, and every key is where it belongs in the end', async () => {
    servers = await startRedisServers(3);
    const dir = mkdtempSync(join(tmpdir(), 'keyfleet-client-moves-'));
    const listed = servers.map(({ address }, i) => `${address}:1 s${i}`);
    const pool = createPool({ servers: listed.slice(0, 2), hash: 'murmur' });
    const target = createPool({ servers: listed, hash: 'murmur' });
    let engine: MoveEngine | undefined;
    const router = pool.joinMoves({ pull: (id, keys) => engine!.pull(id, keys) });
    engine = await MoveEngine.open({
      config: pool.config,
      map: pool.map,
      routers: router,
      journalPath: join(dir, 'journal'),
      saveMap: () => undefined,
      addressOf: ({ address }) => address as { host: string; port: number },
    });
    const wrong: string[] = [];
    let moving = true;
    let operations = 0;
    /** Counters, values that come and go, and pairs that are read together: each lane knows what it must see. */
    const lane = async (id: number): Promise<void> => {
      const counts = new Map<string, number>();
      for (let turn = 0; moving || turn < 200; turn++) {
        const key = `lane${id}:{${(turn * 0x9e37) % KEYS_A_LANE}}`;
        const expected = counts.get(key) ?? 0;
        if (turn % 11 === 10) {
          if ((await pool.del(key)) !== (expected === 0 ? 0 : 1)) wrong.push(`DEL ${key}`);
          counts.set(key, 0);
        } else {
          const now = await pool.incr(key);
          if (now !== expected + 1) wrong.push(`INCR ${key}: ${now}, not ${expected + 1}`);
          counts.set(key, expected + 1);
        }
        const [one, none] = await pool.mget([key, `none:${id}:${turn}`]);
        const count = counts.get(key)!;
        if (one !== (count === 0 ? null : String(count)) || none !== null) wrong.push(`MGET ${key}: ${one}, not ${count}`);
        operations += 2;
      }
    };
    try {
      await pool.mset(Array.from({ length: 3_000 }, (_, i) => [`still:${i * 7_919}`, String(i)]));
      const lanes = Array.from({ length: LANES }, (_, id) => lane(id));
      await engine.start(planChange(engine.map, pool.config, target.servers, 'a third server'));
      while (!pool.map.hasMoves) await new Promise((resolve) => setTimeout(resolve, 1));
      await expect(pool.call(['FLUSHALL'])).rejects.toMatchObject({ code: 'KF_POOL_MOVING', retryable: true });
      await expect(pool.call(['SCRIPT', 'FLUSH'])).rejects.toMatchObject({ code: 'KF_POOL_MOVING' });
      await engine.settled();
      moving = false;
      await Promise.all(lanes);
      expect(wrong).toEqual([]);
      expect(operations).toBeGreaterThan(1_000);
      for (const [index, server] of servers.entries()) {
        const keys = ((await server.client.request('KEYS', '*')) as Uint8Array[]).map((key) => Buffer.from(key).toString());
        expect(keys.length).toBeGreaterThan(200);
        expect(keys.filter((key) => target.serverOf(key).name !== `s${index}`)).toEqual([]);
      }
      expect(await pool.mget([`still:${7_919 * 5}`, `still:${7_919 * 2_999}`])).toEqual(['5', '2999']);
      expect(pool.servers).toHaveLength(3);
    } finally {
      moving = false;
      pool.close();
      target.close();
      await engine.close();
      rmSync(dir, { recursive: true, force: true });
    }
  });

  test.each([2, 3, 5])('begins a transaction again when its lease is late at step %i', async (step) => {
    servers = await startRedisServers(1);
    const pool = createPool({ servers: servers.map(({ address }) => `${address}:1 s`) });
    let looks = 0;
    pool.joinMoves({
      pull: () => Promise.resolve(),
      get maySend() {
        return ++looks !== step;
      },
    });
    try {
      const raise = () =>
        pool.watch(['count'], async (read) => [['SET', 'count', String(Number((await read(['GET', 'count'])) ?? 0) + 1)]]);
      expect(await raise()).toEqual(['OK']);
      expect(looks).toBeGreaterThan(5);
      expect(await pool.get('count')).toBe('1');
    } finally {
      pool.close();
    }
  });
});
