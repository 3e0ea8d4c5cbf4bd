import { afterEach, describe, expect, test } from 'vitest';
import { type RedisStore, startRedisStore } from './redis-store.ts';
import { RespClient } from './resp-client.ts';

// What one connection does to another, and what the server tells of itself.

const opened: { close(): unknown }[] = [];
afterEach(async () => {
  for (const one of opened.splice(0).reverse()) await one.close();
});

async function start(): Promise<{ store: RedisStore; client: () => Promise<RespClient> }> {
  const store = await startRedisStore();
  opened.push(store);
  return {
    store,
    client: async () => {
      const client = await RespClient.connect({ port: store.port });
      opened.push(client);
      return client;
    },
  };
}

const infoOf = async (client: RespClient, section: string): Promise<Map<string, string>> => {
  const text = String(await client.call('INFO', section));
  return new Map(text.split('\r\n').map((line) => line.split(/:(.*)/s) as [string, string]));
};

describe('CLIENT KILL', () => {
  test('ends other connections by id and by address, and spares the one that asks', async () => {
    const { client } = await start();
    const [one, two, three, four] = [await client(), await client(), await client(), await client()];
    expect(await one.call('CLIENT', 'KILL', 'ID', String(await two.call('CLIENT', 'ID')))).toBe(1);
    expect(await two.closed()).toBe(true);
    const address = /(?:^| )addr=(\S+)/.exec(String(await three.call('CLIENT', 'INFO')))![1]!;
    expect(await one.call('CLIENT', 'KILL', address)).toBe('+OK');
    expect(await three.closed()).toBe(true);
    expect(await one.call('CLIENT', 'KILL', 'TYPE', 'normal')).toBe(1);
    expect(await four.closed()).toBe(true);
    expect(await one.call('PING')).toBe('+PONG');
  });
});

describe('CLIENT LIST', () => {
  test('has a line for each connection, with what it is and did', async () => {
    const { client } = await start();
    const [one, two] = [await client(), await client()];
    await two.call('HELLO', '3', 'SETNAME', 'second');
    await two.call('CLIENT', 'SETINFO', 'LIB-NAME', 'tester');
    await two.call('GET', 'a');
    const lines = String(await one.call('CLIENT', 'LIST'))
      .trimEnd()
      .split('\n');
    expect(lines).toHaveLength(2);
    expect(lines[1]).toMatch(
      /^id=2 addr=127\.0\.0\.1:\d+ laddr=127\.0\.0\.1:\d+ .* name=second .* cmd=get .* resp=3 lib-name=tester lib-ver=$/,
    );
  });
});

describe('CLIENT PAUSE', () => {
  test('lets writes wait, and reads go on, until CLIENT UNPAUSE', async () => {
    const { client } = await start();
    const [one, two] = [await client(), await client()];
    await one.call('CLIENT', 'PAUSE', '60000', 'WRITE');
    two.send('SET', 'a', '1');
    expect(await one.call('GET', 'a')).toBeNull();
    expect(two.waiting).toBe(0);
    await one.call('CLIENT', 'UNPAUSE');
    expect(await two.shown()).toBe('+OK');
  });

  test('ends by itself', async () => {
    const { client } = await start();
    const [one, two] = [await client(), await client()];
    await one.call('CLIENT', 'PAUSE', '30');
    expect(await two.call('PING')).toBe('+PONG');
  });
});

describe('the counters', () => {
  test('of commands, failures and refusals are those of INFO', async () => {
    const { client, store } = await start();
    const one = await client();
    await one.call('CONFIG', 'RESETSTAT');
    for (let i = 0; i < 40; i++) await one.call('SET', 'text', 'x');
    expect(await one.call('INCR', 'text')).toMatch(/^-ERR value is not an integer/);
    expect(await one.call('HGET', 'text', 'f')).toMatch(/^-WRONGTYPE/);
    await one.call('nonsense');
    const commands = await infoOf(one, 'commandstats');
    expect(commands.get('cmdstat_set')).toMatch(/^calls=40,usec=\d+,usec_per_call=[\d.]+,rejected_calls=0,failed_calls=0$/);
    expect(commands.get('cmdstat_incr')).toMatch(/calls=1,.*failed_calls=1$/);
    expect([...(await infoOf(one, 'errorstats'))].filter(([name]) => name.startsWith('errorstat'))).toEqual([
      ['errorstat_ERR', 'count=2'],
      ['errorstat_WRONGTYPE', 'count=1'],
    ]);
    expect((await infoOf(one, 'stats')).get('total_error_replies')).toBe('3');
    expect(store.server.stats.sampledCalls.reduce((sum, count) => sum + count)).toBeGreaterThan(0);
    expect(store.server.stats.latency.reduce((sum, count) => sum + count)).toBe(store.server.stats.sampledCalls.reduce((a, b) => a + b));
  });

  test('of keys found and not found are those of a real Redis, for reads', async () => {
    const { client } = await start();
    const one = await client();
    const counted = async (): Promise<unknown[]> => {
      const stats = await infoOf(one, 'stats');
      return [Number(stats.get('keyspace_hits')), Number(stats.get('keyspace_misses'))];
    };
    const seen: Record<string, unknown> = {};
    for (const line of [
      'SET a 1',
      'SADD s m',
      'HSET h f v',
      'INCR a',
      'GET a',
      'GET none',
      'MGET a s none',
      'EXISTS a a none',
      'TTL a',
      'TYPE none',
      'HGET h nofield',
      'SINTER {s} {s}none',
      'STRLEN a',
      'OBJECT ENCODING a',
      'SCAN 0',
      'TOUCH a none',
    ]) {
      await one.call(...(line.split(' ') as [string]));
      seen[line] = await counted();
    }
    await one.call('MULTI');
    await one.call('GET', '{a}');
    await one.call('GET', '{a}none');
    await one.call('EXEC');
    seen['EXEC'] = await counted();
    // As redis-server 7.0.15 counts them.
    expect(seen).toEqual({
      'SET a 1': [0, 0],
      'SADD s m': [0, 0],
      'HSET h f v': [0, 0],
      'INCR a': [0, 0],
      'GET a': [1, 0],
      'GET none': [1, 1],
      'MGET a s none': [3, 2],
      'EXISTS a a none': [5, 3],
      'TTL a': [6, 3],
      'TYPE none': [6, 4],
      'HGET h nofield': [7, 4],
      'SINTER {s} {s}none': [7, 6],
      'STRLEN a': [8, 6],
      'OBJECT ENCODING a': [9, 6],
      'SCAN 0': [9, 6],
      'TOUCH a none': [10, 7],
      EXEC: [10, 9],
    });
    await one.call('CONFIG', 'RESETSTAT');
    expect(await counted()).toEqual([0, 0]);
  });

  test('of bytes are those on the wire', async () => {
    const { client, store } = await start();
    const one = await client();
    await one.call('PING');
    expect([store.server.stats.bytesIn, store.server.stats.bytesOut]).toEqual([14, 7]);
  });
});

describe('SCAN', () => {
  test('sees each key exactly once, whatever COUNT', async () => {
    const { client } = await start();
    const one = await client();
    const keys = Array.from({ length: 500 }, (_, i) => `key:${i}`);
    for (const key of keys) one.send('SET', key, 'x');
    for (const _ of keys) await one.next();
    for (const count of [1, 7, 100, 1_000]) {
      const seen: string[] = [];
      let cursor = '0';
      do {
        const [next, found] = (await one.call('SCAN', cursor, 'COUNT', String(count))) as [string, string[]];
        seen.push(...found);
        cursor = next;
      } while (cursor !== '0');
      expect(seen.sort()).toEqual([...keys].sort());
    }
    expect(((await one.call('KEYS', 'key:1?')) as string[]).sort()).toEqual(Array.from({ length: 10 }, (_, i) => `key:1${i}`));
    expect(await one.call('RANDOMKEY')).toMatch(/^key:\d+$/);
  });
});

describe('multi-key commands on the store', () => {
  test('work over any keys, in the order asked', async () => {
    const { client } = await start();
    const one = await client();
    const pairs = Array.from({ length: 50 }, (_, i) => [`k${i}`, `v${i}`]);
    expect(await one.call('MSET', ...pairs.flat())).toBe('+OK');
    await one.call('HSET', 'h', 'f', '1');
    expect(await one.call('MGET', 'h', ...pairs.map(([key]) => key!), 'k0')).toEqual([null, ...pairs.map(([, value]) => value), 'v0']);
    expect(await one.call('MSET', 'a', '1', 'b')).toBe("-ERR wrong number of arguments for 'mset' command");
    expect(await one.call('TOUCH', 'k0', 'k1', 'nothing')).toBe(2);
    expect(await one.call('MSETNX', '{t}a', '1', '{t}b', '2')).toBe(1);
    expect(await one.call('RENAME', '{t}a', '{t}c')).toBe('+OK');
    expect(await one.call('COPY', 'k0', 'k1')).toMatch(/^-CROSSSLOT /);
    expect(await one.call('UNLINK', ...pairs.map(([key]) => key!))).toBe(50);
    expect(await one.call('DBSIZE')).toBe(3);
    expect(await one.call('HRANDFIELD', 'h')).toBe('f');
  });
});
