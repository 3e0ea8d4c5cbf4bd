import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { compareBytes, fromUtf8, toHex, utf8 } from '../base/bytes.ts';
import { MAX_KEY_BYTES, type ScanOptions, type Storage, type StorageReader } from './storage.ts';
import { type ModelledStorage, playAgainstModel, storageStep } from './storage-model.conformance.ts';

/** What the suite needs of an adapter. */
export interface StorageUnderTest extends ModelledStorage {
  /** A new, empty storage. */
  create(): Promise<Storage>;
  /** Model runs. */
  readonly numRuns: number;
}

/** Pairs as text, for expectations people can read. */
function pairs(reader: StorageReader, options: Partial<Omit<ScanOptions, 'from' | 'to'>> & { from?: string; to?: string } = {}): string[] {
  const { from, to, ...rest } = options;
  const found = reader.scan({ from: utf8(from ?? ''), ...(to === undefined ? {} : { to: utf8(to) }), ...rest });
  return [...found].map(({ key, value }) => `${fromUtf8(key)}=${fromUtf8(value)}`);
}

function read(reader: StorageReader, key: string): string | undefined {
  const value = reader.get(utf8(key));
  return value && fromUtf8(value);
}

/** Every adapter of the storage port passes this suite. */
export function describeStorage(name: string, adapter: StorageUnderTest): void {
  describe(name, () => {
    let storage: Storage;
    const put = (key: string, value: string): void => storage.put(utf8(key), utf8(value));
    const remove = (key: string): void => storage.delete(utf8(key));

    beforeEach(async () => {
      storage = await adapter.create();
    });
    afterEach(async () => {
      storage.rollback(0);
      await storage.close();
    });

    describe('writing', () => {
      test('shows at once, before the batch is closed', () => {
        put('a', '1');
        expect(read(storage, 'a')).toBe('1');
        expect(storage.has(utf8('a'))).toBe(true);
        remove('a');
        expect(read(storage, 'a')).toBeUndefined();
        expect(storage.has(utf8('a'))).toBe(false);
      });

      test('numbers batches from 1 without gaps, and empty ones not at all', async () => {
        expect([storage.openNumber, storage.committed, storage.durable, storage.commit()]).toEqual([1, 0, 0, 0]);
        put('a', '1');
        expect(storage.commit()).toBe(1);
        remove('nothing there');
        expect(storage.commit()).toBe(2);
        expect(storage.commit()).toBe(2);
        expect([storage.openNumber, storage.committed]).toEqual([3, 2]);
        await storage.whenDurable(2);
        expect(storage.durable).toBe(2);
      });

      test('takes empty values, and keys and values of all bytes', async () => {
        const all = Uint8Array.from({ length: 256 }, (_, i) => i);
        storage.put(all, all);
        put('empty', '');
        storage.commit();
        storage = await adapter.reopen(storage);
        expect(toHex(storage.get(all)!)).toBe(toHex(all));
        expect(storage.get(utf8('empty'))).toHaveLength(0);
        expect(storage.has(utf8('empty'))).toBe(true);
      });

      test('takes the longest key, and stops on a longer or an empty one', async () => {
        const longest = new Uint8Array(MAX_KEY_BYTES).fill(0xff);
        storage.put(longest, utf8('x'));
        expect(() => storage.put(new Uint8Array(MAX_KEY_BYTES + 1), utf8('x'))).toThrow(/1 to/);
        expect(() => storage.put(new Uint8Array(0), utf8('x'))).toThrow(/1 to/);
        expect(() => storage.delete(new Uint8Array(0))).toThrow(/1 to/);
        storage.commit();
        storage = await adapter.reopen(storage);
        expect(storage.has(longest)).toBe(true);
      });

      test('takes values of many megabytes', async () => {
        const large = new Uint8Array(9 << 20).map((_, i) => i * 7);
        put('before', '1');
        storage.put(utf8('large'), large);
        put('after', '2');
        storage.commit();
        storage = await adapter.reopen(storage);
        expect(compareBytes(storage.get(utf8('large'))!, large)).toBe(0);
        expect([read(storage, 'before'), read(storage, 'after')]).toEqual(['1', '2']);
      });

      test('hands out bytes that stay as they are', async () => {
        put('a', 'first');
        const first = storage.get(utf8('a'))!;
        storage.commit();
        put('a', 'other');
        const other = storage.get(utf8('a'))!;
        storage.rollback(0);
        put('a', 'third');
        storage.commit();
        await storage.whenDurable(storage.committed);
        for (let i = 0; i < 1_000; i++) put(`filler ${i}`, 'x'.repeat(1_000));
        storage.commit();
        expect([fromUtf8(first), fromUtf8(other)]).toEqual(['first', 'other']);
      });
    });

    describe('rolling back', () => {
      test('undoes what came after the savepoint, reads and scans included, and nothing before it', async () => {
        put('a', 'old');
        put('b', 'old');
        storage.commit();
        put('a', 'new');
        const savepoint = storage.savepoint();
        put('a', 'newer');
        remove('b');
        put('c', 'new');
        const inner = storage.savepoint();
        remove('a');
        put('d', 'new');
        expect(pairs(storage)).toEqual(['c=new', 'd=new']);
        storage.rollback(inner);
        expect(pairs(storage)).toEqual(['a=newer', 'c=new']);
        storage.rollback(savepoint);
        expect(pairs(storage)).toEqual(['a=new', 'b=old']);
        put('e', 'new');
        storage.commit();
        storage = await adapter.reopen(storage);
        expect(pairs(storage)).toEqual(['a=new', 'b=old', 'e=new']);
      });

      test('of everything leaves no batch behind', () => {
        put('a', '1');
        storage.rollback(0);
        expect(storage.commit()).toBe(0);
        expect(storage.openNumber).toBe(1);
      });
    });

    describe('scanning', () => {
      beforeEach(() => {
        for (const key of ['d', 'b', 'a', 'c', 'e']) put(key, key.toUpperCase());
        storage.commit();
      });

      test('of keys only reads no values, in either direction', async () => {
        await adapter.stir?.(storage);
        put('long', 'x'.repeat(100_000));
        remove('c');
        for (const reverse of [false, true]) {
          const found = [...storage.scan({ from: utf8(''), reverse, keysOnly: true })];
          const keys = ['a', 'b', 'd', 'e', 'long'];
          expect(found.map(({ key }) => fromUtf8(key))).toEqual(reverse ? keys.reverse() : keys);
          expect(found.every(({ value }) => value.length === 0)).toBe(true);
        }
        expect(pairs(storage, { from: 'd', to: 'f' })).toEqual(['d=D', 'e=E']);
      });

      test('visits from <= key < to in byte-wise order', () => {
        expect(pairs(storage, { from: 'b', to: 'd' })).toEqual(['b=B', 'c=C']);
        expect(pairs(storage, { from: 'bb' })).toEqual(['c=C', 'd=D', 'e=E']);
        expect(pairs(storage, { from: 'c', to: 'c' })).toEqual([]);
        expect(pairs(storage, { from: 'd', to: 'b' })).toEqual([]);
        storage.put(Uint8Array.of(0xff), utf8('last'));
        storage.put(Uint8Array.of(0x00), utf8('first'));
        storage.put(Uint8Array.of(0x61, 0x00), utf8('after a'));
        const keys = [...storage.scan({ from: new Uint8Array(0) })].map(({ key }) => toHex(key));
        expect(keys).toEqual(['00', '61', '6100', '62', '63', '64', '65', 'ff']);
      });

      test('goes backwards over the same half-open range', () => {
        expect(pairs(storage, { reverse: true })).toEqual(['e=E', 'd=D', 'c=C', 'b=B', 'a=A']);
        expect(pairs(storage, { from: 'b', to: 'd', reverse: true })).toEqual(['c=C', 'b=B']);
        expect(pairs(storage, { from: 'b', to: 'dd', reverse: true })).toEqual(['d=D', 'c=C', 'b=B']);
      });

      test('stops at the limit', () => {
        expect(pairs(storage, { limit: 2 })).toEqual(['a=A', 'b=B']);
        expect(pairs(storage, { limit: 2, reverse: true })).toEqual(['e=E', 'd=D']);
        expect(pairs(storage, { limit: 0 })).toEqual([]);
      });

      test('sees changes ahead of it and does not return to those behind', () => {
        const seen: string[] = [];
        for (const { key, value } of storage.scan({ from: utf8('a') })) {
          seen.push(`${fromUtf8(key)}=${fromUtf8(value)}`);
          if (seen.length === 2) {
            put('a', 'behind');
            put('aa', 'behind');
            put('bb', 'ahead');
            put('d', 'changed');
            remove('c');
          }
          if (seen.length === 3) storage.commit();
        }
        expect(seen).toEqual(['a=A', 'b=B', 'bb=ahead', 'd=changed', 'e=E']);
      });

      test('may delete what it visits', () => {
        for (const { key } of storage.scan({ from: utf8('b'), to: utf8('e') })) storage.delete(key);
        expect(pairs(storage)).toEqual(['a=A', 'e=E']);
      });

      test.each([false, true])('passes over many deleted keys, and sees those that come back to life, backwards: %s', async (reverse) => {
        const names = Array.from({ length: 100 }, (_, i) => `k${100 + i}`);
        const seen = (): string[] => [...storage.scan({ from: utf8('k'), to: utf8('l'), reverse })].map(({ key }) => fromUtf8(key)).sort();
        for (const name of names) put(name, 'below');
        storage.commit();
        await adapter.stir?.(storage);
        for (const name of names.slice(50)) put(name, 'newer');
        storage.commit();
        for (const name of names) remove(name);
        expect([seen(), seen()]).toEqual([[], []]);
        storage.rollback(0);
        expect(seen()).toEqual(names);

        for (const name of names) remove(name);
        storage.commit();
        expect(seen()).toEqual([]);
        const savepoint = storage.savepoint();
        for (const name of ['k125', 'k175', 'k1505']) put(name, 'again');
        expect(seen()).toEqual(['k125', 'k1505', 'k175']);
        remove('k1505');
        expect(seen()).toEqual(['k125', 'k175']);
        storage.rollback(savepoint);
        expect(seen()).toEqual([]);
        const snapshot = storage.snapshot();
        put('k150', 'last');
        expect(seen()).toEqual(['k150']);
        expect(pairs(snapshot, { from: 'k', to: 'l', reverse })).toEqual([]);
        storage.commit();
        await adapter.stir?.(storage);
        expect(seen()).toEqual(['k150']);
        snapshot.release();
      });

      test('can be left early and is over then', () => {
        const scan = storage.scan({ from: utf8('a') });
        for (const { key } of scan) if (fromUtf8(key) === 'b') break;
        expect(scan.next().done).toBe(true);
      });
    });

    describe('snapshots', () => {
      test('keep the state they were taken in, however much is written', async () => {
        put('a', '1');
        put('b', '1');
        storage.commit();
        const first = storage.snapshot();
        put('a', '2');
        remove('b');
        put('c', '2');
        storage.commit();
        const second = storage.snapshot();
        await adapter.stir?.(storage);
        put('b', '3');
        remove('c');
        storage.commit();
        expect([first.number, second.number]).toEqual([1, 2]);
        expect(pairs(first)).toEqual(['a=1', 'b=1']);
        expect(pairs(second, { reverse: true })).toEqual(['c=2', 'a=2']);
        expect([read(first, 'b'), read(second, 'b'), read(storage, 'b')]).toEqual(['1', undefined, '3']);
        second.release();
        await adapter.stir?.(storage);
        expect(pairs(first)).toEqual(['a=1', 'b=1']);
        first.release();
        expect(pairs(storage)).toEqual(['a=2', 'b=3']);
      });

      test('are refused while the open batch has writes', () => {
        put('a', '1');
        expect(() => storage.snapshot()).toThrow(/open batch/);
      });

      test('cannot be read once released', () => {
        const snapshot = storage.snapshot();
        snapshot.release();
        expect(() => snapshot.get(utf8('a'))).toThrow(/released/);
      });
    });

    describe('durability', () => {
      test('is told in order, and never of more than was closed', async () => {
        const told: number[] = [];
        const end = storage.onDurable((durable) => told.push(durable));
        for (let i = 1; i <= 20; i++) {
          put(`k${i}`, 'x');
          storage.commit();
          if (i % 5 === 0) await storage.whenDurable(i);
          expect(storage.durable).toBeLessThanOrEqual(storage.committed);
        }
        end();
        expect(told.at(-1)).toBe(20);
        expect(told).toEqual([...told].sort((a, b) => a - b));
        put('more', 'x');
        await storage.whenDurable(storage.commit());
        expect(told.at(-1)).toBe(20);
      });

      test('comes to everyone who waits for the same number', async () => {
        put('a', '1');
        const number = storage.commit();
        await Promise.all([storage.whenDurable(number), storage.whenDurable(number), storage.whenDurable(0)]);
        expect(storage.durable).toBe(number);
      });

      test('is complete after closing', async () => {
        for (let i = 0; i < 100; i++) {
          put(`k${i % 10}`, `${i}`);
          storage.commit();
        }
        const before = pairs(storage);
        storage = await adapter.reopen(storage);
        expect(pairs(storage)).toEqual(before);
        expect([storage.committed, storage.durable]).toEqual([100, 100]);
      });
    });

    test('behaves as a sorted list of pairs does, whatever is done to it', async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(storageStep, { minLength: 1, maxLength: 80 }), async (steps) => {
          storage.rollback(0);
          await storage.close();
          storage = await adapter.create();
          await playAgainstModel(steps, adapter, storage, (reopened) => {
            storage = reopened;
          });
        }),
        { numRuns: adapter.numRuns },
      );
    });
  });
}
