import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect, test } from 'vitest';
import { utf8 } from '../src/base/bytes.ts';
import { MIB } from '../src/base/units.ts';
import { openStore } from '../src/node/open-store.ts';
import { plain, plainBytes } from '../src/shard/plain-bytes.ts';
import { type LmdbStorage, openStorage } from '../src/storage/lmdb.ts';
import { canMount, SmallDisk } from './small-disk.ts';

// Without root on Linux, `src/storage/crash.test.ts` plays a full disk.

const mounted: SmallDisk[] = [];
afterAll(() => {
  for (const disk of mounted) disk.remove();
});

const mount = (bytes: number): SmallDisk => {
  const disk = new SmallDisk(bytes);
  mounted.push(disk);
  return disk;
};

const open = (disk: SmallDisk): Promise<LmdbStorage> =>
  openStorage({ dir: join(disk.dir, 'data'), memtableBytes: 2 * MIB, segmentBytes: MIB });

const write = (storage: LmdbStorage, name: string): Promise<void> => {
  storage.put(utf8(name), Buffer.alloc(20_000, name));
  return storage.whenDurable(storage.commit());
};

const expectAll = (storage: LmdbStorage, names: readonly string[]): void => {
  expect(names.filter((name) => !Buffer.alloc(20_000, name).equals(storage.get(utf8(name)) ?? Buffer.alloc(0)))).toEqual([]);
};

describe.runIf(canMount)('a disk that is really full', () => {
  test('again and again: writes are refused with KF_DISK_FULL, reads go on, and with room they are taken again; nothing answered is lost', async () => {
    const disk = mount(48 * MIB);
    let storage = await open(disk);
    let store = await openStore({ storage, keyspaces: { users: { module: plainBytes } } });
    let users = store.keyspace('users');
    const acknowledged: string[] = [];
    const set = async (name: string): Promise<unknown> => {
      try {
        await users.command(name, plain.set(Buffer.alloc(40_000, name)));
        acknowledged.push(name);
        return undefined;
      } catch (error) {
        return error;
      }
    };
    for (let round = 0; round < 3; round++) {
      disk.fill(4 * MIB);
      let refusal: unknown;
      for (let at = 0; refusal === undefined && at < 1_000; at += 20) {
        const answers = await Promise.all(Array.from({ length: 20 }, (_, index) => set(`key ${round} ${at + index}`)));
        refusal = answers.find((answer) => answer !== undefined);
      }
      expect(refusal).toMatchObject({ code: 'KF_DISK_FULL', retryable: true });
      for (const name of acknowledged) expect((await users.query(name, plain.get())).value, name).toHaveLength(40_000);
      disk.free();
      let last: unknown;
      for (let tries = 0; tries < 400 && (last = await set(`after ${round} ${tries}`)) !== undefined; tries++) await sleep(50);
      expect(last).toBeUndefined();
    }
    await store.close();
    await storage.close();
    storage = await open(disk);
    store = await openStore({ storage, keyspaces: { users: { module: plainBytes } } });
    users = store.keyspace('users');
    for (const name of acknowledged) expect((await users.query(name, plain.get())).value, name).toHaveLength(40_000);
    await store.close();
    await storage.close();
  }, 60_000);

  test('when LMDB finds no room: the flush says so, and succeeds once there is some', async () => {
    const disk = mount(16 * MIB);
    const storage = await open(disk);
    const names = Array.from({ length: 40 }, (_, index) => `key ${index}`);
    await Promise.all(names.map((name) => write(storage, name)));
    disk.fill();
    for (let tries = 0; tries < 3; tries++) await expect(storage.flush()).rejects.toMatchObject({ code: 'KF_DISK_FULL' });
    expectAll(storage, names);
    disk.free();
    await storage.flush();
    expect(storage.stats()).toMatchObject({ memtableEntries: 0 });
    await write(storage, 'after');
    expectAll(storage, [...names, 'after']);
    await storage.close();
  }, 60_000);

  test('when LMDB finds no room: closing ends, and the next start has everything', async () => {
    const disk = mount(16 * MIB);
    let storage = await open(disk);
    const names = Array.from({ length: 40 }, (_, index) => `key ${index}`);
    await Promise.all(names.map((name) => write(storage, name)));
    disk.fill();
    await storage.close();
    disk.fill();
    await expect(open(disk)).rejects.toMatchObject({ code: 'KF_DISK_FULL', retryable: true });
    disk.free();
    storage = await open(disk);
    expectAll(storage, names);
    await storage.flush();
    expectAll(storage, names);
    await storage.close();
  }, 60_000);
});
