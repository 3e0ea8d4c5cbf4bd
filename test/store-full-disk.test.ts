import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect, test } from 'vitest';
import { utf8 } from '../src/base/bytes.ts';
import { KIB, MIB } from '../src/base/units.ts';
import { openStore } from '../src/node/open-store.ts';
import { plain, plainBytes } from '../src/shard/plain-bytes.ts';
import { type LmdbStorage, openStorage } from '../src/storage/lmdb.ts';

/** Mounting a small file system of our own needs root on Linux; elsewhere `src/storage/crash.test.ts` plays a full disk. */
const canMount = process.platform === 'linux' && process.getuid?.() === 0;

const mounted: string[] = [];
afterAll(() => {
  for (const dir of mounted) {
    execFileSync('umount', ['-l', dir]);
    rmSync(dir, { recursive: true, force: true });
  }
});

class SmallDisk {
  readonly dir = mkdtempSync(join(tmpdir(), 'keyfleet-small-'));
  readonly #filler = join(this.dir, 'filler');

  constructor(bytes: number) {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', this.dir]);
    mounted.push(this.dir);
  }

  /** Takes all room that is left but `spare`. */
  fill(spare = 0): void {
    const fd = openSync(this.#filler, 'a');
    const block = Buffer.alloc(64 * KIB, 'x');
    try {
      while (writeSync(fd, block) === block.length);
    } catch (error) {
      expect(error).toMatchObject({ code: 'ENOSPC' });
    }
    closeSync(fd);
    if (spare > 0) execFileSync('truncate', ['--size', `-${spare}`, this.#filler]);
  }

  free(): void {
    rmSync(this.#filler);
  }
}

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
    const disk = new SmallDisk(48 * MIB);
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
    const disk = new SmallDisk(16 * MIB);
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
    const disk = new SmallDisk(16 * MIB);
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
