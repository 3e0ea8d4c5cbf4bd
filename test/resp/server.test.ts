import { rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { KeyfleetError } from '../../src/base/errors.ts';
import { type RespServer, type RespServerOptions, startRespServer } from '../../src/resp/server.ts';
import { type Delivery, FakeKeyspace } from './fake-keyspace.ts';
import { RespClient, request } from './resp-client.ts';

const opened: { close(): unknown }[] = [];
afterEach(async () => {
  for (const one of opened.splice(0).reverse()) await one.close();
});

async function serve(
  options: Partial<RespServerOptions> & { readonly delivery?: Delivery } = {},
): Promise<{ server: RespServer; keyspace: FakeKeyspace; client: () => Promise<RespClient> }> {
  const keyspace = new FakeKeyspace(options.delivery);
  const server = await startRespServer({ keyspace, info: { version: '0.0.0', typeOf: () => 'string' }, port: 0, ...options });
  opened.push({ close: () => server.close({ graceMs: 100 }) });
  const client = async (): Promise<RespClient> => {
    const one = await RespClient.connect({ port: server.address.port });
    opened.push(one);
    return one;
  };
  return { server, keyspace, client };
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until `isSo`, at most five seconds. */
async function until(isSo: () => boolean): Promise<void> {
  for (let i = 0; i < 500 && !isSo(); i++) await pause(10);
  expect(isSo()).toBe(true);
}

describe('replies of a connection', () => {
  test.each(['now', 'later'] as const)('come in the order of its requests, answered %s', async (delivery) => {
    const { client } = await serve({ delivery });
    const one = await client();
    const count = 3_000;
    const requests: Uint8Array[] = [];
    for (let i = 0; i < count; i++)
      requests.push(i % 3 === 0 ? request('ECHO', `${i}`) : request('SET', `k${i}`, `${i}`), request('GET', `k${i}`));
    one.raw(Buffer.concat(requests));
    for (let i = 0; i < count; i++) {
      const replies = [await one.shown(), await one.shown()];
      expect(replies).toEqual(i % 3 === 0 ? [`${i}`, null] : ['+OK', `${i}`]);
    }
  });

  test('come for requests cut at any byte', async () => {
    const { client } = await serve({ delivery: 'later' });
    const one = await client();
    for (const byte of Buffer.concat([request('SET', 'a', 'x'.repeat(40)), request('GET', 'a'), Buffer.from('PING\r\n')])) {
      one.raw(Uint8Array.of(byte));
      if (byte === 13) await pause(1);
    }
    expect([await one.next(), await one.next(), await one.next()].length).toBe(3);
    expect(await one.call('GET', 'a')).toBe('x'.repeat(40));
  });

  test('are whole for values of many megabytes', async () => {
    const { client } = await serve();
    const one = await client();
    const value = new Uint8Array(9 << 20).map((_, i) => i * 31);
    expect(await one.call('SET', 'big', value)).toBe('+OK');
    for (let i = 0; i < 5; i++) one.send('GET', 'big');
    for (let i = 0; i < 5; i++) expect(Buffer.compare((await one.next()) as Uint8Array, value)).toBe(0);
  });

  test('say what is malformed, and then the connection ends', async () => {
    const { client, server } = await serve();
    const one = await client();
    one.raw('*1\r\n$4\r\nPING\r\n*1\r\nnonsense\r\n');
    expect(await one.next()).toMatchObject({ text: 'PONG' });
    expect(await one.next()).toMatchObject({ text: "ERR Protocol error: expected '$', got 'n'" });
    expect(await one.closed()).toBe(true);
    expect(server.stats.closedProtocolError).toBe(1);
  });

  test('come also after the client has ended its side', async () => {
    const { client } = await serve({ delivery: 'later' });
    const one = await client();
    one.socket.end(Buffer.concat([request('SET', 'a', '1'), request('GET', 'a')]));
    expect(await one.next()).toMatchObject({ text: 'OK' });
    expect(await one.shown()).toBe('1');
    expect(await one.closed()).toBe(true);
  });
});

describe('commands over several keys', () => {
  test('are split by slot and joined in the order asked', async () => {
    const { client, keyspace } = await serve({ delivery: 'later' });
    const one = await client();
    expect(await one.call('MSET', 'a', '1', 'b', '2', '{b}x', '3', 'c', '4')).toBe('+OK');
    expect(keyspace.many).toEqual(['mset b 2 {b}x 3']);
    expect(await one.call('MGET', 'c', 'a', 'missing', '{b}x', 'a', 'b')).toEqual(['4', '1', null, '3', '1', '2']);
    expect(await one.call('EXISTS', 'a', 'a', 'c', 'missing')).toBe(3);
    expect(await one.call('DEL', 'a', 'c', 'missing', '{b}x')).toBe(3);
    expect(await one.call('UNLINK', 'b')).toBe('-ERR the fake has no such command');
  });

  test('go as they are when the keys share a slot', async () => {
    const { client, keyspace } = await serve();
    const one = await client();
    await one.call('MSET', '{t}a', '1', '{t}b', '2');
    expect(keyspace.many).toEqual(['mset {t}a 1 {t}b 2']);
  });

  test('are refused across slots where they cannot be split', async () => {
    const { client } = await serve();
    const one = await client();
    expect(await one.call('RENAME', 'a', 'b')).toBe("-CROSSSLOT Keys in request don't hash to the same slot");
    expect(await one.call('MSETNX', 'a', '1', 'b', '2')).toBe("-CROSSSLOT Keys in request don't hash to the same slot");
  });

  test('answer the error of the part that failed', async () => {
    const { client, keyspace } = await serve();
    const one = await client();
    keyspace.failing = { key: 'b', error: new KeyfleetError('KF_DISK_FULL', 'no space left') };
    expect(await one.call('MSET', 'a', '1', 'b', '2')).toBe('-MISCONF KF_DISK_FULL no space left');
    expect(await one.call('SET', 'b', '2')).toBe('-MISCONF KF_DISK_FULL no space left');
    expect(await one.call('GET', 'a')).toBe('1');
  });
});

describe('a client that does not behave', () => {
  test('and never reads is not read from any more, and takes bounded memory', async () => {
    const { client, server, keyspace } = await serve({ settings: { 'client-output-pause-bytes': 65_536 } });
    keyspace.values.set('big', new Uint8Array(10_000));
    const one = await client();
    one.socket.pause();
    const burst = Buffer.concat(Array.from({ length: 1_000 }, () => request('GET', 'big')));
    for (let i = 0; i < 30; i++) one.raw(burst);
    let before = -1;
    for (let i = 0; i < 100 && server.stats.commands !== before; i++) {
      before = server.stats.commands;
      await pause(50);
    }
    // All would be 300 MB. What the system's own socket buffers took does not count.
    expect(server.stats.commands).toBeLessThan(15_000);
    const other = await client();
    const list = String(await other.call('CLIENT', 'LIST'));
    const omem = Number(/ omem=(\d+) /.exec(list)?.[1]);
    expect(omem).toBeGreaterThan(0);
    expect(omem).toBeLessThan(200_000);
    one.socket.resume();
    for (let i = 0; i < 30_000; i++) await one.next();
  });

  test('and takes nothing for long is closed', async () => {
    const { client, server, keyspace } = await serve({
      settings: { 'client-output-stall-timeout': 1, 'client-output-pause-bytes': 65_536 },
    });
    keyspace.values.set('big', new Uint8Array(1 << 20));
    const one = await client();
    one.socket.pause();
    for (let i = 0; i < 30; i++) one.send('GET', 'big');
    await until(() => server.stats.closedStalled === 1);
    expect(server.stats.connections).toBe(0);
  });

  test('and asks for more than it may hold is closed', async () => {
    const { client, server, keyspace } = await serve({
      settings: { 'client-output-hard-bytes': 2 << 20, 'client-output-pause-bytes': 2 << 20 },
    });
    keyspace.values.set('big', new Uint8Array(1 << 20));
    keyspace.isStuck = true;
    const one = await client();
    one.socket.pause();
    for (let i = 0; i < 50; i++) one.send('GET', 'big');
    await until(() => server.stats.commands === 50);
    keyspace.unstick();
    await until(() => server.stats.closedOutputLimit === 1);
    expect(server.stats.connections).toBe(0);
  });

  test('and pipelines without end has so many requests in flight, and no more', async () => {
    const { client, server, keyspace } = await serve({ settings: { 'client-pipeline-limit': 100 } });
    keyspace.isStuck = true;
    const one = await client();
    one.raw(Buffer.concat(Array.from({ length: 5_000 }, () => request('GET', 'a'))));
    await until(() => server.stats.commands === 100);
    await pause(50);
    expect(server.stats.commands).toBe(100);
    keyspace.unstick();
    for (let i = 0; i < 5_000; i++) expect(await one.next()).toBeNull();
  });

  test('and asks for large lists behind a write that takes long is not read from any more, and takes bounded memory', async () => {
    const { client, server, keyspace } = await serve({ settings: { 'client-output-pause-bytes': 1 << 20 } });
    keyspace.values.set('big', new Uint8Array(100_000));
    keyspace.holdsWrites = true;
    const one = await client();
    one.raw(Buffer.concat([request('SET', 'a', '1'), ...Array.from({ length: 500 }, () => request('MGET', '{b}1', 'big', 'big'))]));
    await until(() => server.stats.commands > 1);
    await pause(50);
    // All would be 100 MB.
    expect(server.stats.commands).toBeLessThan(20);
    keyspace.unstick();
    expect(await one.next()).toMatchObject({ text: 'OK' });
    for (let i = 0; i < 500; i++) expect(await one.next()).toMatchObject([null, { length: 100_000 }, { length: 100_000 }]);
  });

  test('and keeps commands for EXEC beyond the query buffer is closed', async () => {
    const { client, server } = await serve({ settings: { 'client-query-buffer-limit': 1 << 20 } });
    const one = await client();
    expect(await one.call('MULTI')).toBe('+OK');
    for (let i = 0; i < 9; i++) expect(await one.call('SET', 'key', new Uint8Array(100_000))).toBe('+QUEUED');
    expect(await one.call('DISCARD')).toBe('+OK');
    expect(await one.call('MULTI')).toBe('+OK');
    for (let i = 0; i < 11; i++) one.send('SET', 'key', new Uint8Array(100_000));
    expect(await one.closed()).toBe(true);
    expect(server.stats.closedQueryLimit).toBe(1);
  });

  test('and sends half a request can go on later', async () => {
    const { client } = await serve();
    const one = await client();
    const bytes = request('SET', 'key', 'value');
    one.raw(bytes.subarray(0, 20));
    await pause(30);
    const other = await client();
    expect(await other.call('PING')).toBe('+PONG');
    one.raw(bytes.subarray(20));
    expect(await one.next()).toMatchObject({ text: 'OK' });
  });

  test('and is silent for longer than `timeout` is closed', async () => {
    const { client, server } = await serve({ settings: { timeout: 1 } });
    const one = await client();
    expect(await one.call('PING')).toBe('+PONG');
    expect(await one.closed(5_000)).toBe(true);
    expect(server.stats.closedIdle).toBe(1);
  });

  test('and comes as one too many is told so', async () => {
    const { client, server } = await serve({ settings: { maxclients: 2 } });
    const [one, , third] = [await client(), await client(), await client()];
    expect(await third.next()).toMatchObject({ text: 'ERR max number of clients reached' });
    expect(await third.closed()).toBe(true);
    expect(server.stats.connectionsRejected).toBe(1);
    expect(await one.call('PING')).toBe('+PONG');
  });

  test('and sends a request larger than the query buffer is closed', async () => {
    const { client, server } = await serve({ settings: { 'client-query-buffer-limit': 1 << 20 } });
    const one = await client();
    one.raw(`*2\r\n$4\r\nECHO\r\n$${8 << 20}\r\n`);
    one.raw(new Uint8Array(3 << 20));
    expect(await one.closed()).toBe(true);
    await until(() => server.stats.closedQueryLimit === 1);
  });
});

/** 10,000 and more by option; the limit on open files (`ulimit -n`) must allow two for each. */
const IDLE_CONNECTIONS = Number(process.env['KEYFLEET_IDLE_CONNECTIONS'] ?? 2_000);

describe('many connections', () => {
  test(`${IDLE_CONNECTIONS} idle ones are served and counted`, async () => {
    const { client, server } = await serve({ settings: { maxclients: IDLE_CONNECTIONS } });
    const all: RespClient[] = [];
    while (all.length < IDLE_CONNECTIONS) all.push(...(await Promise.all(Array.from({ length: 100 }, client))));
    await until(() => server.stats.connections === IDLE_CONNECTIONS);
    expect(new Set(await Promise.all(all.map((one) => one.call('CLIENT', 'ID')))).size).toBe(IDLE_CONNECTIONS);
    for (const one of all) one.close();
    await until(() => server.stats.connections === 0);
    expect(server.stats.connectionsPeak).toBe(IDLE_CONNECTIONS);
  });
});

describe('closing the server', () => {
  test('answers what it has received, then ends the connections', async () => {
    const { client, server, keyspace } = await serve({ delivery: 'later' });
    const one = await client();
    const idle = await client();
    keyspace.isStuck = true;
    one.raw(Buffer.concat(Array.from({ length: 200 }, (_, i) => request('SET', `k${i}`, 'v'))));
    await until(() => server.stats.commands === 200);
    const closed = server.close();
    await expect(RespClient.connect({ port: server.address.port })).rejects.toThrow();
    keyspace.unstick();
    for (let i = 0; i < 200; i++) expect(await one.next()).toMatchObject({ text: 'OK' });
    expect([await one.closed(), await idle.closed()]).toEqual([true, true]);
    await closed;
  });

  test('cuts those that do not end in time', async () => {
    const { client, server, keyspace } = await serve();
    const one = await client();
    keyspace.isStuck = true;
    one.send('GET', 'a');
    await until(() => server.stats.commands === 1);
    await server.close({ graceMs: 50 });
    expect(await one.closed()).toBe(true);
  });
});

describe('listening', () => {
  test('on a taken port is refused: KF_LISTEN_FAILED', async () => {
    const { server } = await serve();
    await expect(serve({ port: server.address.port })).rejects.toMatchObject({ code: 'KF_LISTEN_FAILED' });
  });

  test('on a Unix socket too, taking the place of a dead one', async () => {
    const path = join(tmpdir(), `keyfleet-resp-${process.pid}.sock`);
    for (let i = 0; i < 2; i++) {
      const { server } = await serve({ unixSocket: path });
      const one = await RespClient.connect({ path });
      expect(await one.call('PING')).toBe('+PONG');
      expect(String(await one.call('CLIENT', 'INFO'))).toContain(`addr=${path}:0`);
      one.close();
      await server.close();
    }
    writeFileSync(path, 'a file of somebody else');
    await expect(serve({ unixSocket: path })).rejects.toMatchObject({ code: 'KF_LISTEN_FAILED' });
    rmSync(path);
  });

  test('with a setting out of bounds is refused: KF_RESP_SETTING', async () => {
    await expect(serve({ settings: { maxclients: 0 } })).rejects.toMatchObject({ code: 'KF_RESP_SETTING' });
    await expect(serve({ settings: { nonsense: 1 } as object })).rejects.toMatchObject({ code: 'KF_RESP_SETTING' });
  });
});
