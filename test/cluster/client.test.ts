import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ClusterClient } from '../../src/node/cluster/cluster-client.ts';
import { encodeJson } from '../../src/node/cluster/reports.ts';
import { SystemClock } from '../../src/node/node-clock.ts';
import { counterModule } from '../../src/shard/counter.ts';
import { add, type Counters, InProcessCluster, read, Sender, untilKnown, waitFor } from './in-process-cluster.ts';

// Who has none of the data, and asks the node that leads.

describe('a client of a cluster', () => {
  let cluster: InProcessCluster;
  const clients: { stop: () => void }[] = [];
  beforeEach(() => {
    cluster = new InProcessCluster();
  });
  afterEach(async () => {
    for (const client of clients.splice(0)) client.stop();
    await cluster.stopAll();
  });

  const connect = async (self = 'client-1', requestTimeoutMs = 10_000): Promise<ClusterClient> => {
    const transport = cluster.network.join(self);
    const client = await ClusterClient.open({ self, cluster: 'test', clock: new SystemClock(), transport, requestTimeoutMs });
    clients.push({
      stop: () => {
        client.stop();
        void transport.close();
      },
    });
    return client;
  };
  const startThree = async (): Promise<Counters> => {
    const a = await cluster.start('a');
    const counters = await cluster.counters(a, { shards: 4 });
    for (const id of ['b', 'c']) await cluster.start(id);
    await waitFor('three copies of all', () => counters.shardStats().every(({ replicas }) => replicas?.length === 3));
    return counters;
  };

  test('has what a node gives: keyspaces made and found, commands, reads, walks, counts, policies, splits', async () => {
    await startThree();
    const client = await connect();
    expect(client.keyspaceRecords().map(({ name }) => name)).toEqual(['counters']);
    expect(() => client.keyspace('counters')).toThrow(expect.objectContaining({ code: 'KF_MODULE_MISSING' }) as Error);
    expect(() => client.keyspace('others')).toThrow(expect.objectContaining({ code: 'KF_NO_KEYSPACE' }) as Error);
    const counters: Counters = await client.registerKeyspace('counters', { module: counterModule });
    const made: Counters = await client.registerKeyspace('made', { module: counterModule, shards: 2 });
    expect(await add(made, 'x')).toBe(1);
    for (let i = 0; i < 40; i++) await add(counters, `key-${i}`, i);
    for (const mode of ['lease', 'barrier'] as const) expect(await read(counters, 'key-7', mode)).toBe(7);
    await waitFor('a copy that has it', async () => (await read(counters, 'key-7', 'local')) === 7);
    expect((await counters.counts()).keyCount).toBe(40);
    let cursor: number | undefined = 0;
    let seen = 0;
    while (cursor !== undefined) {
      const page = await counters.scan({ cursor, limit: 10 });
      seen += page.records.length;
      cursor = page.next;
    }
    expect(seen).toBe(40);
    expect(await client.setPolicy('counters', { maxShards: 9 })).toMatchObject({ maxShards: 9 });
    const { op } = await client.workflows('counters').split(counters.shardStats()[0]!.id);
    expect(op).toBeGreaterThan(0);
    await waitFor('the split in the map', () => counters.shardStats().length === 5);
    await waitFor('what the leaders report', () => counters.keyCount === 40);
    await client.deregisterKeyspace('made');
    await waitFor('the end of a keyspace', () => client.keyspaceRecords().length === 1);
    await expect(add(made, 'x')).rejects.toMatchObject({ code: 'KF_NO_KEYSPACE' });
  });

  test('is no node: it is given nothing, and nobody knows of it', async () => {
    const counters = await startThree();
    const client = await connect();
    await add(await client.registerKeyspace('counters', { module: counterModule }), 'x');
    expect(client.view().nodes.map(({ id }) => id)).toEqual(['a', 'b', 'c']);
    expect(
      cluster.nodes
        .get('a')!
        .view()
        .nodes.map(({ id }) => id),
    ).toEqual(['a', 'b', 'c']);
    expect(counters.shardStats().every(({ replicas }) => !replicas!.includes('client-1'))).toBe(true);
    const hook = { onCommandCommitted: () => Promise.resolve() };
    await expect(client.registerKeyspace('counters', { module: counterModule, hook })).rejects.toMatchObject({ code: 'KF_BAD_OPTION' });
  });

  test('asks the leader itself, and goes on while shards are split and merged, leaders change and nodes come and go', async () => {
    await startThree();
    const client = await connect();
    const counters: Counters = await client.registerKeyspace('counters', { module: counterModule });
    let isOver = false;
    const sent = new Map<string, number>();
    const sender = new Sender('exactly');
    let answers = 0;
    const writing = (async () => {
      for (let i = 0; !isOver; i++) {
        const key = `key-${i % 97}`;
        const reply = await sender.add(counters, key);
        answers++;
        sent.set(key, (sent.get(key) ?? 0) + 1);
        expect(reply).toBe(sent.get(key));
      }
    })();
    const other = cluster.nodes.get('b')!;
    const [first] = counters.shardStats();
    await other.workflows('counters').split(first!.id);
    await cluster.start('d');
    await waitFor('a share for the fourth', () => counters.shardStats().some(({ replicas }) => replicas?.includes('d')));
    await cluster.stop('a', false);
    await waitFor('leaders that are there', () => counters.shardStats().every(({ leader }) => leader !== undefined && leader !== 'a'));
    await waitFor('a merge', async () => (await other.workflows('counters').merge(counters.shardStats()[0]!.id)).op > 0);
    await cluster.stop('c');
    const before = answers;
    await waitFor('answers after all that', () => answers > before + 100);
    isOver = true;
    await writing;
    for (const [key, count] of sent) expect(await untilKnown(() => read(counters, key))).toBe(count);
  }, 60_000);

  test('is told when no node that it asks has the value module', async () => {
    await startThree();
    const client = await connect('client-1', 1_000);
    const unknown = { ...counterModule, name: 'of-nobody' };
    const counters: Counters = await client.registerKeyspace('others', { module: unknown, shards: 1 });
    await expect(add(counters, 'x')).rejects.toMatchObject({
      code: 'KF_MODULE_MISSING',
      message: expect.stringContaining('of-nobody') as string,
    });
  });

  test('needs nodes that answer, and that speak what it knows', async () => {
    await expect(connect('client-1', 300)).rejects.toMatchObject({ code: 'KF_UNAVAILABLE', retryable: true });
    await cluster.start('a', { protocol: { min: 1, max: 999 } });
    await expect(connect('client-2', 2_000)).rejects.toMatchObject({
      code: 'KF_NODE_INCOMPATIBLE',
      message: expect.stringContaining('999') as string,
    });
  });

  test('hears KF_UNAVAILABLE when all nodes are gone, and goes on when they are back', async () => {
    const counters = await startThree();
    await add(counters, 'x');
    const client = await connect('client-1', 1_000);
    const mine: Counters = await client.registerKeyspace('counters', { module: counterModule });
    expect(await add(mine, 'x')).toBe(2);
    for (const id of ['a', 'b', 'c']) await cluster.stop(id, false);
    await expect(read(mine, 'x')).rejects.toMatchObject({ code: 'KF_UNAVAILABLE' });
    await Promise.all(['a', 'b', 'c'].map((id) => cluster.start(id)));
    await waitFor('an answer', async () => (await read(mine, 'x')) === 2);
  }, 30_000);

  test('does not go back to an older map', async () => {
    await startThree();
    const client = await connect();
    await client.registerKeyspace('counters', { module: counterModule });
    const old = { version: { generation: 1, applied: 1 }, records: [], leaders: [], reports: { nodes: [] } };
    const stale = cluster.network.join('stale');
    await stale.serve(() => new Uint8Array([0, ...encodeJson(old)]));
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect(client.keyspaceRecords().map(({ name }) => name)).toEqual(['counters']);
    await stale.close();
  });
});
