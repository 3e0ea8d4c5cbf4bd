import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { MoveEngine } from '../../src/pool/move-engine.ts';
import { textOf } from '../../src/pool/move-link.ts';
import type { MoveEngineOptions } from '../../src/pool/move-options.ts';
import { MovePace } from '../../src/pool/move-pace.ts';
import { planChange } from '../../src/pool/move-plan.ts';
import { POOL_DEFAULTS, type PoolConfig, type PoolServer } from '../../src/pool/pool-config.ts';
import { PoolMap } from '../../src/pool/pool-map.ts';
import type { Reply } from '../../src/shard/redis/reply.ts';
import { FaultProxy } from './fault-proxy.ts';
import { hasRedis, type RedisServer, startRedisServers } from './redis-servers.ts';
import { LocalRouters, TestRouter } from './test-router.ts';

// What a move promises beyond the stresses: keys that are hot, large, or several to a command, limits, and servers that fail over to a replica. Everything goes through
// proxies of ours, so that a server may change behind its address.

const KEYS = 600;
const SLOW = { pace: { bytesPerSecond: 30_000 }, limits: { batchKeys: 10 } } satisfies Partial<MoveEngineOptions>;

let servers: RedisServer[] = [];
let proxies: FaultProxy[] = [];
let dir = '';
let engine: MoveEngine;
let routers: LocalRouters;

beforeEach(async () => {
  if (!hasRedis) return;
  servers = await startRedisServers(3, ['--repl-diskless-sync-delay', '0']);
  proxies = await Promise.all(servers.slice(0, 2).map(({ port }) => FaultProxy.start(port)));
  dir = mkdtempSync(join(tmpdir(), 'keyfleet-specification-'));
});
afterEach(async () => {
  for (const server of servers) server.signal('SIGCONT');
  await engine?.close();
  for (const router of routers?.routers ?? []) router.close();
  await Promise.all(proxies.map((proxy) => proxy.close()));
  await Promise.all(servers.map((server) => server.stop()));
  rmSync(dir, { recursive: true, force: true });
});

/** Two routers of a pool over the first server; a move to the second is `move()`. */
async function start(options: Partial<MoveEngineOptions> = {}): Promise<TestRouter[]> {
  const listed: PoolServer[] = proxies.map(({ port }, i) => ({ name: `s${i}`, address: { host: '127.0.0.1', port }, weight: 1 }));
  const config: PoolConfig = { name: 'p', redis: true, ...POOL_DEFAULTS, distribution: 'slots', servers: [listed[0]!] };
  routers = new LocalRouters();
  const map = PoolMap.of(config);
  engine = await MoveEngine.open({
    config,
    map,
    routers,
    journalPath: join(dir, 'journal'),
    saveMap: () => undefined,
    addressOf: ({ address }) => address as { host: string; port: number },
    timeoutMs: 2_000,
    ...options,
  });
  for (let i = 0; i < 2; i++) routers.routers.push(new TestRouter(map, (id, keys) => engine.pull(id, keys)));
  const [router] = routers.routers;
  await Promise.all(Array.from({ length: KEYS }, (_, i) => router!.call('SET', [`still:${i}`], [`value ${i}`])));
  move = () => engine.start(planChange(engine.map, config, [listed[1]!], 'over'));
  return routers.routers;
}
let move: () => Promise<void>;

async function until(isSo: () => Promise<boolean> | boolean, what: string): Promise<void> {
  for (const endMs = Date.now() + 30_000; !(await isSo()); await sleep(3))
    if (Date.now() > endMs) throw new Error(`${what} did not come about: ${JSON.stringify(engine.status())}`);
}

const keysOn = async (server: RedisServer): Promise<number> => Number(await server.client.request('DBSIZE'));
/** Every key is at the target, as it was. */
async function expectArrived(router: TestRouter): Promise<void> {
  const values = await Promise.all(Array.from({ length: KEYS }, (_, i) => router.call('GET', [`still:${i}`], [], 'read')));
  expect(values.map((value) => textOf(value))).toEqual(Array.from({ length: KEYS }, (_, i) => `value ${i}`));
  expect(engine.map.servers.map(({ name }) => name)).toEqual(['s1']);
  expect(await servers[0]!.client.request('KEYS', '*').catch(() => [])).toEqual([]);
}

describe.runIf(hasRedis)('a move', () => {
  test('needs no special care for hot keys: no increment is lost, and none is done twice', async () => {
    const [one, other] = await start(SLOW);
    const counts = new Map<string, number>();
    let isOver = false;
    const hot = Array.from({ length: 12 }, async (_, lane) => {
      for (let turn = 0; !isOver; turn++) {
        const key = `hot:${(lane + turn) % 3}`;
        const reply = await (lane % 2 === 0 ? one! : other!).call('INCR', [key]);
        expect(typeof reply).toBe('number');
        counts.set(key, (counts.get(key) ?? 0) + 1);
      }
    });
    await move();
    await engine.settled();
    isOver = true;
    await Promise.all(hot);
    for (const [key, count] of counts) expect([key, textOf(await one!.call('GET', [key], [], 'read'))]).toEqual([key, String(count)]);
    await expectArrived(one!);
  }, 60_000);

  test('copies a large value piece by piece, while its readers are answered and its writers wait', async () => {
    const [router, other] = await start({ limits: { largeElements: 500 } });
    const fields = Array.from({ length: 4_000 }, (_, i) => [`field ${i}`, String(i)]).flat();
    await router!.call('HSET', ['large'], fields);
    // Each piece takes a while to the target, so that it can be watched.
    proxies[1]!.plan = { delayMs: () => 50 };
    await move();
    await until(
      async () => Number(await servers[0]!.client.request('EXISTS', 'large')) === 1 && (await isPaged()),
      'a value that is being paged',
    );
    let isWritten = false;
    const written = router!.call('HINCRBY', ['large'], ['field 7', 1]).then((reply) => {
      isWritten = true;
      return reply;
    });
    expect(await other!.call('HGET', ['large'], ['field 7'], 'read')).toEqual(Buffer.from('7'));
    expect(isWritten).toBe(false);
    proxies[1]!.plan = {};
    expect(await written).toBe(8);
    await engine.settled();
    expect(await servers[1]!.client.request('HLEN', 'large')).toBe(4_000);
    expect(await router!.call('HGET', ['large'], ['field 7'], 'read')).toEqual(Buffer.from('8'));
    await expectArrived(router!);

    async function isPaged(): Promise<boolean> {
      return ((await servers[1]!.client.request('KEYS', '__kf:part:p.*')) as readonly Reply[]).length > 0;
    }
  }, 60_000);

  test('stops at a value that would keep its writers waiting too long, and goes on when the limit is raised', async () => {
    const [router] = await start({ limits: { mostBytes: 50_000 } });
    await router!.call('SET', ['huge'], ['x'.repeat(100_000)]);
    await move();
    await expect(engine.settled()).rejects.toMatchObject({ code: 'KF_POOL_KEY_TOO_LARGE', message: expect.stringContaining('"huge"') });
    expect(await router!.call('APPEND', ['huge'], ['y'])).toBe(100_001);
    engine.limits = { ...engine.limits, mostBytes: 1_000_000 };
    await engine.resume();
    await engine.settled();
    expect(await router!.call('STRLEN', ['huge'], [], 'read')).toBe(100_001);
    await expectArrived(router!);
  }, 60_000);

  test('carries out commands on several keys of which some have moved: the mover brings the rest first', async () => {
    const [router] = await start(SLOW);
    const pairs = 60;
    for (let i = 0; i < pairs; i++) await router!.call('SADD', [`{${i}}one`], ['a', 'b', 'c', 'd']);
    await move();
    const members = ['a', 'b', 'c', 'd'];
    for (let i = 0; i < pairs; i++) {
      const keys = [`{${i}}one`, `{${i}}two`];
      for (const member of members) expect(await router!.call('SMOVE', keys, [member])).toBe(1);
      expect(await router!.call('SCARD', [keys[1]!], [], 'read')).toBe(4);
      expect(await router!.call('EXISTS', [keys[0]!], [], 'read')).toBe(0);
    }
    await engine.settled();
    for (let i = 0; i < pairs; i++) expect(await router!.call('SCARD', [`{${i}}two`], [], 'read')).toBe(4);
    await expectArrived(router!);
  }, 60_000);

  test.each(['before it begins', 'in its middle'])(
    'copies by type when the target does not read the DUMP of the source, as is found %s',
    async (when) => {
      const [router] = await start();
      const writes: readonly (readonly [string, string, ...(string | number)[]])[] = [
        ['SET', 'text', 'é\0', 'PXAT', 4_102_444_800_123],
        ['RPUSH', 'list', 'a', 'b', 'c'],
        ['SADD', 'set', 'x', 'y', '3'],
        ['HSET', 'hash', 'f', 'v', 'g', 'w'],
        ['ZADD', 'zset', 1.5, 'low', 2, 'high'],
        ['XADD', 'stream', '5-1', 'n', 1],
      ];
      const look = async (): Promise<unknown[]> => {
        const reads: readonly (readonly [string, string, ...(string | number)[]])[] = [
          ['GET', 'text'],
          ['PEXPIRETIME', 'text'],
          ['LRANGE', 'list', 0, -1],
          ['SMEMBERS', 'set'],
          ['HGETALL', 'hash'],
          ['ZRANGE', 'zset', 0, -1, 'WITHSCORES'],
          ['XRANGE', 'stream', '-', '+'],
        ];
        const replies = await Promise.all(reads.map(([name, key, ...rest]) => router!.call(name, [key], rest, 'read')));
        return replies.map((reply, i) =>
          reads[i]![0] === 'SMEMBERS'
            ? (reply as Uint8Array[])
                .map((one) => textOf(one))
                .sort()
                .join()
            : reply,
        );
      };
      for (const [name, key, ...rest] of writes) await router!.call(name, [key], rest);
      const before = await look();
      // A later version of Redis or Valkey writes another number at the end of a DUMP, which a real server refuses by itself.
      const foreign = { change: (chunk: Buffer) => asOfAnotherVersion(chunk) };
      if (when === 'before it begins') proxies[1]!.plan = foreign;
      else
        proxies[1]!.plan = {
          change: (chunk) => (chunk.includes('__kf:part:probe') ? chunk : asOfAnotherVersion(chunk)),
        };
      await move();
      await engine.settled();
      expect(changed).toBeGreaterThan(0);
      expect(engine.limits.byType).toBe(when === 'before it begins');
      expect(await look()).toEqual(before);
      await expectArrived(router!);
    },
  );

  test('is not planned between servers whose clocks are apart', async () => {
    await start();
    proxies[1]!.plan = {
      answer: (chunk) =>
        Buffer.from(
          chunk.toString('latin1').replace(/^(\*2\r\n\$10\r\n)(\d{10})/, (_, head, seconds) => `${head}${Number(seconds) + 2}`),
          'latin1',
        ),
    };
    await expect(move()).rejects.toThrow(/clocks of .* ms apart: times to live would not be the same/);
  });
});

let changed = 0;
/** Changes the version, 10 for Redis 7.0, that stands before the checksum at the end of each DUMP in a chunk. */
function asOfAnotherVersion(chunk: Buffer): Buffer {
  const copy = Buffer.from(chunk);
  for (let at = copy.indexOf('\n\0'); at >= 0; at = copy.indexOf('\n\0', at + 1)) {
    if (copy.subarray(at + 10, at + 12).toString('latin1') !== '\r\n') continue;
    copy[at] = 80;
    changed++;
  }
  return copy;
}

describe.runIf(hasRedis)('a server that fails over to its replica inside a move', () => {
  async function replicate(place: number): Promise<RedisServer> {
    const replica = servers[2]!;
    await replica.client.request('REPLICAOF', '127.0.0.1', servers[place]!.port);
    await until(async () => /slave0:.*state=online/.test(String(await servers[place]!.client.request('INFO', 'replication'))), 'a replica');
    return replica;
  }

  async function failOver(place: number): Promise<void> {
    await servers[place]!.kill();
    await servers[2]!.client.request('REPLICAOF', 'NO', 'ONE');
    proxies[place]!.failOver(servers[2]!.port);
    servers = servers.with(place, servers[2]!).with(2, servers[place]!);
  }

  test('as the target: nothing leaves the source before the replica has it', async () => {
    const [router] = await start(SLOW);
    const replica = await replicate(1);
    await move();
    await until(() => engine.status().keysMoved > 30, 'a walk');
    // A replica that confirms nothing: keys stay where they are, and their writers go on.
    replica.signal('SIGSTOP');
    await until(() => engine.status().trouble !== undefined, 'trouble');
    expect(engine.status().trouble).toMatch(/KF_POOL_SERVER_LOST: 0 of 1 replicas of .* confirm/);
    const before = await keysOn(servers[0]!);
    const [stays] = ((await servers[0]!.client.request('KEYS', 'still:*')) as readonly Uint8Array[]).map((key) =>
      Buffer.from(key).toString(),
    );
    expect(textOf(await router!.call('SET', [stays!], [`value ${stays!.slice(6)}`]))).toBe('OK');
    expect(await keysOn(servers[0]!)).toBeGreaterThan(before - 10);
    replica.signal('SIGCONT');
    await until(() => engine.status().trouble === undefined, 'a replica that is back');
    await until(async () => (await keysOn(servers[0]!)) < before - 30, 'a walk that goes on');
    expect(engine.status().state).toBe('running');
    await failOver(1);
    engine.pace.limits = {};
    await engine.settled();
    await expectArrived(router!);
  }, 90_000);

  test('as the source: what had left it does not come back', async () => {
    const [router] = await start(SLOW);
    const replica = await replicate(0);
    await move();
    await until(() => engine.status().keysMoved > 30, 'a walk');
    // From here on the replica hears nothing of what leaves the source.
    await replica.client.request('REPLICAOF', 'NO', 'ONE');
    const known = engine.status().keysMoved;
    await until(() => engine.status().keysMoved > known + 60, 'a walk that goes on');
    const moved = ((await servers[1]!.client.request('KEYS', 'still:*')) as readonly Uint8Array[]).map((key) =>
      Buffer.from(key).toString(),
    );
    await Promise.all(moved.map((key) => router!.call('SET', [key], [`value ${key.slice(6)}`])));
    const gone = moved.slice(0, 20);
    await Promise.all(gone.map((key) => router!.call('DEL', [key])));
    expect(engine.status().state).toBe('running');
    expect(await replica.client.request('EXISTS', ...moved)).toBeGreaterThan(20);
    await failOver(0);
    engine.pace.limits = {};
    await engine.settled();
    expect(await Promise.all(gone.map((key) => router!.call('EXISTS', [key], [], 'read')))).toEqual(gone.map(() => 0));
    await Promise.all(gone.map((key) => router!.call('SET', [key], [`value ${key.slice(6)}`])));
    await expectArrived(router!);
  }, 90_000);
});

test('a walk goes slower while those in the foreground wait longer than they are to, and at full speed when they do not', () => {
  vi.useFakeTimers({ toFake: ['performance'] });
  try {
    let foregroundMs: number | undefined = 20;
    const pace = new MovePace({ foregroundP99Ms: 5 }, () => foregroundMs);
    const look = (times: number): number[] =>
      Array.from({ length: times }, () => {
        vi.advanceTimersByTime(300);
        pace.note();
        return pace.pauseMs;
      });
    expect(look(10)).toEqual([1, 2, 4, 8, 16, 32, 64, 128, 200, 200]);
    foregroundMs = 3;
    expect(look(3)).toEqual([150, 112.5, 84.375]);
    expect(look(20).at(-1)).toBe(0);
    // Nobody measures: it stays as it is.
    foregroundMs = undefined;
    expect(look(1)).toEqual([0]);
  } finally {
    vi.useRealTimers();
  }
});
