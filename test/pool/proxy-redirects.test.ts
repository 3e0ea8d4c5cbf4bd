import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { utf8 } from '../../src/base/bytes.ts';
import { redisSlot } from '../../src/partition/redis-slot.ts';
import { findRoutedCommand } from '../../src/pool/command-table.ts';
import { takeUp } from '../../src/pool/proxy/proxy-learn.ts';
import { poolOf, startPoolProxy } from './proxy-fixture.ts';
import { freePort, hasRedis, RedisServer } from './redis-servers.ts';

describe.runIf(hasRedis)('a pool over a Redis Cluster', () => {
  const nodes: RedisServer[] = [];
  const busPorts: number[] = [];
  const slots = (from: number, to: number): string[] => ['CLUSTER', 'ADDSLOTSRANGE', String(from), String(to)];

  beforeAll(async () => {
    for (let i = 0; i < 2; i++) {
      busPorts.push(await freePort());
      nodes.push(await RedisServer.start(['--cluster-enabled', 'yes', '--cluster-port', String(busPorts[i])]));
    }
  }, 30_000);
  afterAll(async () => {
    for (const node of nodes) await node.stop();
  });

  test('is served to plain clients: slots learned from one seed, MOVED and ASK followed', async () => {
    const [one, two] = nodes as [RedisServer, RedisServer];
    await one.client.request(...slots(0, 8_191));
    await two.client.request(...slots(8_192, 16_383));
    await one.client.request('CLUSTER', 'MEET', '127.0.0.1', String(two.port), String(busPorts[1]));
    for (const node of nodes) {
      for (let i = 0; i < 200; i++) {
        const info = await node.client.request('CLUSTER', 'INFO');
        if (
          /cluster_state:ok/.test(Buffer.from(info as Uint8Array).toString()) &&
          /slots_assigned:16384/.test(Buffer.from(info as Uint8Array).toString())
        )
          break;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
    const started = await startPoolProxy(poolOf([one.port], 'distribution: slots\ncluster: true'));
    const client = await started.connect();
    try {
      const keys = Array.from({ length: 40 }, (_, i) => `key${i}`);
      for (const key of keys) expect(await client.call('SET', key, `v${key}`)).toBe('+OK');
      expect(await client.call('MGET', ...keys)).toEqual(keys.map((key) => `v${key}`));
      expect(Number(await one.client.request('DBSIZE'))).toBeGreaterThan(0);
      expect(Number(await two.client.request('DBSIZE'))).toBeGreaterThan(0);
      // A slot on its way: a key that is not there any more is asked for at the new owner.
      const key = keys.find((name) => redisSlot(utf8(name)) < 8_192)!;
      const slot = String(redisSlot(utf8(key)));
      const idOf = async (node: RedisServer): Promise<string> =>
        Buffer.from((await node.client.request('CLUSTER', 'MYID')) as Uint8Array).toString();
      await two.client.request('CLUSTER', 'SETSLOT', slot, 'IMPORTING', await idOf(one));
      await one.client.request('CLUSTER', 'SETSLOT', slot, 'MIGRATING', await idOf(two));
      await one.client.request('DEL', key);
      expect(await client.call('SET', key, 'moved')).toBe('+OK');
      expect(await client.call('GET', key)).toBe('moved');
      expect(await one.client.request('DBSIZE')).not.toBe(keys.length);
      expect(started.proxy.pools[0]!.stats.redirects).toBeGreaterThan(0);
      // What waits is sent on too: by ASK while the slot is on its way, by MOVED afterwards.
      const list = `{${key}}:list`;
      const waiter = await started.connect();
      waiter.send('BLPOP', list, '0');
      expect(await client.call('RPUSH', list, 'one')).toBe(1);
      expect(await waiter.shown()).toEqual([list, 'one']);
      // A transaction cannot be taken along: it is told, nothing is done, and once the slot is there the next one finds it.
      const inTransaction = async (): Promise<unknown[]> => {
        const said: unknown[] = [];
        for (const args of [['MULTI'], ['INCR', `{${key}}:n`], ['EXEC']]) said.push(await client.call(...args));
        return said;
      };
      expect(await inTransaction()).toEqual([
        '+OK',
        expect.stringMatching(/^-TRYAGAIN .*on its way.*KF_POOL_MOVING/),
        expect.stringMatching(/^-EXECABORT/),
      ]);
      for (const node of [two, one]) await node.client.request('CLUSTER', 'SETSLOT', slot, 'NODE', await idOf(two));
      waiter.send('BLPOP', list, '0');
      expect(await client.call('RPUSH', list, 'two')).toBe(1);
      expect(await waiter.shown()).toEqual([list, 'two']);
      let said = await inTransaction();
      for (let i = 0; i < 200 && !Array.isArray(said[2]); i++) {
        expect(said[1]).toMatch(/^-TRYAGAIN .*KF_POOL_MOVING/);
        // The other node may not know of it yet.
        await new Promise((resolve) => setTimeout(resolve, 20));
        said = await inTransaction();
      }
      expect(said).toEqual(['+OK', '+QUEUED', [1]]);
      expect(await client.call('WATCH', `{${key}}:n`)).toBe('+OK');
      expect(await client.call('GET', `{${key}}:n`)).toBe('1');
      expect(await client.call('UNWATCH')).toBe('+OK');
      waiter.close();
    } finally {
      client.socket.destroy();
      await started.proxy.close({ graceMs: 100 });
    }
  }, 40_000);
});

test('commands that a server has and the table has not are learned', () => {
  const status = (text: string) => ({ kind: 'status', text }) as const;
  takeUp([
    [utf8('JSON.GETX'), -2, [status('readonly')], 1, 1, 1],
    [utf8('get'), 2, [status('readonly')], 3, 3, 1],
    [utf8('odd.movable'), -2, [status('movablekeys')], 0, 0, 0],
  ]);
  expect(findRoutedCommand(utf8('json.GETX'), 0, 9)).toMatchObject({ kind: 'keyed', soleKey: 1, isWrite: false });
  expect(findRoutedCommand(utf8('get'), 0, 3)).toMatchObject({ soleKey: 1 });
  expect(findRoutedCommand(utf8('odd.movable'), 0, 11)).toBeUndefined();
});
