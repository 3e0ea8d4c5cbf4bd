import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import { type PoolAdmin, startPoolAdmin } from '../../src/pool/index.ts';
import { showAddress } from '../../src/pool/pool-config.ts';
import type { ProxyMoving } from '../../src/pool/proxy/proxy-moving.ts';
import type { Reply } from '../../src/shard/redis/reply.ts';
import { KeyfleetProcess } from '../cli/keyfleet-process.ts';
import { RespClient } from '../resp/resp-client.ts';
import { ExactWorker } from './exact-workload.ts';
import { poolOf, type StartedProxy, startPoolProxy } from './proxy-fixture.ts';
import { freePort, hasRedis, type RedisServer, startRedisServers } from './redis-servers.ts';

const LEASE_MS = 2_000;
const SETTINGS = 'distribution: slots';

/** One owner of a pool over the first two of some servers, and a way to it that can be cut. */
class Owner {
  readonly admin: PoolAdmin;
  readonly servers: RedisServer[];
  readonly #dir: string;
  readonly #relay: Server;
  readonly #sockets = new Set<Socket>();
  #isCut = false;

  private constructor(admin: PoolAdmin, servers: RedisServer[], dir: string) {
    this.admin = admin;
    this.servers = servers;
    this.#dir = dir;
    this.#relay = createServer((near) => {
      if (this.#isCut) {
        near.destroy();
        return;
      }
      const far = connect(Number(new URL(admin.url).port), '127.0.0.1');
      for (const [one, other] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#sockets.add(one);
        one.pipe(other);
        one.on('error', () => other.destroy());
        one.on('close', () => {
          this.#sockets.delete(one);
          other.destroy();
        });
      }
    });
  }

  static async start(serverCount: number): Promise<Owner> {
    const servers = await startRedisServers(serverCount);
    const dir = mkdtempSync(join(tmpdir(), 'keyfleet-owner-'));
    const config = poolOf(
      servers.slice(0, 2).map(({ port }) => port),
      SETTINGS,
    );
    const admin = await startPoolAdmin({ config, dir, leaseMs: LEASE_MS, pace: { bytesPerSecond: 1_000_000 } });
    const owner = new Owner(admin, servers, dir);
    await new Promise<void>((resolve) => owner.#relay.listen(0, '127.0.0.1', resolve));
    return owner;
  }

  /** What goes through the relay. */
  get url(): string {
    return `http://127.0.0.1:${(this.#relay.address() as { port: number }).port}`;
  }

  cut(): void {
    this.#isCut = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  mend(): void {
    this.#isCut = false;
  }

  async change(action: string, server: string): Promise<void> {
    const answer = await this.ask<{ error?: object }>('change', { action, server, ...(action === 'reweight' && { weight: 3 }) });
    expect(answer.error).toBeUndefined();
    await this.admin.engine.settled();
  }

  async ask<T>(path: string, body: object = {}): Promise<T> {
    const response = await fetch(`${this.admin.url}/v1/${path}`, { method: 'POST', body: JSON.stringify(body) });
    return (await response.json()) as T;
  }

  async verify(): Promise<object> {
    return (await this.ask<{ report: object }>('verify', { waitMs: 60_000 })).report;
  }

  /** A proxy of this process that follows. */
  proxy(): Promise<StartedProxy> {
    const config = poolOf(
      this.servers.slice(0, 2).map(({ port }) => port),
      SETTINGS,
    );
    return startPoolProxy({ ...config, control: { url: this.url } });
  }

  async stop(): Promise<void> {
    this.cut();
    this.#relay.close();
    await this.admin.close();
    await Promise.all(this.servers.map((server) => server.stop()));
    rmSync(this.#dir, { recursive: true, force: true });
  }
}

function worker(name: string, client: RespClient, seed: number): ExactWorker {
  const prng = new Prng(seed);
  const send = async (command: string, key: string, rest: readonly (string | number)[]): Promise<Reply> => {
    client.send(command, key, ...rest.map(String));
    const reply = await client.next(30_000);
    // Sets, of RESP3.
    return typeof reply === 'object' && reply !== null && 'items' in reply ? reply.items : reply;
  };
  return new ExactWorker(name, send, () => prng.u32() / 0x1_0000_0000);
}

/** Transactions, pairs read together, elements waited for: what a client does beyond single commands. */
async function mixture(name: string, client: RespClient, waiter: RespClient, isOver: () => boolean): Promise<string[]> {
  const wrong: string[] = [];
  const check = (what: string, got: unknown, wanted: unknown): void => {
    if (JSON.stringify(got) !== JSON.stringify(wanted)) wrong.push(`${what}: ${JSON.stringify(got)}, not ${JSON.stringify(wanted)}`);
  };
  for (let turn = 1; !isOver(); turn++) {
    const tag = `{${name}${turn % 60}}`;
    const [a, b, list] = [`${tag}a`, `${tag}b`, `${tag}list`];
    for (const args of [['MULTI'], ['SET', a, `${turn}`], ['SET', b, `${turn}`], ['EXEC']]) client.send(...args);
    const replies = [await client.shown(), await client.shown(), await client.shown(), await client.shown()];
    check(`MULTI ${tag}`, replies.at(-1), ['+OK', '+OK']);
    check(`MGET ${tag}`, await client.call('MGET', a, `none:${name}:${turn}`, b), [`${turn}`, null, `${turn}`]);
    waiter.send('BLPOP', list, '0');
    await sleep(5);
    check(`RPUSH ${tag}`, await client.call('RPUSH', list, `${turn}`), 1);
    waiter.send('PING');
    const popped = (await waiter.next(20_000)) as Reply;
    check(`BLPOP ${tag}`, Array.isArray(popped) && Buffer.from(popped[1] as Uint8Array).toString(), `${turn}`);
    check('PING', await waiter.shown(), '+PONG');
    check(`EVAL ${tag}`, await client.call('EVAL', 'return redis.call("GET", KEYS[1])', '1', a), `${turn}`);
    client.send('WATCH', a);
    client.send('GET', a);
    check(`WATCH ${tag}`, [await client.shown(), await client.shown()], ['+OK', `${turn}`]);
    for (const args of [['MULTI'], ['INCR', a], ['EXEC']]) client.send(...args);
    const done = [await client.shown(), await client.shown(), await client.shown()].at(-1);
    // Nil says that something changed meanwhile: whoever watches tries again.
    if (done !== null) check(`EXEC ${tag}`, done, [turn + 1]);
    check(`GET ${tag}`, await client.call('GET', a), String(done === null ? turn : turn + 1));
  }
  return wrong;
}

describe.runIf(hasRedis)('proxies that follow the owner of their pool', () => {
  let owner: Owner;
  let dir: string;
  beforeAll(async () => {
    owner = await Owner.start(4);
    dir = mkdtempSync(join(tmpdir(), 'keyfleet-proxy-moves-'));
  }, 30_000);
  afterAll(async () => {
    await owner.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  test('see no wrong answer while servers join, leave, and move to another address', async () => {
    const [s0, s1, s2, s3] = owner.servers as [RedisServer, RedisServer, RedisServer, RedisServer];
    const near = await owner.proxy();
    const port = await freePort();
    const file = join(dir, 'pools.yml');
    writeFileSync(
      file,
      `alpha:\n  listen: 127.0.0.1:${port}\n  redis: true\n  distribution: slots\n  owner: ${owner.url}\n  servers:\n` +
        `   - ${s0.address}:1 server1\n   - ${s1.address}:1 server2\n`,
    );
    const far = new KeyfleetProcess(['pool', '-c', file, '-s', '0', '--workers', '2']);
    let isOver = false;
    const clients: RespClient[] = [];
    try {
      for (let i = 0; i < 200 && !far.stdout.includes('with 2 workers'); i++) await sleep(50);
      for (let i = 0; i < 10; i++) clients.push(await (i < 5 ? near.connect() : RespClient.connect({ port })));
      const [resp3] = clients;
      resp3!.send('HELLO', '3');
      await resp3!.next();
      const still = await near.connect();
      for (let at = 0; at < 1_000; at += 100)
        await still.call('MSET', ...Array.from({ length: 100 }, (_, i) => [`still:${at + i}`, `${at + i}`]).flat());
      const workers = [0, 1, 5, 6].map((i) => worker(`w${i}`, clients[i]!, 77 + i));
      const running = Promise.all(workers.map((one) => one.run(() => isOver)));
      const mixtures = Promise.all([
        mixture('near', clients[3]!, clients[4]!, () => isOver),
        mixture('far', clients[8]!, clients[9]!, () => isOver),
      ]);
      // Told of at the end; a test that fails before does not wait for it.
      mixtures.catch(() => undefined);
      await owner.change('add', `${s2.address}:1 server3`);
      // Walks over all keys, however they move meanwhile.
      const removing = owner.change('remove', 'server1');
      // All three processes are routers, and say how their clients fare.
      await until(() => owner.admin.coordinator.routers.filter(({ foregroundP99Ms = 0 }) => foregroundP99Ms > 0).length === 3);
      const found = new Set<string>();
      let cursor = '0';
      do {
        const [next, keys] = (await still.call('SCAN', cursor, 'COUNT', '300')) as [string, string[]];
        for (const key of keys) found.add(key);
        cursor = next;
      } while (cursor !== '0');
      const listed = (await still.call('KEYS', 'still:*')) as string[];
      await removing;
      expect([...found].filter((key) => key.startsWith('still:'))).toHaveLength(1_000);
      expect([...found].filter((key) => key.startsWith('__kf:'))).toEqual([]);
      expect(listed).toHaveLength(1_000);
      const moving = await owner.ask<{ error?: object }>('servers/move', { server: 'server2', address: s3.address });
      expect(moving.error).toBeUndefined();
      await owner.admin.whole.settled();
      expect(owner.admin.whole.status).toMatchObject({ step: 'done', error: undefined });
      await sleep(200);
      isOver = true;
      const reports = await running;
      expect(reports.flatMap(({ wrong }) => wrong)).toEqual([]);
      expect((await mixtures).flat()).toEqual([]);
      expect(reports.reduce((sum, { errors }) => sum + errors, 0)).toBe(0);
      expect(reports.reduce((sum, { operations }) => sum + operations, 0)).toBeGreaterThan(1_000);
      expect(await owner.verify()).toMatchObject({ misplacedCount: 0, twiceCount: 0 });
      expect(await s1.client.request('PING')).toBeTruthy();
      expect(near.proxy.pools[0]!.map.servers.map(({ name }) => name)).toEqual(['server2', 'server3']);
      still.close();
    } finally {
      isOver = true;
      for (const client of clients) client.close();
      await far.kill('SIGTERM');
      await near.proxy.close({ graceMs: 100 });
    }
  }, 90_000);

  test('see no wrong answer when one of them stalls for longer than its lease', async () => {
    const port = await freePort();
    const file = join(dir, 'stalls.yml');
    const { servers } = owner.admin.engine.map;
    const lines = servers.map(({ name, address }) => `   - ${showAddress(address)}:1 ${name}\n`).join('');
    writeFileSync(file, `alpha:\n  listen: 127.0.0.1:${port}\n  redis: true\n  distribution: slots\n  servers:\n${lines}`);
    const far = new KeyfleetProcess(['pool', '-c', file, '-s', '0', '--owner', owner.url]);
    const near = await owner.proxy();
    let isOver = false;
    const clients: RespClient[] = [];
    try {
      for (let i = 0; i < 200 && !far.stdout.includes('serving'); i++) await sleep(50);
      for (let i = 0; i < 4; i++) clients.push(await (i < 2 ? near.connect() : RespClient.connect({ port })));
      const workers = clients.map((client, i) => worker(`stall${i}`, client, 5 + i));
      const running = Promise.all(workers.map((one) => one.run(() => isOver)));
      await sleep(200);
      const changing = owner.change('reweight', servers[0]!.name);
      await until(() => owner.admin.engine.map.hasMoves);
      far.child.kill('SIGSTOP');
      await changing;
      far.child.kill('SIGCONT');
      await sleep(500);
      isOver = true;
      const reports = await running;
      expect(reports.flatMap(({ wrong }) => wrong)).toEqual([]);
      // What the stalled one had under way is of unknown outcome, and no more than that.
      expect(reports.slice(0, 2).reduce((sum, { errors }) => sum + errors, 0)).toBe(0);
      expect(await owner.verify()).toMatchObject({ misplacedCount: 0, twiceCount: 0 });
    } finally {
      isOver = true;
      for (const client of clients) client.close();
      await far.kill('SIGKILL');
      await near.proxy.close({ graceMs: 100 });
    }
  }, 60_000);

  test('stop when cut off from the owner, are fenced out, and go on by the newest map', async () => {
    const near = await owner.proxy();
    const client = await near.connect();
    const [s0] = owner.servers as [RedisServer];
    try {
      for (let i = 0; i < 100; i++) expect(await client.call('SET', `cut:${i}`, '1')).toBe('+OK');
      const special = near.proxy.pools[0]!.special as ProxyMoving;
      owner.cut();
      await until(() => !special.maySend);
      for (let i = 0; i < 100; i++) client.send('INCR', `cut:${i}`);
      const other = await near.connect();
      expect(await other.call('PING')).toBe('+PONG');
      other.send('DBSIZE');
      await owner.change('add', `${s0.address}:1 back`);
      expect([client.waiting, other.waiting]).toEqual([0, 0]);
      owner.mend();
      for (let i = 0; i < 100; i++) expect(await client.next(20_000)).toBe(2);
      expect(near.proxy.pools[0]!.map.servers.map(({ name }) => name)).toContain('back');
      expect(await owner.verify()).toMatchObject({ misplacedCount: 0, twiceCount: 0 });
      expect(Number(await other.next(20_000))).toBeGreaterThan(100);
      other.close();
    } finally {
      client.close();
      await near.proxy.close({ graceMs: 100 });
    }
  }, 60_000);

  test('refuse what would wipe the marks of a move, and end subscriptions that would hear nothing any more', async () => {
    const near = await owner.proxy();
    const client = await near.connect();
    const listener = await near.connect();
    try {
      await client.call('SET', 'x', '1');
      expect(await listener.call('SUBSCRIBE', 'news')).toEqual(['subscribe', 'news', 1]);
      const [first] = near.proxy.pools[0]!.map.servers;
      const changing = owner.change('remove', first!.name);
      await until(() => near.proxy.pools[0]!.map.hasMoves);
      expect(await client.call('FLUSHALL')).toMatch(/^-ERR .*KF_POOL_MOVING/);
      expect(await client.call('SCRIPT', 'FLUSH')).toMatch(/^-ERR .*KF_POOL_MOVING/);
      await changing;
      expect(await listener.closed(10_000)).toBe(true);
      expect(await client.call('GET', 'x')).toBe('1');
      expect(await client.call('FLUSHALL')).toBe('+OK');
    } finally {
      client.close();
      listener.close();
      await near.proxy.close({ graceMs: 100 });
    }
  }, 60_000);
});

async function until(isSo: () => boolean): Promise<void> {
  for (const endMs = Date.now() + 20_000; !isSo(); ) {
    if (Date.now() > endMs) throw new Error('it did not come about');
    await sleep(5);
  }
}
