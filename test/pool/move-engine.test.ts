import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { isReservedKey } from '../../src/pool/moves/guard-scripts.ts';
import { MoveEngine } from '../../src/pool/moves/move-engine.ts';
import { ServerLink, textOf } from '../../src/pool/moves/move-link.ts';
import type { MoveEngineOptions, MoveEvent } from '../../src/pool/moves/move-options.ts';
import { planChange } from '../../src/pool/moves/move-plan.ts';
import { POOL_DEFAULTS, type PoolConfig, type PoolServer } from '../../src/pool/pool-config.ts';
import { PoolMap } from '../../src/pool/pool-map.ts';
import { hasRedis, type RedisServer, startRedisServers } from './redis-servers.ts';
import { LocalRouters, TestRouter } from './test-router.ts';

let servers: RedisServer[] = [];
let links: ServerLink[] = [];
let dir = '';
beforeAll(async () => {
  if (!hasRedis) return;
  servers = await startRedisServers(3, ['--appendonly', 'yes', '--appendfsync', 'always', '--enable-debug-command', 'yes']);
  links = servers.map(linkTo);
  dir = mkdtempSync(join(tmpdir(), 'keyfleet-moves-'));
});
afterAll(async () => {
  for (const link of links) link.close();
  await Promise.all(servers.map((server) => server.stop()));
  rmSync(dir, { recursive: true, force: true });
});
beforeEach(async () => {
  await Promise.all(
    links.flatMap((link) => [link.call(['FLUSHALL']), link.call(['CONFIG', 'SET', 'maxmemory', '0', 'maxmemory-policy', 'noeviction'])]),
  );
});

const linkTo = ({ port }: RedisServer): ServerLink => new ServerLink({ host: '127.0.0.1', port });
const serverOf = (index: number): PoolServer => ({
  name: `s${index}`,
  address: { host: '127.0.0.1', port: servers[index]!.port },
  weight: 1,
});

function configOf(count: number, distribution: PoolConfig['distribution'] = 'ketama'): PoolConfig {
  return {
    name: 'p',
    redis: true,
    ...POOL_DEFAULTS,
    distribution,
    servers: Array.from({ length: count }, (_, index) => serverOf(index)),
  };
}

let journals = 0;
class Fleet {
  readonly routers = new LocalRouters();
  readonly config: PoolConfig;
  readonly journalPath = join(dir, `journal-${journals++}`);
  readonly events: MoveEvent[] = [];
  saved: PoolMap;
  engine!: MoveEngine;
  onEvent: ((event: MoveEvent) => void) | undefined;

  constructor(config: PoolConfig) {
    this.config = config;
    this.saved = PoolMap.of(config);
  }

  static async start(config: PoolConfig, routers = 1, options: Partial<MoveEngineOptions> = {}): Promise<Fleet> {
    const fleet = new Fleet(config);
    await fleet.takeOver(options);
    for (let i = 0; i < routers; i++)
      fleet.routers.routers.push(new TestRouter(fleet.saved, (moveId, keys) => fleet.engine.pull(moveId, keys)));
    return fleet;
  }

  async takeOver(options: Partial<MoveEngineOptions> = {}): Promise<void> {
    this.engine = await MoveEngine.open({
      config: this.config,
      map: this.saved,
      routers: this.routers,
      journalPath: this.journalPath,
      saveMap: (map) => {
        this.saved = map;
      },
      addressOf: ({ address }) => address as { host: string; port: number },
      onEvent: (event) => {
        this.events.push(event);
        this.onEvent?.(event);
      },
      ...options,
    });
  }

  get router(): TestRouter {
    return this.routers.routers[0]!;
  }

  async change(after: readonly PoolServer[]): Promise<void> {
    await this.engine.start(planChange(this.engine.map, this.config, after, 'a change'));
  }

  async close(): Promise<void> {
    await this.engine.close();
    for (const router of this.routers.routers) router.close();
  }
}

/** Where every key is; a key of ours that is left, or a key twice or on a wrong server, is an error. */
async function placesOf(map: PoolMap): Promise<Map<string, string>> {
  const places = new Map<string, string>();
  for (const server of map.servers) {
    const link = links[Number(server.name.slice(1))]!;
    for (const one of (await link.call(['KEYS', '*'])) as readonly Uint8Array[]) {
      const key = textOf(one);
      expect(isReservedKey(key), `${key} on ${server.name}`).toBe(false);
      expect(places.get(key), `${key} twice`).toBeUndefined();
      expect(map.serverOf(one).name, `${key} on ${server.name}`).toBe(server.name);
      places.set(key, server.name);
    }
  }
  return places;
}

async function fill(router: TestRouter, count: number): Promise<void> {
  await Promise.all(Array.from({ length: count }, (_, i) => router.call('SET', [`key:${i}`], [`value ${i}`])));
}

async function expectFilled(router: TestRouter, count: number): Promise<void> {
  const values = await Promise.all(Array.from({ length: count }, (_, i) => router.call('GET', [`key:${i}`], [], 'read')));
  expect(values.map((value) => textOf(value))).toEqual(Array.from({ length: count }, (_, i) => `value ${i}`));
}

describe.runIf(hasRedis)('moving keys between live servers', () => {
  test.each(['ketama', 'modula', 'slots'] as const)(
    'a server joins and another leaves a pool by %s, and every key is where it belongs',
    async (distribution) => {
      const fleet = await Fleet.start(configOf(2, distribution));
      await fill(fleet.router, 3_000);
      await fleet.change([serverOf(0), serverOf(1), serverOf(2)]);
      await fleet.engine.settled();
      expect(fleet.engine.status().state).toBe('idle');
      const grown = await placesOf(fleet.engine.map);
      expect(grown.size).toBe(3_000);
      expect([...grown.values()].filter((name) => name === 's2').length).toBeGreaterThan(300);
      await expectFilled(fleet.router, 3_000);
      await fleet.change([serverOf(1), serverOf(2)]);
      await fleet.engine.settled();
      expect(fleet.engine.map.servers.map(({ name }) => name)).toEqual(['s1', 's2']);
      expect((await placesOf(fleet.engine.map)).size).toBe(3_000);
      expect(await links[0]!.call(['DBSIZE'])).toBe(0);
      await expectFilled(fleet.router, 3_000);
      await fleet.close();
    },
  );

  test('values of every type arrive as they were, small and large, by DUMP and by type', async () => {
    const from = links[0]!;
    for (const byType of [false, true]) {
      await Promise.all(links.map((link) => link.call(['FLUSHALL'])));
      const fleet = await Fleet.start(configOf(1), 1, { limits: { byType, largeElements: 300, largeBytes: 100_000 } });
      const many = (count: number, one: (i: number) => (string | number)[]): (string | number)[] =>
        Array.from({ length: count }, (_, i) => one(i)).flat();
      for (const size of [3, 1_000]) {
        await from.call(['RPUSH', `list:${size}`, ...many(size, (i) => [`e${i}`])]);
        await from.call(['SADD', `set:${size}`, ...many(size, (i) => [`m${i}`])]);
        await from.call(['SADD', `ints:${size}`, ...many(size, (i) => [i])]);
        await from.call(['HSET', `hash:${size}`, ...many(size, (i) => [`f${i}`, `v${i}`])]);
        await from.call(['ZADD', `zset:${size}`, ...many(size, (i) => [i / 7, `z${i}`])]);
        await from.call(['SET', `text:${size}`, 'é\0'.repeat(size * 100)]);
        for (let i = 1; i <= size; i++) await from.call(['XADD', `stream:${size}`, `${i}-1`, 'n', i]);
        await from.call(['XGROUP', 'CREATE', `stream:${size}`, 'group', '0']);
        await from.call(['XREADGROUP', 'GROUP', 'group', 'reader', 'COUNT', '2', 'STREAMS', `stream:${size}`, '>']);
        await from.call(['PEXPIREAT', `hash:${size}`, '4102444800123']);
        await from.call(['PEXPIREAT', `text:${size}`, '4102444800456']);
      }
      await from.call(['XADD', 'stream:emptied', '5-5', 'a', 'b']);
      await from.call(['XTRIM', 'stream:emptied', 'MAXLEN', '0']);
      const look = async (link: ServerLink): Promise<Map<string, string>> => {
        const found = new Map<string, string>();
        for (const one of (await link.call(['KEYS', '*'])) as readonly Uint8Array[]) {
          const [digest] = (await link.call(['DEBUG', 'DIGEST-VALUE', one])) as readonly Uint8Array[];
          const group = textOf(one).startsWith('stream') ? JSON.stringify(await link.call(['XINFO', 'GROUPS', one])) : '';
          const pending =
            group.includes('reader') || textOf(one) === 'stream:3' ? JSON.stringify(await link.call(['XPENDING', one, 'group'])) : '';
          found.set(textOf(one), `${textOf(digest)} ${textOf(await link.call(['PEXPIRETIME', one]))} ${group} ${pending}`);
        }
        return found;
      };
      const before = await look(from);
      expect(before.size).toBe(15);
      await fleet.change([serverOf(2)]);
      await fleet.engine.settled();
      expect(await look(links[2]!)).toEqual(before);
      expect(await from.call(['DBSIZE'])).toBe(0);
      await fleet.close();
    }
  });

  test('a source that is out of memory can still be emptied, and a target that is stops the move until there is room', async () => {
    const fleet = await Fleet.start(configOf(1));
    await fill(fleet.router, 2_000);
    await links[0]!.call(['CONFIG', 'SET', 'maxmemory', '1']);
    expect(textOf(await fleet.router.call('SET', ['key:new'], ['x']))).toContain('OOM');
    fleet.onEvent = (event) => {
      if (event.kind === 'step' && event.step === 'guarded published') void links[2]!.call(['CONFIG', 'SET', 'maxmemory', '1']);
    };
    await fleet.change([serverOf(2)]);
    await expect(fleet.engine.settled()).rejects.toThrow(/KF_POOL_PUT_REFUSED|OOM/);
    expect(fleet.engine.status()).toMatchObject({ state: 'stopped' });
    expect(textOf(await fleet.router.call('GET', ['key:7'], [], 'read'))).toBe('value 7');
    await links[2]!.call(['CONFIG', 'SET', 'maxmemory', '0']);
    await fleet.engine.resume();
    await fleet.engine.settled();
    await links[0]!.call(['CONFIG', 'SET', 'maxmemory', '0']);
    await expectFilled(fleet.router, 2_000);
    await placesOf(fleet.engine.map);
    await fleet.close();
  });

  test('a plan is refused while the target holds keys of it, evicts keys or has too little memory, and changes nothing', async () => {
    const fleet = await Fleet.start(configOf(1));
    await fill(fleet.router, 200);
    await links[2]!.call(['SET', 'key:5', 'stray']);
    await expect(fleet.change([serverOf(2)])).rejects.toThrow(/already holds 1 key/);
    await links[2]!.call(['DEL', 'key:5']);
    await links[2]!.call(['CONFIG', 'SET', 'maxmemory', '1mb', 'maxmemory-policy', 'allkeys-lru']);
    await expect(fleet.change([serverOf(2)])).rejects.toThrow(/may evict keys.*left of maxmemory/);
    await links[2]!.call(['CONFIG', 'SET', 'maxmemory', '0', 'maxmemory-policy', 'noeviction']);
    expect(fleet.engine.status().state).toBe('idle');
    expect(fleet.engine.map.epoch).toBe(1);
    await fleet.close();
  });

  test('moves wait for a server that restarts, and can be cancelled while they are paused', async () => {
    const fleet = await Fleet.start(configOf(1));
    await fill(fleet.router, 2_000);
    const source = servers[0]!;
    fleet.onEvent = (event) => {
      if (event.kind !== 'step' || event.step !== 'opened') return;
      fleet.onEvent = undefined;
      void source.kill().then(() => source.start());
    };
    await fleet.change([serverOf(0), serverOf(2)]);
    await fleet.engine.settled();
    links[0] = linkTo(source);
    expect(fleet.events.some((event) => event.kind === 'trouble' && event.error.code === 'KF_POOL_SERVER_LOST')).toBe(true);
    await expectFilled(fleet.router, 2_000);
    await placesOf(fleet.engine.map);
    // Paused before a move has begun, and cancelled then.
    await fleet.change([serverOf(0)]);
    await fleet.engine.pause();
    await fleet.engine.cancel();
    await fleet.engine.settled();
    expect(fleet.engine.status().state).toBe('idle');
    expect((await placesOf(fleet.engine.map)).size).toBe(2_000);
    await fleet.close();
  }, 30_000);

  test('a mover that dies after any step is followed by another that ends the work', async () => {
    const steps = async (dieAt: number, cancel: boolean): Promise<number> => {
      await Promise.all(links.map((link) => link.call(['FLUSHALL'])));
      const fleet = await Fleet.start(configOf(2), 2);
      await fill(fleet.router, 400);
      let events = 0;
      let cancelled = !cancel;
      fleet.onEvent = (event) => {
        if (!cancelled && event.kind === 'step' && event.step === 'opened') {
          cancelled = true;
          void fleet.engine.cancel().catch(() => {});
        }
        if (++events === dieAt) void fleet.engine.close();
      };
      await fleet.change([serverOf(0), serverOf(1), serverOf(2)]);
      await fleet.engine.settled();
      const total = events;
      if (total >= dieAt) {
        await fleet.engine.close();
        fleet.onEvent = undefined;
        await fleet.takeOver();
        await fleet.engine.settled();
      }
      expect(fleet.engine.status().state).toBe('idle');
      await expectFilled(fleet.router, 400);
      expect((await placesOf(fleet.engine.map)).size).toBe(400);
      await fleet.close();
      return total;
    };
    for (const cancel of [false, true]) {
      const total = await steps(Number.POSITIVE_INFINITY, cancel);
      expect(total).toBeGreaterThan(cancel ? 6 : 9);
      for (let dieAt = 1; dieAt <= total; dieAt++) await steps(dieAt, cancel);
    }
  }, 60_000);
});
