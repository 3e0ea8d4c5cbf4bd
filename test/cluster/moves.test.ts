import { afterEach, describe, expect, test } from 'vitest';
import type { ClusterNode } from '../../src/node/cluster/cluster-node.ts';
import { FIRST_TABLE, stateKey, tableStart } from '../../src/shard/key-layout.ts';
import { decodeShardState } from '../../src/shard/shard-state.ts';
import { type Counters, InProcessCluster, read, reshape, Sender, untilKnown, waitFor } from './in-process-cluster.ts';

const KEYS = 60;

describe('shards of a cluster', () => {
  let cluster: InProcessCluster;
  let counters: Map<string, Counters>;
  let sender: Sender;
  afterEach(() => cluster.stopAll());

  const start = async (id: string): Promise<ClusterNode> => {
    const node = await cluster.start(id, { heartbeatMs: 50 });
    counters.set(id, await cluster.counters(node, { shards: 6 }));
    return node;
  };
  const startAll = async (...ids: string[]): Promise<void> => {
    cluster = new InProcessCluster();
    counters = new Map();
    sender = new Sender('moves');
    for (const id of ids) await start(id);
  };
  const keyspace = (id: string) => cluster.nodes.get(id)!.view().keyspaces[0]!;
  const held = (by: string, seenBy = 'a') => keyspace(seenBy).shards.filter(({ replicas }) => replicas.includes(by)).length;
  const isQuiet = (id: string) => keyspace(id).workflows.length === 0;
  /** Adds to every key once, from the nodes in turn, and checks that it came to `expected`. */
  const addAll = async (expected: number, ...ids: string[]): Promise<void> => {
    const replies = await Promise.all(Array.from({ length: KEYS }, (_, i) => sender.add(counters.get(ids[i % ids.length]!)!, `key ${i}`)));
    expect(replies).toEqual(Array(KEYS).fill(expected));
  };
  /** Adds to keys of its own until it is told to stop; then they must hold what was answered. */
  const busy = (id: string): { stop(): Promise<void> } => {
    let stopped = false;
    const counts = new Map<string, number>();
    const running = (async () => {
      for (let i = 0; !stopped; i++) {
        const key = `busy ${i % 40}`;
        counts.set(key, (counts.get(key) ?? 0) + 1);
        expect(await sender.add(counters.get(id)!, key)).toBe(counts.get(key));
      }
    })();
    return {
      stop: async () => {
        stopped = true;
        await running;
        for (const [key, count] of counts) expect(await untilKnown(() => read(counters.get(id)!, key))).toBe(count);
      },
    };
  };

  test('move to a node that joins until it has its share, and from one that drains until it has none', async () => {
    await startAll('a', 'b', 'c');
    await addAll(1, 'a', 'b', 'c');
    const work = busy('a');
    await start('d');
    await waitFor('a share for node d', () => isQuiet('a') && held('d') >= 4 && held('d') <= 5);
    expect(['a', 'b', 'c', 'd'].reduce((sum, id) => sum + held(id), 0)).toBe(18);
    await addAll(2, 'a', 'b', 'c', 'd');
    const b = cluster.nodes.get('b')!;
    await b.leave();
    expect(held('b')).toBe(0);
    await addAll(3, 'a', 'b', 'c', 'd');
    await cluster.stop('b');
    await waitFor(
      'the news that it has left',
      () =>
        keyspace('a') &&
        cluster.nodes
          .get('a')!
          .view()
          .nodes.some(({ id, status }) => id === 'b' && status === 'left'),
    );
    await addAll(4, 'a', 'c', 'd');
    await work.stop();
  });

  test('leave nothing behind where they were', async () => {
    await startAll('a', 'b');
    await Promise.all(Array.from({ length: 1_500 }, (_, i) => sender.add(counters.get('b')!, `key ${i}`)));
    const records = (id: string) =>
      [...cluster.storageOf(id).scan({ from: tableStart(FIRST_TABLE), to: tableStart(FIRST_TABLE + 100) })].length;
    await waitFor('copies on node b', () => records('b') === 1_500);
    await cluster.nodes.get('b')!.leave();
    await waitFor('an empty node', () => records('b') === 0);
    await waitFor('copies on node a', () => records('a') === 1_500);
    await counters.get('a')!.clear();
    await waitFor('an empty keyspace', () => records('a') === 0);
  });

  /** How far somebody has run a shard's log, who can bring it to others. */
  const applied = (shard: number): number => {
    const states = [...cluster.nodes.keys()].map((id) => cluster.storageOf(id).get(stateKey(shard)));
    return Math.max(...states.map((state) => (state ? decodeShardState(state).applied : 0)));
  };

  test('are given to a node that comes when the log has forgotten how it began', async () => {
    await startAll('a', 'b');
    await addAll(1, 'a', 'b');
    for (let shard = 0; shard <= 6; shard++) {
      const log = await cluster.logs.open({ shard, generation: 1, create: false, fromSeq: 1 });
      await log.truncate(applied(shard) - 1);
    }
    await start('c');
    await addAll(2, 'a', 'b', 'c');
    await waitFor('copies on node c', () => isQuiet('a') && held('c') === 6);
    await cluster.stop('a', false);
    await cluster.stop('b', false);
    await addAll(3, 'c');
  });

  test('are on as many nodes as there are, and on more when they come', async () => {
    await startAll('a');
    await addAll(1, 'a');
    expect(held('a')).toBe(6);
    await start('b');
    await waitFor('copies on node b', () => isQuiet('a') && held('b') === 6);
    await start('c');
    await waitFor('copies on node c', () => isQuiet('a') && held('c') === 6);
    await cluster.stop('a', false);
    await addAll(2, 'b', 'c');
  });

  test('are split and merged under way, from any node', async () => {
    await startAll('a', 'b', 'c');
    await addAll(1, 'a', 'b', 'c');
    const work = busy('c');
    const b = cluster.nodes.get('b')!;
    const [first] = keyspace('b').shards;
    await reshape(b, 'split', first!.id);
    expect(keyspace('b').shards).toHaveLength(7);
    await addAll(2, 'a', 'b', 'c');
    await reshape(b, 'merge', first!.id);
    expect(keyspace('b').shards).toHaveLength(6);
    await addAll(3, 'a', 'b', 'c');
    await waitFor('nothing left of the merge', () => isQuiet('a'));
    await work.stop();
  });

  test('are brought together before they are merged', async () => {
    await startAll('a', 'b', 'c');
    await cluster.nodes.get('a')!.setReplication(1);
    await waitFor('one replica each', () => isQuiet('a') && keyspace('a').shards.every(({ replicas }) => replicas.length === 1));
    await addAll(1, 'a', 'b', 'c');
    const work = busy('c');
    const shards = keyspace('a').shards;
    const left = shards.findIndex(({ replicas }, i) => shards[i + 1] && replicas[0] !== shards[i + 1]!.replicas[0]);
    await reshape(cluster.nodes.get('b')!, 'merge', shards[left]!.id);
    await addAll(2, 'a', 'b', 'c');
    await waitFor('nothing left of the merge', () => isQuiet('a'));
    await work.stop();
  });

  test('follow the policy of their keyspace', async () => {
    await startAll('a', 'b', 'c');
    await cluster.nodes.get('a')!.setPolicy('counters', { maxKeysPerShard: 8, minShards: 1 });
    await addAll(1, 'a', 'b', 'c');
    await waitFor(
      'more shards',
      () => isQuiet('a') && keyspace('a').shards.length > 8 && keyspace('a').shards.every(({ keyCount }) => keyCount <= 8),
    );
    await addAll(2, 'a', 'b', 'c');
  });
});
