import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Prng } from '../base/prng.ts';
import { DELETE, OPERATION_HEADER_BYTES, PUT, writeOperation } from './journal-format.ts';
import { keyHash } from './key-hash.ts';
import { Memtable, UndoLog } from './memtable.ts';
import { byCodeUnit } from './ordered-keys.ts';

/** Writes as the writer of a batch does: key and value into the last chunk, then a note of where they are. */
class Writer {
  readonly memtable = new Memtable(0);
  readonly undo = new UndoLog();
  #used = 0;

  constructor(chunkBytes = 1 << 20) {
    this.memtable.chunks.push(Buffer.alloc(chunkBytes));
  }

  write(key: string, value: string | undefined): void {
    this.undo.used = this.#used;
    const valueBytes = value === undefined ? undefined : Buffer.from(value, 'latin1');
    writeOperation(this.memtable.chunks.at(-1)!, this.#used, valueBytes ? PUT : DELETE, Buffer.from(key, 'latin1'), valueBytes);
    this.memtable.set(this.#used, this.undo);
    this.#used += OPERATION_HEADER_BYTES + key.length + (value?.length ?? 0);
  }

  rollback(length: number): void {
    while (this.undo.length > length) this.undo.pop(this.memtable);
    this.#used = this.undo.used;
  }
}

class Viewer {
  seen: string | undefined;

  view(bytes: Uint8Array, from: number, to: number): void {
    this.seen = Buffer.from(bytes.subarray(from, to)).toString('latin1');
  }
}

function look(memtable: Memtable, key: string): string | undefined {
  const bytes = Buffer.from(key, 'latin1');
  const found = memtable.find(bytes, keyHash(bytes));
  expect(memtable.knows(bytes, keyHash(bytes))).toBe(found === undefined ? undefined : found !== 'deleted');
  const viewer = new Viewer();
  expect(memtable.show(bytes, keyHash(bytes), viewer)).toBe(memtable.knows(bytes, keyHash(bytes)));
  expect(viewer.seen).toEqual(found instanceof Uint8Array ? Buffer.from(found).toString('latin1') : undefined);
  const peeked = memtable.peek(key);
  expect(typeof peeked === 'object' ? peeked.toString('latin1') : peeked).toBe(
    found instanceof Uint8Array ? Buffer.from(found).toString('latin1') : found,
  );
  return found instanceof Uint8Array ? `=${Buffer.from(found).toString('latin1')}` : found;
}

function ordered(memtable: Memtable): string[] {
  while (!memtable.settle(3));
  const cursor = memtable.cursor(false);
  const keys: string[] = [];
  for (cursor.seek(''); cursor.key !== undefined; cursor.advance()) if (memtable.peek(cursor.key) !== undefined) keys.push(cursor.key);
  return keys;
}

const key = fc.string({ unit: 'binary-ascii', minLength: 1, maxLength: 2 });
const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ key, value: fc.option(fc.string({ unit: 'binary-ascii', maxLength: 4 }), { nil: undefined }) }) },
  { weight: 1, arbitrary: fc.record({ rollbackTo: fc.nat(30) }) },
  { weight: 1, arbitrary: fc.constant('settle' as const) },
);

describe('a memtable', () => {
  test('knows what was written and not rolled back, and gives its keys in order', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const writer = new Writer();
        const states = [new Map<string, string>()];
        for (const one of steps) {
          if (one === 'settle') writer.memtable.settle(2);
          else if ('rollbackTo' in one) {
            const length = Math.min(one.rollbackTo, states.length - 1);
            if (length === states.length - 1) continue;
            states.length = length + 1;
            writer.rollback(length);
          } else {
            writer.write(one.key, one.value);
            states.push(new Map(states.at(-1)).set(one.key, one.value === undefined ? 'deleted' : `=${one.value}`));
          }
        }
        const expected = states.at(-1)!;
        for (const one of steps)
          if (typeof one === 'object' && 'key' in one) expect(look(writer.memtable, one.key)).toBe(expected.get(one.key));
        expect(writer.memtable.entryCount).toBe(expected.size);
        expect(ordered(writer.memtable)).toEqual([...expected.keys()].sort(byCodeUnit));
      }),
      { numRuns: 300 },
    );
  });

  test('finds every key after it has grown many times, and after half of that was rolled back', () => {
    const writer = new Writer(4 << 20);
    const chance = new Prng(3);
    const keys = [...new Set(Array.from({ length: 40_000 }, () => `key ${chance.u32()}`))];
    for (const one of keys) writer.write(one, `of ${one}`);
    const rolledBack = keys.splice(20_000);
    writer.rollback(keys.length);
    for (const one of keys) expect(writer.memtable.peek(one)?.toString('latin1')).toBe(`of ${one}`);
    for (const one of rolledBack) expect(writer.memtable.peek(one)).toBeUndefined();
    for (const one of rolledBack) writer.write(one, 'again');
    expect(writer.memtable.peek(rolledBack.at(-1)!)?.toString('latin1')).toBe('again');
    expect(writer.memtable.entryCount).toBe(keys.length + rolledBack.length);
  });

  test('finds every key while its cells are being doubled, whatever is rolled back meanwhile', () => {
    const writer = new Writer(4 << 20);
    const chance = new Prng(4);
    // By number of writes so far: which keys there are, in the order in which they were written.
    const keys: string[] = [];
    const fresh = (): string => `key ${chance.u32()} of ${keys.length}`;
    const check = (gone: readonly string[]): void => {
      expect(keys.filter((one) => !Buffer.from(`of ${one}`).equals(writer.memtable.peek(one) as Buffer))).toEqual([]);
      expect(gone.filter((one) => writer.memtable.peek(one) !== undefined)).toEqual([]);
    };
    for (let round = 0; round < 60; round++) {
      for (let left = chance.below(120); left > 0; left--) {
        const one = fresh();
        writer.write(one, `of ${one}`);
        keys.push(one);
        // A look-up brings what it finds over.
        writer.memtable.peek(keys[chance.below(keys.length)]!);
      }
      const gone = keys.slice(keys.length - chance.below(Math.min(keys.length, 50)));
      keys.length -= gone.length;
      if (gone.length > 0) writer.rollback(keys.length);
      check(gone);
    }
    expect(keys.length).toBeGreaterThan(1_100);
    expect(writer.memtable.entryCount).toBe(keys.length);
    expect(ordered(writer.memtable)).toEqual([...keys].sort(byCodeUnit));
  });
});

describe('the hash of keys', () => {
  test('depends on every byte and on the length, not on where the key lies', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 40 }), fc.nat(5), (bytes, at) => {
        const hash = keyHash(bytes);
        const moved = new Uint8Array(bytes.length + at + 3).fill(7);
        moved.set(bytes, at);
        expect(keyHash(moved, at, at + bytes.length)).toBe(hash);
        // Two such keys fall together once in 2^32 times.
        expect(keyHash(moved, at, at + bytes.length + 1)).not.toBe(hash);
        moved[at]! ^= 1;
        expect(keyHash(moved, at, at + bytes.length)).not.toBe(hash);
      }),
      { numRuns: 200 },
    );
  });
});
