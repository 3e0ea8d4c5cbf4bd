import { createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Backend, type BackendSettings } from '../../src/pool/backend.ts';
import { OK } from '../../src/shard/redis/reply.ts';
import { hasRedis, RedisServer } from './redis-servers.ts';

const open: Backend[] = [];
function backend(port: number, settings: Partial<BackendSettings> = {}): Backend {
  const made = new Backend({
    name: `127.0.0.1:${port}`,
    address: { host: '127.0.0.1', port },
    backoffMs: { first: 10, most: 50 },
    ...settings,
  });
  open.push(made);
  return made;
}

afterEach(() => {
  for (const one of open.splice(0)) one.close();
});

describe.runIf(hasRedis)('a backend over a real server', () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await RedisServer.start(['--requirepass', 'secret']);
  });
  afterAll(() => server.stop());

  test('is settled only when a server that stalled cannot carry out any more what nobody waits for', async () => {
    const one = backend(server.port, { auth: 'secret', timeoutMs: 200, connectTimeoutMs: 30_000, clientName: 'kf:settles', asksId: true });
    const other = backend(server.port, { auth: 'secret' });
    const names = async (): Promise<string> => String(Buffer.from((await other.request('CLIENT', 'LIST')) as Uint8Array));
    await one.request('PING');
    await one.settled();
    await other.request('SET', 'late', 'before');
    server.signal('SIGSTOP');
    await expect(one.request('SET', 'late', 'lost')).rejects.toMatchObject({ code: 'KF_OUTCOME_UNKNOWN' });
    let isSettled = false;
    const settled = one.settled().then(() => {
      isSettled = true;
    });
    await sleep(300);
    expect(isSettled).toBe(false);
    server.signal('SIGCONT');
    await settled;
    expect((await names()).match(/name=kf:settles/g)?.length ?? 0).toBeLessThanOrEqual(1);
    await other.request('SET', 'late', 'after');
    await one.request('PING');
    expect(String(Buffer.from((await other.request('GET', 'late')) as Uint8Array))).toBe('after');
  });

  test('sends nothing while it may not, and what waits when it may again', async () => {
    let may = false;
    const one = backend(server.port, { auth: 'secret', maySend: () => may });
    let isAnswered = false;
    const answer = one.request('ECHO', 'late').finally(() => {
      isAnswered = true;
    });
    await sleep(100);
    expect([isAnswered, one.isUp]).toEqual([false, false]);
    may = true;
    expect(Buffer.from((await answer) as Uint8Array).toString()).toBe('late');
    may = false;
    const never = backend(server.port, { auth: 'secret', maySend: () => may, connectTimeoutMs: 200 });
    await expect(never.request('ECHO', 'x')).rejects.toMatchObject({ code: 'KF_BACKEND_DOWN' });
  });

  test('answers requests in their order, with text, bytes and large values', async () => {
    const one = backend(server.port, { auth: 'secret', db: 2 });
    const large = Buffer.alloc(200_000, 7);
    const replies = await Promise.all([
      one.request('SET', 'ключ', 'värde'),
      one.request('GET', Buffer.from('ключ')),
      one.request('SET', 'large', large),
      one.request('GET', 'large'),
      one.request('INCRBY', 'n', 41),
      one.request('INCR', 'n'),
      one.request('NOSUCH'),
    ]);
    expect([replies[0], replies[2]]).toEqual([OK, OK]);
    expect(Buffer.from(replies[1] as Uint8Array).toString()).toBe('värde');
    expect(large.equals(replies[3] as Uint8Array)).toBe(true);
    expect(replies.slice(4, 6)).toEqual([41, 42]);
    expect(replies[6]).toMatchObject({ kind: 'error', text: expect.stringContaining('unknown command') });
  });

  test('with a wrong password or database is refused in the words of the server', async () => {
    await expect(backend(server.port, { auth: 'wrong' }).request('PING')).rejects.toMatchObject({
      code: 'KF_BACKEND_REFUSED',
      message: expect.stringContaining('WRONGPASS'),
    });
    await expect(backend(server.port, { auth: 'secret', db: 99 }).request('PING')).rejects.toMatchObject({ code: 'KF_BACKEND_REFUSED' });
  });

  test('that stalls times out with an unknown outcome, and comes back', async () => {
    const one = backend(server.port, { auth: 'secret', timeoutMs: 100, connectTimeoutMs: 100 });
    await one.request('PING');
    server.signal('SIGSTOP');
    try {
      await expect(Promise.all([one.request('SET', 'a', 1), one.request('SET', 'b', 1)])).rejects.toMatchObject({
        code: 'KF_OUTCOME_UNKNOWN',
        message: expect.stringMatching(/no answer for \d+ ms/),
      });
    } finally {
      server.signal('SIGCONT');
    }
    await expect.poll(() => one.request('PING').catch(() => undefined), { timeout: 5_000 }).toMatchObject({ text: 'PONG' });
  });

  test('that is killed fails what waits, then at once, and serves again when it is back', async () => {
    const one = backend(server.port, { auth: 'secret' });
    await one.request('PING');
    const late = one.request('BLPOP', 'nothing', '10').catch((error: unknown) => error);
    await new Promise((resolve) => setTimeout(resolve, 50));
    await server.kill();
    expect(await late).toMatchObject({ code: 'KF_OUTCOME_UNKNOWN' });
    await expect.poll(() => one.request('PING').catch((error: { code: string }) => error.code)).toBe('KF_BACKEND_DOWN');
    await server.start();
    await expect.poll(() => one.request('PING').catch(() => undefined), { timeout: 5_000 }).toMatchObject({ text: 'PONG' });
  });
});

describe('a backend that misbehaves', () => {
  const sockets: Socket[] = [];
  async function liar(answer: string | undefined): Promise<{ port: number; close: () => void }> {
    const server = createServer((socket) => {
      sockets.push(socket);
      socket.on('error', () => undefined);
      socket.on('data', () => answer !== undefined && socket.write(answer));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    return {
      port,
      close: () => {
        server.close();
        for (const socket of sockets.splice(0)) socket.destroy();
      },
    };
  }

  test('by answering garbage, or more than was asked, is disconnected', async () => {
    for (const [answer, what] of [
      ['HTTP/1.1 400 Bad Request\r\n\r\n', 'no RESP'],
      ['$-7\r\n', 'no RESP'],
    ] as const) {
      const server = await liar(answer);
      await expect(backend(server.port).request('PING')).rejects.toMatchObject({
        code: 'KF_OUTCOME_UNKNOWN',
        message: expect.stringContaining(what),
      });
      server.close();
    }
    const server = await liar('+OK\r\n+OK\r\n');
    const downs: string[] = [];
    const one = new Backend(
      { name: 'x', address: { host: '127.0.0.1', port: server.port } },
      { onDown: (_, error) => void downs.push(error.message) },
    );
    open.push(one);
    expect(await one.request('PING')).toEqual(OK);
    await expect.poll(() => downs).toEqual(['x: an answer that nobody asked for']);
    server.close();
  });

  test('by never answering holds no more than its limit', async () => {
    const server = await liar(undefined);
    const one = backend(server.port, { limits: { pendingRequests: 10 } });
    for (let i = 0; i < 10; i++) one.request('PING').catch(() => undefined);
    const codes = await Promise.all([1, 2, 3].map(() => one.request('PING').catch((error: { code: string }) => error.code)));
    expect(codes).toEqual(['KF_BACKEND_BUSY', 'KF_BACKEND_BUSY', 'KF_BACKEND_BUSY']);
    expect(one.pending).toBe(10);
    server.close();
  });

  test('by not being there is down, at once after the first attempt', async () => {
    const server = await liar(undefined);
    server.close();
    const one = backend(server.port, { backoffMs: { first: 60_000, most: 60_000 } });
    await expect(one.request('PING')).rejects.toMatchObject({
      code: 'KF_BACKEND_DOWN',
      backend: `127.0.0.1:${server.port}`,
      retryable: true,
    });
    const startMs = performance.now();
    await expect(one.request('PING')).rejects.toMatchObject({ code: 'KF_BACKEND_DOWN' });
    expect(performance.now() - startMs).toBeLessThan(1_000);
  });
});
