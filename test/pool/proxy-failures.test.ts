import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { utf8 } from '../../src/base/bytes.ts';
import { poolOf, startPoolProxy } from './proxy-fixture.ts';
import { hasRedis, type RedisServer, startRedisServers } from './redis-servers.ts';

describe.runIf(hasRedis)('a pool whose servers want a password, and die', () => {
  let servers: RedisServer[];
  const keys = Array.from({ length: 60 }, (_, i) => `key${i}`);

  beforeAll(async () => {
    servers = await startRedisServers(2);
  }, 30_000);
  afterAll(async () => {
    for (const server of servers) await server.stop();
  });

  test('asks its clients for it too, and gives it to the servers in both protocols', async () => {
    for (const server of servers) await server.client.request('CONFIG', 'SET', 'requirepass', 'secret');
    const started = await startPoolProxy(
      poolOf(
        servers.map(({ port }) => port),
        'redis_auth: secret',
      ),
    );
    const client = await started.connect();
    expect(await client.call('GET', 'a')).toBe('-NOAUTH Authentication required.');
    expect(await client.call('HELLO', '3')).toMatch(/^-NOAUTH HELLO/);
    expect(await client.call('AUTH', 'wrong')).toMatch(/^-WRONGPASS/);
    expect(await client.call('AUTH', 'secret')).toBe('+OK');
    expect(await client.call('SET', 'a', '1')).toBe('+OK');
    client.send('HELLO', '3', 'AUTH', 'default', 'secret', 'SETNAME', 'three');
    expect(await client.next()).toMatchObject({ kind: 'map' });
    expect(await client.call('GET', 'a')).toBe('1');
    expect(await client.call('CLIENT', 'GETNAME')).toBe('three');
    client.close();
    await started.proxy.close({ graceMs: 50 });
    for (const server of servers) await server.client.request('CONFIG', 'SET', 'requirepass', '');
  });

  test('store mode: keys of a dead server are errors, all others are served, and it comes back by itself', async () => {
    const started = await startPoolProxy(
      poolOf(
        servers.map(({ port }) => port),
        'hash: md5\ntimeout: 500',
      ),
    );
    const pool = started.proxy.pools[0]!;
    const client = await started.connect();
    const lost = keys.find((key) => pool.serverOf(utf8(key)) === 1)!;
    const kept = keys.find((key) => pool.serverOf(utf8(key)) === 0)!;
    expect(await client.call('SET', lost, '1')).toBe('+OK');
    await servers[1]!.kill();
    expect(await client.call('GET', lost)).toMatch(/^-ERR server2: /);
    expect(await client.call('SET', kept, '1')).toBe('+OK');
    expect(await client.call('MGET', kept, lost)).toMatch(/^-ERR server2: /);
    await servers[1]!.start();
    let answer: unknown;
    for (let i = 0; i < 100 && answer !== null; i++) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      answer = await client.call('GET', lost);
    }
    expect(answer).toBe(null);
    client.close();
    await started.proxy.close({ graceMs: 50 });
  }, 30_000);

  test('cache mode: its keys go to the others, and return once it is back', async () => {
    const settings = 'hash: md5\ntimeout: 500\nauto_eject_hosts: true\nserver_failure_limit: 1\nserver_retry_timeout: 300';
    const started = await startPoolProxy(
      poolOf(
        servers.map(({ port }) => port),
        settings,
      ),
    );
    const pool = started.proxy.pools[0]!;
    const client = await started.connect();
    const key = keys.find((one) => pool.serverOf(utf8(one)) === 1)!;
    expect(await client.call('SET', key, 'old')).toBe('+OK');
    await servers[1]!.kill();
    let answer: unknown;
    for (let i = 0; i < 100 && answer !== '+OK'; i++) answer = await client.call('SET', key, 'new');
    expect(answer).toBe('+OK');
    expect(pool.isEjected(1)).toBe(true);
    expect(await client.call('GET', key)).toBe('new');
    await servers[1]!.start();
    for (let i = 0; i < 200 && pool.isEjected(1); i++) await new Promise((resolve) => setTimeout(resolve, 50));
    expect(pool.isEjected(1)).toBe(false);
    expect(pool.serverOf(utf8(key))).toBe(1);
    client.close();
    await started.proxy.close({ graceMs: 50 });
  }, 30_000);
});
