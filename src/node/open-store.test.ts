import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { fromUtf8, utf8 } from '../base/bytes.ts';
import { plain, plainBytes } from '../shard/plain-bytes.ts';
import { realFiles } from '../storage/files.ts';
import { openStorage } from '../storage/lmdb.ts';
import { openStore } from './open-store.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'keyfleet-store-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const users = { users: { module: plainBytes, shards: 3 } } as const;

describe('a store in a directory', () => {
  test('keeps bytes only: text is refused, and so is an options object that is none', async () => {
    await using store = await openStore({ dir, keyspaces: users });
    const keyspace = store.keyspace('users');
    const text = 'text' as unknown as Uint8Array;
    expect(() => plain.set(text)).toThrow(/is a Uint8Array, not string; new TextEncoder/);
    await expect(keyspace.command('a', { kind: 'set', value: text })).rejects.toMatchObject({ code: 'KF_BAD_COMMAND' });
    expect(keyspace.keyCount).toBe(0);
    await expect(openStore(undefined as unknown as { dir: string })).rejects.toMatchObject({ code: 'KF_BAD_OPTION' });
  });

  test('finds everything again after closing: records, counts, entry numbers and hashes', async () => {
    const store = await openStore({ dir, keyspaces: users });
    const keyspace = store.keyspace('users');
    const long = 'k'.repeat(3_000);
    await Promise.all(Array.from({ length: 500 }, (_, i) => keyspace.command(`key ${i}`, plain.set(utf8(`value ${i}`)))));
    await keyspace.command(long, plain.set(new Uint8Array(300_000).fill(1)));
    await keyspace.command('key 3', plain.delete());
    const states = store.node.keyspaces()[0]!.shards.map(({ machine }) => ({ ...machine.state }));
    await store.close();

    await using again = await openStore({ dir, keyspaces: users });
    expect(again.node.keyspaces()[0]!.shards.map(({ machine }) => machine.state)).toEqual(states);
    expect(again.keyspace('users').keyCount).toBe(500);
    expect((await again.keyspace('users').query(long, plain.get())).value).toHaveLength(300_000);
    const seen = new Set<string>();
    for await (const { key } of again.keyspace('users')) seen.add(fromUtf8(key));
    expect(seen.size).toBe(500);
    expect(seen.has('key 3')).toBe(false);
  });

  test('is open once at a time, and what could not be opened stays closed', async () => {
    const store = await openStore({ dir, keyspaces: users });
    await expect(openStore({ dir })).rejects.toMatchObject({ code: 'KF_STORAGE_LOCKED' });
    await store.close();
    await expect(openStore({ dir, keyspaces: { 'not a name': { module: plainBytes } } })).rejects.toMatchObject({
      code: 'KF_BAD_KEYSPACE',
    });
    await (await openStore({ dir })).close();
  });

  test('names the durability that it was opened with', async () => {
    for (const durability of ['os', 'none', 'sync'] as const) {
      const store = await openStore({ dir, durability, keyspaces: users });
      expect(await store.keyspace('users').command('k', plain.set(utf8(durability)))).toMatchObject({ done: true });
      expect(store.stats().storage.durability).toBe(durability);
      await store.close();
    }
    await using again = await openStore({ dir, keyspaces: users });
    expect(fromUtf8((await again.keyspace('users').query('k', plain.get())).value!)).toBe('sync');
  });

  test('refuses writes on a full disk, goes on reading, loses nothing, and takes writes again when there is room', async () => {
    let full = false;
    const noRoom = (): never => {
      throw Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });
    };
    const files: typeof realFiles = {
      ...realFiles,
      makeZeroed: async (path, bytes) => (full ? noRoom() : realFiles.makeZeroed(path, bytes)),
      makeZeroedSync: (path, bytes) => (full ? noRoom() : realFiles.makeZeroedSync(path, bytes)),
    };
    const storage = await openStorage({ dir, files, segmentBytes: 64 * 1024 });
    const store = await openStore({ storage, keyspaces: users });
    const keyspace = store.keyspace('users');
    const done = new Set<number>();
    const put = (i: number) => keyspace.command(`key ${i}`, plain.set(new Uint8Array(4_000).fill(i))).then(() => done.add(i));
    await put(0);
    full = true;
    const outcomes = await Promise.allSettled(Array.from({ length: 400 }, (_, i) => put(i + 1)));
    const refused = outcomes.filter((outcome) => outcome.status === 'rejected');
    expect(refused.length).toBeGreaterThan(0);
    for (const { reason } of refused) expect(reason).toMatchObject({ code: 'KF_DISK_FULL' });
    expect((await keyspace.query('key 0', plain.get())).present).toBe(true);
    expect(keyspace.keyCount).toBe(done.size);
    full = false;
    await expect
      .poll(
        () =>
          put(1_000).then(
            () => true,
            () => false,
          ),
        { timeout: 10_000, interval: 200 },
      )
      .toBe(true);
    await store.close();

    await using again = await openStore({ dir, keyspaces: users });
    expect(again.keyspace('users').keyCount).toBe(done.size);
    for (const i of done) expect((await again.keyspace('users').query(`key ${i}`, plain.get())).present).toBe(true);
  });
});
