import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fromUtf8, utf8 } from './bytes.ts';

describe('the UTF-8 bytes of a text', () => {
  test('are those that the platform gives, however short or long it is, with surrogates that stand alone too', () => {
    const encoder = new TextEncoder();
    const text = fc.oneof(fc.string(), fc.string({ unit: 'binary' }), fc.string({ unit: 'binary', maxLength: 33 }), fc.constant('\ud800a'));
    const holds = fc.property(text, (one) => {
      expect([...utf8(one)]).toEqual([...encoder.encode(one)]);
    });
    fc.assert(holds, { numRuns: 500, seed: 1 });
    for (const length of [0, 1, 31, 32, 33, 1_000]) expect(fromUtf8(utf8('x'.repeat(length)))).toBe('x'.repeat(length));
  });
});
