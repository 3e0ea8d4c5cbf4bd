import { createServer, type Server, type Socket } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { fromUtf8, utf8 } from '../../src/base/bytes.ts';
import { type RespClient, request } from '../resp/resp-client.ts';
import { poolOf, type StartedProxy, startPoolProxy } from './proxy-fixture.ts';
import { freePort, hasRedis, type RedisServer, startRedisServers } from './redis-servers.ts';

const keys = Array.from({ length: 40 }, (_, i) => `key:${i}`);

describe.runIf(hasRedis)('a proxy before three servers', () => {
  let servers: RedisServer[];
  let started: StartedProxy;
  let client: RespClient;

  beforeAll(async () => {
    servers = await startRedisServers(3);
    started = await startPoolProxy(poolOf(servers.map(({ port }) => port)));
  }, 30_000);
  afterAll(async () => {
    await started.proxy.close({ graceMs: 100 });
    for (const server of servers) await server.stop();
  });
  beforeEach(async () => {
    client = await started.connect();
    expect(await client.call('FLUSHALL')).toBe('+OK');
    return () => client.socket.destroy();
  });

  /** A key on each of two servers. */
  function apart(): [string, string] {
    const pool = started.proxy.pools[0]!;
    const other = keys.find((key) => pool.serverOf(utf8(key)) !== pool.serverOf(utf8(keys[0]!)))!;
    return [keys[0]!, other];
  }

  test('puts keys on the servers that the map says, and finds them again', async () => {
    for (const key of keys) expect(await client.call('SET', key, `v${key}`)).toBe('+OK');
    for (const key of keys) {
      const server = servers[started.proxy.pools[0]!.serverOf(utf8(key))]!;
      expect(fromUtf8((await server.client.request('GET', key)) as Uint8Array)).toBe(`v${key}`);
    }
    expect(await client.call('DBSIZE')).toBe(keys.length);
    expect(
      new Set((await Promise.all(servers.map((one) => one.client.request('DBSIZE')))).filter((size) => size !== 0)).size,
    ).toBeGreaterThan(0);
  });

  test('splits MSET, MGET, DEL, EXISTS, TOUCH and UNLINK, and joins the answers in order', async () => {
    expect(await client.call('MSET', ...keys.flatMap((key) => [key, `v${key}`]))).toBe('+OK');
    const order = [...keys.toReversed(), 'nope', keys[3]!];
    expect(await client.call('MGET', ...order)).toEqual([...keys.toReversed().map((key) => `v${key}`), null, `v${keys[3]}`]);
    expect(await client.call('EXISTS', ...keys, keys[0]!, 'nope')).toBe(keys.length + 1);
    expect(await client.call('TOUCH', ...keys)).toBe(keys.length);
    expect(await client.call('DEL', ...keys.slice(0, 20))).toBe(20);
    expect(await client.call('UNLINK', ...keys)).toBe(20);
    expect(await client.call('MSET', 'a')).toMatch(/^-ERR wrong number of arguments for 'mset'/);
  });

  test('says an error of one part, in place', async () => {
    const [one, other] = apart();
    await client.call('HSET', one, 'f', 'v');
    await client.call('SET', other, 'v');
    expect(await client.call('MGET', one, other)).toEqual([null, 'v']);
    client.raw(Buffer.concat([request('GET', other), request('INCR', one), request('NOPE'), request('GET', other)]));
    expect(await client.shown()).toBe('v');
    expect(await client.shown()).toMatch(/^-WRONGTYPE/);
    expect(await client.shown()).toMatch(/^-ERR unknown command 'NOPE'/);
    expect(await client.shown()).toBe('v');
  });

  test('walks all servers by SCAN, each key once', async () => {
    await client.call('MSET', ...keys.flatMap((key) => [key, 'v']));
    const seen: string[] = [];
    let cursor = '0';
    do {
      const [next, found] = (await client.call('SCAN', cursor, 'COUNT', '7')) as [string, string[]];
      seen.push(...found);
      cursor = next;
    } while (cursor !== '0');
    expect(seen.toSorted()).toEqual(keys.toSorted());
    expect(((await client.call('KEYS', '*')) as string[]).toSorted()).toEqual(keys.toSorted());
    expect(keys).toContain(await client.call('RANDOMKEY'));
    expect(await client.call('SCAN', 'x')).toBe('-ERR invalid cursor');
  });

  test('refuses commands on keys of several servers, naming them, and carries out those on one', async () => {
    const [one, other] = apart();
    expect(await client.call('SUNION', one, other)).toMatch(new RegExp(`^-CROSSSLOT .*"${one}" and "${other}"`));
    expect(await client.call('RENAME', one, other)).toMatch(/^-CROSSSLOT/);
    expect(await client.call('EVAL', 'return 1', '2', one, other)).toMatch(/^-CROSSSLOT/);
    expect(await client.call('EVAL', 'return redis.call("set",KEYS[1],ARGV[1])', '1', other, 'x')).toBe('+OK');
    expect(await client.call('EVAL', 'return 7', '0')).toBe(7);
    expect(await client.call('WAIT', '1', '1')).toMatch(/^-ERR 'wait' is not served by a pool/);
    expect(await client.call('PING')).toBe('+PONG');
  });

  test('runs transactions of one server, and refuses others at EXEC', async () => {
    const [one, other] = apart();
    expect(await client.call('SET', one, '1')).toBe('+OK');
    client.raw(
      Buffer.concat([
        request('INCR', one),
        request('MULTI'),
        request('PING'),
        request('INCR', one),
        request('GET', one),
        request('EXEC'),
        request('GET', one),
      ]),
    );
    for (const expected of [2, '+OK', '+QUEUED', '+QUEUED', '+QUEUED', ['+PONG', 3, '3'], '3'])
      expect(await client.shown()).toEqual(expected);
    await client.call('MULTI');
    expect(await client.call('SET', one, 'x')).toBe('+QUEUED');
    expect(await client.call('SET', other, 'x')).toMatch(/^-CROSSSLOT/);
    expect(await client.call('EXEC')).toMatch(/^-EXECABORT/);
    expect(await client.call('GET', one)).toBe('3');
    expect(await client.call('EXEC')).toBe('-ERR EXEC without MULTI');
    await client.call('MULTI');
    await client.call('SET', one, 'x');
    expect(await client.call('DISCARD')).toBe('+OK');
    expect(await client.call('GET', one)).toBe('3');
  });

  test('runs one transaction after the other on different servers, in one go or not, with WATCH or without', async () => {
    const [one, other] = apart();
    const both: unknown[] = [];
    for (const key of [one, other, other, one]) for (const args of [['MULTI'], ['INCR', key], ['EXEC']]) client.send(...args);
    for (let i = 0; i < 4; i++) both.push([await client.shown(), await client.shown(), await client.shown()]);
    expect(both).toEqual([[1], [1], [2], [2]].map((result) => ['+OK', '+QUEUED', result]));
    for (const key of [one, other]) {
      expect(await client.call('WATCH', key)).toBe('+OK');
      expect(await client.call('UNWATCH')).toBe('+OK');
    }
    expect(await client.call('WATCH', one)).toBe('+OK');
    expect(await client.call('WATCH', other)).toMatch(/^-CROSSSLOT/);
    expect(await client.call('MULTI')).toBe('+OK');
    expect(await client.call('INCR', one)).toBe('+QUEUED');
    expect(await client.call('EXEC')).toEqual([3]);
    expect(await client.call('MGET', one, other)).toEqual(['3', '2']);
  });

  test('gives EXEC up when a watched key has changed', async () => {
    const other = await started.connect();
    await client.call('SET', 'w', '1');
    expect(await client.call('WATCH', 'w')).toBe('+OK');
    expect(await client.call('GET', 'w')).toBe('1');
    expect(await other.call('SET', 'w', '2')).toBe('+OK');
    await client.call('MULTI');
    await client.call('SET', 'w', '3');
    expect(await client.call('EXEC')).toBe(null);
    expect(await client.call('GET', 'w')).toBe('2');
    other.socket.destroy();
  });

  test('lets a blocking command wait without holding up anybody else, and takes nothing for a client that has gone', async () => {
    const other = await started.connect();
    client.raw(Buffer.concat([request('BLPOP', 'list', '5'), request('PING')]));
    expect(await other.call('GET', 'list2')).toBe(null);
    expect(await other.call('RPUSH', 'list', 'x')).toBe(1);
    expect(await client.shown()).toEqual(['list', 'x']);
    expect(await client.shown()).toBe('+PONG');
    client.raw(request('BLPOP', 'list', '5'));
    await new Promise((resolve) => setTimeout(resolve, 100));
    client.socket.destroy();
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(await other.call('RPUSH', 'list', 'y')).toBe(1);
    expect(await other.call('LLEN', 'list')).toBe(1);
    other.socket.destroy();
  });

  test('passes messages on to subscribers, RESP2 and RESP3', async () => {
    const other = await started.connect();
    const third = await started.connect();
    await third.call('HELLO', '3');
    expect(await client.call('SUBSCRIBE', 'news')).toEqual(['subscribe', 'news', 1]);
    expect(await client.call('GET', 'a')).toMatch(/^-ERR Can't execute 'get'/);
    third.send('PSUBSCRIBE', 'ne*');
    await third.shown();
    expect(await third.call('GET', 'a')).toBe(null);
    expect(await other.call('PUBLISH', 'news', 'hello')).toBe(2);
    expect(await client.shown()).toEqual(['message', 'news', 'hello']);
    expect(JSON.stringify(await third.shown())).toContain('hello');
    expect(await client.call('UNSUBSCRIBE', 'news')).toEqual(['unsubscribe', 'news', 0]);
    expect(await client.call('GET', 'a')).toBe(null);
    for (const one of [other, third]) one.socket.destroy();
  });

  test('speaks RESP3 with those who ask for it', async () => {
    client.send('HELLO', '3');
    expect(await client.next()).toMatchObject({ kind: 'map' });
    await client.call('HSET', 'h', 'f', 'v');
    client.send('HGETALL', 'h');
    expect(await client.next()).toMatchObject({ kind: 'map', pairs: [[expect.anything(), expect.anything()]] });
    client.send('GET', 'nope');
    expect(await client.next()).toBe(null);
    expect(await client.call('MGET', ...keys.slice(0, 5))).toEqual([null, null, null, null, null]);
  });

  test('answers the same however the bytes arrive', async () => {
    const stream = Buffer.concat([
      request('SET', 'k', 'x'.repeat(3_000)),
      Buffer.from('GET k\r\n'),
      request('MGET', ...keys),
      request('ECHO', '\r\n$3\r\n'),
      request('STRLEN', 'k'),
    ]);
    const answers: unknown[][] = [];
    for (const size of [1, 7, 1_000, stream.length]) {
      const one = await started.connect();
      for (let at = 0; at < stream.length; at += size) one.raw(stream.subarray(at, at + size));
      const got: unknown[] = [];
      for (let i = 0; i < 5; i++) got.push(await one.shown());
      answers.push(got);
      one.socket.destroy();
    }
    expect(answers[0]![4]).toBe(3_000);
    for (const got of answers) expect(got).toEqual(answers[0]);
  });

  test('never mixes the answers of many clients and deep pipelines', async () => {
    const clients = await Promise.all(Array.from({ length: 8 }, () => started.connect()));
    await Promise.all(
      clients.map(async (one, c) => {
        const requests: Buffer[] = [];
        for (let i = 0; i < 500; i++)
          requests.push(Buffer.from(request('SET', `c${c}:${i}`, `${c}-${i}`)), Buffer.from(request('GET', `c${c}:${i}`)));
        one.raw(Buffer.concat(requests));
        for (let i = 0; i < 500; i++) {
          expect(await one.shown()).toBe('+OK');
          expect(await one.shown()).toBe(`${c}-${i}`);
        }
        one.socket.destroy();
      }),
    );
  });

  test('holds back a client that never reads, and serves the others', async () => {
    await client.call('SET', 'big', 'x'.repeat(200_000));
    const flood = await started.connect();
    flood.socket.pause();
    const chunk = Buffer.concat(Array.from({ length: 200 }, () => Buffer.from(request('GET', 'big'))));
    for (let i = 0; i < 20; i++) flood.raw(chunk);
    await new Promise((resolve) => setTimeout(resolve, 500));
    const mine = [...started.proxy.pools[0]!.clients.values()].find((one) => one.outputBytes > 100_000);
    expect(mine?.outputBytes ?? 0).toBeLessThan(220_000_000);
    expect(await client.call('PING')).toBe('+PONG');
    expect(await client.call('GET', 'nope')).toBe(null);
    flood.socket.destroy();
  });

  test('closes only whoever does not speak the protocol, after saying so', async () => {
    const other = await started.connect();
    other.raw('*1\r\nGET\r\n');
    expect(await other.shown()).toMatch(/^-ERR Protocol error/);
    expect(await client.call('PING')).toBe('+PONG');
  });

  test('answers about itself: CLIENT, CONFIG, INFO, COMMAND, SELECT, SLOWLOG', async () => {
    expect(await client.call('CLIENT', 'SETNAME', 'me')).toBe('+OK');
    expect(await client.call('CLIENT', 'GETNAME')).toBe('me');
    expect(await client.call('CLIENT', 'LIST')).toContain('name=me');
    expect(await client.call('CONFIG', 'GET', 'maxmemory-p*')).toEqual(['maxmemory-policy', 'noeviction']);
    expect(await client.call('INFO', 'pool')).toContain('state=up');
    expect(await client.call('COMMAND', 'COUNT')).toBeGreaterThan(200);
    expect(await client.call('SELECT', '0')).toBe('+OK');
    expect(await client.call('SELECT', '1')).toMatch(/^-ERR DB index is out of range/);
    expect(await client.call('CONFIG', 'SET', 'slowlog-log-slower-than', '0')).toBe('+OK');
    await client.call('GET', 'slow-key');
    expect(await client.call('CONFIG', 'SET', 'slowlog-log-slower-than', '10000')).toBe('+OK');
    expect(JSON.stringify(await client.call('SLOWLOG', 'GET'))).toContain('slow-key');
    expect(await client.call('CLUSTER', 'INFO')).toBe('-ERR This instance has cluster support disabled');
    expect(await client.call('QUIT')).toBe('+OK');
  });

  test('keeps CLIENT REPLY OFF and SKIP', async () => {
    client.raw(
      Buffer.concat([request('CLIENT', 'REPLY', 'SKIP'), request('SET', 'a', '1'), request('GET', 'a')].map((one) => Buffer.from(one))),
    );
    expect(await client.shown()).toBe('1');
    client.raw(
      Buffer.concat(
        [request('CLIENT', 'REPLY', 'OFF'), request('SET', 'a', '2'), request('CLIENT', 'REPLY', 'ON'), request('GET', 'a')].map((one) =>
          Buffer.from(one),
        ),
      ),
    );
    expect(await client.shown()).toBe('+OK');
    expect(await client.shown()).toBe('2');
  });
});

describe('a server that fails', () => {
  /** A server of RESP that answers each chunk it gets as `answer` says. */
  async function fake(answer: (socket: Socket, chunk: Buffer) => void): Promise<{ port: number; server: Server; sockets: Set<Socket> }> {
    const sockets = new Set<Socket>();
    const server = createServer((socket) => {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('data', (chunk: Buffer) => answer(socket, chunk));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return { port: (server.address() as { port: number }).port, server, sockets };
  }

  async function ask(port: number, settings = 'timeout: 200'): Promise<unknown> {
    const started = await startPoolProxy(poolOf([port], settings));
    try {
      const client = await started.connect();
      const answer = await client.call('GET', 'a');
      expect(await client.call('PING')).toBe('+PONG');
      client.socket.destroy();
      return answer;
    } finally {
      await started.proxy.close({ graceMs: 50 });
    }
  }

  test('is refused: told at once', async () => {
    expect(await ask(await freePort())).toMatch(/^-ERR server1: .*ECONNREFUSED.*KF_BACKEND_DOWN/);
  });

  test('never answers: told after the timeout, and that nobody knows whether it was done', async () => {
    const { port, server, sockets } = await fake(() => undefined);
    expect(await ask(port)).toMatch(/^-ERR server1: no answer for .*KF_OUTCOME_UNKNOWN/);
    for (const socket of sockets) socket.destroy();
    server.close();
  });

  test('answers garbage: told', async () => {
    const { port, server, sockets } = await fake((socket) => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n'));
    expect(await ask(port)).toMatch(/^-ERR server1: .*no RESP/);
    for (const socket of sockets) socket.destroy();
    server.close();
  });

  test('answers more than was asked, or closes: told', async () => {
    const { port, server, sockets } = await fake((socket) => socket.end());
    expect(await ask(port)).toMatch(/^-ERR server1: /);
    for (const socket of sockets) socket.destroy();
    server.close();
  });
});
