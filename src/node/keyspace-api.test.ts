import { existsSync } from 'node:fs';
import { describe, expect, expectTypeOf, test } from 'vitest';
import { type Bytes, fromUtf8 } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import { type CounterCommand, counter, counterModule } from '../shard/counter.ts';
import { tableStart } from '../shard/key-layout.ts';
import { type PlainAnswer, plain, plainBytes } from '../shard/plain-bytes.ts';
import { MemoryStorage } from '../storage/memory.ts';
import { openStore } from './open-store.ts';

const keyspaces = { users: { module: plainBytes, shards: 4 }, visits: { module: counterModule, shards: 4 } } as const;
const code = (expected: string) => expect.objectContaining({ code: expected });
const namesOf = async (keys: AsyncIterable<Bytes>): Promise<string[]> => {
  const names: string[] = [];
  for await (const key of keys) names.push(fromUtf8(key));
  return names;
};
/** Everything but the node's own and the meta shard's records. */
const userPairs = (storage: MemoryStorage) => [
  ...storage.scan({ from: tableStart(1), to: tableStart(2) }),
  ...storage.scan({ from: tableStart(4) }),
];

describe('registering a keyspace', () => {
  test('twice is refused: KF_KEYSPACE_EXISTS, also while the first is still on its way to the disk', async () => {
    const store = await openStore({ storage: new MemoryStorage(), keyspaces });
    await using _ = store;
    await expect(store.registerKeyspace('users', { module: plainBytes })).rejects.toThrow(code('KF_KEYSPACE_EXISTS'));
    const both = await Promise.allSettled([1, 2].map(() => store.registerKeyspace('new', { module: plainBytes })));
    expect(both.map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
    expect(both[1]).toMatchObject({ reason: { code: 'KF_KEYSPACE_EXISTS' } });
  });

  test('lists it with its module, scheme, shards and policy', async () => {
    const store = await openStore({ storage: new MemoryStorage(), keyspaces });
    await using _ = store;
    expect(store.listKeyspaces()).toMatchObject([
      { name: 'users', module: 'plain-bytes', scheme: 'hash', shardCount: 4, isServed: true },
      { name: 'visits', module: 'counter', scheme: 'hash', shardCount: 4, isServed: true },
    ]);
    expect(store.listKeyspaces()[0]!.policy).toEqual({
      maxShards: 256,
      minShards: 4,
      maxKeysPerShard: null,
      maxBytesPerShard: null,
      maxLoadPerShard: null,
      loadPerQueryToMissingKey: 0,
      mergeThresholdRatio: 0.5,
    });
  });

  test('of which the module is missing after a restart says so: KF_MODULE_MISSING, and it can be given later', async () => {
    const storage = new MemoryStorage();
    const first = await openStore({ storage, keyspaces });
    await first.command('visits', 'home', counter.add(3));
    await first.close();
    const store = await openStore<typeof keyspaces>({ storage: storage.crash(), keyspaces: { users: { module: plainBytes } } as never });
    await using _ = store;
    expect(() => store.keyspace('visits')).toThrow(code('KF_MODULE_MISSING'));
    expect(() => store.shards('visits')).toThrow(code('KF_MODULE_MISSING'));
    expect(() => store.keyspace('none' as 'visits')).toThrow(code('KF_NO_KEYSPACE'));
    expect(store.listKeyspaces().map(({ name, isServed }) => [name, isServed])).toEqual([
      ['users', true],
      ['visits', false],
    ]);
    await expect(store.registerKeyspace('visits', { module: plainBytes })).rejects.toThrow(code('KF_KEYSPACE_MISMATCH'));
    expect(await (await store.registerKeyspace('visits', { module: counterModule })).query('home', null)).toBe(3);
  });
});

describe('a policy', () => {
  test('is set in part, read back, and kept over a restart', async () => {
    const storage = new MemoryStorage();
    const store = await openStore({ storage, keyspaces: { users: { module: plainBytes, shards: 2, policy: { maxKeysPerShard: 100 } } } });
    expect(store.getPolicy('users')).toMatchObject({ minShards: 2, maxKeysPerShard: 100 });
    expect(await store.setPolicy('users', { maxShards: 16, maxKeysPerShard: null })).toMatchObject({
      maxShards: 16,
      maxKeysPerShard: null,
    });
    const policy = store.getPolicy('users');
    await store.close();
    const again = await openStore({ storage: storage.crash() });
    await using _ = again;
    expect(again.getPolicy('users')).toEqual(policy);
    expect(() => again.getPolicy('none')).toThrow(code('KF_NO_KEYSPACE'));
    await expect(again.setPolicy('none', {})).rejects.toThrow(code('KF_NO_KEYSPACE'));
  });

  test('that makes no sense is refused, and the old one holds: KF_BAD_POLICY', async () => {
    const store = await openStore({ storage: new MemoryStorage(), keyspaces });
    await using _ = store;
    const before = store.getPolicy('users');
    const bad: readonly Record<string, unknown>[] = [
      { maxShards: 0 },
      { maxShards: 4_097 },
      { maxShards: 3 },
      { minShards: 1.5 },
      { minShards: 300 },
      { maxKeysPerShard: 0 },
      { maxBytesPerShard: Number.NaN },
      { maxLoadPerShard: -1 },
      { loadPerQueryToMissingKey: -1 },
      { mergeThresholdRatio: 1 },
      { mergeThresholdRatio: 'half' },
      { maxKeysPerShards: 10 },
    ];
    for (const policy of bad) await expect(store.setPolicy('users', policy)).rejects.toThrow(code('KF_BAD_POLICY'));
    await expect(store.registerKeyspace('new', { module: plainBytes, policy: { maxShards: -1 } })).rejects.toThrow(code('KF_BAD_POLICY'));
    expect(store.getPolicy('users')).toEqual(before);
    expect(store.listKeyspaces()).toHaveLength(2);
  });
});

describe('deregistering a keyspace', () => {
  test('takes keys, sessions and shards away for good, in the background, and its id is never used again', async () => {
    const storage = new MemoryStorage();
    const store = await openStore({ storage, keyspaces });
    const session = store.session();
    for (let i = 0; i < 1_500; i++) await session.command(store.keyspace('visits'), `page ${i}`, counter.add());
    const { id } = store.listKeyspaces().find(({ name }) => name === 'visits')!;
    const shardIds = store.shards('visits').map((shard) => shard.id);
    expect(userPairs(storage).length).toBeGreaterThan(2_900);
    await store.deregisterKeyspace('visits');
    await expect(store.deregisterKeyspace('visits')).rejects.toThrow(code('KF_NO_KEYSPACE'));

    // Ended at once: what is left to remove is removed by the next process.
    await store.close();
    const again = await openStore({ storage: storage.crash(), keyspaces });
    await using _ = again;
    for (let i = 0; again.node.sweep(); i++) expect(i).toBeLessThan(1_000);
    await again.node.flush();
    expect(userPairs(again.node.storage as MemoryStorage)).toEqual([]);
    const now = again.listKeyspaces().find(({ name }) => name === 'visits')!;
    expect(now.id).not.toBe(id);
    expect(again.shards('visits').every((shard) => !shardIds.includes(shard.id))).toBe(true);
    expect(await again.query('visits', 'page 1', null)).toBe(undefined);
  });

  test('that the disk refuses leaves it as it was, and served', async () => {
    const storage = new MemoryStorage();
    const store = await openStore({ storage, keyspaces });
    await using _ = store;
    await store.command('visits', 'home', counter.add());
    storage.refuse(new KeyfleetError('KF_DISK_FULL', 'full'));
    await expect(store.deregisterKeyspace('visits')).rejects.toThrow(code('KF_DISK_FULL'));
    storage.refuse(undefined);
    expect(await store.command('visits', 'home', counter.add())).toBe(2);
    await store.deregisterKeyspace('visits');
    expect(store.listKeyspaces().map(({ name }) => name)).toEqual(['users']);
  });

  test('works on one whose value module was not given', async () => {
    const storage = new MemoryStorage();
    await (await openStore({ storage, keyspaces })).close();
    const store = await openStore({ storage: storage.crash() });
    await using _ = store;
    await store.deregisterKeyspace('visits');
    expect(store.listKeyspaces().map(({ name }) => name)).toEqual(['users']);
  });
});

describe('the shards of a keyspace', () => {
  test('are traversed with their ranges, counts and keys, each key in exactly one', async () => {
    const store = await openStore({ storage: new MemoryStorage(), keyspaces });
    await using _ = store;
    await Promise.all(Array.from({ length: 1_000 }, (_, i) => store.command('visits', `page ${i}`, counter.add())));
    const shards = store.shards('visits');
    expect(shards.map(({ from }) => from)).toEqual([0, ...shards.slice(0, -1).map(({ to }) => to)]);
    const seen: string[] = [];
    for (const shard of shards) {
      const names = await namesOf(store.keysInShard(shard));
      expect(names).toHaveLength(shard.keyCount);
      seen.push(...names);
    }
    expect(new Set(seen).size).toBe(1_000);
    const halves = [
      { from: 0, to: 0x8000_0000 },
      { from: 0x8000_0000, to: 0x1_0000_0000 },
    ].map((half) => namesOf(store.keyspace('visits').keysInShard(half)));
    expect((await Promise.all(halves)).flat()).toEqual(seen);
  });

  test('take a command on all their keys, and no others', async () => {
    const store = await openStore({ storage: new MemoryStorage(), keyspaces });
    await using _ = store;
    await Promise.all(Array.from({ length: 3_000 }, (_, i) => store.command('visits', `page ${i}`, counter.add())));
    const [first, second] = store.shards('visits');
    const progress: number[] = [];
    expect(await store.commandOnAllKeys(first!, counter.add(10), { onProgress: ({ keyCount }) => progress.push(keyCount) })).toBe(
      first!.keyCount,
    );
    expect(progress.length).toBeGreaterThan(1);
    expect(progress.at(-1)).toBe(first!.keyCount);
    for await (const key of store.keysInShard(first!)) expect(await store.query('visits', key, null)).toBe(11);
    for await (const key of store.keysInShard(second!)) expect(await store.query('visits', key, null)).toBe(1);
    expect(await store.commandOnAllKeys(first!, counter.remove())).toBe(first!.keyCount);
    expect(store.shards('visits')[0]!.keyCount).toBe(0);
  });

  test('have the types of their keyspace', async () => {
    const store = await openStore({ storage: new MemoryStorage(), keyspaces });
    await using _ = store;
    expectTypeOf(store.command<'visits'>)
      .parameter(2)
      .toEqualTypeOf<CounterCommand>();
    expectTypeOf(store.query<'users'>).returns.resolves.toEqualTypeOf<PlainAnswer>();
    expectTypeOf(await store.command('visits', 'home', counter.add())).toEqualTypeOf<number>();
    // @ts-expect-error: a command of another keyspace.
    await expect(store.command('visits', 'home', plain.delete())).rejects.toThrow(code('KF_BAD_COMMAND'));
  });
});

describe('the options of a call', () => {
  test('read: local shows what is not yet durable, the others wait for it', async () => {
    const storage = new MemoryStorage({ holdDurability: true });
    const opening = openStore({ storage, keyspaces: { visits: { module: counterModule, shards: 1 } } });
    const release = setInterval(() => storage.release(), 1);
    const store = await opening;
    clearInterval(release);
    const visits = store.keyspace('visits');
    const write = visits.command('home', counter.add());
    await new Promise((resolve) => setImmediate(resolve));
    expect(await visits.query('home', null, { read: 'local' })).toBe(1);
    for (const read of ['lease', 'barrier'] as const) {
      await expect(visits.query('home', null, { read, timeoutMs: 20 })).rejects.toThrow(code('KF_TIMED_OUT'));
    }
    await expect(visits.command('home', counter.add(), { timeoutMs: 20 })).rejects.toThrow(code('KF_OUTCOME_UNKNOWN'));
    storage.release();
    expect(await write).toBe(1);
    const end = setInterval(() => storage.release(), 1);
    expect(await visits.query('home', null)).toBe(2);
    await store.close();
    clearInterval(end);
  });

  test('retries tries again what was not done, and only that; with a request id also what may have been', async () => {
    const storage = new MemoryStorage();
    const store = await openStore({ storage, keyspaces });
    await using _ = store;
    const visits = store.keyspace('visits');
    storage.refuse(new KeyfleetError('KF_DISK_FULL', 'full', { retryable: true }));
    await expect(visits.command('home', counter.add())).rejects.toThrow(code('KF_DISK_FULL'));
    const patient = visits.command('home', counter.add(), { retries: 1_000, retryIntervalMs: 5 });
    await new Promise((resolve) => setTimeout(resolve, 20));
    storage.refuse(undefined);
    expect(await patient).toBe(1);
    await expect(visits.command('home', counter.add(0.5), { retries: 5, retryIntervalMs: 60_000 })).rejects.toThrow(code('KF_BAD_COMMAND'));
    for (const options of [
      { retries: -1 },
      { retries: 0.5 },
      { timeoutMs: Number.NaN },
      { retryIntervalMs: -1 },
      { ack: 'disk' as 'log' },
    ]) {
      await expect(visits.command('home', counter.add(), options)).rejects.toThrow(code('KF_BAD_OPTION'));
    }
    await expect(visits.query('home', null, { read: 'stale' as 'local' })).rejects.toThrow(code('KF_BAD_OPTION'));
    for (const key of [undefined, null, 5, {}] as unknown as string[]) {
      await expect(visits.command(key, counter.add())).rejects.toThrow(code('KF_BAD_KEY'));
      await expect(visits.query(key, null)).rejects.toThrow(code('KF_BAD_KEY'));
    }
    expect(await visits.query('home', null)).toBe(1);
  });
});

test('what no type has checked is refused by its code, and leaves nothing behind', async () => {
  await using store = await openStore({ storage: new MemoryStorage() });
  const register = (options: object, name = 'new') => store.registerKeyspace(name, options as { module: typeof counterModule });
  const module = counterModule;
  for (const [options, wrong] of [
    [{}, 'KF_BAD_MODULE'],
    [{ module: { name: 'x' } }, 'KF_BAD_MODULE'],
    [{ module, shards: 0 }, 'KF_BAD_KEYSPACE'],
    [{ module, shards: 5_000 }, 'KF_BAD_KEYSPACE'],
    [{ module, shards: 'two' }, 'KF_BAD_KEYSPACE'],
    [{ module, scheme: 'crc' }, 'KF_BAD_KEYSPACE'],
    [{ module, policy: { maxKeys: 5 } }, 'KF_BAD_POLICY'],
    [{ module, hook: () => {} }, 'KF_BAD_OPTION'],
    [{ module, hook: {} }, 'KF_BAD_OPTION'],
    [{ module, hook: { onCommandCommitted: 'log' } }, 'KF_BAD_OPTION'],
    [{ module, hook: { onQueryAnswered() {}, timeoutMs: 0 } }, 'KF_BAD_OPTION'],
  ] as const) {
    await expect(register(options), JSON.stringify(options)).rejects.toThrow(code(wrong));
  }
  for (const name of ['', 'a/b', 'x'.repeat(65)]) await expect(register({ module }, name)).rejects.toThrow(code('KF_BAD_KEYSPACE'));
  expect(store.listKeyspaces()).toEqual([]);
  await expect(openStore({} as { dir: string })).rejects.toThrow(code('KF_BAD_OPTION'));
  await expect(openStore({ dir: 'never-made', durability: 'fsync' as 'sync' })).rejects.toThrow(code('KF_BAD_OPTION'));
  expect(existsSync('never-made')).toBe(false);
  await register({ module });
});
