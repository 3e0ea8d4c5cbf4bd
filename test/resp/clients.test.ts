import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { Redis } from 'ioredis';
import { Redis as Valkey } from 'iovalkey';
import { createClient } from 'redis';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type RedisStore, startRedisStore } from './redis-store.ts';
import { RespClient } from './resp-client.ts';

// The clients that people use, with their default options, against the store itself (on storage in memory).

const run = promisify(execFile);
const missing = (process.env['KEYFLEET_MISSING'] ?? '').split(',');

let store: RedisStore;
beforeAll(async () => {
  store = await startRedisStore();
});
afterAll(() => store.close());
beforeEach(async () => {
  const client = await RespClient.connect({ port: store.port });
  await client.call('FLUSHALL');
  client.close();
});

async function cli(...args: readonly string[]): Promise<string> {
  const { stdout } = await run('redis-cli', ['-p', String(store.port), ...args], { timeout: 20_000 });
  return stdout.trimEnd();
}

describe.runIf(!missing.includes('redis-cli'))('redis-cli', () => {
  test('sets, gets, lists and describes', async () => {
    expect(await cli('SET', 'greeting', 'hello')).toBe('OK');
    expect(await cli('GET', 'greeting')).toBe('hello');
    expect(await cli('-3', 'HSET', 'h', 'f', '1', 'g', '2')).toBe('2');
    expect((await cli('-3', 'HGETALL', 'h')).split('\n').sort()).toEqual(['f 1', 'g 2']);
    expect((await cli('--scan')).split('\n').sort()).toEqual(['greeting', 'h']);
    expect(await cli('--scan', '--pattern', 'g*')).toBe('greeting');
    expect(await cli('TYPE', 'h')).toBe('hash');
    expect(await cli('SCAN', '0', 'TYPE', 'hash', 'COUNT', '100')).toBe('0\nh');
    expect(await cli('XADD', 'stream', 'a')).toBe("ERR unknown command 'XADD', with args beginning with: 'stream' 'a'");
  });

  test('shows INFO, with the sections and names that tools read', async () => {
    await cli('SET', 'a', '1', 'EX', '100');
    const info = await cli('INFO', 'everything');
    for (const line of [
      /^redis_version:7\.0\./m,
      /^keyfleet_version:/m,
      /^connected_clients:1\r?$/m,
      /^db0:keys=1,expires=1,avg_ttl=0/m,
      /^shards:8/m,
    ]) {
      expect(info).toMatch(line);
    }
    expect(info.match(/^# .*$/gm)?.map((line) => line.trim())).toEqual(
      [
        'Server',
        'Clients',
        'Memory',
        'Persistence',
        'Stats',
        'Replication',
        'CPU',
        'Commandstats',
        'Errorstats',
        'Cluster',
        'Shards',
        'Keyspace',
      ].map((title) => `# ${title}`),
    );
    expect(info).toMatch(/^cmdstat_set:calls=\d+,usec=\d+,usec_per_call=[\d.]+,rejected_calls=0,failed_calls=\d+/m);
    expect(await cli('INFO', 'keyspace')).toMatch(/^# Keyspace\r?\ndb0:keys=1,expires=1,avg_ttl=0$/);
    expect(await cli('INFO', 'nonsense')).toBe('');
  });

  test('loads a file of commands by --pipe', async () => {
    const lines = Array.from({ length: 2_000 }, (_, i) => `SET pipe:${i} ${i}\r\n`).join('');
    const child = execFile('redis-cli', ['-p', String(store.port), '--pipe']);
    let out = '';
    child.stdout!.on('data', (text: string) => {
      out += text;
    });
    child.stdin!.end(lines);
    await new Promise((resolve) => child.once('close', resolve));
    expect(out).toContain('errors: 0, replies: 2000');
    expect(await cli('DBSIZE')).toBe('2000');
  });
});

describe.runIf(!missing.includes('redis-benchmark'))('redis-benchmark', () => {
  test('runs its tests of what we have', async () => {
    const args = ['-p', String(store.port), '-n', '2000', '-c', '20', '-P', '8', '-r', '1000', '-q', '-t', 'ping,set,get,incr,hset,mset'];
    const { stdout, stderr } = await run('redis-benchmark', args, { timeout: 60_000 });
    expect(stderr + stdout).not.toMatch(/error|warning/i);
    expect(stdout.match(/requests per second/g)!.length).toBeGreaterThanOrEqual(7);
  });
});

describe.each([
  ['ioredis', () => new Redis({ port: store.port })],
  ['iovalkey', () => new Valkey({ port: store.port }) as unknown as Redis],
])('%s', (_name, connect) => {
  test('connects by default options, pipelines, scans, and reads errors', async () => {
    const client = connect();
    try {
      expect(await client.set('a', 'ü')).toBe('OK');
      expect(await client.get('a')).toBe('ü');
      expect(await client.getBuffer('a')).toEqual(Buffer.from('ü'));
      expect(await client.hset('h', { one: '1', two: '2' })).toBe(2);
      expect(await client.hgetall('h')).toEqual({ one: '1', two: '2' });
      expect(await client.mget('a', 'missing', 'h')).toEqual(['ü', null, null]);
      await expect(client.incr('a')).rejects.toThrow('ERR value is not an integer or out of range');
      const replies = await client.pipeline().set('n', 1).incr('n').incrby('n', 40).get('n').exec();
      expect(replies).toEqual([
        [null, 'OK'],
        [null, 2],
        [null, 42],
        [null, '42'],
      ]);
      expect((await client.keys('*')).sort()).toEqual(['a', 'h', 'n']);
      const seen: string[] = [];
      for await (const keys of client.scanStream({ count: 1 })) seen.push(...(keys as string[]));
      expect(seen.sort()).toEqual(['a', 'h', 'n']);
      expect(await client.del('a', 'h', 'n', 'missing')).toBe(3);
      expect((await client.info()).length).toBeGreaterThan(100);
    } finally {
      client.disconnect();
    }
  });
});

describe('node-redis', () => {
  test.each([2, 3] as const)('connects by default options, RESP%i', async (RESP) => {
    const client = createClient({ socket: { port: store.port, host: '127.0.0.1' }, RESP });
    client.on('error', () => undefined);
    await client.connect();
    try {
      expect(await client.set('a', '1', { expiration: { type: 'EX', value: 100 } })).toBe('OK');
      expect(await client.get('a')).toBe('1');
      expect(await client.ttl('a')).toBeGreaterThan(90);
      expect(await client.hSet('h', { one: '1', two: '2' })).toBe(2);
      expect({ ...(await client.hGetAll('h')) }).toEqual({ one: '1', two: '2' });
      expect(await client.mSet({ x: '1', y: '2' })).toBe('OK');
      expect(await client.mGet(['x', 'y', 'z'])).toEqual(['1', '2', null]);
      expect(await Promise.all([client.incr('n'), client.incr('n'), client.incrByFloat('f', 1.5)])).toEqual([1, 2, '1.5']);
      const seen: string[] = [];
      for await (const keys of client.scanIterator({ COUNT: 2 })) seen.push(...keys);
      expect(seen.sort()).toEqual(['a', 'f', 'h', 'n', 'x', 'y']);
      await expect(client.sendCommand(['XADD', 'l', 'x'])).rejects.toThrow("unknown command 'XADD'");
      expect((await client.commandGetKeys(['SET', 'k', 'v'])).length).toBe(1);
    } finally {
      client.destroy();
    }
  });

  test('without naming a protocol', async () => {
    const client = createClient({ url: `redis://127.0.0.1:${store.port}` });
    client.on('error', () => undefined);
    await client.connect();
    expect(await client.ping()).toBe('PONG');
    await client.close();
  });
});

describe('a password', () => {
  test('is given by each client in its own way', async () => {
    const guarded = await startRedisStore({ settings: { requirepass: 'secret word' } });
    try {
      const one = new Redis({ port: guarded.port, password: 'secret word' });
      expect(await one.ping()).toBe('PONG');
      one.disconnect();
      const two = createClient({ socket: { port: guarded.port, host: '127.0.0.1' }, username: 'default', password: 'secret word' });
      two.on('error', () => undefined);
      await two.connect();
      expect(await two.ping()).toBe('PONG');
      two.destroy();
      const wrong = createClient({ socket: { port: guarded.port, host: '127.0.0.1', reconnectStrategy: false }, password: 'wrong' });
      wrong.on('error', () => undefined);
      await expect(wrong.connect()).rejects.toThrow('WRONGPASS');
    } finally {
      await guarded.close();
    }
  });
});
