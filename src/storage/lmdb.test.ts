import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { fromUtf8, utf8 } from '../base/bytes.ts';
import { KIB, MIB } from '../base/units.ts';
import { type LmdbStorage, openStorage, type StorageOptions } from './lmdb.ts';
import { describeStorage } from './storage.conformance.ts';
import type { Durability, Storage } from './storage.ts';

const scratch = mkdtempSync(join(tmpdir(), 'keyfleet-storage-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
let dirCount = 0;
const newDir = (): string => join(scratch, `${dirCount++}`);

const optionsOf = new WeakMap<Storage, StorageOptions>();

async function opened(options: StorageOptions): Promise<LmdbStorage> {
  const storage = await openStorage(options);
  optionsOf.set(storage, options);
  return storage;
}

for (const durability of ['sync', 'os', 'none'] satisfies Durability[]) {
  describeStorage(`LmdbStorage, durability ${durability}`, {
    create: () => opened({ dir: newDir(), durability, segmentBytes: 64 * KIB, memtableBytes: MIB }),
    reopen: async (storage) => {
      await storage.close();
      return opened(optionsOf.get(storage)!);
    },
    stir: (storage) => (storage.savepoint() === 0 ? (storage as LmdbStorage).flush() : Promise.resolve()),
    numRuns: durability === 'sync' ? 60 : 15,
  });
}

describe('LmdbStorage', () => {
  test('flushes in the background, and reads the same all the while', async () => {
    const storage = await opened({ dir: newDir(), memtableBytes: 256 * KIB, segmentBytes: 256 * KIB });
    const expected = new Map<string, string>();
    for (let i = 0; i < 30_000; i++) {
      const key = `key ${(i * 7919) % 10_000}`;
      if (i % 5 === 4) {
        storage.delete(utf8(key));
        expected.delete(key);
      } else {
        storage.put(utf8(key), utf8(`value ${i}`));
        expected.set(key, `value ${i}`);
      }
      if (i % 10 === 9) storage.commit();
      if (i % 1_000 === 999) {
        await storage.whenDurable(storage.committed);
        const seen = [...storage.scan({ from: utf8('key') })].map(({ key, value }) => `${fromUtf8(key)}=${fromUtf8(value)}`);
        const sorted = [...expected].sort(([a], [b]) => (a < b ? -1 : 1));
        expect(seen).toEqual(sorted.map(([one, value]) => `${one}=${value}`));
        // With eight memtables waiting writes are refused; on a busy machine LMDB may take its time.
        await expect.poll(() => storage.stats().memtableBytes, { timeout: 20_000 }).toBeLessThan(6 * 256 * KIB);
      }
    }
    expect(storage.stats().flushCount).toBeGreaterThan(1);
    await storage.flush();
    expect(storage.stats().memtableEntries).toBe(0);
    await storage.close();
  });

  test('refuses writes when nothing can be flushed meanwhile, and takes them again by itself', async () => {
    const storage = await opened({ dir: newDir(), memtableBytes: 64 * KIB, segmentBytes: 64 * KIB });
    let refused: unknown;
    let written = 0;
    while (!refused && written < 10_000) {
      try {
        storage.put(utf8(`k${written}`), new Uint8Array(1_000));
        storage.commit();
        written++;
      } catch (error) {
        refused = error;
      }
    }
    expect(refused).toMatchObject({ code: 'KF_STORAGE_BEHIND', retryable: true });
    await expect.poll(() => storage.refusal, { timeout: 10_000 }).toBeUndefined();
    storage.put(utf8('again'), utf8('x'));
    await storage.whenDurable(storage.commit());
    for (let i = 0; i < written; i++) expect(storage.get(utf8(`k${i}`))).toHaveLength(1_000);
    await storage.close();
  });

  test('one value as large as all that may wait keeps nobody from writing', async () => {
    const storage = await opened({ dir: newDir(), memtableBytes: 64 * KIB, segmentBytes: 64 * KIB });
    storage.put(utf8('large'), new Uint8Array(8 * 64 * KIB));
    storage.commit();
    // All in one turn of the event loop, in which nothing is flushed.
    for (let i = 0; i < 200; i++) {
      storage.put(utf8(`k${i}`), utf8('x'));
      storage.commit();
    }
    expect(storage.refusal).toBeUndefined();
    await storage.whenDurable(storage.committed);
    expect(storage.get(utf8('large'))).toHaveLength(8 * 64 * KIB);
    await storage.close();
  });

  test('takes many snapshots of little in a row', async () => {
    const storage = await opened({ dir: newDir(), segmentBytes: 64 * KIB });
    const snapshots = Array.from({ length: 50 }, (_, i) => {
      storage.put(utf8('key'), utf8(`${i}`));
      storage.commit();
      return storage.snapshot();
    });
    await storage.flush();
    expect(snapshots.map((snapshot) => fromUtf8(snapshot.get(utf8('key'))!))).toEqual(snapshots.map((_, i) => `${i}`));
    for (const snapshot of snapshots) snapshot.release();
    await storage.close();
  });
});
