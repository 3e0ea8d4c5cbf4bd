import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { isReservedKey } from '../../src/pool/guard-scripts.ts';
import { MoveEngine } from '../../src/pool/move-engine.ts';
import { ServerLink, textOf } from '../../src/pool/move-link.ts';
import type { MoveEngineOptions, MoveEvent } from '../../src/pool/move-options.ts';
import { planChange } from '../../src/pool/move-plan.ts';
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
  links = servers.map(({ port }) => new ServerLink({ host: '127.0.0.1', port }));
  dir = mkdtempSync(join(tmpdir(), 'keyfleet-moves-'));
});
afterAll(async () => {
  for (const link of links) link.close();
  await Promise.all(servers.map((server) => server.stop()));
  rmSync(dir, { recursive: true, force: true });
});
beforeEach(async () => {
  await Promise.all(links.map((link) => link.call(['FLUSHALL'])));
});

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
});
