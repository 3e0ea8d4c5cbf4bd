import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { textOf } from '../../src/pool/moves/move-link.ts';
import { MovePace } from '../../src/pool/moves/move-pace.ts';
import type { Reply } from '../../src/shard/redis/reply.ts';
import { OneMove, SLOW } from './one-move.ts';
import { hasRedis } from './redis-servers.ts';

// What a move promises beyond the stresses: keys that are hot, large, or several to a command, and limits.

let pool: OneMove;
beforeEach(async () => {
  if (hasRedis) pool = await OneMove.open();
});
afterEach(async () => {
  await pool?.close();
});

describe.runIf(hasRedis)('a move', () => {
  test('needs no special care for hot keys: no increment is lost, and none is done twice', async () => {
    const [one, other] = await pool.start(SLOW);
    const counts = new Map<string, number>();
    let isOver = false;
    const hot = Array.from({ length: 12 }, async (_, lane) => {
      for (let turn = 0; !isOver; turn++) {
        const key = `hot:${(lane + turn) % 3}`;
        const reply = await (lane % 2 === 0 ? one! : other!).call('INCR', [key]);
        expect(typeof reply).toBe('number');
        counts.set(key, (counts.get(key) ?? 0) + 1);
      }
    });
    await pool.move();
    await pool.engine.settled();
    isOver = true;
    await Promise.all(hot);
    for (const [key, count] of counts) expect([key, textOf(await one!.call('GET', [key], [], 'read'))]).toEqual([key, String(count)]);
    await pool.expectArrived(one!);
  }, 60_000);

  test('copies a large value piece by piece, while its readers are answered and its writers wait', async () => {
    const [router, other] = await pool.start({ limits: { largeElements: 500 } });
    const fields = Array.from({ length: 4_000 }, (_, i) => [`field ${i}`, String(i)]).flat();
    await router!.call('HSET', ['large'], fields);
    // Each piece takes a while to the target, so that it can be watched.
    pool.proxies[1]!.plan = { delayMs: () => 50 };
    await pool.move();
    await pool.until(
      async () => Number(await pool.servers[0]!.client.request('EXISTS', 'large')) === 1 && (await isPaged()),
      'a value that is being paged',
    );
    let isWritten = false;
    const written = router!.call('HINCRBY', ['large'], ['field 7', 1]).then((reply) => {
      isWritten = true;
      return reply;
    });
    expect(await other!.call('HGET', ['large'], ['field 7'], 'read')).toEqual(Buffer.from('7'));
    expect(isWritten).toBe(false);
    pool.proxies[1]!.plan = {};
    expect(await written).toBe(8);
    await pool.engine.settled();
    expect(await pool.servers[1]!.client.request('HLEN', 'large')).toBe(4_000);
    expect(await router!.call('HGET', ['large'], ['field 7'], 'read')).toEqual(Buffer.from('8'));
    await pool.expectArrived(router!);

    async function isPaged(): Promise<boolean> {
      return ((await pool.servers[1]!.client.request('KEYS', '__kf:part:p.*')) as readonly Reply[]).length > 0;
    }
  }, 60_000);

  test('stops at a value that would keep its writers waiting too long, and goes on when the limit is raised', async () => {
    const [router] = await pool.start({ limits: { mostBytes: 50_000 } });
    await router!.call('SET', ['huge'], ['x'.repeat(100_000)]);
    await pool.move();
    await expect(pool.engine.settled()).rejects.toMatchObject({
      code: 'KF_POOL_KEY_TOO_LARGE',
      message: expect.stringContaining('"huge"'),
    });
    expect(await router!.call('APPEND', ['huge'], ['y'])).toBe(100_001);
    pool.engine.limits = { ...pool.engine.limits, mostBytes: 1_000_000 };
    await pool.engine.resume();
    await pool.engine.settled();
    expect(await router!.call('STRLEN', ['huge'], [], 'read')).toBe(100_001);
    await pool.expectArrived(router!);
  }, 60_000);

  test('carries out commands on several keys of which some have moved: the mover brings the rest first', async () => {
    const [router] = await pool.start(SLOW);
    const pairs = 60;
    for (let i = 0; i < pairs; i++) await router!.call('SADD', [`{${i}}one`], ['a', 'b', 'c', 'd']);
    await pool.move();
    const members = ['a', 'b', 'c', 'd'];
    for (let i = 0; i < pairs; i++) {
      const keys = [`{${i}}one`, `{${i}}two`];
      for (const member of members) expect(await router!.call('SMOVE', keys, [member])).toBe(1);
      expect(await router!.call('SCARD', [keys[1]!], [], 'read')).toBe(4);
      expect(await router!.call('EXISTS', [keys[0]!], [], 'read')).toBe(0);
    }
    await pool.engine.settled();
    for (let i = 0; i < pairs; i++) expect(await router!.call('SCARD', [`{${i}}two`], [], 'read')).toBe(4);
    await pool.expectArrived(router!);
  }, 60_000);

  test.each(['before it begins', 'in its middle'])(
    'copies by type when the target does not read the DUMP of the source, as is found %s',
    async (when) => {
      const [router] = await pool.start();
      const writes: readonly (readonly [string, string, ...(string | number)[]])[] = [
        ['SET', 'text', 'é\0', 'PXAT', 4_102_444_800_123],
        ['RPUSH', 'list', 'a', 'b', 'c'],
        ['SADD', 'set', 'x', 'y', '3'],
        ['HSET', 'hash', 'f', 'v', 'g', 'w'],
        ['ZADD', 'zset', 1.5, 'low', 2, 'high'],
        ['XADD', 'stream', '5-1', 'n', 1],
      ];
      const look = async (): Promise<unknown[]> => {
        const reads: readonly (readonly [string, string, ...(string | number)[]])[] = [
          ['GET', 'text'],
          ['PEXPIRETIME', 'text'],
          ['LRANGE', 'list', 0, -1],
          ['SMEMBERS', 'set'],
          ['HGETALL', 'hash'],
          ['ZRANGE', 'zset', 0, -1, 'WITHSCORES'],
          ['XRANGE', 'stream', '-', '+'],
        ];
        const replies = await Promise.all(reads.map(([name, key, ...rest]) => router!.call(name, [key], rest, 'read')));
        return replies.map((reply, i) =>
          reads[i]![0] === 'SMEMBERS'
            ? (reply as Uint8Array[])
                .map((one) => textOf(one))
                .sort()
                .join()
            : reply,
        );
      };
      for (const [name, key, ...rest] of writes) await router!.call(name, [key], rest);
      const before = await look();
      // A later version of Redis or Valkey writes another number at the end of a DUMP, which a real server refuses by itself.
      const foreign = { change: (chunk: Buffer) => asOfAnotherVersion(chunk) };
      if (when === 'before it begins') pool.proxies[1]!.plan = foreign;
      else
        pool.proxies[1]!.plan = {
          change: (chunk) => (chunk.includes('__kf:part:probe') ? chunk : asOfAnotherVersion(chunk)),
        };
      await pool.move();
      await pool.engine.settled();
      expect(changed).toBeGreaterThan(0);
      expect(pool.engine.limits.byType).toBe(when === 'before it begins');
      expect(await look()).toEqual(before);
      await pool.expectArrived(router!);
    },
  );

  test('is not planned between pool.servers whose clocks are apart', async () => {
    await pool.start();
    pool.proxies[1]!.plan = {
      answer: (chunk) =>
        Buffer.from(
          chunk.toString('latin1').replace(/^(\*2\r\n\$10\r\n)(\d{10})/, (_, head, seconds) => `${head}${Number(seconds) + 2}`),
          'latin1',
        ),
    };
    await expect(pool.move()).rejects.toThrow(/clocks of .* ms apart: times to live would not be the same/);
  });
});

let changed = 0;
/** Changes the version, 10 for Redis 7.0, that stands before the checksum at the end of each DUMP in a chunk. */
function asOfAnotherVersion(chunk: Buffer): Buffer {
  const copy = Buffer.from(chunk);
  for (let at = copy.indexOf('\n\0'); at >= 0; at = copy.indexOf('\n\0', at + 1)) {
    if (copy.subarray(at + 10, at + 12).toString('latin1') !== '\r\n') continue;
    copy[at] = 80;
    changed++;
  }
  return copy;
}

test('a walk goes slower while those in the foreground wait longer than they are to, and at full speed when they do not', () => {
  vi.useFakeTimers({ toFake: ['performance'] });
  try {
    let foregroundMs: number | undefined = 20;
    const pace = new MovePace({ foregroundP99Ms: 5 }, () => foregroundMs);
    const look = (times: number): number[] =>
      Array.from({ length: times }, () => {
        vi.advanceTimersByTime(300);
        pace.note();
        return pace.pauseMs;
      });
    expect(look(10)).toEqual([1, 2, 4, 8, 16, 32, 64, 128, 200, 200]);
    foregroundMs = 3;
    expect(look(3)).toEqual([150, 112.5, 84.375]);
    expect(look(20).at(-1)).toBe(0);
    // Nobody measures: it stays as it is.
    foregroundMs = undefined;
    expect(look(1)).toEqual([0]);
  } finally {
    vi.useRealTimers();
  }
});
