import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type PoolAdmin, PoolMap, startPoolAdmin, verifyPool } from '../../src/pool/index.ts';
import { type Argument, ServerLink, textOf } from '../../src/pool/moves/move-link.ts';
import { POOL_DEFAULTS, type PoolConfig } from '../../src/pool/pool-config.ts';
import { FaultProxy } from './fault-proxy.ts';
import { hasRedis, type RedisServer, startRedisServers } from './redis-servers.ts';

let servers: RedisServer[] = [];
let links: ServerLink[] = [];
beforeAll(async () => {
  if (!hasRedis) return;
  servers = await startRedisServers(2);
  links = servers.map(({ port }) => new ServerLink({ host: '127.0.0.1', port }));
});
afterAll(async () => {
  for (const link of links) link.close();
  await Promise.all(servers.map((server) => server.stop()));
});
beforeEach(async () => {
  await Promise.all(links.map((link) => link.call(['FLUSHALL'])));
});

const range = (count: number, one: (i: number) => Argument[]): Argument[] => Array.from({ length: count }, (_, i) => one(i)).flat();
const FAR_MS = 4_102_444_800_000;

/** The same keys of every type on both servers, small and too large for one DUMP. */
async function fill(): Promise<number> {
  const [a, b] = links as [ServerLink, ServerLink];
  for (const [name, count] of [
    ['small', 5],
    ['large', 12_000],
  ] as const) {
    await a.call(['SET', `string:${name}`, 'abcdefghij'.repeat(count * 3)]);
    await a.call(['RPUSH', `list:${name}`, ...range(count, (i) => [`element ${i} of a list that is long enough`])]);
    await a.call(['SADD', `set:${name}`, ...range(count, (i) => [`member ${i} of a set that is long enough`])]);
    await a.call(['HSET', `hash:${name}`, ...range(count, (i) => [`f${i}`, `the value of field ${i}`])]);
    await a.call(['ZADD', `zset:${name}`, ...range(count, (i) => [i / 7, `a member with a score, number ${i}`])]);
    await Promise.all(Array.from({ length: count }, (_, i) => a.call(['XADD', `stream:${name}`, `${i + 1}-1`, 'field', `the entry ${i}`])));
    await a.call(['XGROUP', 'CREATE', `stream:${name}`, 'group', '2-1']);
  }
  for (let i = 0; i < 50; i++) await a.call(['SET', `plain:${i}`, `value ${i}`, 'PXAT', FAR_MS + i]);
  const keys = (await a.call(['KEYS', '*'])) as readonly Uint8Array[];
  for (const key of keys) {
    const ttl = Number(textOf(await a.call(['PEXPIRETIME', key])));
    await b.call(['RESTORE', key, Math.max(0, ttl), (await a.call(['DUMP', key])) as Uint8Array, 'ABSTTL']);
  }
  return keys.length;
}

function configOf(): PoolConfig {
  return {
    name: 'p',
    redis: true,
    ...POOL_DEFAULTS,
    distribution: 'slots',
    servers: [{ name: 'one', address: { host: '127.0.0.1', port: servers[0]!.port }, weight: 1 }],
  };
}

describe.runIf(hasRedis)('verify against a copy', () => {
  test('finds each kind of damage, in every type, and nothing else', async () => {
    const count = await fill();
    const map = PoolMap.of(configOf());
    const look = (sample?: number) =>
      verifyPool({
        map: () => map,
        addressOf: ({ address }) => address as { host: string; port: number },
        against: { server: 'one', copy: { host: '127.0.0.1', port: servers[1]!.port } },
        sample,
      });
    expect(await look()).toMatchObject({ keys: count, isSample: false, misplacedCount: 0, differenceCount: 0 });
    expect(await look(30)).toMatchObject({ isSample: true, differenceCount: 0 });
    const copy = links[1]!;
    for (const name of ['small', 'large']) {
      const last = name === 'small' ? 4 : 11_999;
      await copy.call(['SETRANGE', `string:${name}`, 30, 'X']);
      await copy.call(['LSET', `list:${name}`, last, 'another']);
      await copy.call(['SREM', `set:${name}`, `member ${last} of a set that is long enough`]);
      await copy.call(['SADD', `set:${name}`, 'another member']);
      await copy.call(['HSET', `hash:${name}`, `f${last}`, 'another value']);
      await copy.call(['ZINCRBY', `zset:${name}`, 0.5, `a member with a score, number ${last}`]);
      await copy.call(['XGROUP', 'SETID', `stream:${name}`, 'group', '3-1']);
    }
    await copy.call(['DEL', 'plain:0', 'plain:1', 'plain:2']);
    await copy.call(['RPUSH', 'plain:1', 'a list now']);
    await copy.call(['SET', 'plain:2', 'value 2', 'PXAT', FAR_MS + 2 + 200]);
    await copy.call(['PERSIST', 'plain:3']);
    await copy.call(['PEXPIREAT', 'plain:4', FAR_MS + 4 + 20]);
    await copy.call(['SET', 'plain:new', 'x']);
    const report = await look();
    const found = Object.fromEntries(report.differences.map(({ key, kind }) => [JSON.parse(key) as string, kind]));
    const values = ['string', 'list', 'set', 'hash', 'zset', 'stream'].flatMap((type) => [`${type}:small`, `${type}:large`]);
    expect(found).toEqual({
      ...Object.fromEntries(values.map((key) => [key, 'value'])),
      'plain:0': 'missing',
      'plain:1': 'type',
      'plain:2': 'ttl',
      'plain:3': 'ttl',
      'plain:new': 'extra',
    });
    expect(report.differenceCount).toBe(17);
    expect((await look(2_000)).differenceCount).toBeGreaterThan(8);
  }, 60_000);
});

describe.runIf(hasRedis)('a mover that compares what it has put', () => {
  let admin: PoolAdmin | undefined;
  let proxy: FaultProxy | undefined;
  const dir = mkdtempSync(join(tmpdir(), 'keyfleet-verify-'));
  afterAll(async () => {
    await admin?.close();
    await proxy?.close();
    rmSync(dir, { recursive: true, force: true });
  });

  test('stops when the target has something else, keeps the key at the source, and goes on when it is mended', async () => {
    proxy = await FaultProxy.start(servers[1]!.port);
    // Bytes that no checksum guards: by type, not by DUMP.
    proxy.plan = { change: (chunk) => Buffer.from(chunk.toString('latin1').replace('number 77', 'number 78'), 'latin1') };
    admin = await startPoolAdmin({ config: configOf(), dir, limits: { byType: true, checkShare: 1 } });
    for (let i = 0; i < 200; i++) await links[0]!.call(['SET', `key:${i}`, `number ${i}`]);
    const ask = (path: string, body: object): Promise<Response> =>
      fetch(`${admin!.url}/v1/${path}`, { method: 'POST', body: JSON.stringify(body) });
    await ask('change', { action: 'add', server: `127.0.0.1:${proxy.port}:1000 two` });
    await expect(admin.engine.settled()).rejects.toThrow(/"key:77" is not the same .*\(value: /);
    expect(admin.engine.status()).toMatchObject({ state: 'stopped', trouble: expect.stringContaining('KF_POOL_CHECK_FAILED') });
    expect(textOf(await links[0]!.call(['GET', 'key:77']))).toBe('number 77');
    expect(await links[1]!.call(['EXISTS', 'key:77'])).toBe(0);
    proxy.plan = {};
    await admin.engine.resume();
    await admin.engine.settled();
    const { report } = (await (await ask('verify', { waitMs: 60_000 })).json()) as { report: object };
    expect(report).toMatchObject({ keys: 200, misplacedCount: 0 });
  }, 60_000);
});
