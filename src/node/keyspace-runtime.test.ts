import { describe, expect, test } from 'vitest';
import { type Bytes, fromUtf8, toHex, utf8 } from '../base/bytes.ts';
import { Prng } from '../base/prng.ts';
import { plain, plainBytes } from '../shard/plain-bytes.ts';
import type { ValueModule } from '../shard/value-module.ts';
import { MemoryStorage } from '../storage/memory.ts';
import { openStore } from './open-store.ts';
import { StoreNode } from './store-node.ts';

/** Text under a key, members in cells, and one command over two keys. */
type NoteCommand = { readonly add: readonly string[] } | { readonly rename: readonly [string, string] };
const json = { encode: (value: unknown) => utf8(JSON.stringify(value)), decode: (bytes: Bytes) => JSON.parse(fromUtf8(bytes)) };
const notes: ValueModule<number, NoteCommand, number, null, string[]> = {
  name: 'notes',
  codec: json,
  commandCodec: json,
  command(ctx, value, command) {
    if (!('add' in command)) return { reply: 0, value: undefined };
    for (const line of command.add) ctx.cells.set(utf8(line), utf8(''));
    return { reply: (value ?? 0) + command.add.length, value: (value ?? 0) + command.add.length };
  },
  commandMany(ctx, command) {
    if (!('rename' in command)) return { reply: 0 };
    const [from, to] = command.rename.map((name) => ctx.open(utf8(name)));
    if (from!.value === undefined) return { reply: 0 };
    for (const { cell, value } of from!.cells.scan()) to!.cells.set(cell, value);
    to!.set(from!.value);
    from!.set(undefined);
    return { reply: 1 };
  },
  query: (ctx) => ({ answer: [...ctx.cells.scan()].map(({ cell }) => fromUtf8(cell)) }),
  queryMany: (ctx) => ({ answer: [...ctx.open(utf8('{u}a')).cells.scan()].map(({ cell }) => fromUtf8(cell)) }),
};
const drop: NoteCommand = { rename: ['', ''] };

test('a key whose time changes again and again has one place in the order of expiry', async () => {
  const storage = new MemoryStorage();
  const node = await StoreNode.open({ storage });
  const users = await node.registerKeyspace('users', { module: plainBytes });
  const done = { settled: () => {}, failed: (_: number, error: Error) => expect.fail(error.message) };
  const pairCounts: number[] = [];
  for (const ttlMs of [50_000, 60_000, 60_000, 40_000, undefined]) {
    users.submit(utf8('k'), plain.set(utf8('v'), ttlMs === undefined ? {} : { ttlMs }), done, 0);
    await node.flush();
    pairCounts.push(userPairs(storage));
  }
  expect([pairCounts, users.expiringCount]).toEqual([[2, 2, 2, 2, 1], 0]);
  await node.close();
});

describe('a scan of keys', () => {
  class WatchedStorage extends MemoryStorage {
    readsValues = false;

    override scan(options: Parameters<MemoryStorage['scan']>[0]) {
      this.readsValues ||= options.keysOnly !== true;
      return super.scan(options);
    }
  }
  // The storage keys of the long ones are cut.
  const keys = ['', 'a', '\0', 'L'.repeat(2_000), `${'L'.repeat(2_000)}M`].sort();
  const done = { settled: () => {}, failed: (_: number, error: Error) => expect.fail(error.message) };

  test('reads no values where nothing expires', async () => {
    const storage = new WatchedStorage();
    const node = await StoreNode.open({ storage });
    const users = await node.registerKeyspace('users', { module: plainBytes });
    for (const key of keys) users.submit(utf8(key), plain.set(utf8('v')), done, 0);
    await node.flush();
    storage.readsValues = false;
    const page = await users.scanKeys({ cursor: 0, limit: 100 });
    expect([page.records.map(({ key }) => fromUtf8(key)).sort(), page.next, storage.readsValues]).toEqual([keys, undefined, false]);
    await users.scan({ cursor: 0, limit: 100 });
    expect(storage.readsValues).toBe(true);
    await node.close();
  });

  test('leaves out what has expired', async () => {
    let nowMs = 1_000;
    const node = await StoreNode.open({ storage: new MemoryStorage(), now: () => nowMs });
    const users = await node.registerKeyspace('users', { module: plainBytes });
    for (const key of keys) users.submit(utf8(key), plain.set(utf8('v'), { ttlMs: 50_000 }), done, 0);
    users.submit(utf8('gone'), plain.set(utf8('v'), { ttlMs: 5 }), done, 0);
    users.submit(utf8(`${'L'.repeat(2_000)}gone`), plain.set(utf8('v'), { ttlMs: 5 }), done, 0);
    await node.flush();
    nowMs += 10;
    const page = await users.scanKeys({ cursor: 0, limit: 100 });
    expect([page.records.map(({ key }) => fromUtf8(key)).sort(), page.next]).toEqual([keys, undefined]);
    await node.close();
  });
});

const userPairs = (storage: MemoryStorage) => [...storage.scan({ from: Uint8Array.of(0, 0, 0, 4) })].length;
async function sweepAll(node: StoreNode): Promise<void> {
  await node.flush();
  for (let i = 0; node.sweep(); i++) expect(i).toBeLessThan(1_000);
}

describe('expiry', () => {
  test('hides a key at its time, and a sweep removes it with its place in the order of expiry', async () => {
    const storage = new MemoryStorage();
    let nowMs = 1_000;
    const node = await StoreNode.open({ storage, now: () => nowMs });
    const users = await node.registerKeyspace('users', { module: plainBytes });
    const long = 'L'.repeat(2_000);
    const done = { settled: () => {}, failed: (_: number, error: Error) => expect.fail(error.message) };
    for (let i = 0; i < 2_000; i++) users.submit(utf8(`k${i}`), plain.set(utf8('v'), { ttlMs: 10 + (i % 10) }), done, 0);
    users.submit(utf8(long), plain.set(utf8('v'), { ttlMs: 5 }), done, 0);
    users.submit(utf8('stays'), plain.set(utf8('v')), done, 0);
    users.submit(utf8('persists'), plain.set(utf8('v'), { ttlMs: 5 }), done, 0);
    users.submit(utf8('persists'), plain.expire(null), done, 0);
    await node.flush();
    expect([users.keyCount, users.expiringCount]).toEqual([2_003, 2_001]);

    nowMs += 15;
    expect((await users.scan({ cursor: 0, limit: 10_000 })).records.length).toBe(2 + 2_000 - 6 * 200);
    expect(users.keyCount).toBe(2_003);
    await sweepAll(node);
    expect([users.keyCount, users.expiringCount]).toEqual([2 + 800, 800]);
    nowMs += 100;
    await sweepAll(node);
    await node.flush();
    expect([users.keyCount, users.expiringCount]).toEqual([2, 0]);
    expect(userPairs(storage)).toBe(2);
    expect(node.stats().expiredCount).toBe(2_001);
    await node.close();
  });
});

describe('clearing', () => {
  test('shows at once, keeps what comes later, lasts over a restart, and gives the space back', async () => {
    const storage = new MemoryStorage();
    const store = await openStore({ storage, keyspaces: { users: { module: plainBytes, shards: 4 }, others: { module: plainBytes } } });
    const users = store.keyspace('users');
    for (let i = 0; i < 1_500; i++) users.command(`k${i}`, plain.set(utf8('v'), i % 2 ? { ttlMs: 60_000 } : {}));
    await store.keyspace('others').command('k', plain.set(utf8('other')));
    const cleared = users.clear();
    expect([users.keyCount, users.sizeBytes]).toEqual([0, 0]);
    const later = users.command('k1', plain.set(utf8('new')));
    await Promise.all([cleared, later]);
    expect(await users.query('k0', plain.get())).toMatchObject({ present: false });
    await users.clear();
    await users.command('k2', plain.set(utf8('newest')));
    await store.close();

    const again = await openStore({
      storage: storage.crash(),
      keyspaces: { users: { module: plainBytes }, others: { module: plainBytes } },
    });
    const keys: string[] = [];
    for await (const { key } of again.keyspace('users')) keys.push(fromUtf8(key));
    expect(keys).toEqual(['k2']);
    expect(await again.keyspace('others').query('k', plain.get())).toMatchObject({ present: true });
    await sweepAll(again.node);
    expect(userPairs(again.node.storage as MemoryStorage)).toBe(2);
    await again.close();
  });
});

describe('large values', () => {
  test('are stepped over by scans, dropped at once, and their cells reclaimed, also after a restart', async () => {
    const storage = new MemoryStorage();
    const store = await openStore({ storage, keyspaces: { notes: { module: notes, scheme: 'redis' } } });
    const book = store.keyspace('notes');
    const lines = Array.from({ length: 3_000 }, (_, i) => `line ${i}`);
    for (const name of ['a', 'b', 'c']) await book.command(name, { add: lines });
    await book.command('small', { add: ['x'] });
    const page = await book.scan({ cursor: 0, limit: 10 });
    expect(page.records.map(({ key, value }) => `${fromUtf8(key)} ${value}`).sort()).toEqual(['a 3000', 'b 3000', 'c 3000', 'small 1']);
    await book.command('a', drop);
    await book.command('small', drop);
    expect(await book.query('a', null)).toEqual([]);
    await book.command('a', { add: ['again'] });
    await store.close();

    const again = await openStore({ storage: storage.crash(), keyspaces: { notes: { module: notes, scheme: 'redis' } } });
    await sweepAll(again.node);
    expect(await again.keyspace('notes').query('a', null)).toEqual(['again']);
    expect(await again.keyspace('notes').query('b', null)).toHaveLength(3_000);
    expect(userPairs(again.node.storage as MemoryStorage)).toBe(3 + 2 * 3_000 + 1);
    await again.close();
  });
});

describe('commands over several keys', () => {
  test('work within a slot, and are refused across slots: KF_CROSS_SLOT', async () => {
    const store = await openStore({ storage: new MemoryStorage(), keyspaces: { notes: { module: notes, scheme: 'redis', shards: 16 } } });
    await using _ = store;
    const book = store.keyspace('notes');
    await book.command('{u}b', { add: ['one', 'two'] });
    expect(await book.commandMany(['{u}b', '{u}a'], { rename: ['{u}b', '{u}a'] })).toBe(1);
    expect(await book.queryMany(['{u}a'], null)).toEqual(['one', 'two']);
    expect(book.keyCount).toBe(1);
    await expect(book.commandMany(['a', 'b'], { rename: ['a', 'b'] })).rejects.toMatchObject({ code: 'KF_CROSS_SLOT' });
    await expect(book.commandMany(['{u}a'], { rename: ['{u}a', 'elsewhere'] })).rejects.toMatchObject({ code: 'KF_CROSS_SHARD' });
  });
});

describe('scanning by cursor', () => {
  test('sees every key that is there all along exactly once, whatever else comes and goes', async () => {
    const store = await openStore({ storage: new MemoryStorage(), keyspaces: { users: { module: plainBytes } } });
    await using _ = store;
    const users = store.keyspace('users');
    const prng = new Prng(7);
    for (let i = 0; i < 500; i++) await users.command(`stays ${i}`, plain.set(utf8('v')));
    const seen = new Map<string, number>();
    let cursor: number | undefined = 0;
    while (cursor !== undefined) {
      const page: Awaited<ReturnType<typeof users.scan>> = await users.scan({ cursor, limit: 1 + prng.below(20) });
      for (const { key } of page.records) seen.set(toHex(key), (seen.get(toHex(key)) ?? 0) + 1);
      for (let i = 0; i < 5; i++) await users.command(`goes ${prng.below(50)}`, prng.below(2) ? plain.delete() : plain.set(utf8('v')));
      cursor = page.next;
    }
    for (let i = 0; i < 500; i++) expect(seen.get(toHex(utf8(`stays ${i}`)))).toBe(1);
  });

  test('keeps all keys of one position on one page', async () => {
    const samePlace: ValueModule<Bytes, Bytes, null, null, null> = {
      name: 'x',
      codec: plainBytes.codec,
      commandCodec: plainBytes.codec,
      command: (_ctx, _value, command) => ({ reply: null, value: command }),
      query: () => ({ answer: null }),
    };
    const store = await openStore({ storage: new MemoryStorage(), keyspaces: { users: { module: samePlace, scheme: 'redis' } } });
    await using _ = store;
    const users = store.keyspace('users');
    for (let i = 0; i < 40; i++) await users.command(`k${i}`, utf8('v'));
    for (const { position } of (await users.scan({ cursor: 0, limit: 40 })).records) {
      const { records } = await users.scan({ cursor: position, limit: 1 });
      expect(records.every((record) => record.position === position)).toBe(true);
    }
  });
});

describe('sampling', () => {
  test('gives some live record, and in time every one, however skewed the keys lie', async () => {
    const store = await openStore({ storage: new MemoryStorage(), keyspaces: { notes: { module: notes, scheme: 'redis' } } });
    await using _ = store;
    const book = store.keyspace('notes');
    const { node } = store;
    const handle = node.keyspaces()[0]!;
    expect(await handle.sample(0.5)).toBe(undefined);
    for (let i = 0; i < 20; i++) await book.command(`{one slot}${i}`, { add: ['x', 'y'] });
    const prng = new Prng(3);
    const seen = new Set<string>();
    for (let i = 0; i < 2_000; i++) seen.add(toHex((await handle.sample(prng.unit()))!.key));
    expect(seen.size).toBe(20);
    for (const unit of [0, 1 - Number.EPSILON]) expect(await handle.sample(unit)).toBeDefined();
  });

  test('steps over records that have expired, to the last live one', async () => {
    let nowMs = 0;
    const node = await StoreNode.open({ storage: new MemoryStorage(), now: () => nowMs });
    const users = await node.registerKeyspace('users', { module: plainBytes, shards: 3 });
    const done = { settled: () => {}, failed: (_: number, error: Error) => expect.fail(error.message) };
    for (let i = 0; i < 50; i++) users.submit(utf8(`k${i}`), plain.set(utf8('v'), { ttlMs: 10 }), done, 0);
    users.submit(utf8('live'), plain.set(utf8('v')), done, 0);
    nowMs = 20;
    for (let i = 0; i < 20; i++) expect(fromUtf8((await users.sample(i / 20))!.key)).toBe('live');
    await node.close();
  });
});
