import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { NodeHttpStore } from '../../src/http/node-store.ts';
import { type HttpServer, startHttpServer } from '../../src/http/server.ts';
import { openStore } from '../../src/node/open-store.ts';
import type { Store } from '../../src/node/store.ts';
import { createRedisModule } from '../../src/shard/redis/redis-module.ts';
import { MemoryStorage } from '../../src/storage/memory.ts';
import { read } from '../house/tree.ts';

const keyspaces = { default: { module: createRedisModule(), scheme: 'redis', shards: 4 } } as const;
let storage: MemoryStorage;
let store: Store<typeof keyspaces>;
let http: HttpServer;
let base: string;

async function start(): Promise<void> {
  store = await openStore({ storage, keyspaces });
  http = await startHttpServer({ store: new NodeHttpStore(store.node), host: '127.0.0.1', port: 0, version: '0.0.0' });
  base = `http://127.0.0.1:${http.port}/v1/keyspaces/default`;
}
async function stop(): Promise<void> {
  await http.close(100);
  await store.close();
}
beforeEach(async () => {
  storage = new MemoryStorage();
  await start();
});
afterEach(stop);

type Init = { readonly method?: string; readonly body?: string; readonly id?: string; readonly headers?: Record<string, string> };
async function send(key: string, { method = 'PUT', body, id, headers = {} }: Init): Promise<number | string> {
  const answer = await fetch(`${base}/keys/${key}`, {
    method,
    ...(body === undefined ? {} : { body }),
    headers: { ...headers, ...(id === undefined ? {} : { 'idempotency-key': id }) },
  });
  const text = await answer.text();
  return answer.status < 400 ? answer.status : (JSON.parse(text) as { error: { code: string } }).error.code;
}

describe('a write with an Idempotency-Key', () => {
  test('is done once and answered alike each time, also after a restart', async () => {
    expect(await send('k', { body: 'one', id: 'a' })).toBe(201);
    expect(await send('k', { body: 'two' })).toBe(204);
    expect(await send('k', { body: 'one', id: 'a' })).toBe(201);
    expect(await send('k', { method: 'DELETE', id: 'b' })).toBe(204);
    await stop();
    storage = storage.crash();
    await start();
    expect(await send('k', { body: 'three' })).toBe(201);
    expect(await send('k', { method: 'DELETE', id: 'b' })).toBe(204);
    expect(await send('k', { body: 'one', id: 'a' })).toBe(201);
    expect(await (await fetch(`${base}/keys/k`)).text()).toBe('three');
  });

  test('that is another request than the first under it is refused: 422 KF_REQUEST_MISMATCH', async () => {
    expect(await send('k', { body: 'one', id: 'a' })).toBe(201);
    expect(await send('k', { body: 'two', id: 'a' })).toBe('KF_REQUEST_MISMATCH');
    expect(await send('k?ttlMs=5000', { body: 'one', id: 'a' })).toBe('KF_REQUEST_MISMATCH');
    expect(await send('k', { body: 'one', id: 'a', headers: { 'if-none-match': '*' } })).toBe('KF_REQUEST_MISMATCH');
    expect(await send('k', { method: 'DELETE', id: 'a' })).toBe('KF_REQUEST_MISMATCH');
    const answer = await fetch(`${base}/keys/k`, { method: 'PUT', body: 'two', headers: { 'idempotency-key': 'a' } });
    expect(answer.status).toBe(422);
    expect(await send('other', { body: 'two', id: 'a' })).toBe(201);
  });

  test('answers a condition that failed alike, though it would hold now', async () => {
    await send('k', { body: 'one' });
    expect(await send('k', { body: 'two', id: 'a', headers: { 'if-none-match': '*' } })).toBe('KF_PRECONDITION_FAILED');
    await send('k', { method: 'DELETE' });
    expect(await send('k', { body: 'two', id: 'a', headers: { 'if-none-match': '*' } })).toBe('KF_PRECONDITION_FAILED');
  });

  test('covers a whole batch', async () => {
    const put = async (): Promise<unknown> => {
      const answer = await fetch(`${base}/batch/put`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'idempotency-key': 'batch-1' },
        body: JSON.stringify({ records: ['a', 'b', 'a'].map((key, i) => ({ key, value: `${i}` })) }),
      });
      return answer.json();
    };
    const first = await put();
    expect(first).toEqual({ written: 3, created: 2, replaced: 1, failed: 0 });
    await send('a', { method: 'DELETE' });
    expect(await put()).toEqual(first);
    expect((await fetch(`${base}/keys/a`)).status).toBe(404);
  });

  test('is refused when it is no name: KF_BAD_REQUEST', async () => {
    for (const id of ['x'.repeat(201), 'with space']) expect(await send('k', { body: 'one', id })).toBe('KF_BAD_REQUEST');
  });
});

describe('a client whose replies get lost on the way', () => {
  /** Passes requests on, and cuts the connection instead of passing the answer back as long as `losing`. */
  async function lossyProxy(losing: () => boolean): Promise<{ readonly port: number; close(): void }> {
    const proxy = createServer((client) => {
      const server = connect(http.port, '127.0.0.1');
      client.pipe(server);
      server.on('data', (bytes) => (losing() ? client.destroy() : client.write(bytes)));
      client.on('error', () => {}).on('close', () => server.destroy());
      server.on('error', () => {}).on('close', () => client.destroy());
    });
    proxy.listen(0, '127.0.0.1');
    await once(proxy, 'listening');
    return { port: (proxy.address() as { port: number }).port, close: () => proxy.close() };
  }

  test('takes a lock once: the retry says that it has it, where without the header it would hear that somebody has', async () => {
    let lost = 0;
    const proxy = await lossyProxy(() => lost++ < 3);
    const lock = async (headers: Record<string, string>): Promise<number> => {
      for (let tried = 0; tried < 20; tried++) {
        try {
          return (
            await fetch(`http://127.0.0.1:${proxy.port}/v1/keyspaces/default/keys/lock`, {
              method: 'PUT',
              body: 'me',
              headers: { ...headers, 'if-none-match': '*' },
            })
          ).status;
        } catch {
          // The answer got lost.
        }
      }
      return expect.fail('no answer');
    };
    expect(await lock({ 'idempotency-key': 'mine' })).toBe(201);
    expect(lost).toBe(4);
    await fetch(`${base}/keys/lock`, { method: 'DELETE' });
    lost = 0;
    expect(await lock({})).toBe(412);
    proxy.close();
  });
});

test('the examples of docs/http.md answer what they say', async () => {
  const section = read('docs/http.md').split('**Exactly once.**')[1]!;
  const lines = section.split('```')[1]!.trim().split('\n').slice(1);
  expect(lines.length).toBeGreaterThan(5);
  for (const line of lines) {
    const [command, says] = line.split('    # ') as [string, string];
    const { stdout: answer } = await promisify(execFile)('bash', ['-c', command], { env: { ...process.env, base }, timeout: 20_000 });
    expect(`${command} → ${answer.slice(-3)}`).toBe(`${command} → ${says.slice(0, 3)}`);
  }
});
