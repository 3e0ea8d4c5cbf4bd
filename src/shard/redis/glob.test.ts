import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { hasRealRedis, type RealRedis, startRealRedis } from '../../../test/redis-differential/real-redis.ts';
import type { RedisConnection } from '../../../test/redis-differential/redis-connection.ts';
import { type Bytes, utf8 } from '../../base/bytes.ts';
import { Prng } from '../../base/prng.ts';
import { matchesGlob } from './glob.ts';
import type { Reply } from './reply.ts';

const matches = (pattern: string, text: string) => matchesGlob(utf8(pattern), utf8(text));

describe('a glob pattern', () => {
  test.each([
    ['', '', true],
    ['', 'a', false],
    ['*', '', true],
    ['**', '', false],
    ['**', 'a', true],
    ['a*c', 'abc', true],
    ['a*c', 'abcd', false],
    ['a?c', 'abc', true],
    ['a?c', 'ac', false],
    ['*a*b', 'xaxxb', true],
    ['user:[0-9]', 'user:7', true],
    ['user:[^0-9]', 'user:7', false],
    ['user:[9-0]', 'user:7', true],
    ['[abc', 'c', true],
    ['[', 'x', false],
    ['\\*', '*', true],
    ['\\*', 'a', false],
    ['a\\', 'a\\', true],
    ['[\\]]', ']', true],
    ['[a-]', '-', false],
    ['[a-]', '_', true],
  ])('%j on %j: %s', (pattern, text, expected) => {
    expect(matches(pattern, text)).toBe(expected);
  });

  test('of many stars costs no more than pattern times text', () => {
    expect(matches(`${'a*'.repeat(200)}b`, 'a'.repeat(5_000))).toBe(false);
  });
});

describe.skipIf(!hasRealRedis)('glob patterns beside a real redis-server', () => {
  let redis: RealRedis;
  let connection: RedisConnection;
  beforeAll(async () => {
    redis = await startRealRedis();
    connection = await redis.connect();
  });
  afterAll(async () => {
    connection?.close();
    await redis?.stop();
  });

  test('match the same texts', async () => {
    const prng = new Prng(20_260_101);
    const some = (alphabet: readonly number[], most: number): Bytes =>
      Uint8Array.from({ length: prng.below(most + 1) }, () => prng.pick(alphabet));
    const letters = [...utf8('aaabbc19-]^\\['), 0x00, 0x80, 0xff];
    const texts = new Map<string, Bytes>();
    for (let i = 0; i < 300; i++) {
      const text = some(letters, 7);
      texts.set(show(text), text);
    }
    for (const text of texts.values()) await connection.send(['HSET', 'texts', text, '']);
    const signs = [...utf8('aabbc19**??[[]]^--\\\\'), 0x80, 0xff];
    const patterns = Array.from({ length: 3_000 }, () => some(signs, 9));
    const replies = await Promise.all(patterns.map((pattern) => connection.send(['HSCAN', 'texts', '0', 'MATCH', pattern])));
    patterns.forEach((pattern, i) => {
      const [, found] = replies[i] as [Reply, Bytes[]];
      const wanted = found.filter((_, at) => at % 2 === 0).map(show);
      const ours = [...texts.values()].filter((text) => matchesGlob(pattern, text)).map(show);
      expect({ pattern: show(pattern), found: ours.sort() }).toEqual({ pattern: show(pattern), found: wanted.sort() });
    });
  });
});

function show(bytes: Bytes): string {
  return Buffer.from(bytes).toString('latin1');
}
