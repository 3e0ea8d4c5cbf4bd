import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { LOCK_SCRIPT, PUT_SCRIPT, type Script } from '../../src/pool/guard-scripts.ts';
import { createPool, startPoolAdmin } from '../../src/pool/index.ts';
import { POOL_DEFAULTS, type PoolConfig } from '../../src/pool/pool-config.ts';
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

describe.runIf(hasRedis)('what a dead mover has sent', () => {
  test.each([
    ['LOCK', LOCK_SCRIPT, 0],
    ['PUT', PUT_SCRIPT, 1],
  ] as const)(
    'is refused when it arrives late: %s',
    async (_, script: Script, at: number) => {
      const config: PoolConfig = {
        name: 'p',
        redis: true,
        ...POOL_DEFAULTS,
        distribution: 'slots',
        servers: proxies.map(({ port }, i) => ({ name: `s${i}`, address: { host: '127.0.0.1', port }, weight: 1 })),
      };
      const admin = await startPoolAdmin({ config: { ...config, servers: [config.servers[0]!] }, dir });
      const pool = createPool({ ...config, servers: [config.servers[0]!], control: { url: admin.url } });
      const change = (action: string, server: string): Promise<Response> =>
        fetch(`${admin.url}/v1/change`, { method: 'POST', body: JSON.stringify({ action, server }) });
      try {
        await pool.mset(Array.from({ length: 40 }, (_one, i) => [`key:${i}`, `old ${i}`]));
        let arrives: () => void = () => {};
        const late = new Promise<void>((resolve) => {
          arrives = resolve;
        });
        let wasCut = false;
        proxies[at]!.plan = {
          cuts: (chunk) => {
            if (wasCut || !chunk.includes(script.sha)) return false;
            wasCut = true;
            return true;
          },
          late: () => late,
        };
        await change('add', `127.0.0.1:${proxies[1]!.port}:1000 s1`);
        await admin.engine.settled();
        expect(wasCut).toBe(true);
        // The move has ended without it. What it would bring back is changed by now; what it would mark is home again.
        if (at === 0) {
          await change('remove', 's1');
          await admin.engine.settled();
        }
        await pool.mset(Array.from({ length: 20 }, (_one, i) => [`key:${i}`, `new ${i}`]));
        await pool.del(...Array.from({ length: 10 }, (_one, i) => `key:${i + 30}`));
        arrives();
        for (const endMs = Date.now() + 10_000; proxies[at]!.lateChunks === 0 && Date.now() < endMs; ) await sleep(5);
        for (let i = 0; i < 5; i++) await servers[at]!.client.request('PING');
        const values = await pool.mget(Array.from({ length: 40 }, (_one, i) => `key:${i}`));
        expect(values).toEqual(Array.from({ length: 40 }, (_one, i) => (i < 20 ? `new ${i}` : i < 30 ? `old ${i}` : null)));
        const reserved = await Promise.all(servers.map((server) => server.client.request('KEYS', '__kf:[bo]*')));
        expect(reserved.flat()).toEqual([]);
      } finally {
        pool.close();
        await admin.close();
      }
    },
    30_000,
  );
});
