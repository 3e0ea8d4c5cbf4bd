import { EventEmitter } from 'node:events';
import type { ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { KeyfleetError } from '../../src/base/errors.ts';
import { BodyBudget } from '../../src/http/body-parser.ts';
import { startHttpServer } from '../../src/http/server.ts';
import { base, errorCode, keys, raw, serve, server, store } from './http-fixture.ts';

beforeEach(() => serve());
afterEach(() => server.close(100));

/** Sends bytes, and resolves with all that comes back until the server closes. */
function talk(text: string, { keepOpen = false } = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = '';
    const socket = connect(server.port, '127.0.0.1', () => {
      socket.write(text);
      if (!keepOpen) socket.end();
    });
    socket.on('data', (chunk) => {
      answer += chunk.toString('latin1');
    });
    socket.on('close', () => resolve(answer));
    socket.on('error', reject);
  });
}

describe('limits', () => {
  test('a body over the limit is refused, announced or not, and nothing is stored', async () => {
    await server.close(100);
    await serve({ maxBodyBytes: 1_000 });
    const whole = await fetch(keys('a'), { method: 'PUT', body: Buffer.alloc(1_000) });
    expect(whole.status).toBe(201);
    const announced = await fetch(keys('b'), { method: 'PUT', body: Buffer.alloc(1_001) });
    expect([announced.status, await errorCode(announced)]).toEqual([413, 'KF_BODY_TOO_LARGE']);
    const chunked = await talk(
      `PUT /v1/keyspaces/default/keys/c HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n3e9\r\n${'x'.repeat(1_001)}\r\n0\r\n\r\n`,
    );
    expect(chunked).toContain('413');
    expect(chunked).toContain('KF_BODY_TOO_LARGE');
    expect(store.entries.size).toBe(1);
  });

  test('a body that its sender does not finish stores nothing', async () => {
    const answer = await talk('PUT /v1/keyspaces/default/keys/half HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\nhalf');
    expect(answer).not.toContain('HTTP/1.1 20');
    expect(store.entries.size).toBe(0);
    expect((await fetch(`${base}/healthz`)).status).toBe(200);
  });

  test('a request that arrives too slowly is ended: 408', async () => {
    await server.close(100);
    await serve({ requestTimeoutMs: 300 });
    const answer = await talk('PUT /v1/keyspaces/default/keys/slow HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\nslow', {
      keepOpen: true,
    });
    expect(answer).toContain('HTTP/1.1 408');
    expect(answer).toContain('KF_REQUEST_TIMEOUT');
    expect(store.entries.size).toBe(0);
  });

  test('a connection that stands still is closed', async () => {
    await server.close(100);
    await serve({ idleTimeoutMs: 200 });
    expect(await talk('', { keepOpen: true })).not.toContain('200');
  });

  test('a value that its client does not take counts among what requests hold, until the client has gone', async () => {
    store.entries.set('6b', { key: Buffer.from('k'), value: Buffer.alloc(20 << 20), expireAtMs: undefined });
    const held = async (): Promise<number> =>
      Number(/^keyfleet_http_body_bytes (\d+)/m.exec(await (await fetch(`${base}/metrics`)).text())![1]);
    const socket = connect(server.port, '127.0.0.1', () =>
      socket.write('GET /v1/keyspaces/default/keys/k HTTP/1.1\r\nhost: localhost\r\n\r\n'),
    );
    socket.pause();
    await expect.poll(held).toBe(20 << 20);
    socket.destroy();
    await expect.poll(held).toBe(0);
  });

  test('what is held is bounded, but for a value that is alone', () => {
    const budget = new BodyBudget(100);
    const response = (): ServerResponse => Object.assign(new EventEmitter(), { closed: false }) as unknown as ServerResponse;
    const [large, small, other] = [response(), response(), response()];
    budget.answer(1_000, large);
    expect(() => budget.answer(1, small)).toThrow(expect.objectContaining({ code: 'KF_BUSY' }));
    large.emit('close');
    budget.answer(60, small);
    budget.answer(40, other);
    expect(() => budget.take(1)).toThrow(expect.objectContaining({ code: 'KF_BUSY' }));
    small.emit('close');
    other.emit('close');
    expect(budget.heldBytes).toBe(0);
    // Its client had gone before the value was there.
    budget.answer(60, Object.assign(response(), { closed: true }));
    expect(budget.heldBytes).toBe(0);
  });

  test('what is no HTTP, or a URL too long for us, gets an answer that says so', async () => {
    expect(await talk('*1\r\n$4\r\nPING\r\n')).toContain('KF_BAD_REQUEST');
    expect(await talk(`GET /${'x'.repeat(70_000)} HTTP/1.1\r\nhost: localhost\r\n\r\n`)).toContain('KF_URL_TOO_LONG');
  });

  test('more connections than allowed are turned away, and come in once others have left', async () => {
    await server.close(100);
    await serve({ maxConnections: 3 });
    const sockets = await Promise.all(
      Array.from(
        { length: 3 },
        () =>
          new Promise<ReturnType<typeof connect>>((resolve) => {
            const socket = connect(server.port, '127.0.0.1', () => resolve(socket));
          }),
      ),
    );
    // The third is surely taken once it has had an answer.
    await new Promise((resolve) => {
      sockets[2]!.once('data', resolve);
      sockets[2]!.write('GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n');
    });
    expect(await talk('GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n').catch(() => '')).toBe('');
    for (const socket of sockets) socket.destroy();
    await expect
      .poll(async () =>
        (await talk('GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n').catch(() => '')).includes('200'),
      )
      .toBe(true);
  });
});

describe('who may come in', () => {
  const password = 'correct horse';

  test('with a password, only who sends it; health needs none', async () => {
    await server.close(100);
    await serve({ password: () => password });
    const refused = await fetch(keys('a'));
    expect([refused.status, await errorCode(refused)]).toEqual([401, 'KF_UNAUTHORIZED']);
    expect(refused.headers.get('www-authenticate')).toContain('Basic');
    const basic = (text: string): string => `Basic ${Buffer.from(text).toString('base64')}`;
    for (const [authorization, status] of [
      [`Bearer ${password}`, 404],
      ['Bearer wrong', 401],
      [basic(`anyone:${password}`), 404],
      [basic('anyone:wrong'), 401],
      [basic(password), 401],
    ] as const) {
      expect((await fetch(keys('a'), { headers: { authorization } })).status).toBe(status);
    }
    expect((await fetch(`${base}/healthz`)).status).toBe(200);
    expect((await fetch(`${base}/readyz`)).status).toBe(200);
    expect((await fetch(`${base}/metrics`)).status).toBe(401);
  });

  test('without a password, a name that is not localhost is refused', async () => {
    const { status, body } = await raw('GET', '/v1/status', { headers: { host: 'evil.example' } });
    expect([status, JSON.parse(body.toString()).error.code]).toEqual([403, 'KF_HOST_REFUSED']);
    expect((await raw('GET', '/v1/status', { headers: { host: 'localhost:7380' } })).status).toBe(200);
    expect((await raw('GET', '/v1/status', { headers: { host: '[::1]:7380' } })).status).toBe(200);
  });
});

describe('about itself', () => {
  test('/v1/status and /v1/keyspaces tell what there is', async () => {
    await fetch(keys('a'), { method: 'PUT', body: 'v' });
    const status = (await (await fetch(`${base}/v1/status`)).json()) as Record<string, unknown>;
    expect(status).toMatchObject({
      version: '9.9.9',
      durability: 'none',
      refusal: null,
      keyspaces: [{ name: 'default', keyCount: 1, balance: { keysPeakToAverage: 1 }, shards: [{ id: '1', from: 0, to: 2 ** 32 }] }],
    });
    expect(await (await fetch(`${base}/v1/keyspaces`)).json()).toMatchObject({
      keyspaces: [{ name: 'default', keyCount: 1, shardCount: 1 }],
    });
    expect(await (await fetch(`${base}/v1/keyspaces/default`)).json()).toMatchObject({ name: 'default', keyCount: 1 });
  });

  test('/metrics counts requests by route and shows keys, shards and the process', async () => {
    await fetch(keys('a'), { method: 'PUT', body: 'v' });
    const text = await (await fetch(`${base}/metrics`)).text();
    for (const line of [
      'keyfleet_http_requests_total{method="PUT",route="/v1/keyspaces/:keyspace/key",status="201"} 1',
      'keyfleet_keys{keyspace="default"} 1',
      'keyfleet_shard_keys{keyspace="default",shard="1"} 1',
      'keyfleet_writes_refused 0',
      'keyfleet_build_info{version="9.9.9",durability="none"} 1',
    ]) {
      expect(text.split('\n')).toContain(line);
    }
    expect(text).toContain('process_resident_memory_bytes');
  });

  test('/readyz says why it is not ready; /healthz goes on', async () => {
    store.refusal = new KeyfleetError('KF_DISK_FULL', 'no space left');
    const ready = await fetch(`${base}/readyz`);
    expect([ready.status, await errorCode(ready)]).toEqual([503, 'KF_DISK_FULL']);
    expect((await fetch(`${base}/healthz`)).status).toBe(200);
  });

  test('what is not there is 404 in JSON; / shows a page', async () => {
    const none = await fetch(`${base}/v2/else`);
    expect([none.status, await errorCode(none)]).toEqual([404, 'KF_NOT_FOUND']);
    const page = await fetch(`${base}/`);
    expect([page.status, page.headers.get('content-type')]).toEqual([200, 'text/html']);
  });

  test('a port that is taken: KF_LISTEN_FAILED', async () => {
    await expect(startHttpServer({ store, host: '127.0.0.1', port: server.port, version: '1' })).rejects.toMatchObject({
      code: 'KF_LISTEN_FAILED',
    });
  });

  test('closing lets a request under way end', async () => {
    let release = (): void => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const keyspace = store.keyspace('default')!;
    Object.assign(keyspace, { get: () => held.then(() => ({ value: Buffer.from('late'), ttlMs: undefined })) });
    const answer = fetch(keys('a'));
    await new Promise((resolve) => setTimeout(resolve, 50));
    const closed = server.close(5_000);
    release();
    expect(await (await answer).text()).toBe('late');
    await closed;
    await expect(fetch(`${base}/healthz`)).rejects.toThrow();
  });
});
