import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { toHex, utf8 } from '../../src/base/bytes.ts';
import { connectCluster } from '../../src/node/connect-cluster.ts';
import { type ClusterStore, openCluster } from '../../src/node/open-cluster.ts';
import { counter, counterModule } from '../../src/shard/counter.ts';
import { defineModule } from '../../src/shard/define-module.ts';
import { MemoryStorage } from '../../src/storage/memory.ts';
import { hasRecentNats, NATS_SERVERS, NatsServers, waitFor } from '../nats/nats-servers.ts';

// The store for TypeScript over three nodes of a cluster, all in this process, on one real nats-server.

/** Values are texts; a command appends. */
const notes = defineModule<string, string, number, null, string>({
  name: 'notes',
  command: (_ctx, value, more) => ({ value: (value ?? '') + more, reply: (value ?? '').length + more.length }),
  query: (_ctx, value) => ({ answer: value ?? '' }),
});

const KEYSPACES = { visits: { module: counterModule, shards: 4 }, notes: { module: notes, shards: 4 } } as const;
type Nodes = ClusterStore<typeof KEYSPACES>;

describe.skipIf(!hasRecentNats)('the store of a cluster', () => {
  let nats: NatsServers;
  const stores: Nodes[] = [];
  const open = (node: string): Promise<Nodes> =>
    openCluster({ cluster: 'lib', node, nats: { servers: nats.urls }, storage: new MemoryStorage(), keyspaces: KEYSPACES });

  beforeAll(async () => {
    nats = await NatsServers.start(NATS_SERVERS[0]!.binary, 1);
    stores.push(...(await Promise.all(['a', 'b', 'c'].map(open))));
    // The first node had them alone.
    const shards = () => stores.flatMap((store) => [...store.shards('visits'), ...store.shards('notes')]);
    await waitFor('three copies of every shard', async () => shards().every(({ replicas }) => replicas?.length === 3));
  }, 40_000);
  afterAll(async () => {
    for (const store of stores) await store.close();
    await nats?.stop();
  }, 30_000);

  test('gives what one machine gives, at every node: commands, queries, modules of your own', async () => {
    const [a, b, c] = stores as [Nodes, Nodes, Nodes];
    expect(a.listKeyspaces().map(({ name, isServed }) => [name, isServed])).toEqual([
      ['notes', true],
      ['visits', true],
    ]);
    for (const [i, store] of stores.entries()) expect(await store.keyspace('visits').command('home', counter.add())).toBe(i + 1);
    expect(await b.query('visits', 'home', counter.get())).toBe(3);
    expect(await b.query('visits', 'home', counter.get(), { read: 'barrier' })).toBe(3);
    const twoDisks = { ack: 'log+quorum', retries: 3, retryIntervalMs: 100 } as const;
    expect(await a.session().command(a.keyspace('notes'), 'shopping', 'buy milk', twoDisks)).toBe(8);
    expect(await c.command('notes', 'shopping', ', and bread', { ack: 'log' })).toBe(19);
    expect(await a.query('notes', 'shopping', null)).toBe('buy milk, and bread');
    await waitFor('the copies here', async () => (await b.query('notes', 'shopping', null, { read: 'local' })) === 'buy milk, and bread');
  });

  test('does a request of a session once, though it be sent again from elsewhere', async () => {
    const [a, b, c] = stores as [Nodes, Nodes, Nodes];
    const session = a.session();
    const request = session.request();
    expect(await a.command('visits', 'once', counter.add(5), { request })).toBe(5);
    expect(await b.command('visits', 'once', counter.add(5), { request })).toBe(5);
    expect(await c.command('visits', 'once', counter.add(5), { request })).toBe(5);
    await expect(c.command('visits', 'once', counter.add(6), { request })).rejects.toMatchObject({ code: 'KF_REQUEST_MISMATCH' });
    session.close(request);
    expect(await session.command(b.keyspace('visits'), 'once', counter.add())).toBe(6);
  });

  test('walks over all keys, shard by shard and as a whole, while shards are split', async () => {
    const [a, b] = stores as [Nodes, Nodes];
    const names = Array.from({ length: 300 }, (_, i) => `page-${i}`);
    const before = (await a.keyspace('visits').counts()).keyCount;
    await Promise.all(names.map((name, i) => stores[i % 3]!.command('visits', name, counter.add(1))));
    expect((await b.keyspace('visits').counts()).keyCount).toBe(before + 300);
    const [shard] = a.shards('visits');
    await b.workflows('visits').split(shard!.id);
    await waitFor('the split at every node', async () => stores.every((store) => store.shards('visits').length === 5));
    const seen = new Set<string>();
    for await (const { key } of b.keyspace('visits')) seen.add(toHex(key));
    expect(names.every((name) => seen.has(toHex(utf8(name))))).toBe(true);
    let counted = 0;
    for (const one of a.shards('visits')) counted += await a.commandOnAllKeys(one, counter.add(1));
    expect(counted).toBe(before + 300);
    expect(await b.query('visits', 'page-7', counter.get())).toBe(2);
    await a.keyspace('visits').clear();
    expect((await b.keyspace('visits').counts()).keyCount).toBe(0);
  });

  test('is there for a client that has none of the data too', async () => {
    const [a] = stores as [Nodes, Nodes, Nodes];
    await using client = await connectCluster({ cluster: 'lib', nats: { servers: nats.urls }, keyspaces: KEYSPACES });
    const session = client.session();
    expect(await session.command(client.keyspace('visits'), 'door', counter.add(7))).toBe(7);
    expect(await client.query('visits', 'door', counter.get())).toBe(7);
    expect(await a.query('visits', 'door', counter.get())).toBe(7);
    expect(client.stats().keyspaces.map(({ name }) => name)).toEqual(['notes', 'visits']);
    expect(client.node.view().nodes.map(({ id }) => id)).toEqual(['a', 'b', 'c']);
    await client.close();
    await expect(client.query('visits', 'door', counter.get())).rejects.toMatchObject({ code: 'KF_CLOSED' });
    const nobody = connectCluster({ cluster: 'none', nats: { servers: nats.urls }, requestTimeoutMs: 300 });
    await expect(nobody).rejects.toMatchObject({ code: 'KF_UNAVAILABLE' });
  });

  test('has one policy, and says what is wrong in words', async () => {
    const [a, b] = stores as [Nodes, Nodes];
    await a.setPolicy('notes', { maxKeysPerShard: 1_000 });
    await waitFor('the policy at the other node', async () => b.getPolicy('notes').maxKeysPerShard === 1_000);
    await expect(b.setPolicy('notes', { minShards: -1 })).rejects.toMatchObject({ code: 'KF_BAD_POLICY' });
    await expect(open('a')).rejects.toMatchObject({ code: 'KF_NODE_ID_TAKEN' });
    const nowhere = openCluster({ cluster: 'lib', node: 'd', nats: { servers: ['nats://127.0.0.1:1'] }, storage: new MemoryStorage() });
    await expect(nowhere).rejects.toMatchObject({ code: 'KF_NATS_UNREACHABLE' });
  });

  test('goes on when a node leaves', async () => {
    const [, b, c] = stores as [Nodes, Nodes, Nodes];
    await c.command('notes', 'lasts', 'x');
    const closing = stores.shift()!.close();
    expect(await b.query('notes', 'lasts', null)).toBe('x');
    await closing;
    for (let i = 0; i < 8; i++) expect(await c.command('notes', `after-${i}`, 'x')).toBe(1);
  });
});
