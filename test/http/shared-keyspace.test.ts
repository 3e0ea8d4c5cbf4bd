import { createHash } from 'node:crypto';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { NodeHttpStore } from '../../src/http/node-store.ts';
import { type HttpServer, startHttpServer } from '../../src/http/server.ts';
import { openStore } from '../../src/node/open-store.ts';
import { type RespServer, startRespServer } from '../../src/resp/server.ts';
import { entityTag } from '../../src/shard/redis/door-commands.ts';
import { createRedisModule } from '../../src/shard/redis/redis-module.ts';
import { MemoryStorage } from '../../src/storage/memory.ts';

// One keyspace behind both doors: what one stores the other reads, and conditions hold against both.

let http: HttpServer;
let resp: RespServer;
let redis: Redis;
let close: () => Promise<void>;
let base: string;

beforeAll(async () => {
  const store = await openStore({
    storage: new MemoryStorage(),
    keyspaces: { default: { module: createRedisModule(), scheme: 'redis', shards: 4 } },
  });
  const httpStore = new NodeHttpStore(store.node);
  http = await startHttpServer({ store: httpStore, host: '127.0.0.1', port: 0, version: '0.0.0' });
  resp = await startRespServer({ keyspace: httpStore.handle('default'), port: 0, info: { version: '0.0.0', typeOf: () => 'string' } });
  redis = new Redis({ port: resp.address.port, host: '127.0.0.1' });
  base = `http://127.0.0.1:${http.port}/v1/keyspaces/default`;
  close = async () => {
    redis.disconnect();
    await resp.close({ graceMs: 100 });
    await http.close(100);
    await store.close();
  };
});
afterAll(() => close());

const put = (key: string, body: string, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(`${base}/keys/${key}`, { method: 'PUT', body, headers });

describe('the two doors', () => {
  test('read what the other stored, bytes of any kind in keys and values', async () => {
    const key = Buffer.from([0, 255, 47, 37]);
    const value = Buffer.from(Array.from({ length: 256 }, (_, byte) => 255 - byte));
    await redis.set(key, value);
    const got = await fetch(`${base}/keys/%00%FF%2F%25`);
    expect(Buffer.from(await got.arrayBuffer())).toEqual(value);
    await put('from-http', 'hello');
    expect(await redis.get('from-http')).toBe('hello');
    expect(await redis.append('from-http', '!')).toBe(6);
    expect(await (await fetch(`${base}/keys/from-http`)).text()).toBe('hello!');
  });

  test('share times to live, and a PUT without one ends the old one, as SET does', async () => {
    await redis.set('timed', 'v', 'PX', 60_000);
    expect(Number((await fetch(`${base}/keys/timed`)).headers.get('keyfleet-ttl-ms'))).toBeGreaterThan(50_000);
    await put('timed', 'w');
    expect(await redis.pttl('timed')).toBe(-1);
    await fetch(`${base}/keys/timed?ttlMs=70000`, { method: 'PUT', body: 'x' });
    expect(await redis.pttl('timed')).toBeGreaterThan(60_000);
    await fetch(`${base}/keys/timed?ttlMs=1`, { method: 'PUT', body: 'x' });
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect((await fetch(`${base}/keys/timed`)).status).toBe(404);
  });

  test('a hash is 409 to GET, is replaced whole by PUT, and is deleted by DELETE', async () => {
    await redis.hset('h', 'field', 'value');
    expect((await fetch(`${base}/keys/h`)).status).toBe(409);
    expect((await put('h', 'x', { 'if-match': '"0123"' })).status).toBe(412);
    expect((await put('h', 'string now')).status).toBe(204);
    expect(await redis.get('h')).toBe('string now');
    await redis.del('h');
    await redis.hset('h', 'other', '1');
    expect(await redis.hgetall('h')).toEqual({ other: '1' });
    expect((await fetch(`${base}/keys/h`, { method: 'DELETE' })).status).toBe(204);
    expect(await redis.exists('h')).toBe(0);
  });

  test('no RESP client can call what only the HTTP door may', async () => {
    await expect(redis.call('\0put', 'k', 'v', '', '', '')).rejects.toThrow(/unknown command/);
  });

  test('a scan tells strings with their time to live, and the rest with its type', async () => {
    await redis.flushall();
    await redis.mset('a', '1', 'b', '2');
    await redis.hset('h', 'f', 'v');
    await redis.pexpire('b', 60_000);
    const lines = (await (await fetch(`${base}/scan`)).text())
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { key?: string });
    expect(lines.pop()).toEqual({ end: true, count: 3, cursor: null });
    expect(lines.sort((x, y) => (x.key! < y.key! ? -1 : 1))).toEqual([
      { key: 'a', value: '1' },
      { key: 'b', value: '2', ttlMs: expect.any(Number) },
      { key: 'h', type: 'hash', value: [['f', 'v']] },
    ]);
  });

  test('a large keyspace is scanned whole, and by steps', async () => {
    await redis.flushall();
    await redis.mset(Object.fromEntries(Array.from({ length: 5_000 }, (_, i) => [`key${i}`, `value${i}`])));
    const seen = new Set<string>();
    let cursor: string | null = '0';
    let steps = 0;
    while (cursor !== null) {
      const text = await (await fetch(`${base}/scan?limit=700&cursor=${cursor}`)).text();
      const lines = text
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as { key: string; cursor: string | null });
      cursor = lines.pop()!.cursor;
      for (const { key } of lines) {
        expect(seen.has(key)).toBe(false);
        seen.add(key);
      }
      steps++;
    }
    expect(seen.size).toBe(5_000);
    expect(steps).toBe(8);
  });
});

describe('conditions under concurrency', () => {
  test('of many who create one key, exactly one does', async () => {
    const answers = await Promise.all(Array.from({ length: 50 }, (_, i) => put('once', `writer ${i}`, { 'if-none-match': '*' })));
    const winners = answers.flatMap(({ status }, i) => (status === 201 ? [i] : []));
    expect(winners).toHaveLength(1);
    expect(answers.filter(({ status }) => status === 412)).toHaveLength(49);
    expect(await redis.get('once')).toBe(`writer ${winners[0]}`);
  });

  test('read, add one, write if unchanged: no increment is lost, whichever door it comes through', async () => {
    await put('counter', '0');
    const increment = async (): Promise<void> => {
      for (;;) {
        const got = await fetch(`${base}/keys/counter`);
        const next = String(Number(await got.text()) + 1);
        if ((await put('counter', next, { 'if-match': got.headers.get('etag')! })).status === 204) return;
      }
    };
    await Promise.all([...Array.from({ length: 12 }, () => increment()), ...Array.from({ length: 40 }, () => redis.incr('counter'))]);
    expect(await redis.get('counter')).toBe('52');
  });
});

test('the shard and the door make the same entity tag of a value', () => {
  for (const value of ['', 'a', 'x'.repeat(10_000)]) {
    expect(entityTag(Buffer.from(value))).toBe(createHash('sha256').update(value).digest('hex').slice(0, 32));
  }
});
