import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Bytes, equalBytes } from '../base/bytes.ts';
import { messagePack } from './message-pack.ts';

const codec = messagePack<unknown>();
const { size, encode, decode } = codec.inPlace!;

/** In the middle of other bytes. */
function write(value: unknown): { readonly bytes: Bytes; readonly from: number; readonly to: number } {
  const length = size(value);
  const bytes = new Uint8Array(length + 12).fill(0xa5);
  encode(value, bytes, 5);
  expect([...bytes.subarray(0, 5), ...bytes.subarray(5 + length)]).toEqual(new Array(12).fill(0xa5));
  return { bytes, from: 5, to: 5 + length };
}

/** Byte for byte what any other value leaves behind where values are read. */
const readAnother = (): unknown => codec.inPlace!.decode(new Uint8Array(4_000).fill(0xc0), 0, 1);

const plainData: fc.Arbitrary<unknown> = fc.letrec((tie) => ({
  data: fc.oneof(
    { maxDepth: 3 },
    fc.string({ unit: 'binary', maxLength: 60 }),
    fc.integer(),
    fc.double().map((one) => (Object.is(one, -0) ? 0 : one)),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    fc.constantFrom(null, undefined, true, false),
    fc.date({ noInvalidDate: true, min: new Date(0), max: new Date(2 ** 40) }),
    fc.uint8Array({ maxLength: 300 }),
    fc.array(tie('data'), { maxLength: 5 }),
    fc.dictionary(fc.stringMatching(/^[a-z]{1,12}$/), tie('data'), { maxKeys: 6, noNullPrototype: true }),
    fc.array(fc.tuple(fc.string(), tie('data')), { maxLength: 4 }).map((pairs) => new Map(pairs)),
    fc.uniqueArray(fc.string(), { maxLength: 4 }).map((items) => new Set(items)),
  ),
})).data;

/** Bytes as arrays, since a Buffer and a Uint8Array of the same bytes are the same value. */
function plainly(value: unknown): unknown {
  if (value instanceof Uint8Array) return { bytes: [...value] };
  if (Array.isArray(value)) return value.map(plainly);
  if (value instanceof Map) return new Map([...value].map(([key, one]) => [key, plainly(one)]));
  if (value === null || typeof value !== 'object' || value instanceof Set || value instanceof Date) return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, plainly(one)]));
}

describe('plain data as MessagePack', () => {
  test('comes back as it was, and is written the same in place', () => {
    fc.assert(
      fc.property(plainData, (value) => {
        const encoded = codec.encode(value);
        expect(plainly(codec.decode(encoded))).toEqual(plainly(value));
        const { bytes, from, to } = write(value);
        expect([...bytes.subarray(from, to)]).toEqual([...encoded]);
        const read = decode(bytes, from, to);
        bytes.fill(0xa5);
        readAnother();
        expect(plainly(read)).toEqual(plainly(value));
      }),
      { seed: 20, numRuns: 300 },
    );
  });

  test('stays as it was read, bytes and typed arrays too, whatever is read and written afterwards', () => {
    for (const length of [3, 100, 5_000, 70_000]) {
      const value = { bytes: new Uint8Array(length).fill(7), numbers: new Float64Array([1, 2.5]), name: 'x'.repeat(length) };
      const { bytes, from, to } = write(value);
      const read = decode(bytes, from, to) as typeof value;
      const encoded = codec.encode(value);
      bytes.fill(0xa5);
      readAnother();
      codec.encode({ other: new Uint8Array(length).fill(9), text: 'y'.repeat(2 * length) });
      expect(read.bytes).toHaveLength(length);
      expect(read.bytes.every((byte) => byte === 7)).toBe(true);
      expect([...read.numbers]).toEqual([1, 2.5]);
      expect(read.name).toBe(value.name);
      expect(equalBytes(encoded, codec.encode(value))).toBe(true);
    }
  });

  test('that is cut off is refused, and not read on into what stood there before', () => {
    const long = write({ name: 'a name of some length', list: [1, 2, 3] });
    decode(long.bytes, long.from, long.to);
    for (let to = long.from; to < long.to; to++) expect(() => decode(long.bytes, long.from, to), `${to}`).toThrow();
  });
});
