import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { Cluster, Redis } from 'ioredis';
import { Redis as Valkey } from 'iovalkey';
import { createClient, createCluster } from 'redis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { poolOf, type StartedProxy, startPoolProxy } from './proxy-fixture.ts';
import { hasRedis, type RedisServer, startRedisServers } from './redis-servers.ts';

// The clients that people use, with their default options, against a proxy before four servers.

const run = promisify(execFile);

describe.runIf(hasRedis)('through the proxy, with default options', () => {
  let servers: RedisServer[];
  let started: StartedProxy;
  beforeAll(async () => {
    servers = await startRedisServers(4);
    started = await startPoolProxy(poolOf(servers.map(({ port }) => port)));
  }, 30_000);
  afterAll(async () => {
    await started.proxy.close({ graceMs: 100 });
    for (const server of servers) await server.stop();
  });

  const keys = Array.from({ length: 30 }, (_, i) => `k${i}`);

  test.each([
    ['ioredis', (port: number) => new Redis(port)],
    ['iovalkey', (port: number) => new Valkey(port)],
  ])('%s reads, writes, pipelines, transacts, waits and subscribes', async (_, make) => {
    const client = make(started.port) as Redis;
    const other = make(started.port) as Redis;
    try {
      await client.flushall();
      await client.mset(...keys.flatMap((key) => [key, `v${key}`]));
      expect(await client.mget(...keys)).toEqual(keys.map((key) => `v${key}`));
      expect(
        (await client.pipeline().get('k1').hset('h', 'f', 1).hincrby('h', 'f', 2).lpush('k1', 'x').exec())?.map(([, value]) => value),
      ).toEqual(['vk1', 1, 3, undefined]);
      expect(await client.multi().incr('n').incr('n').exec()).toEqual([
        [null, 1],
        [null, 2],
      ]);
      const popped = client.blpop('queue', 5);
      await other.rpush('queue', 'job');
      expect(await popped).toEqual(['queue', 'job']);
      const heard = new Promise((resolve) => other.once('message', (channel, message) => resolve([channel, message])));
      await other.subscribe('news');
      await client.publish('news', 'hello');
      expect(await heard).toEqual(['news', 'hello']);
      expect(await client.dbsize()).toBe(keys.length + 2);
      expect((await client.info()).includes('keyfleet_role:pool')).toBe(true);
    } finally {
      client.disconnect();
      other.disconnect();
    }
  });

  test('node-redis does too, RESP2 and RESP3', async () => {
    for (const RESP of [2, 3] as const) {
      const client = createClient({ url: `redis://127.0.0.1:${started.port}`, RESP });
      await client.connect();
      await client.flushAll();
      await client.mSet(Object.fromEntries(keys.map((key) => [key, `v${key}`])));
      expect(await client.mGet(keys)).toEqual(keys.map((key) => `v${key}`));
      await client.hSet('h', { a: '1', b: '2' });
      expect({ ...(await client.hGetAll('h')) }).toEqual({ a: '1', b: '2' });
      expect(await client.multi().incr('n').get('n').exec()).toEqual([1, '1']);
      const subscriber = client.duplicate();
      await subscriber.connect();
      const heard = new Promise((resolve) => void subscriber.subscribe('news', (message) => resolve(message)));
      await new Promise((resolve) => setTimeout(resolve, 50));
      await client.publish('news', 'hello');
      expect(await heard).toBe('hello');
      subscriber.destroy();
      client.destroy();
    }
  });

  test('redis-cli and redis-benchmark run', async () => {
    const cli = async (...args: string[]): Promise<string> =>
      (await run('redis-cli', ['-p', String(started.port), ...args], { timeout: 20_000 })).stdout.trim();
    expect(await cli('SET', 'greeting', 'hello')).toBe('OK');
    expect(await cli('-3', 'GET', 'greeting')).toBe('hello');
    expect((await cli('--scan', '--pattern', 'greet*')).split('\n')).toEqual(['greeting']);
    const { stdout } = await run(
      'redis-benchmark',
      ['-p', String(started.port), '-n', '2000', '-P', '16', '-r', '1000', '-t', 'set,get,mset', '-q'],
      {
        timeout: 30_000,
      },
    );
    expect(stdout).toMatch(/MSET.*requests per second/);
  });
});

describe.runIf(hasRedis)('cluster clients', () => {
  let servers: RedisServer[];
  beforeAll(async () => {
    servers = await startRedisServers(3);
  }, 30_000);
  afterAll(async () => {
    for (const server of servers) await server.stop();
  });

  test.each(['proxies', 'backends'] as const)('route themselves: redirects: %s', async (redirects) => {
    const started = await startPoolProxy(
      poolOf(
        servers.map(({ port }) => port),
        `distribution: slots\nredirects: ${redirects}`,
      ),
    );
    const one = new Cluster([{ host: '127.0.0.1', port: started.port }], { lazyConnect: true });
    const other = createCluster({ rootNodes: [{ url: `redis://127.0.0.1:${started.port}` }] });
    try {
      const client = await started.connect();
      for (let i = 0; i < 20; i++) await client.call('SET', `c${i}`, `v${i}`);
      // These libraries ask every node for the slots, which plain servers behind `backends` do not know.
      if (redirects === 'proxies') {
        await other.connect();
        for (let i = 0; i < 20; i++) expect(await other.get(`c${i}`)).toBe(`v${i}`);
        for (let i = 0; i < 20; i++) expect(await one.get(`c${i}`)).toBe(`v${i}`);
      }
      const slots = (await client.call('CLUSTER', 'SLOTS')) as [number, number, [string, number]][];
      expect(slots.reduce((sum, [first, last]) => sum + last - first + 1, 0)).toBe(16_384);
      expect(new Set(slots.map(([, , [, port]]) => port))).toEqual(
        new Set(redirects === 'proxies' ? [started.port] : servers.map(({ port }) => port)),
      );
      const slot = String(await client.call('CLUSTER', 'KEYSLOT', 'c1'));
      expect(await client.call('CLUSTER', 'COUNTKEYSINSLOT', slot)).toBe(1);
      expect(await client.call('CLUSTER', 'GETKEYSINSLOT', slot, '10')).toEqual(['c1']);
      // Who knows the servers and comes here all the same is told where to go, or, after ASKING, answered.
      const answer = await client.call('GET', 'c1');
      if (redirects === 'proxies') expect(answer).toBe('v1');
      else {
        expect(answer).toMatch(new RegExp(`^-MOVED ${slot} 127\\.0\\.0\\.1:\\d+$`));
        expect(await client.call('ASKING')).toBe('+OK');
        expect(await client.call('GET', 'c1')).toBe('v1');
      }
      client.socket.destroy();
    } finally {
      one.disconnect();
      if (other.isOpen) other.destroy();
      await started.proxy.close({ graceMs: 100 });
    }
  });
});
