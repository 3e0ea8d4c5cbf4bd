import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { InvariantError } from '../../base/assert.ts';
import { utf8 } from '../../base/bytes.ts';
import { commandArgsCodec } from './args-codec.ts';
import { type RedisValue, redisValueCodec } from './value.ts';

describe('stored values', () => {
  test('come back as they were', () => {
    const anyValue: fc.Arbitrary<RedisValue> = fc.oneof(
      fc.uint8Array({ maxLength: 2_000 }),
      fc.record({
        kind: fc.constant('hash' as const),
        fieldCount: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
        isWide: fc.boolean(),
      }),
    );
    fc.assert(
      fc.property(anyValue, (value) => {
        expect(redisValueCodec.decode(redisValueCodec.encode(value))).toEqual(value);
      }),
    );
  });

  test('keep their layout', () => {
    expect(redisValueCodec.encode(utf8('ab'))).toEqual(Uint8Array.of(0, 0x61, 0x62));
    expect(redisValueCodec.encode({ kind: 'hash', fieldCount: 0x1_0000_0002, isWide: true })).toEqual(
      Uint8Array.of(1, 1, 0, 0, 0, 1, 0, 0, 0, 2),
    );
  });

  test('that are collections are a summary, which is stored data and never changes', () => {
    const count = [0, 0, 0, 0, 0, 0, 1, 2];
    expect([...redisValueCodec.encode({ kind: 'list', length: 258, head: -2, isWide: false })]).toEqual([
      2,
      0,
      ...count,
      0xc0,
      0,
      0,
      0,
      0,
      0,
      0,
      0,
    ]);
    expect([...redisValueCodec.encode({ kind: 'set', memberCount: 258, isWide: true })]).toEqual([3, 1, ...count]);
    expect([...redisValueCodec.encode({ kind: 'zset', memberCount: 258, isWide: true, height: 3 })]).toEqual([4, 1, ...count, 3]);
    for (const value of [
      { kind: 'list', length: 0x1_0000_0002, head: -(2 ** 40), isWide: false },
      { kind: 'set', memberCount: 7, isWide: false },
      { kind: 'zset', memberCount: 0x1_0000_0002, isWide: false, height: 6 },
    ] as const)
      expect(redisValueCodec.decode(redisValueCodec.encode(value))).toEqual(value);
  });

  test('of an unknown kind stop the process that reads them', () => {
    expect(() => redisValueCodec.decode(Uint8Array.of(9, 1))).toThrow(InvariantError);
    expect(() => redisValueCodec.decode(Uint8Array.of(1, 1))).toThrow(InvariantError);
  });
});

describe('commands in a log', () => {
  test('come back as they were', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { minLength: 1 }), (args) => {
        expect(commandArgsCodec.decode(commandArgsCodec.encode(args))).toEqual(args);
      }),
    );
  });

  test('with long arguments keep their lengths', () => {
    for (const length of [127, 128, 16_383, 16_384, 3_000_000])
      expect(commandArgsCodec.decode(commandArgsCodec.encode([utf8('GET'), new Uint8Array(length)])).map((arg) => arg.length)).toEqual([
        3,
        length,
      ]);
  });

  test('keep their layout', () => {
    expect(commandArgsCodec.encode([utf8('GET'), utf8('')])).toEqual(Uint8Array.of(3, 0x47, 0x45, 0x54, 0));
    expect(() => commandArgsCodec.decode(Uint8Array.of(3, 0x47))).toThrow(InvariantError);
  });
});
