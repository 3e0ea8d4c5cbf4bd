import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fromUtf8, utf8 } from '../../base/bytes.ts';
import { addIntegers, INT64_MAX, INT64_MIN, integerBytes, negate, parseInteger } from './integer.ts';

/** Of any size within 64 bits, half of them small or near an edge. */
const anyInt64 = fc.oneof(
  fc.bigInt({ min: INT64_MIN, max: INT64_MAX }),
  fc.bigInt({ min: -1_000n, max: 1_000n }),
  fc.bigInt({ min: -5n, max: 5n }).map((near) => BigInt(Number.MAX_SAFE_INTEGER) + near),
  fc.bigInt({ min: 0n, max: 5n }).map((near) => INT64_MAX - near),
  fc.bigInt({ min: 0n, max: 5n }).map((near) => INT64_MIN + near),
);
const inRange = (value: bigint) => value >= INT64_MIN && value <= INT64_MAX;
const parsed = (text: string) => parseInteger(utf8(text));

describe('integers of 64 bits', () => {
  test('are read and written as their decimal digits', () => {
    fc.assert(
      fc.property(anyInt64, (value) => {
        const read = parsed(String(value))!;
        expect(BigInt(read)).toBe(value);
        expect(fromUtf8(integerBytes(read))).toBe(String(value));
      }),
    );
  });

  test('are JavaScript numbers exactly when these are safe', () => {
    fc.assert(
      fc.property(anyInt64, (value) => {
        expect(typeof parsed(String(value))).toBe(Number.isSafeInteger(Number(value)) ? 'number' : 'bigint');
      }),
    );
  });

  test('are not read from anything else', () => {
    for (const text of ['', '-', '+1', ' 1', '1 ', '01', '-0', '-01', '1.0', '1e3', '0x1', '9223372036854775808', '-9223372036854775809'])
      expect({ text, value: parsed(text) }).toEqual({ text, value: undefined });
    fc.assert(
      fc.property(fc.string({ maxLength: 22 }), (text) => {
        expect(parsed(text) !== undefined).toBe(/^(0|-?[1-9]\d*)$/.test(text) && inRange(BigInt(text)));
      }),
    );
  });

  test('are added exactly, or not at all when the sum overflows', () => {
    fc.assert(
      fc.property(anyInt64, anyInt64, (a, b) => {
        const sum = addIntegers(parsed(String(a))!, parsed(String(b))!);
        expect(sum === undefined ? undefined : BigInt(sum)).toBe(inRange(a + b) ? a + b : undefined);
      }),
    );
  });

  test('are negated, but for the least', () => {
    expect(negate(INT64_MIN)).toBeUndefined();
    expect(Object.is(negate(0), 0)).toBe(true);
    fc.assert(fc.property(anyInt64, (value) => value === INT64_MIN || BigInt(negate(parsed(String(value))!)!) === -value));
  });
});
