import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Bytes, concatBytes, fromUtf8, utf8 } from '../../base/bytes.ts';
import { errorReply, NULL_ARRAY, OK, type Reply } from '../../shard/redis/reply.ts';
import { ReplyParser } from './reply-parser.ts';
import { REPLY_BROKEN, REPLY_WHOLE, ReplyScanner } from './reply-scanner.ts';
import { ReplyWriter, type RespVersion, UNCOPIED_BYTES } from './reply-writer.ts';

function write(replies: readonly Reply[], version: RespVersion): Bytes {
  const writer = new ReplyWriter();
  let length = 0;
  for (const reply of replies) writer.write(reply, version);
  length = writer.length;
  const bytes = concatBytes(...writer.take().chunks);
  expect(bytes.length).toBe(length);
  return bytes;
}

const text = (reply: Reply, version: RespVersion): string => fromUtf8(write([reply], version));

const word = fc.stringMatching(/^[ -~é€]{0,20}$/);
const scalar: fc.Arbitrary<Reply> = fc.oneof(
  fc.maxSafeInteger(),
  fc.integer({ min: -20, max: 200 }),
  fc.bigInt({ min: 2n ** 53n, max: 2n ** 80n }),
  fc.uint8Array({ maxLength: 100 }),
  fc.constant(null),
  word.map((status) => (status === 'OK' ? OK : ({ kind: 'status', text: status } as const))),
  word.map(errorReply),
  fc.constantFrom('1', '3.14', 'inf', '-inf', '1e+300').map((double) => ({ kind: 'double', text: double }) as const),
  fc.boolean().map((value) => ({ kind: 'boolean', value }) as const),
  fc.uint8Array({ maxLength: 30 }).map((bytes) => ({ kind: 'verbatim', format: 'txt', text: bytes }) as const),
);
const reply: fc.Arbitrary<Reply> = fc.letrec<{ reply: Reply }>((tie) => ({
  reply: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    scalar,
    fc.array(tie('reply'), { maxLength: 4 }),
    fc.array(tie('reply'), { maxLength: 4 }).map((items) => ({ kind: 'set', items }) as const),
    fc.array(tie('reply'), { maxLength: 4 }).map((items) => ({ kind: 'push', items }) as const),
    fc.array(fc.tuple(tie('reply'), tie('reply')), { maxLength: 3 }).map((pairs) => ({ kind: 'map', pairs }) as const),
  ),
})).reply;

/** Buffers and arrays of bytes compare equal; so do views and copies. */
const plain = (value: Reply): unknown =>
  JSON.parse(
    JSON.stringify(value, (_, one: unknown) =>
      one instanceof Uint8Array ? `bytes:${[...one]}` : typeof one === 'bigint' ? `big:${one}` : one,
    ),
  );

describe('replies', () => {
  test('written as RESP3 read back as they were, whole and byte by byte', () => {
    fc.assert(
      fc.property(fc.array(reply, { maxLength: 5 }), (replies) => {
        const bytes = write(replies, 3);
        expect(new ReplyParser().push(bytes).map(plain)).toEqual(replies.map(plain));
        const parser = new ReplyParser();
        expect(
          Array.from(bytes, (byte) => parser.push(Uint8Array.of(byte)))
            .flat()
            .map(plain),
        ).toEqual(replies.map(plain));
        expect(parser.pendingBytes).toBe(0);
      }),
      { numRuns: 300 },
    );
  });

  test('written as RESP2 are one reply each, in the types that RESP2 has', () => {
    fc.assert(
      fc.property(reply, (one) => {
        const bytes = write([one], 2);
        const scanner = new ReplyScanner();
        scanner.push(bytes);
        expect(scanner.next()).toBe(REPLY_WHOLE);
        expect([scanner.start, scanner.end]).toEqual([0, bytes.length]);
        expect('+-:$*').toContain(String.fromCharCode(scanner.type));
      }),
      { numRuns: 300 },
    );
  });

  test('have the known forms', () => {
    const both = (one: Reply): string[] => [text(one, 2), text(one, 3)];
    expect(both(OK)).toEqual(['+OK\r\n', '+OK\r\n']);
    expect(both(null)).toEqual(['$-1\r\n', '_\r\n']);
    expect(both(NULL_ARRAY)).toEqual(['*-1\r\n', '_\r\n']);
    expect(both(utf8('é'))).toEqual(['$2\r\né\r\n', '$2\r\né\r\n']);
    expect(both(-7)).toEqual([':-7\r\n', ':-7\r\n']);
    expect(both(2n ** 63n - 1n)).toEqual([':9223372036854775807\r\n', ':9223372036854775807\r\n']);
    expect(both({ kind: 'double', text: '1.5' })).toEqual(['$3\r\n1.5\r\n', ',1.5\r\n']);
    expect(both({ kind: 'boolean', value: true })).toEqual([':1\r\n', '#t\r\n']);
    expect(both({ kind: 'map', pairs: [[1, [2]]] })).toEqual(['*2\r\n:1\r\n*1\r\n:2\r\n', '%1\r\n:1\r\n*1\r\n:2\r\n']);
    expect(both({ kind: 'pairs', pairs: [[1, 2]] })).toEqual(['*2\r\n:1\r\n:2\r\n', '*1\r\n*2\r\n:1\r\n:2\r\n']);
    expect(both({ kind: 'verbatim', format: 'txt', text: utf8('x') })).toEqual(['$1\r\nx\r\n', '=5\r\ntxt:x\r\n']);
    expect(both(errorReply('ERR two\r\nlines'))).toEqual(['-ERR two  lines\r\n', '-ERR two  lines\r\n']);
  });

  test('write every integer as its digits', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.maxSafeInteger(), fc.constantFrom(0, 9, 10, 99, 100, 2 ** 31 - 1, 2 ** 31, -(2 ** 31), 2 ** 53 - 1)),
        (value) => {
          expect(text(value, 2)).toBe(`:${value}\r\n`);
        },
      ),
    );
  });

  test('do not copy long strings, and keep the order around them', () => {
    const long = new Uint8Array(UNCOPIED_BYTES).fill(65);
    const writer = new ReplyWriter();
    for (const one of [1, long, 2, long, long]) writer.write(one, 2);
    const { chunks } = writer.take();
    expect(chunks.filter((chunk) => chunk === long)).toHaveLength(3);
    expect(new ReplyParser().push(concatBytes(...chunks)).map(plain)).toEqual([1, long, 2, long, long].map(plain));
  });

  test('borrow buffers and give each back once', () => {
    const out = new Set<Bytes>();
    const source = {
      take: () => {
        const buffer = new Uint8Array(64);
        out.add(buffer);
        return buffer;
      },
      give: (buffer: Bytes) => void expect(buffer.length > 64 || out.delete(buffer)).toBe(true),
    };
    const writer = new ReplyWriter(source);
    expect(out.size).toBe(0);
    for (let i = 0; i < 100; i++) writer.write(i, 2);
    expect(out.size).toBe(0);
    writer.clear();
    writer.write(1, 2);
    expect(out.size).toBe(1);
    writer.recycle(writer.take().buffer);
    expect(out.size).toBe(0);
  });
});

describe('reading replies', () => {
  test('passes over attributes', () => {
    expect(new ReplyParser().push(utf8('|1\r\n+ttl\r\n:3\r\n*2\r\n:1\r\n|1\r\n+a\r\n+b\r\n:2\r\n'))).toEqual([[1, 2]]);
  });

  test('reads nulls, blob errors and big numbers', () => {
    expect(new ReplyParser().push(utf8('$-1\r\n*-1\r\n_\r\n!5\r\nERR x\r\n(12345678901234567890\r\n'))).toEqual([
      null,
      NULL_ARRAY,
      null,
      errorReply('ERR x'),
      12345678901234567890n,
    ]);
  });

  test('stops at garbage, saying what it is', () => {
    for (const [stream, error] of [
      ['?', undefined],
      ['?\r\n', 'unknown reply type 0x3f'],
      ['$x\r\n', 'invalid string length'],
      ['*9999999999\r\n', 'invalid element count'],
      [`+${'x'.repeat(70_000)}`, 'a line is too long'],
    ] as const) {
      const parser = new ReplyParser();
      parser.push(utf8(stream));
      expect(parser.error).toBe(error);
    }
    const scanner = new ReplyScanner();
    scanner.push(utf8('?\r\n'));
    expect([scanner.next(), scanner.next()]).toEqual([REPLY_BROKEN, REPLY_BROKEN]);
  });

  test('never throws on garbage and says the same however it is cut', () => {
    const piece = fc.constantFrom(
      '*',
      '$',
      '%',
      '~',
      '|',
      '+OK',
      ':1',
      '\r\n',
      '1',
      '2',
      '-1',
      '3',
      'abc',
      '_',
      '#t',
      ',1',
      '(',
      '=4\r\ntxt:',
      '!1',
    );
    const shown = (chunks: readonly Bytes[]): unknown => {
      const parser = new ReplyParser();
      const replies = chunks.flatMap((chunk) => (parser.error === undefined ? parser.push(chunk) : []));
      return [replies.map(plain), parser.error];
    };
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 16 }), (pieces) => {
        const bytes = utf8(pieces.join(''));
        expect(shown(Array.from(bytes, (byte) => Uint8Array.of(byte)))).toEqual(shown([bytes]));
      }),
      { numRuns: 500 },
    );
  });
});
