import { describe, expect, test } from 'vitest';
import { fromUtf8, utf8 } from '../base/bytes.ts';
import { MemoryStorage } from './memory.ts';
import { describeStorage } from './storage.conformance.ts';

describeStorage('MemoryStorage', {
  create: async () => new MemoryStorage(),
  reopen: async (storage) => {
    await storage.close();
    return (storage as MemoryStorage).crash();
  },
  stir: async () => {},
  numRuns: 300,
});

function written(storage: MemoryStorage, ...keys: string[]): void {
  for (const key of keys) {
    storage.put(utf8(key), utf8(key));
    storage.commit();
  }
}

const keysOf = (storage: MemoryStorage): string[] => [...storage.scan({ from: utf8('') })].map(({ key }) => fromUtf8(key));

describe('a memory storage that holds durability back', () => {
  test('advances as far as it is told, and says so', async () => {
    const storage = new MemoryStorage({ holdDurability: true });
    const told: number[] = [];
    storage.onDurable((durable) => told.push(durable));
    written(storage, 'a', 'b', 'c');
    let settled = false;
    const waiting = storage.whenDurable(2).then(() => {
      settled = true;
    });
    storage.release(1);
    await Promise.resolve();
    expect([storage.durable, settled, told]).toEqual([1, false, [1]]);
    storage.resume();
    await waiting;
    expect([storage.durable, told]).toEqual([3, [1, 3]]);
  });

  test('loses in a crash what was not durable, or only a part of it, batch by batch', () => {
    const build = (): MemoryStorage => {
      const storage = new MemoryStorage({ holdDurability: true });
      written(storage, 'a', 'b');
      storage.release();
      written(storage, 'c', 'd');
      storage.delete(utf8('a'));
      storage.commit();
      storage.put(utf8('open'), utf8('x'));
      return storage;
    };
    expect(keysOf(build().crash())).toEqual(['a', 'b']);
    expect(keysOf(build().crash({}, 4))).toEqual(['a', 'b', 'c', 'd']);
    expect(keysOf(build().crash({}, 5))).toEqual(['b', 'c', 'd']);
    expect(build().crash({}, 4).committed).toBe(4);
  });

  test('can be made to refuse writes for a while, reads going on', () => {
    const storage = new MemoryStorage();
    written(storage, 'a');
    const full = new Error('full');
    storage.refuse(full);
    expect(() => storage.put(utf8('b'), utf8('b'))).toThrow(full);
    expect([storage.refusal, keysOf(storage)]).toEqual([full, ['a']]);
    storage.refuse(undefined);
    written(storage, 'b');
    expect(keysOf(storage)).toEqual(['a', 'b']);
  });

  test('fails for good: waiters learn that the outcome is unknown', async () => {
    const storage = new MemoryStorage({ holdDurability: true });
    written(storage, 'a');
    const failures: string[] = [];
    storage.onFailed((error) => failures.push(error.message));
    const waiting = storage.whenDurable(1);
    storage.fail(new Error('EIO'));
    await expect(waiting).rejects.toMatchObject({ code: 'KF_STORAGE_FAILED' });
    expect(() => storage.put(utf8('b'), utf8('b'))).toThrow(/EIO/);
    expect(failures).toEqual(['storage failed: EIO']);
    expect(storage.durable).toBe(0);
    await storage.close();
  });
});

describe('a memory storage that deletes much', () => {
  test('forgets the places of keys that are gone', () => {
    const storage = new MemoryStorage();
    for (let round = 0; round < 5; round++) {
      for (let i = 0; i < 1_000; i++) storage.put(utf8(`${round} ${i}`), utf8('x'));
      for (let i = 0; i < 1_000; i++) if (i !== 500) storage.delete(utf8(`${round} ${i}`));
      storage.commit();
    }
    expect(keysOf(storage)).toEqual(['0 500', '1 500', '2 500', '3 500', '4 500']);
  });
});
