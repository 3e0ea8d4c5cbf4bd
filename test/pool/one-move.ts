import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import { isKeyfleetError } from '../../src/base/errors.ts';
import { MoveEngine } from '../../src/pool/moves/move-engine.ts';
import { textOf } from '../../src/pool/moves/move-link.ts';
import type { MoveEngineOptions } from '../../src/pool/moves/move-options.ts';
import { planChange } from '../../src/pool/moves/move-plan.ts';
import { POOL_DEFAULTS, type PoolConfig, type PoolServer } from '../../src/pool/pool-config.ts';
import { PoolMap } from '../../src/pool/pool-map.ts';
import { FaultProxy } from './fault-proxy.ts';
import { type RedisServer, startRedisServers } from './redis-servers.ts';
import { LocalRouters, TestRouter } from './test-router.ts';

/** Keys that nobody writes unless a test says so: `still:0` holds `value 0`. */
export const KEYS = 600;
/** So slow that a walk can be looked at in its middle. */
export const SLOW = { pace: { bytesPerSecond: 30_000 }, limits: { batchKeys: 10 } } satisfies Partial<MoveEngineOptions>;

/**
 * A pool over one server, two routers, and a move of everything to another one; a third server is there to be a replica. Mover and routers go through proxies of ours, so that a server may
 * change behind its address.
 */
export class OneMove {
  servers: RedisServer[];
  readonly proxies: readonly FaultProxy[];
  engine!: MoveEngine;
  readonly #routers = new LocalRouters();
  readonly #dir = mkdtempSync(join(tmpdir(), 'keyfleet-one-move-'));
  #move: () => Promise<void> = async () => undefined;

  private constructor(servers: RedisServer[], proxies: readonly FaultProxy[]) {
    this.servers = servers;
    this.proxies = proxies;
  }

  static async open(): Promise<OneMove> {
    const servers = await startRedisServers(3, ['--repl-diskless-sync-delay', '0']);
    return new OneMove(servers, await Promise.all(servers.slice(0, 2).map(({ port }) => FaultProxy.start(port))));
  }

  async close(): Promise<void> {
    for (const server of this.servers) server.signal('SIGCONT');
    await this.engine?.close();
    for (const router of this.#routers.routers) router.close();
    await Promise.all(this.proxies.map((proxy) => proxy.close()));
    await Promise.all(this.servers.map((server) => server.stop()));
    rmSync(this.#dir, { recursive: true, force: true });
  }

  /** Makes the pool and its keys; answers its two routers. */
  async start(options: Partial<MoveEngineOptions> = {}): Promise<TestRouter[]> {
    const listed: PoolServer[] = this.proxies.map(({ port }, i) => ({ name: `s${i}`, address: { host: '127.0.0.1', port }, weight: 1 }));
    const config: PoolConfig = { name: 'p', redis: true, ...POOL_DEFAULTS, distribution: 'slots', servers: [listed[0]!] };
    const map = PoolMap.of(config);
    this.engine = await MoveEngine.open({
      config,
      map,
      routers: this.#routers,
      journalPath: join(this.#dir, 'journal'),
      saveMap: () => undefined,
      addressOf: ({ address }) => address as { host: string; port: number },
      timeoutMs: 2_000,
      ...options,
    });
    for (let i = 0; i < 2; i++) this.#routers.routers.push(new TestRouter(map, (id, keys) => this.engine.pull(id, keys)));
    const [router] = this.#routers.routers;
    await Promise.all(Array.from({ length: KEYS }, (_, i) => router!.call('SET', [`still:${i}`], [`value ${i}`])));
    this.#move = () => this.engine.start(planChange(this.engine.map, config, [listed[1]!], 'over'));
    return this.#routers.routers;
  }

  /** Begins to move everything to the second server. */
  move(): Promise<void> {
    return this.#move();
  }

  async until(isSo: () => Promise<boolean> | boolean, what: string): Promise<void> {
    for (const endMs = Date.now() + 30_000; !(await isSo()); await sleep(3))
      if (Date.now() > endMs) throw new Error(`${what} did not come about: ${JSON.stringify(this.engine.status())}`);
  }

  /** Every key is at the target, as it was. */
  async expectArrived(router: TestRouter): Promise<void> {
    const indexes = [...Array(KEYS).keys()];
    const keys = indexes.map((i) => `still:${i}`);
    expect(await asked(router, 'GET', keys, 'read')).toEqual(indexes.map((i) => `value ${i}`));
    expect(this.engine.map.servers.map(({ name }) => name)).toEqual(['s1']);
    expect(await this.servers[0]!.client.request('KEYS', '*').catch(() => [])).toEqual([]);
  }
}

export async function keysAt(server: RedisServer): Promise<string[]> {
  return ((await server.client.request('KEYS', 'still:*')) as readonly Uint8Array[]).map((key) => Buffer.from(key).toString());
}

export async function keysOn(server: RedisServer): Promise<number> {
  return Number(await server.client.request('DBSIZE'));
}

/** A command for each key, by a router that may have to find out first that its connections are gone. */
export async function asked(router: TestRouter, name: string, keys: readonly string[], kind: 'read' | 'write'): Promise<string[]> {
  const ask = async (key: string): Promise<string> => {
    for (let tries = 0; ; tries++) {
      try {
        return textOf(await router.call(name, [key], [], kind));
      } catch (error) {
        if (tries === 200 || !isKeyfleetError(error) || error.code !== 'KF_POOL_SERVER_LOST') throw error;
        await sleep(10);
      }
    }
  };
  return Promise.all(keys.map(ask));
}
