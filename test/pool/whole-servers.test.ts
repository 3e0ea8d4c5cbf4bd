import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { KeyfleetError } from '../../src/base/errors.ts';
import { Prng } from '../../src/base/prng.ts';
import { createPool, type Pool, type PoolAdmin, startPoolAdmin } from '../../src/pool/index.ts';
import { MoveEngine } from '../../src/pool/moves/move-engine.ts';
import type { ServerAddress } from '../../src/pool/moves/move-link.ts';
import { WholeServers } from '../../src/pool/moves/whole-servers.ts';
import { POOL_DEFAULTS, type PoolConfig, type PoolServer } from '../../src/pool/pool-config.ts';
import { PoolMap } from '../../src/pool/pool-map.ts';
import { ExactWorker } from './exact-workload.ts';
import { hasRedis, type RedisServer, startRedisServers } from './redis-servers.ts';

const QUICK_COPY = ['--repl-diskless-sync-delay', '0'];

let servers: RedisServer[] = [];
let dir = '';
let admin: PoolAdmin;
let pools: Pool[] = [];
beforeEach(async () => {
  if (!hasRedis) return;
  servers = await startRedisServers(3, QUICK_COPY);
  dir = mkdtempSync(join(tmpdir(), 'keyfleet-whole-'));
});
afterEach(async () => {
  for (const pool of pools) pool.close();
  pools = [];
  await admin?.close();
  await Promise.all(servers.map((server) => server.stop()));
  rmSync(dir, { recursive: true, force: true });
});

function configOf(distribution: PoolConfig['distribution'] = 'slots', count = 1): PoolConfig {
  return {
    name: 'p',
    redis: true,
    ...POOL_DEFAULTS,
    distribution,
    servers: servers.slice(0, count).map(({ port }, i) => ({ name: `s${i}`, address: { host: '127.0.0.1', port }, weight: 1 })),
  };
}

async function start(config: PoolConfig): Promise<Pool> {
  admin = await startPoolAdmin({ config, dir, leaseMs: 500 });
  const pool = createPool({ ...config, control: { url: admin.url } });
  pools.push(pool);
  return pool;
}

async function ask<T>(path: string, body?: object): Promise<T> {
  const response = await fetch(`${admin.url}/v1/${path}`, body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) });
  return (await response.json()) as T;
}

const verify = async (): Promise<object> => (await ask<{ report: object }>('verify', { waitMs: 60_000 })).report;
const keysOn = (server: RedisServer): Promise<number> => server.client.request('DBSIZE') as Promise<number>;
const setting = async (server: RedisServer, name: string): Promise<string> =>
  String(((await server.client.request('CONFIG', 'GET', name)) as unknown[])[1]);

describe.runIf(hasRedis)('a split of one server over several', () => {
  test('shares its slots while libraries work, and no answer is wrong', async () => {
    const config = configOf();
    const pool = await start(config);
    await pool.mset(Array.from({ length: 3_000 }, (_, i) => [`key:${i}`, String(i)]));
    let isOver = false;
    const prng = new Prng(7);
    const workers = Array.from(
      { length: 6 },
      (_, lane) =>
        new ExactWorker(
          `w${lane}`,
          async (name, key, rest) => {
            const value = await pool.call([name, key, ...rest], { asBuffers: true });
            return typeof value === 'string' ? { kind: 'status', text: value } : (value as number | Buffer | null | Buffer[]);
          },
          () => prng.u32() / 0x1_0000_0000,
        ),
    );
    const running = Promise.all(workers.map((worker) => worker.run(() => isOver)));
    const addresses = [`${servers[1]!.address}:1 half`, servers[2]!.address];
    const forecast = await ask<{ servers: { name: string; slotCount: number }[]; problems: string[] }>('servers/split', {
      server: 's0',
      addresses,
      dryRun: true,
    });
    expect(forecast).toMatchObject({
      servers: [
        { name: 's0', slotCount: 5_462 },
        { name: 'half', slotCount: 5_461 },
        { name: servers[2]!.address, slotCount: 5_461 },
      ],
      problems: [],
    });
    expect(admin.whole.status).toBeUndefined();
    await ask('servers/split', { server: 's0', addresses });
    await admin.whole.settled();
    expect(admin.whole.status).toMatchObject({ step: 'done', error: undefined });
    await sleep(200);
    isOver = true;
    const reports = await running;
    expect(reports.flatMap(({ wrong }) => wrong)).toEqual([]);
    expect(reports.reduce((sum, { errors }) => sum + errors, 0)).toBe(0);
    expect(await verify()).toMatchObject({ misplacedCount: 0, twiceCount: 0 });
    const counts = await Promise.all(servers.map(keysOn));
    expect(Math.min(...counts)).toBeGreaterThan(900);
    expect(admin.whole.status!.trimmedKeys).toBeGreaterThan(5_900);
    expect(await setting(servers[0]!, 'min-replicas-to-write')).toBe('0');
    expect(await pool.mget(['key:1', 'key:77', 'key:2999'])).toEqual(['1', '77', '2999']);
    // The parts are servers like all others.
    await ask('change', { action: 'remove', server: 'half' });
    await admin.engine.settled();
    expect(await verify()).toMatchObject({ misplacedCount: 0 });
    expect(await keysOn(servers[1]!)).toBe(0);
  }, 60_000);

  test('works for rings, and refuses what cannot be split', async () => {
    const pool = await start(configOf('ketama', 2));
    await pool.mset(Array.from({ length: 1_000 }, (_, i) => [`key:${i * 7_919}`, String(i)]));
    await servers[2]!.client.request('SELECT', '3');
    await servers[2]!.client.request('SET', 'other', '1');
    const inTheWay = await ask<{ problems: string[] }>('servers/split', { server: 's0', addresses: [servers[2]!.address], dryRun: true });
    expect(inTheWay.problems.join()).toContain('holds keys');
    expect(await ask('servers/split', { server: 's0', addresses: [servers[2]!.address] })).toMatchObject({
      error: { code: 'KF_POOL_PLAN' },
    });
    expect(await ask('servers/split', { server: 'nobody', addresses: ['127.0.0.1:1'] })).toMatchObject({ error: { code: 'KF_POOL_PLAN' } });
    expect(await ask('servers/split', { server: 's0', addresses: [] })).toMatchObject({ error: { code: 'KF_POOL_PLAN' } });
    await servers[2]!.client.request('FLUSHALL');
    await servers[2]!.client.request('SELECT', '0');
    await ask('servers/split', { server: 's0', addresses: [servers[2]!.address] });
    await admin.whole.settled();
    expect(admin.whole.status?.error).toBeUndefined();
    expect(await verify()).toMatchObject({ keys: 1_000, misplacedCount: 0 });
    expect(await keysOn(servers[2]!)).toBeGreaterThan(50);
  }, 60_000);
});

describe.runIf(hasRedis)('an owner that dies while a server is split', () => {
  test('is followed by one that undoes what had not taken over, or ends what had', async () => {
    // Closing leaves everything as a kill does; each round dies at a later step.
    const outcomes: string[] = [];
    for (const dieAt of ['', 'copies', 'behind', 'taking over', 'removing', 'done']) {
      await Promise.all(servers.map((server) => server.client.request('FLUSHALL')));
      rmSync(dir, { recursive: true, force: true });
      const config = configOf();
      const pool = await start(config);
      await pool.mset(Array.from({ length: 2_000 }, (_, i) => [`key:${i}`, String(i)]));
      await ask('servers/split', { server: 's0', addresses: [`${servers[1]!.address}:1 s1`] });
      const endMs = Date.now() + 20_000;
      while (admin.whole.status!.isRunning && !admin.whole.status!.step.includes(dieAt) && Date.now() < endMs)
        await new Promise((resolve) => setImmediate(resolve));
      await admin.close();
      const { port } = new URL(admin.url);
      admin = await startPoolAdmin({ config, dir, leaseMs: 500, port: Number(port) });
      await admin.whole.settled();
      const parts = admin.engine.map.servers.length;
      outcomes.push(`${parts}`);
      expect(await setting(servers[0]!, 'min-replicas-to-write')).toBe('0');
      expect(await servers[1]!.client.request('ROLE')).toContainEqual(Buffer.from('master'));
      expect(await pool.mget(['key:0', 'key:1234'])).toEqual(['0', '1234']);
      await pool.set('key:1', 'written afterwards');
      expect(await verify()).toMatchObject({ keys: 2_000, misplacedCount: 0 });
      if (parts === 1) expect(admin.whole.status?.error?.code).toBe('KF_POOL_CLONE_FAILED');
      pool.close();
      await admin.close();
    }
    // In between it depends on how far it got before it was seen there.
    expect([outcomes[0], outcomes.at(-1)]).toEqual(['1', '2']);
  }, 90_000);

  describe('when routers had gone on before the map was kept', () => {
    let kept: PoolMap;
    let published: PoolMap[] = [];
    const addressOf = ({ address }: PoolServer): ServerAddress => address as ServerAddress;

    async function open(keeps: boolean): Promise<[MoveEngine, WholeServers]> {
      const engine = await MoveEngine.open({
        config: configOf(),
        map: kept,
        routers: { publish: async (map) => void published.push(map) },
        journalPath: join(dir, 'moves'),
        saveMap: (map) => {
          if (!keeps) throw new KeyfleetError('KF_POOL_MAP', 'the disk is gone');
          kept = map;
        },
        addressOf,
      });
      return [engine, await WholeServers.open({ engine, addressOf, journalPath: join(dir, 'whole') })];
    }

    /** An owner carries out a change and dies before it has kept the map; answers the map that routers have then, and the new server. */
    async function dieBeforeKeeping(what: 'move' | 'split'): Promise<[PoolMap, PoolServer]> {
      const target = { name: what === 'move' ? 's0' : 's1', address: { host: '127.0.0.1', port: servers[1]!.port }, weight: 1 };
      await servers[0]!.client.request('SET', 'key', 'before');
      kept = PoolMap.of(configOf());
      published = [];
      const [engine, whole] = await open(false);
      await whole.begin({ what, server: 's0', targets: [target] });
      await whole.settled();
      expect(whole.status?.error?.code).toBe('KF_POOL_MAP');
      await whole.close();
      await engine.close();
      const last = published.at(-1)!;
      expect([last.hasMoves, last.servers.at(-1)!.address, kept.epoch]).toEqual([false, target.address, 1]);
      // A router that has that map writes by it.
      await servers[1]!.client.request('SET', 'key', 'after');
      return [last, target];
    }

    test.each(['move', 'split'] as const)(
      'the next one asks the new server of a %s',
      async (what) => {
        const [last, target] = await dieBeforeKeeping(what);
        const [engine, after] = await open(true);
        await after.settled();
        expect(after.status).toMatchObject({ step: 'done', error: undefined });
        expect(kept.servers.at(-1)).toEqual(target);
        expect(published.slice(published.indexOf(last) + 1).every((map) => map.epoch > last.epoch)).toBe(true);
        expect(published.at(-1)).toBe(kept);
        const owning = servers[kept.servers.length - 1 === kept.ownerOf(kept.slotOf('key')) ? 1 : 0]!;
        expect(await owning.client.request('GET', 'key')).toEqual(Buffer.from(owning === servers[1] ? 'after' : 'before'));
        for (const server of servers) expect(await server.client.request('KEYS', '__kf:*')).toEqual([]);
        await after.close();
        await engine.close();
      },
      30_000,
    );

    test('the next one waits for a new server that is away, and goes on without it when that is cancelled', async () => {
      const [last] = await dieBeforeKeeping('move');
      await servers[1]!.kill();
      const [engine, after] = await open(true);
      const endMs = Date.now() + 20_000;
      while (!after.status!.step.includes('KF_POOL_SERVER_LOST') && Date.now() < endMs) await sleep(10);
      expect(after.status).toMatchObject({ isRunning: true, step: expect.stringContaining('KF_POOL_SERVER_LOST') });
      expect(kept.epoch).toBe(1);
      after.cancel();
      await after.settled();
      expect(after.status).toMatchObject({ step: 'failed', error: { code: 'KF_POOL_CLONE_FAILED' } });
      // Routers that had gone on come back: the old server takes writers again.
      expect(published.at(-1)!.epoch).toBeGreaterThan(last.epoch);
      expect(published.at(-1)!.servers).toEqual(configOf().servers);
      expect(kept).toBe(published.at(-1));
      expect(await setting(servers[0]!, 'min-replicas-to-write')).toBe('0');
      expect(await servers[0]!.client.request('SET', 'key', 'written since')).toMatchObject({ text: 'OK' });
      await after.close();
      await engine.close();
      // What a third one finds is over.
      const [engineOfThird, third] = await open(true);
      expect(third.status).toBeUndefined();
      await third.close();
      await engineOfThird.close();
    }, 40_000);
  });

  test('a split that is cancelled while it copies leaves the old server as it was', async () => {
    const pool = await start(configOf());
    await pool.mset(Array.from({ length: 500 }, (_, i) => [`key:${i}`, String(i)]));
    await servers[0]!.client.request('CONFIG', 'SET', 'repl-diskless-sync-delay', '30');
    await ask('servers/split', { server: 's0', addresses: [servers[1]!.address] });
    expect(await ask('servers/split', { server: 's0', addresses: [servers[2]!.address] })).toMatchObject({
      error: { code: 'KF_POOL_MOVES_RUNNING' },
    });
    expect(await ask('change', { action: 'add', server: servers[2]!.address })).toMatchObject({ error: { code: 'KF_POOL_MOVES_RUNNING' } });
    await ask('moves/cancel', {});
    await admin.whole.settled();
    expect(admin.whole.status).toMatchObject({ isRunning: false, error: { code: 'KF_POOL_CLONE_FAILED' } });
    expect(await servers[1]!.client.request('ROLE')).toContainEqual(Buffer.from('master'));
    await pool.set('key:1', 'still written');
    expect(admin.engine.map.servers).toHaveLength(1);
    await ask('change', { action: 'add', server: servers[2]!.address });
    await admin.engine.settled();
    expect(await verify()).toMatchObject({ keys: 500, misplacedCount: 0 });
  }, 60_000);
});
