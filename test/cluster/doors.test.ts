import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Cluster, Redis } from 'ioredis';
import { createCluster } from 'redis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Ended, KeyfleetProcess, KeyfleetServer, keyfleet } from '../cli/keyfleet-process.ts';
import { hasRecentNats, NATS_SERVERS, NatsServers, waitFor } from '../nats/nats-servers.ts';

// A cluster as its users see it: three `keyfleet serve --cluster` processes over three nats-servers, and the clients that people have.

const NODES = ['node-1', 'node-2', 'node-3'];

describe.skipIf(!hasRecentNats)('a cluster of three nodes', () => {
  let scratch: string;
  let nats: NatsServers;
  const nodes = new Map<string, KeyfleetServer>();
  const redises: Redis[] = [];

  beforeAll(async () => {
    scratch = mkdtempSync(join(tmpdir(), 'keyfleet-doors-'));
    nats = await NatsServers.start(NATS_SERVERS[0]!.binary, 3);
    await Promise.all(NODES.map((id) => start(id)));
    await waitFor('a leader of every shard', async () => (await unled()) === 0);
  }, 60_000);
  afterAll(async () => {
    for (const redis of redises) redis.disconnect();
    for (const node of nodes.values()) if (node.child.exitCode === null) await node.kill('SIGKILL');
    await nats?.stop();
    rmSync(scratch, { recursive: true, force: true });
  }, 30_000);

  function flags(id: string, dir = id): string[] {
    const servers = ['--nats', nats.urls.join(','), '--nats-monitor', nats.monitors.join(',')];
    return [...servers, '--cluster', 'test', '--node', id, '--shards', '6', '--log-level', 'error', '--dir', join(scratch, dir)];
  }

  async function start(id: string): Promise<void> {
    nodes.set(id, await KeyfleetServer.start(join(scratch, id), flags(id)));
  }

  const url = (id: string): string => nodes.get(id)!.url;
  const key = (id: string, name: string): string => `${url(id)}/v1/keyspaces/default/keys/${name}`;

  function redisOf(id: string): Redis {
    const redis = new Redis({ port: nodes.get(id)!.respPort, maxRetriesPerRequest: 0, retryStrategy: () => null });
    redis.on('error', () => {});
    redises.push(redis);
    return redis;
  }

  interface Report {
    readonly metaLeader: string | null;
    readonly nodes: readonly { readonly id: string; readonly status: string; readonly leads: number; readonly replicas: number }[];
    readonly keyspaces: readonly { readonly shards: readonly { readonly leader: string | null; readonly replicas: readonly string[] }[] }[];
  }
  const report = async (id = 'node-1'): Promise<Report> => (await (await fetch(`${url(id)}/v1/nodes`)).json()) as Report;
  const unled = async (): Promise<number> => {
    const reports = await Promise.all(NODES.map(report));
    return Math.max(...reports.map(({ keyspaces }) => keyspaces[0]!.shards.filter(({ leader }) => leader === null).length));
  };

  test('takes every request at every node, over the Redis protocol and over HTTP', async () => {
    const names = Array.from({ length: 60 }, (_, i) => `any-${i}`);
    const redis = NODES.map((id) => redisOf(id));
    await Promise.all(names.map((name, i) => redis[i % 3]!.set(name, `value of ${name}`)));
    for (const one of redis) expect(await one.mget(names)).toEqual(names.map((name) => `value of ${name}`));
    expect(await (await fetch(key('node-2', 'any-7'))).text()).toBe('value of any-7');
    expect((await fetch(key('node-3', 'over-http'), { method: 'PUT', body: 'x' })).status).toBe(201);
    expect(await redis[0]!.get('over-http')).toBe('x');
    expect(await redis[1]!.dbsize()).toBe(61);
    const found = new Set<string>();
    for await (const page of redis[2]!.scanStream({ count: 20 })) for (const one of page as string[]) found.add(one);
    expect(found.size).toBe(61);
    expect(found.has((await redis[0]!.randomkey())!)).toBe(true);
    expect(await redis[1]!.flushall()).toBe('OK');
    expect(await Promise.all(redis.map((one) => one.dbsize()))).toEqual([0, 0, 0]);
  });

  test('keeps the order of a pipeline, counts by WATCH and wakes who waits, though everybody is at another node', async () => {
    const [one, two, three] = NODES.map((id) => redisOf(id)) as [Redis, Redis, Redis];
    const pipeline = one.pipeline();
    for (let i = 0; i < 300; i++) pipeline.rpush('order', String(i));
    await pipeline.lrange('order', 0, -1).exec();
    expect(await two.lrange('order', 0, -1)).toEqual(Array.from({ length: 300 }, (_, i) => String(i)));
    await Promise.all(
      [one, two, three].map(async (redis) => {
        for (let done = 0; done < 5; ) {
          await redis.watch('n');
          const now = Number((await redis.get('n')) ?? 0);
          const replies = await redis
            .multi()
            .set('n', now + 1)
            .exec();
          if (replies !== null) done++;
        }
      }),
    );
    expect(await one.get('n')).toBe('15');
    const waits = [redisOf('node-1').blpop('queue', 20), redisOf('node-2').blpop('queue', 20)];
    await waitFor('two clients that wait', async () => {
      const lists = await Promise.all([one.client('LIST'), two.client('LIST')]);
      return lists.every((list) => / flags=b/.test(list as string));
    });
    await three.rpush('queue', 'a', 'b');
    expect((await Promise.all(waits)).map((popped) => popped?.[1]).sort()).toEqual(['a', 'b']);
  });

  test('tells a client that asked for the slots where to go, and every client that routes itself works', async () => {
    const aware = redisOf('node-1');
    const slotsNow = async () => (await aware.cluster('SLOTS')) as unknown as [number, number, [string, number, string]][];
    await waitFor('leaders on all nodes', async () => new Set((await slotsNow()).map(([, , [, port]]) => port)).size === 3);
    let name = '';
    // Leaders may change between what is told of them and what is asked of one.
    await waitFor('a redirect to who leads', async () => {
      const slots = await slotsNow();
      expect(slots[0]![0]).toBe(0);
      expect(slots.at(-1)![1]).toBe(16_383);
      const elsewhere = slots.find(([, , [, port]]) => port !== nodes.get('node-1')!.respPort)!;
      name = '';
      for (let i = 0; name === ''; i++) {
        const slot = Number(await aware.cluster('KEYSLOT', `k${i}`));
        if (slot >= elsewhere[0] && slot <= elsewhere[1]) name = `k${i}`;
      }
      await expect(aware.get(name)).rejects.toThrow(new RegExp(`^MOVED \\d+ 127.0.0.1:${elsewhere[2][1]}$`));
      return true;
    });
    expect(await redisOf('node-1').get(name)).toBeNull();

    const cluster = new Cluster([{ host: '127.0.0.1', port: nodes.get('node-2')!.respPort }]);
    for (let i = 0; i < 30; i++) expect(await cluster.incr(`ioredis-${i}`)).toBe(1);
    expect(await cluster.mget('{t}a', '{t}b')).toEqual([null, null]);
    expect((await cluster.multi().set('{t}a', '1').incr('{t}a').exec())!.map(([, reply]) => reply)).toEqual(['OK', 2]);
    expect(cluster.nodes('master').length).toBe(3);
    cluster.disconnect();

    const client = createCluster({ rootNodes: [{ url: `redis://127.0.0.1:${nodes.get('node-3')!.respPort}` }] });
    await client.connect();
    for (let i = 0; i < 30; i++) expect(await client.incr(`ioredis-${i}`)).toBe(2);
    client.destroy();
  });

  test('carries a write out once that is sent again through another node', async () => {
    const send = (id: string, body: string): Promise<Response> =>
      fetch(key(id, 'once'), { method: 'PUT', body, headers: { 'idempotency-key': 'order-1', 'if-none-match': '*' } });
    expect((await send('node-1', 'first')).status).toBe(201);
    expect((await send('node-2', 'first')).status).toBe(201);
    expect((await send('node-3', 'second')).status).toBe(422);
    expect(await (await fetch(key('node-2', 'once'))).text()).toBe('first');
  });

  test('loses nothing and does nothing twice when a leader is killed, and takes it back', async () => {
    const leads = (await report()).nodes.toSorted((a, b) => b.leads - a.leads)[0]!.id;
    const others = NODES.filter((id) => id !== leads);
    const cluster = new Cluster(others.map((id) => ({ host: '127.0.0.1', port: nodes.get(id)!.respPort })));
    cluster.on('error', () => {});
    let acknowledged = 0;
    let unknown = 0;
    let isOver = false;
    const writers = Array.from({ length: 8 }, async (_, w) => {
      while (!isOver) {
        try {
          await cluster.incr(`count-${w}`);
          acknowledged++;
        } catch {
          unknown++;
        }
      }
    });
    const body = (await fetch(key(others[0]!, 'warm'), { method: 'PUT', body: '1' })).status;
    expect(body).toBe(201);
    await nodes.get(leads)!.kill('SIGKILL');
    await waitFor('writes through the others', async () => {
      for (const id of others) {
        for (let i = 0; i < 12; i++) {
          const put = await fetch(key(id, `after-${i}`), { method: 'PUT', body: id, signal: AbortSignal.timeout(5_000) });
          if (!put.ok) return false;
        }
      }
      return true;
    });
    isOver = true;
    await Promise.all(writers);
    cluster.disconnect();
    const counted = await redisOf(others[0]!).mget(writers.map((_, w) => `count-${w}`));
    const total = counted.reduce((sum, count) => sum + Number(count), 0);
    expect(total).toBeGreaterThanOrEqual(acknowledged);
    // ioredis itself sends again what was under way to a node that went away: one command of each writer.
    expect(total).toBeLessThanOrEqual(acknowledged + unknown + writers.length);
    await start(leads);
    await waitFor('the node that is back', async () => (await report(others[0])).nodes.find(({ id }) => id === leads)?.status === 'up');
    expect(await redisOf(leads).mget(writers.map((_, w) => `count-${w}`))).toEqual(counted);
  }, 60_000);

  test('takes in a file at one node and gives it out at another, and both count right', async () => {
    const records = Array.from({ length: 2_000 }, (_, i) => `${JSON.stringify({ key: `record-${i}`, value: `value ${i}` })}\n`);
    await redisOf('node-1').flushall();
    const taken = await keyfleet(['import', '-', '--url', url('node-1')], { stdin: records.join('') });
    expect({ code: taken.code, says: taken.stderr }).toEqual({ code: 0, says: expect.stringContaining('2,000') });
    const given = await keyfleet(['export', '--url', url('node-3')]);
    expect({ code: given.code, says: given.stderr }).toEqual({ code: 0, says: expect.stringContaining('the counts agree') });
    expect(given.stdout.split('\n').sort().join('\n').trim()).toBe(records.sort().join('').trim());
  });

  test('shows itself to people: status, nodes, shards, metrics', async () => {
    const run = (...args: string[]): Promise<Ended> => keyfleet([...args, '--url', url('node-2')]);
    const [status, list, shards, json] = await Promise.all([run('status'), run('nodes'), run('shards'), run('nodes', '--json')]);
    expect(status.stdout).toContain('cluster test as node node-2 (*) knows it: 3 nodes, 3 copies of each shard');
    for (const id of NODES) expect(list.stdout).toMatch(new RegExp(`${id} .*up .*127\\.0\\.0\\.1:${nodes.get(id)!.respPort}`));
    expect(shards.stdout).toMatch(/node-\d > node-\d node-\d/);
    expect((JSON.parse(json.stdout) as Report).nodes.map(({ id }) => id)).toEqual(NODES);
    await waitFor('metrics of a cluster that is well', async () => {
      const metrics = await (await fetch(`${url('node-3')}/metrics`)).text();
      expect(metrics).toMatch(/keyfleet_node_status\{node="node-1",status="up"\} 1/);
      expect(metrics).toMatch(/keyfleet_shards_without_leader\{keyspace="default"\} 0/);
      return true;
    });
    const refused = await run('node', 'remove', 'node-3');
    expect({ code: refused.code, says: refused.stderr }).toEqual({ code: 1, says: expect.stringContaining('KF_NODE_IN_USE') });
  });

  test('refuses what cannot be right, and says why', async () => {
    const failing = async (args: string[], code: string, exitCode: number): Promise<void> => {
      const process = new KeyfleetProcess(['serve', '--resp', '0', '--http', '0', ...args]);
      const ended = await process.ended;
      expect({ args, exitCode: ended.code, says: ended.stderr }).toEqual({ args, exitCode, says: expect.stringContaining(code) });
    };
    const withoutNats = ['--cluster', 'test', '--node', 'node-9', '--dir', join(scratch, 'node-9')];
    await Promise.all([
      failing(flags('node-1', 'other'), 'KF_NODE_ID_TAKEN', 2),
      failing(
        flags('node-4', 'node-4').map((flag) => (flag === 'test' ? 'te st' : flag)),
        'KF_USAGE',
        2,
      ),
      failing(withoutNats, '--nats', 2),
      failing([...withoutNats, '--nats', 'nats://127.0.0.1:1'], 'KF_NATS_UNREACHABLE', 5),
      failing(['--zone', 'a', '--dir', join(scratch, 'node-9')], '--cluster', 2),
      failing(['--host', '0.0.0.0', '--no-protected', ...withoutNats, '--nats', nats.urls[0]!], '--advertise', 2),
    ]);
    const stranger = await KeyfleetServer.start(join(scratch, 'alone'), ['--log-level', 'error']);
    await stranger.kill('SIGTERM');
    await failing(flags('node-5', 'alone'), 'KF_OTHER_CLUSTER', 4);
    expect((await nodes.get('node-2')!.kill('SIGTERM')).code).toBe(0);
    await failing(['--dir', join(scratch, 'node-2')], 'KF_OTHER_CLUSTER', 4);
    await start('node-2');
  }, 30_000);

  test('ends on SIGTERM with 0, and what it led goes on at once', async () => {
    const first = redisOf('node-2');
    await first.set('lasts', '1');
    const ended = nodes.get('node-1')!.kill('SIGTERM');
    expect(await first.get('lasts')).toBe('1');
    expect((await ended).code).toBe(0);
    for (let i = 0; i < 12; i++) expect(await first.incr(`next-${i}`)).toBe(1);
  });
});
