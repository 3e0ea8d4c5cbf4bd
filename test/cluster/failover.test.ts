import { afterEach, describe, expect, test } from 'vitest';
import { utf8 } from '../../src/base/bytes.ts';
import { isKeyfleetError } from '../../src/base/errors.ts';
import type { ClusterNode } from '../../src/node/cluster/cluster-node.ts';
import { add, type Counters, InProcessCluster, QUICK_TIMING, read, waitFor } from './in-process-cluster.ts';
import { LateLogs } from './late-logs.ts';

describe('leaders of a cluster', () => {
  let cluster: InProcessCluster;
  afterEach(() => cluster.stopAll());

  const counters = new Map<string, Counters>();
  const start = async (id: string): Promise<ClusterNode> => {
    const node = await cluster.start(id);
    counters.set(id, await cluster.counters(node, { shards: 4 }));
    return node;
  };
  const three = async (): Promise<void> => {
    cluster = new InProcessCluster();
    for (const id of ['a', 'b', 'c']) await start(id);
  };
  const shards = () => [...cluster.nodes.values()][0]!.view().keyspaces[0]!.shards;
  const addAll = (id: string) => Promise.all(Array.from({ length: 20 }, (_, i) => add(counters.get(id)!, `key ${i}`)));

  test('are the first of the replicas, as evenly as can be', async () => {
    await three();
    // Placement goes on for a moment when the last copy has come.
    const leaders = (): number => new Set(shards().map(({ leader }) => leader)).size;
    await waitFor('preferred leaders', () => shards().every(({ leader, replicas }) => leader === replicas[0]) && leaders() === 3);
  });

  test('that stop without a word are followed within a lease; back again, a node leads its share', async () => {
    await three();
    await addAll('a');
    await cluster.stop('b', false);
    expect(await addAll('a')).toEqual(Array(20).fill(2));
    expect(await addAll('c')).toEqual(Array(20).fill(3));
    await start('b');
    expect(await addAll('b')).toEqual(Array(20).fill(4));
    await waitFor('preferred leaders', () => shards().every(({ leader, replicas }) => leader === replicas[0]));
  });

  test('that are stopped hand over: no request has an unknown outcome, or waits for a lease', async () => {
    await three();
    await addAll('a');
    let stopped = false;
    const writing = (async () => {
      let count = 0;
      while (!stopped) {
        await Promise.all(Array.from({ length: 4 }, (_, i) => add(counters.get('a')!, `busy ${i}`)));
        count++;
      }
      return count;
    })();
    await cluster.stop('b');
    await cluster.stop('c');
    stopped = true;
    const count = await writing;
    for (let i = 0; i < 4; i++) expect(await read(counters.get('a')!, `busy ${i}`)).toBe(count);
    expect(await addAll('a')).toEqual(Array(20).fill(2));
  });

  test('answer as soon as a second disk has a command, when that is asked for', async () => {
    cluster = new InProcessCluster();
    // Nobody says of himself how far he is.
    const slow = { timing: { ...QUICK_TIMING, reportMs: 60_000 } };
    const a = await cluster.start('a', slow);
    await Promise.all([cluster.start('b', slow), cluster.start('c', slow)]);
    const all = await cluster.counters(a, { shards: 2 });
    for (let i = 1; i <= 20; i++) {
      const answer = await new Promise((resolve, reject) => {
        const sink = { settled: (_: number, reply: number) => resolve(reply), failed: (_: number, error: Error) => reject(error) };
        all.submit(utf8('key'), { kind: 'add', by: 1 }, sink, 0, undefined, { ack: 'log+quorum' });
      });
      expect(answer).toBe(i);
    }
  });

  test('that know later than others that they lead are asked until they do', async () => {
    cluster = new InProcessCluster();
    const late = new Map(['a', 'b'].map((id) => [id, new LateLogs(cluster.logs)]));
    const one = async (id: string): Promise<void> => {
      const node = await cluster.start(id, { requestTimeoutMs: 2_000, logs: late.get(id)! });
      counters.set(id, await cluster.counters(node, { shards: 1 }));
    };
    await Promise.all(['a', 'b'].map(one));
    await waitFor('its leader', () => shards()[0]!.replicas.length === 2 && shards()[0]!.leader === shards()[0]!.replicas[0]);
    const [first, other] = shards()[0]!.replicas as [string, string];
    await cluster.stop(first);
    await waitFor('another leader', () => shards()[0]!.leader === other);
    await one(first);
    // When it claims, the other hears that it leads before it does itself.
    late.get(first)!.lateMs = 300;
    await waitFor('its leader again', async () => {
      await add(counters.get(other)!, 'key');
      return cluster.nodes.get(first)!.view().keyspaces[0]!.shards[0]!.leader === first;
    });
    late.get(first)!.lateMs = 0;
    for (let i = 0; i < 3; i++) await add(counters.get(other)!, 'key');
  });

  test('that cannot write to their log are missed, and each node says what it believes', async () => {
    cluster = new InProcessCluster();
    const late = new LateLogs(cluster.logs);
    await Promise.all(['a', 'b'].map((id) => cluster.start(id, { logs: late })));
    await cluster.counters(cluster.nodes.get('a')!, { shards: 1 });
    await waitFor('its leader', () => shards()[0]!.leader === shards()[0]!.replicas[0]);
    late.lateMs = 5_000;
    const said = () => cluster.errors.filter((error) => isKeyfleetError(error) && error.code === 'KF_SHARD_LEADERLESS');
    await waitFor('word of shard 1 from both', () => said().filter(({ message }) => message.includes('shard 1 ')).length >= 2);
    const messages = said().map(({ message }) => message);
    expect(
      messages.find((one) => /^nobody has led shard 1 for .* leads in epoch \d+ .*, its lease is over; has run entry \d+;/.test(one)),
    ).toBeDefined();
    expect(messages.find((one) => /^nobody has led shard 1 for .* follows [ab] in epoch \d+, heard .* ago/.test(one))).toBeDefined();
  });

  test('and followers find all they had after every node has stopped', async () => {
    await three();
    await addAll('a');
    await Promise.all(['a', 'b', 'c'].map((id) => cluster.stop(id)));
    await Promise.all(['a', 'b', 'c'].map(start));
    expect(await addAll('c')).toEqual(Array(20).fill(2));
    await cluster.stop('c');
    await expect(cluster.start('c', { cluster: 'other' })).rejects.toMatchObject({ code: 'KF_OTHER_CLUSTER' });
  });

  test('are told of nodes that are down and up again', async () => {
    cluster = new InProcessCluster();
    const quick = { heartbeatMs: 50, downAfterMs: 400 };
    const a = await cluster.start('a', quick);
    await cluster.start('b', quick);
    const statusOf = (id: string) => a.view().nodes.find((node) => node.id === id)?.status;
    await waitFor('two nodes', () => statusOf('b') === 'up');
    await cluster.stop('b', false);
    await waitFor('node b down', () => statusOf('b') === 'down');
    await cluster.start('b', quick);
    await waitFor('node b up', () => statusOf('b') === 'up');
  });
});
