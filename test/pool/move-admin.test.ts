import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import { createPool, type Pool, type PoolAdmin, startPoolAdmin } from '../../src/pool/index.ts';
import { routerName } from '../../src/pool/moves/move-coordinator.ts';
import { ServerLink, textOf } from '../../src/pool/moves/move-link.ts';
import { POOL_DEFAULTS, type PoolConfig } from '../../src/pool/pool-config.ts';
import { ExactWorker } from './exact-workload.ts';
import { hasRedis, type RedisServer, startRedisServers } from './redis-servers.ts';

let servers: RedisServer[] = [];
let dir = '';
let admin: PoolAdmin;
let config: PoolConfig;
beforeAll(async () => {
  if (!hasRedis) return;
  servers = await startRedisServers(4);
  dir = mkdtempSync(join(tmpdir(), 'keyfleet-owner-'));
  config = {
    name: 'p',
    redis: true,
    ...POOL_DEFAULTS,
    servers: servers.slice(0, 2).map(({ address, port }) => ({ name: address, address: { host: '127.0.0.1', port }, weight: 1 })),
  };
  admin = await startPoolAdmin({ config, dir, leaseMs: 2_000, pace: { bytesPerSecond: 300_000 } });
});
afterAll(async () => {
  await admin?.close();
  await Promise.all(servers.map((server) => server.stop()));
  rmSync(dir, { recursive: true, force: true });
});

async function ask<T>(path: string, body?: object): Promise<T> {
  const response = await fetch(`${admin.url}/v1/${path}`, body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) });
  return (await response.json()) as T;
}

const verify = async (): Promise<object> => (await ask<{ report: object }>('verify', { waitMs: 60_000 })).report;
/** Counters that two hands raise, each only if nobody else did; and elements that are waited for. */
async function watchAndWait(pool: Pool, name: string, isOver: () => boolean): Promise<string[]> {
  const wrong: string[] = [];
  for (let turn = 0; !isOver(); turn++) {
    const key = `{${name}:${turn % 50}}count`;
    const raise = () =>
      pool.watch([key], async (read) => {
        const now = Number((await read(['GET', key])) ?? 0);
        return [['SET', key, String(now + 1)]];
      });
    const before = Number((await pool.get(key)) ?? 0);
    await Promise.all([raise(), raise()]);
    const after = Number(await pool.get(key));
    if (after !== before + 2) wrong.push(`${key}: ${after} after two more than ${before}`);
    const list = `{${name}:${turn % 50}}list`;
    const popped = pool.call(['BLPOP', list, '0']);
    await pool.call(['RPUSH', list, String(turn)]);
    const [, element] = (await popped) as [string, string];
    if (element !== String(turn)) wrong.push(`${list}: ${element}, not ${turn}`);
  }
  return wrong;
}

const library = () => createPool({ ...config, control: { url: admin.url } });

describe.runIf(hasRedis)('the owner of a pool and its routers', () => {
  test('servers join, leave and move to another address while libraries work, and no answer is wrong', async () => {
    const pools = [library(), library()];
    let isOver = false;
    const workers = pools.flatMap((pool, index) =>
      Array.from({ length: 4 }, (_, lane) => {
        const prng = new Prng(10 * index + lane);
        return new ExactWorker(
          `l${index}w${lane}`,
          async (name, key, rest) => {
            const value = await pool.call([name, key, ...rest], { asBuffers: true });
            return typeof value === 'string' ? { kind: 'status', text: value } : (value as number | Buffer | null | Buffer[]);
          },
          () => prng.u32() / 0x1_0000_0000,
        );
      }),
    );
    const running = Promise.all(workers.map((worker) => worker.run(() => isOver)));
    const watching = Promise.all(pools.map((pool, index) => watchAndWait(pool, `l${index}`, () => isOver)));
    await sleep(500);
    await ask('change', { action: 'add', server: servers[2]!.address });
    await admin.engine.settled();
    expect(admin.engine.map.servers).toHaveLength(3);
    await ask('change', { action: 'remove', server: servers[0]!.address });
    await admin.engine.settled();
    const moved = await ask<{ error?: object }>('servers/move', { server: servers[1]!.address, address: servers[3]!.address });
    expect(moved.error).toBeUndefined();
    await admin.whole.settled();
    expect(admin.whole.status).toMatchObject({ step: 'done', error: undefined });
    await sleep(300);
    isOver = true;
    const reports = await running;
    expect(reports.flatMap(({ wrong }) => wrong)).toEqual([]);
    expect((await watching).flat()).toEqual([]);
    expect(reports.reduce((sum, { errors }) => sum + errors, 0)).toBe(0);
    expect(await verify()).toMatchObject({ misplacedCount: 0, twiceCount: 0 });
    expect(await ask('status')).toMatchObject({
      state: 'idle',
      servers: [{ address: servers[3]!.address }, { address: servers[2]!.address }],
    });
    await Promise.all(pools.map((pool) => pool.close()));
  }, 60_000);

  test('a router that does not renew its lease is fenced out, its connections ended, and the change goes on', async () => {
    const { port } = servers[2]!;
    const silent = new ServerLink({ host: '127.0.0.1', port }, { name: routerName('silent') });
    await silent.call(['PING']);
    await ask('routers/renew', { id: 'silent', epoch: 0 });
    const other = new ServerLink({ host: '127.0.0.1', port });
    const named = async (): Promise<boolean> => textOf(await other.call(['CLIENT', 'LIST'])).includes(routerName('silent'));
    expect(await named()).toBe(true);
    await ask('change', { action: 'reweight', server: servers[2]!.address, weight: 2 });
    await admin.engine.settled();
    expect(await named()).toBe(false);
    expect(await ask('routers/renew', { id: 'silent', epoch: 0 })).toMatchObject({ error: { code: 'KF_POOL_ROUTER_FENCED' } });
    silent.close();
    other.close();
  }, 30_000);

  test('verify finds a key that is on a wrong server, or on two', async () => {
    const pool = library();
    await pool.call(['SET', 'mine', 'x']);
    const map = admin.engine.map;
    const wrong = servers.find(({ port }) => {
      const owner = map.serverOf('mine').address;
      return 'port' in owner && owner.port !== port && map.servers.some(({ address }) => 'port' in address && address.port === port);
    })!;
    const link = new ServerLink({ host: '127.0.0.1', port: wrong.port });
    await link.call(['SET', 'mine', 'y']);
    expect(await verify()).toMatchObject({ misplacedCount: 1, twiceCount: 1, misplaced: [{ key: '"mine"', alsoThere: true }] });
    await link.call(['DEL', 'mine']);
    link.close();
    await pool.close();
  });
});
