import { describe, expect, expectTypeOf, test } from 'vitest';
import { type Bytes, fromUtf8, utf8 } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import { type PlainAnswer, type PlainCommand, plain, plainBytes } from '../shard/plain-bytes.ts';
import { MemoryStorage } from '../storage/memory.ts';
import { openStore } from './open-store.ts';

const text = (value: Bytes | undefined) => value && fromUtf8(value);

async function openUsers(storage = new MemoryStorage(), extra: { maxValueBytes?: number; maxKeyBytes?: number } = {}) {
  const store = await openStore({ storage, ...extra, keyspaces: { users: { module: plainBytes, shards: 4 } } });
  return { storage, store, users: store.keyspace('users') };
}

describe('a store', () => {
  test('keeps what commands set and answers queries, for text and bytes alike', async () => {
    const { store, users } = await openUsers();
    await using _ = store;
    expect(await users.command('anna', plain.set(utf8('1')))).toEqual({ done: true, previous: undefined });
    expect(text((await users.query(utf8('anna'), plain.get())).value)).toBe('1');
    expect(await users.command('anna', plain.set(utf8('2'), { if: 'absent' }))).toMatchObject({ done: false });
    expect(users.keyCount).toBe(1);
  });

  test('knows the types of each keyspace from its value module', async () => {
    const { store, users } = await openUsers();
    await using _ = store;
    expectTypeOf(users.command).parameter(1).toEqualTypeOf<PlainCommand>();
    expectTypeOf(users.query).returns.resolves.toEqualTypeOf<PlainAnswer>();
    // @ts-expect-error: the store was not opened with this one.
    expect(() => store.keyspace('nobody')).toThrow(expect.objectContaining({ code: 'KF_NO_KEYSPACE' }));
    // @ts-expect-error: a module is a value module, and there is no option of this name.
    await expect(openStore({ storage: new MemoryStorage(), keyspaces: { users: { modul: 1 } } })).rejects.toThrow();
  });

  test('opens again with the same shards, counts, entry numbers, hashes and records', async () => {
    const { storage, store, users } = await openUsers();
    for (let i = 0; i < 300; i++) await users.command(`key ${i}`, plain.set(utf8(`${i}`), i % 3 === 0 ? { ttlMs: 60_000 } : {}));
    for (let i = 0; i < 300; i += 2) await users.command(`key ${i}`, plain.delete());
    const { keyspaces, nodeId } = store.stats();
    const states = store.node.keyspaces()[0]!.shards.map(({ machine }) => ({ ...machine.state }));
    await store.close();

    const again = await openUsers(storage.crash());
    expect(again.store.stats().nodeId).toBe(nodeId);
    const withoutLoad = (stats: typeof keyspaces) =>
      stats.map(({ shards, ...rest }) => ({ ...rest, shards: shards.map((shard) => ({ ...shard, load: 0 })) }));
    expect(withoutLoad(again.store.stats().keyspaces)).toEqual(withoutLoad(keyspaces));
    expect(again.store.node.keyspaces()[0]!.shards.map(({ machine }) => machine.state)).toEqual(states);
    expect(again.users.keyCount).toBe(150);
    for (let i = 0; i < 300; i++)
      expect(text((await again.users.query(`key ${i}`, plain.get())).value)).toBe(i % 2 === 0 ? undefined : `${i}`);
    await again.store.close();
  });

  test('iterates over every record once, in order of position', async () => {
    const { store, users } = await openUsers();
    await using _ = store;
    for (let i = 0; i < 1_000; i++) await users.command(`key ${i}`, plain.set(utf8(`${i}`)));
    const seen: string[] = [];
    let last = -1;
    for await (const { key, value, position } of users) {
      expect(position).toBeGreaterThanOrEqual(last);
      last = position;
      expect(`key ${fromUtf8(value)}`).toBe(fromUtf8(key));
      seen.push(fromUtf8(key));
    }
    expect(new Set(seen).size).toBe(1_000);
    expect(seen.length).toBe(1_000);
  });

  test('refuses a keyspace whose module or scheme is another than it was made with: KF_KEYSPACE_MISMATCH', async () => {
    const { store } = await openUsers();
    await using _ = store;
    await expect(store.registerKeyspace('users', { module: plainBytes, scheme: 'redis' })).rejects.toMatchObject({
      code: 'KF_KEYSPACE_MISMATCH',
    });
    await expect(store.registerKeyspace('no spaces', { module: plainBytes })).rejects.toMatchObject({ code: 'KF_BAD_KEYSPACE' });
    await expect(store.registerKeyspace('many', { module: plainBytes, shards: 0 })).rejects.toMatchObject({ code: 'KF_BAD_KEYSPACE' });
  });

  test('takes a keyspace away for good', async () => {
    const { store, users } = await openUsers();
    await using _ = store;
    await users.command('k', plain.set(utf8('v')));
    await store.deregisterKeyspace('users');
    await expect(users.command('k', plain.set(utf8('v')))).rejects.toMatchObject({ code: 'KF_NO_KEYSPACE' });
    expect(() => store.keyspace('users')).toThrow(expect.objectContaining({ code: 'KF_NO_KEYSPACE' }));
    const users2 = await store.registerKeyspace('users', { module: plainBytes });
    expect(users2.keyCount).toBe(0);
    expect((await users2.query('k', plain.get())).present).toBe(false);
  });

  test('refuses what is too large, and everything after closing', async () => {
    const { store, users } = await openUsers(new MemoryStorage(), { maxValueBytes: 100, maxKeyBytes: 50 });
    await expect(users.command('k', plain.set(new Uint8Array(101)))).rejects.toMatchObject({ code: 'KF_VALUE_TOO_LARGE' });
    await expect(users.command('k'.repeat(51), plain.set(utf8('v')))).rejects.toMatchObject({ code: 'KF_KEY_TOO_LARGE' });
    await expect(users.query('k'.repeat(51), plain.get())).rejects.toMatchObject({ code: 'KF_KEY_TOO_LARGE' });
    await expect(users.commandMany(['a'], plain.delete())).rejects.toMatchObject({ code: 'KF_NOT_SUPPORTED' });
    await expect(users.commandMany([], plain.delete())).rejects.toMatchObject({ code: 'KF_BAD_COMMAND' });
    await expect(users.commandMany(['a', 'b', 'c', 'd', 'e', 'f'], plain.delete())).rejects.toMatchObject({ code: 'KF_CROSS_SLOT' });
    await store.close();
    await store.close();
    await expect(users.command('k', plain.set(utf8('v')))).rejects.toMatchObject({ code: 'KF_CLOSED' });
  });

  test('will not open data of a later format: KF_FORMAT_TOO_NEW', async () => {
    const storage = new MemoryStorage();
    storage.put(Uint8Array.of(0, 0, 0, 0, 'f'.charCodeAt(0)), utf8('{"format":2,"nodeId":"n"}'));
    storage.commit();
    await expect(openStore({ storage })).rejects.toBeInstanceOf(KeyfleetError);
    await expect(openStore({ storage })).rejects.toMatchObject({ code: 'KF_FORMAT_TOO_NEW' });
  });
});
