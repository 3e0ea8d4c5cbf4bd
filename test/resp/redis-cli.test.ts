import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type RedisStore, startRedisStore } from './redis-store.ts';

const hasRedisCli = spawnSync('redis-cli', ['--version']).status === 0;

interface Cli {
  readonly process: ChildProcess;
  /** What it has printed when it ends. */
  readonly printed: Promise<string>;
}

describe.skipIf(!hasRedisCli)('a real redis-cli', () => {
  let store: RedisStore;
  let redis: Redis;
  const started: ChildProcess[] = [];
  beforeAll(async () => {
    store = await startRedisStore();
    redis = new Redis({ port: store.port });
  });
  afterAll(async () => {
    for (const one of started) if (one.exitCode === null) one.kill('SIGKILL');
    redis.disconnect();
    await store.close();
  });

  function cli(...args: readonly string[]): Cli {
    const child = spawn('redis-cli', ['-p', String(store.port), ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
    started.push(child);
    let text = '';
    child.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    return { process: child, printed: new Promise((resolve) => child.once('close', () => resolve(text))) };
  }

  async function untilBlocked(count: number): Promise<void> {
    const blocked = async (): Promise<number> => [...((await redis.client('LIST')) as string).matchAll(/ flags=b/g)].length;
    await expect.poll(blocked, { timeout: 20_000, interval: 5 }).toBe(count);
  }

  test('waits in BLPOP until another one pushes, and prints key and item', { timeout: 60_000 }, async () => {
    const waiting = cli('blpop', '{q}a', '{q}b', '0');
    await untilBlocked(1);
    expect(await cli('rpush', '{q}b', 'hello', 'second').printed).toBe('2\n');
    expect(await waiting.printed).toBe('{q}b\nhello\n');
    expect(await cli('lrange', '{q}b', '0', '-1').printed).toBe('second\n');
    await redis.del('{q}b');
  });

  test('gives up after its time', { timeout: 60_000 }, async () => {
    expect(await cli('blpop', 'nothing', '0.05').printed).toBe('\n');
    expect(await cli('--no-raw', 'bzpopmin', 'nothing', '0.05').printed).toMatch(/^\(nil\)\n/);
  });

  test('that is killed while it waits takes nothing with it', { timeout: 60_000 }, async () => {
    const killed = cli('blpop', 'queue', '0');
    await untilBlocked(1);
    killed.process.kill('SIGKILL');
    await killed.printed;
    await untilBlocked(0);
    const waiting = cli('blpop', 'queue', '0');
    await untilBlocked(1);
    await redis.rpush('queue', 'only');
    expect(await waiting.printed).toBe('queue\nonly\n');
  });

  test('of several that wait, the first is served first', { timeout: 60_000 }, async () => {
    const first = cli('blmove', '{m}from', '{m}to', 'left', 'right', '0');
    await untilBlocked(1);
    const second = cli('blpop', '{m}from', '0');
    await untilBlocked(2);
    await redis.rpush('{m}from', '1', '2');
    expect(await first.printed).toBe('1\n');
    expect(await second.printed).toBe('{m}from\n2\n');
    expect(await redis.lrange('{m}to', 0, -1)).toEqual(['1']);
  });
});
