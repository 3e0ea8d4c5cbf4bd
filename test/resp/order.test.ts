import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { utf8 } from '../../src/base/bytes.ts';
import { KeyfleetError } from '../../src/base/errors.ts';
import { OrderedKeyspace } from '../../src/resp/ordered-keyspace.ts';
import { OK, type Reply } from '../../src/shard/redis/reply.ts';
import { FakeKeyspace } from './fake-keyspace.ts';
import { type RedisStore, startRedisStore } from './redis-store.ts';

// A connection to a keyspace on other nodes, where requests and answers overtake each other.

let store: RedisStore;
let redis: Redis;
beforeAll(async () => {
  store = await startRedisStore({ isRemote: true });
  redis = new Redis({ port: store.port, maxRetriesPerRequest: 0 });
});
beforeEach(() => redis.flushall());
afterAll(async () => {
  redis?.disconnect();
  await store?.close();
});

describe('requests of one connection that do not wait for each other', () => {
  test('are carried out in their order where they are about the same key', async () => {
    const pipeline = redis.pipeline();
    for (let i = 0; i < 200; i++) pipeline.rpush('list', String(i)).set('last', String(i)).get('last');
    const replies = (await pipeline.exec())!.map(([error, reply]) => error ?? reply);
    expect(replies).toEqual(Array.from({ length: 200 }, (_, i) => [i + 1, 'OK', String(i)]).flat());
    expect(await redis.lrange('list', 0, -1)).toEqual(Array.from({ length: 200 }, (_, i) => String(i)));
  });

  test('hear of their own mistakes only', async () => {
    const replies = await redis.pipeline().set('k', 'text').incr('k').append('k', '!').hget('k', 'f').strlen('k').exec();
    expect(replies!.map(([error, reply]) => error?.message.split(' ')[0] ?? reply)).toEqual(['OK', 'ERR', 5, 'WRONGTYPE', 5]);
  });

  test('that split over many slots keep their order in each', async () => {
    const keys = Array.from({ length: 20 }, (_, i) => `k${i}`);
    const pipeline = redis.pipeline();
    for (let round = 0; round < 10; round++) pipeline.mset(Object.fromEntries(keys.map((key) => [key, String(round)]))).mget(keys);
    const replies = (await pipeline.exec())!.map(([, reply]) => reply);
    for (let round = 0; round < 10; round++) expect(replies[2 * round + 1]).toEqual(keys.map(() => String(round)));
  });

  test('find what WATCH, EXEC and FLUSHALL before them did', async () => {
    await redis.set('k', 'old');
    expect(await Promise.all([redis.flushall(), redis.get('k'), redis.set('k', 'new'), redis.dbsize()])).toEqual(['OK', null, 'OK', 1]);
    const answers = [redis.watch('k'), redis.call('MULTI'), redis.call('APPEND', 'k', '!'), redis.call('EXEC'), redis.get('k')];
    expect(await Promise.all(answers)).toEqual(['OK', 'OK', 'QUEUED', [4], 'new!']);
  });
});

describe('requests that went together', () => {
  const reply = (start: (sink: { settled(token: number, reply: Reply): void; failed(token: number, error: Error): void }) => void) =>
    new Promise<Reply | string>((resolve) =>
      start({ settled: (_, answer) => resolve(answer), failed: (_, error) => resolve((error as KeyfleetError).code) }),
    );

  test('go each by itself when one of them is refused, and hear alike when nobody knows', async () => {
    const there = new FakeKeyspace('later');
    const ordered = new OrderedKeyspace(there);
    const set = (key: string, value: string) => reply((sink) => ordered.submit(utf8(key), ['SET', key, value].map(utf8), sink, 0));
    for (const [code, others] of [
      ['KF_VALUE_TOO_LARGE', OK],
      ['KF_OUTCOME_UNKNOWN', 'KF_OUTCOME_UNKNOWN'],
    ] as const) {
      there.failing = { key: 'bad{t}', error: new KeyfleetError(code, 'no') };
      const [first, ...rest] = await Promise.all([set('a{t}', '1'), set('b{t}', '2'), set('bad{t}', '3'), set('c{t}', '4')]);
      expect(first).toBe(OK);
      expect(rest).toEqual([others, code, others]);
    }
  });
});
