import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { InvariantError } from '../../base/assert.ts';
import { type Bytes, utf8 } from '../../base/bytes.ts';
import { messagePack } from '../message-pack.ts';
import type { ValueCodec } from '../value-module.ts';
import { commandArgsCodec, queryArgsCodec } from './args-codec.ts';
import type { CommandArgs } from './command-table.ts';
import { WRONG_TYPE } from './error-replies.ts';
import { NULL_ARRAY, OK, type Reply } from './reply.ts';
import { replyCodec } from './reply-codec.ts';
import { type RedisValue, redisValueCodec } from './value.ts';

/** The same by way of its work in place: in the middle of bytes that are other ones afterwards. */
function throughOthers<T>(codec: ValueCodec<T>, value: T): { readonly written: Bytes; readonly read: T } {
  const { size, encode, decode } = codec.inPlace!;
  const length = size(value);
  const others = new Uint8Array(length + 12).fill(0xa5);
  encode(value, others, 5);
  expect([...others.subarray(0, 5), ...others.subarray(5 + length)]).toEqual(new Array(12).fill(0xa5));
  const written = others.slice(5, 5 + length);
  const read = decode(others, 5, 5 + length);
  others.fill(0xa5);
  return { written, read };
}

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
        const bytes = redisValueCodec.encode(value);
        expect(redisValueCodec.decode(bytes)).toEqual(value);
        expect(throughOthers(redisValueCodec, value)).toEqual({ written: bytes, read: value });
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
    ] as const) {
      const bytes = redisValueCodec.encode(value);
      expect(redisValueCodec.decode(bytes)).toEqual(value);
      expect(throughOthers(redisValueCodec, value)).toEqual({ written: bytes, read: value });
    }
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
        const bytes = commandArgsCodec.encode(args);
        expect(commandArgsCodec.decode(bytes)).toEqual(args);
        expect(throughOthers<CommandArgs>(commandArgsCodec, args)).toEqual({ written: bytes, read: args });
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

describe('replies and queries between nodes', () => {
  const anyText = fc.string({ maxLength: 20 });
  const { reply: anyReply } = fc.letrec<{ reply: Reply; pair: readonly [Reply, Reply] }>((tie) => ({
    pair: fc.tuple(tie('reply'), tie('reply')),
    reply: fc.oneof(
      { maxDepth: 3 },
      fc.constantFrom<Reply>(null, OK, NULL_ARRAY, WRONG_TYPE),
      fc.maxSafeInteger().map((value) => (value === 0 ? 0 : value)),
      fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n }),
      fc.uint8Array({ maxLength: 300 }),
      fc.record({ kind: fc.constantFrom('status' as const, 'error' as const, 'double' as const), text: anyText }),
      fc.record({ kind: fc.constant('boolean' as const), value: fc.boolean() }),
      fc.record({
        kind: fc.constant('verbatim' as const),
        format: fc.constantFrom('txt' as const, 'mkd' as const),
        text: fc.uint8Array(),
      }),
      fc.array(tie('reply'), { maxLength: 4 }),
      fc.record({ kind: fc.constantFrom('set' as const, 'push' as const), items: fc.array(tie('reply'), { maxLength: 4 }) }),
      fc.record({ kind: fc.constantFrom('map' as const, 'pairs' as const), pairs: fc.array(tie('pair'), { maxLength: 3 }) }),
    ),
  }));

  test('come back as they were, and what is known by identity as the same object', () => {
    fc.assert(
      fc.property(anyReply, (reply) => {
        expect(replyCodec.decode(replyCodec.encode(reply))).toEqual(reply);
      }),
    );
    for (const shared of [OK, NULL_ARRAY, WRONG_TYPE]) expect(replyCodec.decode(replyCodec.encode(shared))).toBe(shared);
  });

  test('of sessions written before the codec was there are still read', () => {
    expect(replyCodec.decode(messagePack<Reply>().encode([1, OK]))).toEqual([1, OK]);
  });

  test('bring the chance of a query along', () => {
    const anyArgs = fc.array(fc.uint8Array({ maxLength: 200 }), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(anyArgs, fc.option(fc.integer({ min: 0, max: 0xffff_ffff })), (args, seed) => {
        const decoded = queryArgsCodec.decode(queryArgsCodec.encode(seed === null ? args : Object.assign([...args], { seed })));
        expect({ args: [...decoded], seed: decoded.seed }).toEqual({ args, seed: seed ?? undefined });
      }),
    );
  });
});
