import { Redis } from 'ioredis';
import { createClient } from 'redis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createPool, type Pool, type PoolOptions, RedisReplyError } from '../../src/pool/index.ts';
import { hasRedis, type RedisServer, startRedisServers } from './redis-servers.ts';

describe.runIf(hasRedis)('a pool over four servers', () => {
  let servers: RedisServer[];
  let pool: Pool;
  const made: Pool[] = [];
  const open = (options: PoolOptions = {}): Pool => {
    const one = createPool({ servers: servers.map(({ address }, i) => `${address}:1 s${i}`), hash: 'murmur', ...options });
    made.push(one);
    return one;
  };
  /** A key on each server. */
  const oneEach = (): string[] => servers.map((_, i) => keyOn(pool, `s${i}`));

  beforeAll(async () => {
    servers = await startRedisServers(4);
  });
  afterAll(() => Promise.all(servers.map((server) => server.stop())));
  beforeEach(async () => {
    pool = open();
    await pool.flushall();
  });
  afterEach(() => {
    for (const one of made.splice(0)) one.close();
  });

  test('has a method for every kind of command', async () => {
    expect(await pool.set('a', 'ä', 'EX', 100)).toBe('OK');
    expect(await pool.get('a')).toBe('ä');
    expect(await pool.buffers.get('a')).toEqual(Buffer.from('ä'));
    expect(await pool.ttl('a')).toBeGreaterThan(90);
    expect(await pool.get('missing')).toBeNull();
    expect(await pool.hset('h', { f: 'v', __proto__x: 1 })).toBe(2);
    expect(await pool.hset('h', 'g', 2)).toBe(1);
    expect(await pool.hgetall('h')).toEqual({ f: 'v', __proto__x: '1', g: '2' });
    expect(await pool.rpush('l', 'x', 'y', 'z')).toBe(3);
    expect(await pool.lrange('l', 0, -1)).toEqual(['x', 'y', 'z']);
    expect(await pool.zadd('z', 1.5, 'm')).toBe(1);
    expect(await pool.zscore('z', 'm')).toBe('1.5');
    expect(await pool.incrby('n', 9_007_199_254_740_993n)).toBe(9_007_199_254_740_993n);
    expect(await pool.type('l')).toBe('list');
    expect(await pool.object('encoding', 'n')).toBe('int');
    expect(await pool.eval('return {KEYS[1], ARGV[1], 7}', 1, 'k', 'v')).toEqual(['k', 'v', 7]);
    const id = await pool.xadd('x', '*', 'f', 'v');
    expect(await pool.xread('STREAMS', 'x', '0')).toEqual([['x', [[id, ['f', 'v']]]]]);
    expect(await pool.call(['NOSUCH', 'k']).catch((error: unknown) => error)).toMatchObject({ code: 'KF_REDIS_ERROR', reply: 'ERR' });
    expect(await pool.call(['get', Buffer.from('a')], { asBuffers: true })).toEqual(Buffer.from('ä'));
  });

  test('splits commands of many keys and joins their answers in the order asked', async () => {
    const keys = Array.from({ length: 100 }, (_, i) => `key:${i}`);
    expect(await pool.mset(keys.map((key) => [key, `v${key}`]))).toBe('OK');
    const perServer = await Promise.all(servers.map((server) => server.client.request('DBSIZE')));
    expect(perServer.every((count) => Number(count) > 0)).toBe(true);
    expect(await pool.mget([...keys, 'none'])).toEqual([...keys.map((key) => `v${key}`), null]);
    expect(await pool.exists(...keys, 'none', keys[0]!)).toBe(101);
    expect(await pool.touch(...keys)).toBe(100);
    expect(await pool.dbsize()).toBe(100);
    expect((await pool.keys('key:1*')).sort()).toEqual(keys.filter((key) => key.startsWith('key:1')).sort());
    expect(await pool.unlink(...keys.slice(0, 40))).toBe(40);
    expect(await pool.del(...keys)).toBe(60);
  });

  test('walks over the keys of all servers, but not those of movers', async () => {
    const keys = Array.from({ length: 3_000 }, (_, i) => `key:${i}`);
    await pool.mset(Object.fromEntries(keys.map((key) => [key, 1])));
    await servers[0]!.client.request('SET', '__kf:fence', '1');
    const found: string[] = [];
    for await (const key of pool.scan()) found.push(key);
    expect(found.sort()).toEqual(keys.sort());
    const some: string[] = [];
    for await (const key of pool.scanBuffers({ match: 'key:7*', count: 10 })) some.push(key.toString());
    expect(some.sort()).toEqual(keys.filter((key) => key.startsWith('key:7')));
  });

  test('runs commands on one server only when all their keys are there', async () => {
    const [a, b] = oneEach();
    const tagged = createPool({ servers: servers.map(({ address }) => address), hashTag: '{}' });
    made.push(tagged);
    await expect(pool.rename(a!, b!)).rejects.toMatchObject({ code: 'KF_CROSS_SLOT', message: expect.stringContaining('s0') });
    await tagged.set('{u}:a', 1);
    expect(await tagged.rename('{u}:a', '{u}:b')).toBe('OK');
    expect(await tagged.sunionstore('{u}:s', '{u}:1', '{u}:2')).toBe(0);
    await expect(pool.call(['EVAL', 'return 1', '9', 'k'])).rejects.toMatchObject({ code: 'KF_BAD_COMMAND' });
  });

  test('transactions are whole or not at all', async () => {
    const key = oneEach()[2]!;
    expect(await pool.multi().add('SET', key, 1).add('INCR', key).add('HGET', key, 'f').exec()).toEqual([
      'OK',
      2,
      expect.objectContaining({ reply: 'WRONGTYPE' }),
    ]);
    await expect(pool.multi().add('SET', key, 5).add('SET', key).exec()).rejects.toMatchObject({
      message: expect.stringContaining('wrong number'),
    });
    expect(await pool.get(key)).toBe('2');
    await expect(pool.multi().add('SET', oneEach()[0]!, 1).add('SET', key, 1).exec()).rejects.toMatchObject({ code: 'KF_CROSS_SLOT' });
    expect(await pool.pipeline().add('GET', key).add('LPUSH', key, 1).exec()).toEqual(['2', expect.any(RedisReplyError)]);
  });

  test('a watched key changed by somebody else is tried again', async () => {
    const key = oneEach()[1]!;
    await pool.set(key, 10);
    let tries = 0;
    const answers = await pool.watch([key], async (read) => {
      const value = Number(await read(['GET', key]));
      if (tries++ === 0) await pool.incr(key);
      return [['SET', key, value + 100]];
    });
    expect([answers, tries, await pool.get(key)]).toEqual([['OK'], 2, '111']);
    const slow = async (): Promise<string[][]> => {
      await pool.incr(key);
      return [['DEL', key]];
    };
    await expect(pool.watch([key], slow, { attempts: 2 })).rejects.toMatchObject({ code: 'KF_PRECONDITION_FAILED' });
  });

  test('blocking commands keep nobody else waiting, and subscriptions hear', async () => {
    const key = oneEach()[3]!;
    const popped = [pool.blpop(key, 5), pool.blpop(key, 5)];
    expect(await pool.rpush(key, 'x')).toBe(1);
    await pool.rpush(key, 'y');
    expect((await Promise.all(popped)).map((answer) => answer?.[1]).sort()).toEqual(['x', 'y']);
    const heard: string[] = [];
    const subscription = await pool.subscribe('news', (message) => void heard.push(message.toString()));
    expect(await pool.publish('news', 'hello')).toBe(1);
    await expect.poll(() => heard).toEqual(['hello']);
    subscription.close();
    await expect.poll(() => pool.publish('news', 'gone')).toBe(0);
  });

  test('what a pool cannot do is refused with a way to do it', async () => {
    for (const command of ['SCAN', 'MULTI', 'SUBSCRIBE', 'CONFIG', 'MONITOR', 'WAIT', 'MIGRATE', 'SELECT'])
      await expect(pool.call([command, '0'])).rejects.toMatchObject({ code: 'KF_NOT_SUPPORTED' });
    expect(await pool.call(['CONFIG', 'GET', 'maxmemory'], { server: 's1' })).toEqual(['maxmemory', '0']);
    await expect(pool.call(['PING'], { server: 'nobody' })).rejects.toMatchObject({ code: 'KF_UNKNOWN_NODE' });
    await expect(pool.call([])).rejects.toMatchObject({ code: 'KF_BAD_COMMAND' });
  });

  test('over ioredis and node-redis clients of the user’s it says the same', async () => {
    const own = servers.map(({ port }) => new Redis({ port, host: '127.0.0.1' }));
    const nodeRedis = await Promise.all(servers.map(({ port }) => createClient({ url: `redis://127.0.0.1:${port}` }).connect()));
    try {
      for (const clients of [own, nodeRedis]) {
        const wrapped = open({ clients: Object.fromEntries(clients.map((client, i) => [`s${i}`, client])) });
        await wrapped.mset({ one: 'eins', two: 'zwei', three: 'drei' });
        expect(await pool.mget(['one', 'two', 'three'])).toEqual(['eins', 'zwei', 'drei']);
        expect(await wrapped.mget(['three', 'none', 'one'])).toEqual(['drei', null, 'eins']);
        await expect(wrapped.lpush('one', 'x')).rejects.toMatchObject({ code: 'KF_REDIS_ERROR', reply: 'WRONGTYPE' });
        expect(() => open({ clients: { s0: clients[0]! } })).toThrow(expect.objectContaining({ code: 'KF_CONFIG' }));
      }
    } finally {
      for (const client of own) client.disconnect();
      await Promise.all(nodeRedis.map((client) => client.close()));
    }
  });
});

describe.runIf(hasRedis)('a pool that loses a server', () => {
  let servers: RedisServer[];
  const made: Pool[] = [];
  const open = (options: PoolOptions): Pool => {
    const one = createPool({ servers: servers.map(({ address }, i) => `${address}:1 s${i}`), ...options });
    made.push(one);
    return one;
  };
  beforeEach(async () => {
    servers = await startRedisServers(3);
  });
  afterEach(async () => {
    for (const one of made.splice(0)) one.close();
    await Promise.all(servers.map((server) => server.stop()));
  });

  test('as a store: its keys fail, the others do not, and it is back by itself', async () => {
    const pool = open({});
    const keys = servers.map((_, i) => keyOn(pool, `s${i}`));
    await pool.mset(keys.map((key) => [key, 'v']));
    const downs: string[] = [];
    pool.on('down', (server) => downs.push(server.name));
    await servers[1]!.kill();
    await expect.poll(() => downs.includes('s1')).toBe(true);
    await expect(pool.get(keys[1]!)).rejects.toMatchObject({ code: 'KF_BACKEND_DOWN', backend: 's1' });
    expect(await pool.get(keys[0]!)).toBe('v');
    await expect(pool.mget(keys)).rejects.toMatchObject({ code: 'KF_BACKEND_DOWN' });
    await servers[1]!.start();
    await expect.poll(() => pool.get(keys[1]!).catch(() => 'down'), { timeout: 5_000 }).toBeNull();
  });

  test('as a cache: its keys go to others, and return with it', async () => {
    const pool = open({ autoEjectHosts: true, serverFailureLimit: 2, serverRetryTimeoutMs: 100, timeoutMs: 100 });
    const key = keyOn(pool, 's2');
    await pool.set(key, 'old');
    const events: string[] = [];
    pool.on('ejected', (server) => events.push(`-${server.name}`));
    pool.on('returned', (server) => events.push(`+${server.name}`));
    servers[2]!.signal('SIGSTOP');
    await expect.poll(() => pool.set(key, 'new').catch(() => 'down'), { timeout: 5_000 }).toBe('OK');
    expect(events).toEqual(['-s2']);
    expect(pool.serverOf(key).name).not.toBe('s2');
    servers[2]!.signal('SIGCONT');
    await expect.poll(() => events, { timeout: 5_000 }).toEqual(['-s2', '+s2']);
    expect(['old', 'new']).toContain(await pool.get(key));
    expect(pool.serverOf(key).name).toBe('s2');
  });

  test('that is read-only, or out of memory, passes on its words', async () => {
    const pool = open({});
    const keys = servers.map((_, i) => keyOn(pool, `s${i}`));
    await servers[0]!.client.request('REPLICAOF', '127.0.0.1', String(servers[1]!.port));
    await expect.poll(() => pool.set(keys[0]!, 1).catch((error: RedisReplyError) => error.reply)).toBe('READONLY');
    await servers[1]!.client.request('CONFIG', 'SET', 'maxmemory', '1');
    await expect(pool.set(keys[1]!, 1)).rejects.toMatchObject({ code: 'KF_REDIS_ERROR', reply: 'OOM' });
  });
});

function keyOn(pool: Pool, name: string): string {
  for (let i = 0; ; i++) if (pool.serverOf(`k${i}`).name === name) return `k${i}`;
}
