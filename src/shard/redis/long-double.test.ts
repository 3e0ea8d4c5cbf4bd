import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { hasRealRedis, type RealRedis, startRealRedis } from '../../../test/redis-differential/real-redis.ts';
import type { RedisConnection } from '../../../test/redis-differential/redis-connection.ts';
import { fromUtf8, utf8 } from '../../base/bytes.ts';
import { Prng } from '../../base/prng.ts';
import { addLongDoubles, longDoubleBytes, parseLongDouble } from './long-double.ts';

/** What INCRBYFLOAT makes of the two. */
function sum(a: string, b: string): string {
  const [x, y] = [parseLongDouble(utf8(a)), parseLongDouble(utf8(b))];
  if (x === undefined || y === undefined) return 'not a float';
  const total = addLongDoubles(x, y);
  return total === undefined || typeof total === 'string' ? 'no number' : fromUtf8(longDoubleBytes(total));
}

describe('sums of long doubles', () => {
  test.each([
    ['10.5', '0.1', '10.6'],
    ['5.0e3', '2.0e2', '5200'],
    ['3.0', '1.1', '4.1'],
    ['0', '-0', '0'],
    ['1', '-1e-30', '1'],
    ['0.1', '0.2', '0.3'],
    ['18446744073709551617', '0', '18446744073709551616'],
    ['18446744073709551615', '0.5', '18446744073709551616'],
    ['0x1.8p1', '.5', '3.5'],
    ['inf', '1', 'no number'],
    ['inf', '-inf', 'no number'],
    ['1.1e4932', '1.1e4932', 'no number'],
    ['1e5000', '1', 'not a float'],
    ['1e-5000', '1', 'not a float'],
    ['nan', '1', 'not a float'],
    ['1 ', '1', 'not a float'],
    ['', '1', 'not a float'],
  ])('%s + %s = %s', (a, b, expected) => {
    expect(sum(a, b)).toBe(expected);
  });
});

describe.skipIf(!hasRealRedis)('long doubles beside a real redis-server', () => {
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

  test('are read, added and printed the same, ties and extremes included', async () => {
    const prng = new Prng(20_260_102);
    const bits = (count: number): bigint =>
      BigInt.asUintN(count, (BigInt(prng.u32()) << 64n) | (BigInt(prng.u32()) << 32n) | BigInt(prng.u32()));
    const digits = (most: number): string => Array.from({ length: 1 + prng.below(most) }, () => prng.below(10)).join('');
    const sign = (): string => prng.pick(['', '-', '+']);
    const kinds: (() => string)[] = [
      () => `${sign()}${digits(8)}.${digits(20)}`,
      () => `${sign()}${digits(30)}`,
      () => `${sign()}${digits(3)}.${digits(30)}e${prng.below(60) - 40}`,
      // 65 and 66 bits: halves and quarters of the last place, where rounding decides.
      () => `${sign()}${(1n << 64n) | bits(64)}`,
      () => `${sign()}${(1n << 65n) | bits(65)}`,
      () => `${sign()}${exactDecimal((1n << 64n) | bits(64), prng.below(80))}`,
      () => `${sign()}${exactDecimal(bits(20), 18 + prng.below(8))}`,
      () => `${sign()}0x${bits(90).toString(16)}.${bits(40).toString(16)}p${prng.below(200) - 150}`,
      () => `${sign()}${digits(4)}.${digits(4)}e${prng.pick(['', '-'])}${4900 + prng.below(70)}`,
      () => `${sign()}${prng.below(1000)}`,
    ];
    const pairs = Array.from({ length: 4_000 }, () => [prng.pick(kinds)(), prng.pick(kinds)()] as const);
    const replies = await Promise.all(
      pairs.map(async ([a, b]) => {
        void connection.send(['SET', 'k', a]);
        const reply = await connection.send(['INCRBYFLOAT', 'k', b]);
        return reply instanceof Uint8Array ? fromUtf8(reply) : (reply as { text: string }).text;
      }),
    );
    const texts: Readonly<Record<string, string>> = {
      'ERR value is not a valid float': 'not a float',
      'ERR increment would produce NaN or Infinity': 'no number',
    };
    pairs.forEach(([a, b], i) => {
      expect(`${a} + ${b} = ${sum(a, b)}`).toBe(`${a} + ${b} = ${texts[replies[i]!] ?? replies[i]}`);
    });
  });
});

/** `value ÷ 2^power`, all its decimals. */
function exactDecimal(value: bigint, power: number): string {
  const text = String(value * 5n ** BigInt(power)).padStart(power + 1, '0');
  return power === 0 ? text : `${text.slice(0, -power)}.${text.slice(-power)}`;
}
