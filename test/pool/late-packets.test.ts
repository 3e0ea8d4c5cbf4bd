import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createPool, type Pool, type PoolAdmin, startPoolAdmin } from '../../src/pool/index.ts';
import { FENCE_KEY, FENCE_SCRIPT, LOCK_SCRIPT, PUT_SCRIPT, type Script } from '../../src/pool/moves/guard-scripts.ts';
import { POOL_DEFAULTS, type PoolConfig, type PoolServer } from '../../src/pool/pool-config.ts';
import { FaultProxy } from './fault-proxy.ts';
import { hasRedis, type RedisServer, startRedisServers } from './redis-servers.ts';

let servers: RedisServer[] = [];
let proxies: FaultProxy[] = [];
let dir = '';
beforeEach(async () => {
  if (!hasRedis) return;
  servers = await startRedisServers(2);
  proxies = await Promise.all(servers.map(({ port }) => FaultProxy.start(port)));
  dir = mkdtempSync(join(tmpdir(), 'keyfleet-late-'));
});
afterEach(async () => {
  await Promise.all(proxies.map((proxy) => proxy.close()));
  await Promise.all(servers.map((server) => server.stop()));
  rmSync(dir, { recursive: true, force: true });
});

/** Cuts the connection at the first chunk that `isIt` says; the server gets it when `arrive` is called. */
function cutOnce(
  proxy: FaultProxy,
  isIt: (chunk: Buffer) => boolean,
): { readonly wasCut: () => boolean; readonly arrive: () => Promise<void> } {
  let wasCut = false;
  let arrives: () => void = () => {};
  const late = new Promise<void>((resolve) => {
    arrives = resolve;
  });
  proxy.plan = {
    cuts: (chunk) => {
      if (wasCut || !isIt(chunk)) return false;
      wasCut = true;
      return true;
    },
    late: () => late,
  };
  const arrive = async (): Promise<void> => {
    arrives();
    for (const endMs = Date.now() + 10_000; proxy.lateChunks === 0 && Date.now() < endMs; ) await sleep(5);
    const { client } = servers[proxies.indexOf(proxy)]!;
    for (let i = 0; i < 5; i++) await client.request('PING');
  };
  return { wasCut: () => wasCut, arrive };
}

/** A pool over the first server, with 40 keys, and its owner; the second server is there to be added. */
async function withPool(
  work: (pool: Pool, admin: PoolAdmin, change: (action: string, server: string) => Promise<Response>) => Promise<void>,
): Promise<void> {
  const listed: PoolServer[] = proxies.map(({ port }, i) => ({ name: `s${i}`, address: { host: '127.0.0.1', port }, weight: 1 }));
  const config: PoolConfig = { name: 'p', redis: true, ...POOL_DEFAULTS, distribution: 'slots', servers: [listed[0]!] };
  const admin = await startPoolAdmin({ config, dir });
  const pool = createPool({ ...config, control: { url: admin.url } });
  try {
    await pool.mset(Array.from({ length: 40 }, (_one, i) => [`key:${i}`, `old ${i}`]));
    await work(pool, admin, (action, server) =>
      fetch(`${admin.url}/v1/change`, { method: 'POST', body: JSON.stringify({ action, server }) }),
    );
  } finally {
    pool.close();
    await admin.close();
  }
}

/** As a change names it. */
function second(): string {
  return `127.0.0.1:${proxies[1]!.port}:1000 s1`;
}

describe.runIf(hasRedis)('what a dead mover has sent', () => {
  test.each([
    ['LOCK', LOCK_SCRIPT, 0],
    ['PUT', PUT_SCRIPT, 1],
  ] as const)(
    'is refused when it arrives late: %s',
    (_, script: Script, at: number) =>
      withPool(async (pool, { engine }, change) => {
        const packet = cutOnce(proxies[at]!, (chunk) => chunk.includes(script.sha));
        await change('add', second());
        await engine.settled();
        expect(packet.wasCut()).toBe(true);
        // The move has ended without it. What it would bring back is changed by now; what it would mark is home again.
        if (at === 0) {
          await change('remove', 's1');
          await engine.settled();
        }
        await pool.mset(Array.from({ length: 20 }, (_one, i) => [`key:${i}`, `new ${i}`]));
        await pool.del(...Array.from({ length: 10 }, (_one, i) => `key:${i + 30}`));
        await packet.arrive();
        const values = await pool.mget(Array.from({ length: 40 }, (_one, i) => `key:${i}`));
        expect(values).toEqual(Array.from({ length: 40 }, (_one, i) => (i < 20 ? `new ${i}` : i < 30 ? `old ${i}` : null)));
        const reserved = await Promise.all(servers.map(({ client }) => client.request('KEYS', '__kf:[bo]*')));
        expect(reserved.flat()).toEqual([]);
      }),
    30_000,
  );

  test(
    'leaves no fence for good when it arrives after all moves',
    () =>
      withPool(async (_pool, { engine }, change) => {
        const packet = cutOnce(proxies[0]!, (chunk) => chunk.includes(FENCE_SCRIPT.sha));
        await change('add', second());
        await engine.settled();
        expect(packet.wasCut()).toBe(true);
        const { client } = servers[0]!;
        expect(await client.request('EXISTS', FENCE_KEY)).toBe(0);
        await packet.arrive();
        // It stands for a moment, and goes by itself: -1 would be for ever.
        expect(await client.request('PTTL', FENCE_KEY)).not.toBe(-1);
        await change('remove', 's1');
        await engine.settled();
        expect(await client.request('EXISTS', FENCE_KEY)).toBe(0);
      }),
    30_000,
  );

  test(
    'does not take the fence off moves that run when it arrives',
    () =>
      withPool(async (_pool, { engine }, change) => {
        const packet = cutOnce(proxies[0]!, (chunk) => chunk.includes('UNLINK') && chunk.toString('latin1').endsWith(`${FENCE_KEY}\r\n`));
        await change('add', second());
        await engine.settled();
        expect(packet.wasCut()).toBe(true);
        engine.pace.limits = { bytesPerSecond: 200 };
        engine.limits = { ...engine.limits, batchKeys: 5 };
        await change('remove', 's1');
        for (const endMs = Date.now() + 10_000; engine.map.moves.length === 0 || engine.status().keysMoved < 5; await sleep(5))
          if (Date.now() > endMs) throw new Error(`no walk: ${JSON.stringify(engine.status())}`);
        await packet.arrive();
        expect(engine.status().state).toBe('running');
        expect(await servers[0]!.client.request('EXISTS', FENCE_KEY)).toBe(1);
        engine.pace.limits = {};
        await engine.settled();
      }),
    30_000,
  );
});
