import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type RedisStore, startRedisStore } from './redis-store.ts';

// Clients that wait, and clients that make transactions, as people use them: several at once; and the same where the keys are on another node.

describe.each([
  { where: 'in this process', isRemote: false },
  { where: 'on another node', isRemote: true },
])('with the keys $where,', ({ isRemote }) => {
  let store: RedisStore;
  const clients: Redis[] = [];
  beforeAll(async () => {
    store = await startRedisStore({ isRemote });
  });
  afterEach(async () => {
    const admin = client();
    await admin.flushall();
    for (const one of clients.splice(0)) one.disconnect();
  });
  afterAll(() => store.close());

  function client(): Redis {
    const redis = new Redis({ port: store.port, maxRetriesPerRequest: 0, retryStrategy: () => null });
    redis.on('error', () => {});
    clients.push(redis);
    return redis;
  }

  /** Resolves when so many clients wait, and nothing has been found for them. */
  async function untilBlocked(admin: Redis, count: number): Promise<void> {
    for (let i = 0; i < 500; i++) {
      const list = (await admin.client('LIST')) as string;
      if ([...list.matchAll(/ flags=b/g)].length === count) return store.idle();
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    throw new Error(`never were ${count} clients blocked`);
  }

  describe('a client that waits', () => {
    test('is woken by a push, and answers the key and the item', async () => {
      const [waiting, pushing] = [client(), client()];
      const popped = waiting.blpop('a{q}', 'b{q}', 0);
      await untilBlocked(pushing, 1);
      expect(await pushing.rpush('b{q}', 'x', 'y')).toBe(2);
      expect(await popped).toEqual(['b{q}', 'x']);
      expect(await pushing.lrange('b{q}', 0, -1)).toEqual(['y']);
    });

    test('gets its turn in the order of arrival', async () => {
      const pushing = client();
      const popped: Promise<unknown>[] = [];
      for (let i = 0; i < 3; i++) {
        popped.push(client().brpop('q', 0));
        await untilBlocked(pushing, i + 1);
      }
      expect(await pushing.rpush('q', '1', '2')).toBe(2);
      expect(await popped[0]).toEqual(['q', '2']);
      expect(await popped[1]).toEqual(['q', '1']);
      await untilBlocked(pushing, 1);
      await pushing.rpush('q', '3');
      expect(await popped[2]).toEqual(['q', '3']);
      expect(await pushing.exists('q')).toBe(0);
    });

    test('waits no longer than it said, and answers nothing then', async () => {
      const waiting = client();
      const startedMs = performance.now();
      expect(await waiting.blpop('q', 0.05)).toBeNull();
      expect(performance.now() - startedMs).toBeGreaterThanOrEqual(45);
      expect(await waiting.ping()).toBe('PONG');
    });

    test('moves what comes from one list to another, for whom somebody waits in turn', async () => {
      const [first, second, pushing] = [client(), client(), client()];
      const moved = first.blmove('from{q}', 'to{q}', 'LEFT', 'RIGHT', 0);
      const popped = second.blpop('to{q}', 0);
      await untilBlocked(pushing, 2);
      await pushing.lpush('from{q}', 'x');
      expect(await moved).toBe('x');
      expect(await popped).toEqual(['to{q}', 'x']);
    });

    test('is not woken by a key that became something else', async () => {
      const [waiting, other] = [client(), client()];
      const popped = waiting.blpop('q', 0);
      await untilBlocked(other, 1);
      await other.sadd('q', 'member');
      await untilBlocked(other, 1);
      await other.del('q');
      await other.rpush('q', 'x');
      expect(await popped).toEqual(['q', 'x']);
    });

    test('takes members of sorted sets, and finds what a transaction, RENAME or ZUNIONSTORE made', async () => {
      const pushing = client();
      const waits = [client().bzpopmin('z{q}', 0), client().bzpopmax('y{q}', 0), client().blpop('l{q}', 0)];
      await untilBlocked(pushing, 3);
      await pushing.multi().zadd('x{q}', 1, 'a', 2, 'b').zunionstore('y{q}', 1, 'x{q}').zrem('x{q}', 'b').exec();
      expect(await waits[1]).toEqual(['y{q}', 'b', '2']);
      await pushing.rename('x{q}', 'z{q}');
      expect(await waits[0]).toEqual(['z{q}', 'a', '1']);
      await pushing.multi().rpush('l{q}', '1').lpop('l{q}').rpush('l{q}', '2').exec();
      expect(await waits[2]).toEqual(['l{q}', '2']);
    });

    test('is let go by CLIENT UNBLOCK, with nothing or an error', async () => {
      const [one, two, admin] = [client(), client(), client()];
      const ids = await Promise.all([one.client('ID'), two.client('ID')]);
      const waits = [one.blpop('q', 0), two.blpop('q', 0).catch((error: Error) => error.message)];
      await untilBlocked(admin, 2);
      expect(await admin.call('CLIENT', 'UNBLOCK', String(ids[0]))).toBe(1);
      expect(await admin.call('CLIENT', 'UNBLOCK', String(ids[1]), 'ERROR')).toBe(1);
      expect(await waits[0]).toBeNull();
      expect(await waits[1]).toBe('UNBLOCKED client unblocked via CLIENT UNBLOCK');
      expect(await admin.call('CLIENT', 'UNBLOCK', String(ids[0]))).toBe(0);
    });

    test('loses nothing to a client that has gone', async () => {
      const [gone, admin] = [client(), client()];
      gone.blpop('q', 0).catch(() => {});
      await untilBlocked(admin, 1);
      gone.disconnect();
      await untilBlocked(admin, 0);
      await store.idle();
      await admin.rpush('q', 'x');
      expect(await admin.lrange('q', 0, -1)).toEqual(['x']);
    });

    test('starts its later requests when it has its answer', async () => {
      const [waiting, pushing] = [client(), client()];
      const answers = Promise.all([waiting.blpop('q', 0), waiting.get('k')]);
      await untilBlocked(pushing, 1);
      await pushing.set('k', 'after');
      await pushing.rpush('q', 'x');
      expect(await answers).toEqual([['q', 'x'], 'after']);
    });

    test('many of them share what many push: every item is taken exactly once', async () => {
      const items = 400;
      const takers = Array.from({ length: 8 }, () => client());
      const pushers = Array.from({ length: 4 }, () => client());
      const taken: string[] = [];
      const taking = takers.map(async (taker) => {
        for (let next = await taker.blpop('q', 2); next !== null && next[1] !== 'end'; next = await taker.blpop('q', 2))
          taken.push(next[1]);
      });
      await Promise.all(
        pushers.map(async (pusher, p) => {
          for (let i = 0; i < items / pushers.length; i++) await pusher.rpush('q', `${p}:${i}`);
        }),
      );
      await pushers[0]!.rpush('q', ...takers.map(() => 'end'));
      await Promise.all(taking);
      expect(taken.length).toBe(items);
      expect(new Set(taken).size).toBe(items);
    });
  });

  describe('a transaction', () => {
    test('is carried out as a whole, each command seeing those before it', async () => {
      const redis = client();
      const replies = await redis
        .multi()
        .set('a', '1')
        .incr('a')
        .del('a')
        .lpush('a', 'x')
        .expire('a', 100)
        .type('a')
        .ttl('a')
        .ping()
        .exec();
      expect(replies?.map(([, reply]) => reply)).toEqual(['OK', 2, 1, 1, 1, 'list', 100, 'PONG']);
      expect(await redis.lrange('a', 0, -1)).toEqual(['x']);
    });

    test('goes on behind a command that fails', async () => {
      const redis = client();
      const replies = await redis.multi().set('a', 'text').incr('a').append('a', '!').exec();
      expect(replies?.map(([error, reply]) => error?.message ?? reply)).toEqual(['OK', 'ERR value is not an integer or out of range', 5]);
    });

    test('leaves nothing of a collection that it removed and made anew', async () => {
      const redis = client();
      await redis.hset('h{t}', 'old', '1');
      await redis.set('other{t}', 'x');
      await redis.multi().del('h{t}', 'other{t}').hset('h{t}', 'new', '2').rename('h{t}', 'moved{t}').exec();
      expect(await redis.hgetall('moved{t}')).toEqual({ new: '2' });
      expect(await redis.exists('h{t}')).toBe(0);
    });

    test('does nothing when a key that it watches has changed', async () => {
      const [redis, other] = [client(), client()];
      await redis.watch('w');
      await other.set('w', 'theirs');
      expect(await redis.multi().set('w', 'ours').exec()).toBeNull();
      expect(await redis.get('w')).toBe('theirs');
      expect(await redis.multi().set('w', 'ours').exec()).toEqual([[null, 'OK']]);
    });

    test('does nothing when a key that it watches has expired', async () => {
      const redis = client();
      await redis.psetex('w', 20, 'x');
      await redis.watch('w');
      await new Promise((resolve) => setTimeout(resolve, 40));
      expect(await redis.multi().set('a{w}', '1').exec()).toBeNull();
    });

    test('is carried out when another key changed, or the watch was given up', async () => {
      const [redis, other] = [client(), client()];
      await redis.watch('w');
      await other.set('v', '1');
      expect(await redis.multi().get('w').exec()).toEqual([[null, null]]);
      await redis.watch('w');
      await other.set('w', '1');
      await redis.unwatch();
      expect(await redis.multi().get('w').exec()).toEqual([[null, '1']]);
    });

    test('counts right when everybody counts by WATCH', async () => {
      const counters = Array.from({ length: 6 }, () => client());
      await Promise.all(
        counters.map(async (redis) => {
          for (let done = 0; done < 10; ) {
            await redis.watch('n');
            const now = Number((await redis.get('n')) ?? 0);
            if (
              (await redis
                .multi()
                .set('n', now + 1)
                .exec()) !== null
            )
              done++;
          }
        }),
      );
      expect(await counters[0]!.get('n')).toBe('60');
    });

    test('has its keys in one slot: CROSSSLOT, then EXECABORT', async () => {
      const redis = client();
      await redis.call('MULTI');
      await redis.call('SET', 'a', '1');
      await expect(redis.call('SET', 'b', '1')).rejects.toThrow('CROSSSLOT');
      await expect(redis.call('EXEC')).rejects.toThrow('EXECABORT');
      expect(await redis.exists('a')).toBe(0);
    });

    test('waits for nobody', async () => {
      const redis = client();
      expect(await redis.multi().blpop('q', 0).rpush('q', 'x').blpop('q', 0).exec()).toEqual([
        [null, null],
        [null, 1],
        [null, ['q', 'x']],
      ]);
    });
  });
});
