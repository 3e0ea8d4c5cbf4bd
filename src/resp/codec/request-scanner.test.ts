import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { concatBytes, fromUtf8, utf8 } from '../../base/bytes.ts';
import { Prng } from '../../base/prng.ts';
import { fromLatin1, latin1 } from './ascii.ts';
import { BROKEN, REQUEST, RequestScanner } from './request-scanner.ts';

/** The requests in `chunks`, then the error if the stream broke. */
function scan(chunks: readonly Uint8Array[], scanner = new RequestScanner()): string[] {
  const found: string[] = [];
  for (const chunk of chunks) {
    scanner.push(chunk);
    for (;;) {
      const scanned = scanner.next();
      if (scanned === REQUEST)
        found.push(
          scanner
            .args()
            .map((arg) => latin1(arg))
            .join('|'),
        );
      else {
        if (scanned === BROKEN) return [...found, `!${scanner.error}`];
        break;
      }
    }
  }
  return found;
}

/** `bytes` cut into pieces of random length. */
function cut(bytes: Uint8Array, seed: number, longest = 12): Uint8Array[] {
  const prng = new Prng(seed);
  const chunks: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; ) {
    const next = at + 1 + prng.below(longest);
    chunks.push(bytes.slice(at, next));
    at = next;
  }
  return chunks;
}

const single = (bytes: Uint8Array): Uint8Array[] => Array.from(bytes, (byte) => Uint8Array.of(byte));
const encode = (args: readonly Uint8Array[]): Uint8Array =>
  concatBytes(utf8(`*${args.length}\r\n`), ...args.flatMap((arg) => [utf8(`$${arg.length}\r\n`), arg, utf8('\r\n')]));

const requestBytes = fc.array(fc.uint8Array({ maxLength: 120 }), { minLength: 1, maxLength: 6 });

describe('scanning requests', () => {
  test('finds the same requests whole, byte by byte and in random pieces', () => {
    fc.assert(
      fc.property(fc.array(requestBytes, { maxLength: 8 }), fc.nat(), (requests, seed) => {
        const stream = concatBytes(...requests.map(encode));
        const expected = requests.map((args) => args.map((arg) => latin1(arg)).join('|'));
        expect(scan([stream])).toEqual(expected);
        expect(scan(single(stream))).toEqual(expected);
        expect(scan(cut(stream, seed))).toEqual(expected);
      }),
      { numRuns: 200 },
    );
  });

  test('says the same about garbage, however it is cut, and never throws', () => {
    const piece = fc.oneof(
      fc.constantFrom(
        '*',
        '$',
        '\r\n',
        '\n',
        '\r',
        '*1\r\n',
        '*2\r\n',
        '$3\r\n',
        'abc',
        '-1',
        '0',
        '00',
        '"',
        "'",
        '\\',
        ' ',
        '99999999999999999999',
      ),
      fc.string({ maxLength: 4 }),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 14 }), fc.nat(), (pieces, seed) => {
        const stream = utf8(pieces.join(''));
        const whole = scan([stream]);
        expect(scan(single(stream))).toEqual(whole);
        expect(scan(cut(stream, seed, 4))).toEqual(whole);
      }),
      { numRuns: 500 },
    );
  });

  test('keeps arguments as they were when more bytes arrive', () => {
    const scanner = new RequestScanner();
    const long = 'x'.repeat(100);
    const kept: Uint8Array[] = [];
    for (const chunk of cut(concatBytes(...Array.from({ length: 50 }, () => encode([utf8('SET'), utf8(long)]))), 7, 60)) {
      scanner.push(chunk);
      while (scanner.next() === REQUEST) kept.push(...scanner.args());
    }
    expect(kept.map(fromUtf8)).toEqual(Array.from({ length: 50 }, () => ['SET', long]).flat());
  });

  test('keeps all of a lent chunk that it still needs, and the arguments that were taken', () => {
    fc.assert(
      fc.property(fc.array(requestBytes, { maxLength: 8 }), fc.nat(), (requests, seed) => {
        const scanner = new RequestScanner();
        const shared = new Uint8Array(400);
        const found: Uint8Array[][] = [];
        for (const chunk of cut(concatBytes(...requests.map(encode)), seed, 400)) {
          shared.set(chunk);
          scanner.lend(shared, chunk.length);
          while (scanner.next() === REQUEST) found.push(scanner.args());
          scanner.keep();
          shared.fill(42);
        }
        expect(found).toEqual(requests);
      }),
      { numRuns: 200 },
    );
  });

  test('copies short arguments, so that keeping one keeps no chunk', () => {
    const scanner = new RequestScanner();
    scanner.push(encode([utf8('SET'), utf8('key'), new Uint8Array(60_000)]));
    expect(scanner.next()).toBe(REQUEST);
    expect(scanner.args().map((arg) => arg.buffer.byteLength < 100)).toEqual([true, true, false]);
  });

  test('joins a value of many chunks in time that grows with its length', () => {
    const value = new Uint8Array(8 << 20).fill(7);
    const scanner = new RequestScanner();
    const stream = encode([utf8('SET'), utf8('k'), value]);
    let copied = 0;
    const set = Uint8Array.prototype.set;
    Uint8Array.prototype.set = function counted(this: Uint8Array, source: ArrayLike<number>, offset?: number) {
      copied += source.length;
      set.call(this, source, offset);
    };
    try {
      for (let at = 0; at < stream.length; at += 1_000) scanner.push(stream.subarray(at, at + 1_000));
    } finally {
      Uint8Array.prototype.set = set;
    }
    expect(scanner.next()).toBe(REQUEST);
    expect(Buffer.compare(scanner.arg(2), value)).toBe(0);
    expect(copied).toBeLessThan(4 * stream.length);
  });

  test('passes over empty requests and empty lines', () => {
    expect(scan([utf8('*0\r\n*-1\r\n\r\n\n   \r\nPING\r\n')])).toEqual(['PING']);
  });

  test('reports the length of a request on the wire', () => {
    const scanner = new RequestScanner();
    scanner.push(utf8('PING\r\n*1\r\n$4\r\nPING\r\n'));
    scanner.next();
    expect(scanner.requestBytes).toBe(6);
    scanner.next();
    expect(scanner.requestBytes).toBe(14);
    expect(scanner.pendingBytes).toBe(0);
  });
});

describe('a malformed request is refused in the words of Redis', () => {
  const cases: readonly (readonly [string, string])[] = [
    ['*abc\r\n', 'invalid multibulk length'],
    ['*1048577\r\n', 'invalid multibulk length'],
    ['*01\r\n', 'invalid multibulk length'],
    ['*\r\n', 'invalid multibulk length'],
    [`*${'1'.repeat(70_000)}`, 'too big mbulk count string'],
    ['*1\r\nGET\r\n', "expected '$', got 'G'"],
    ['*1\r\n\n', "expected '$', got ' '"],
    ['*1\r\n$-1\r\n', 'invalid bulk length'],
    ['*1\r\n$536870913\r\n', 'invalid bulk length'],
    ['*1\r\n$+3\r\n', 'invalid bulk length'],
    [`*1\r\n$${'1'.repeat(70_000)}`, 'too big bulk count string'],
    ['a'.repeat(70_000), 'too big inline request'],
    ['GET "a\r\n', 'unbalanced quotes in request'],
    ['GET "a"b\r\n', 'unbalanced quotes in request'],
    ["GET 'a'b\r\n", 'unbalanced quotes in request'],
  ];
  test.each(cases)('%#: %j', (stream, text) => {
    expect(scan([utf8(stream)])).toEqual([`!ERR Protocol error: ${text}`]);
    if (stream.length < 100) expect(scan(single(utf8(stream)))).toEqual([`!ERR Protocol error: ${text}`]);
  });

  test('before the password is given, sooner', () => {
    const guarded = () => Object.assign(new RequestScanner(), { authenticated: false });
    expect(scan([utf8('*11\r\n')], guarded())).toEqual(['!ERR Protocol error: unauthenticated multibulk length']);
    expect(scan([utf8('*1\r\n$16385\r\n')], guarded())).toEqual(['!ERR Protocol error: unauthenticated bulk length']);
    expect(scan([utf8('*1\r\n$4\r\nPING\r\n')], guarded())).toEqual(['PING']);
  });
});

describe('inline commands', () => {
  const cases: readonly (readonly [string, string])[] = [
    ['SET  key\tvalue', 'SET|key|value'],
    ['SET key ""', 'SET|key|'],
    ['SET "a b" \'c d\'', 'SET|a b|c d'],
    [String.raw`ECHO "\x41\n\r\t\b\a\"\\\q"`, 'ECHO|A\n\r\t\b\x07"\\q'],
    [String.raw`ECHO '\'\n'`, String.raw`ECHO|'\n`],
    [String.raw`ECHO "\xZZ"`, 'ECHO|xZZ'],
    ['ECHO ab"cd"', 'ECHO|abcd'],
    ['ECHO é', 'ECHO|Ã©'],
  ];
  test.each(cases)('%j', (line, expected) => {
    expect(scan([utf8(`${line}\r\n`)])).toEqual([expected]);
    expect(scan(single(utf8(`${line}\n`)))).toEqual([expected]);
  });

  test('mix with multibulk ones', () => {
    expect(scan([concatBytes(utf8('PING\r\n'), encode([utf8('GET'), fromLatin1('\xff')]), utf8('GET a\n'))])).toEqual([
      'PING',
      'GET|\xff',
      'GET|a',
    ]);
  });
});
