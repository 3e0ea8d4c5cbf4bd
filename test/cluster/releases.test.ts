import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { ClusterNode } from '../../src/node/cluster/cluster-node.ts';
import { PROTOCOL, SINCE } from '../../src/node/cluster/cluster-options.ts';
import type { LoadReply } from '../../src/shard/load.ts';
import { add, type Counters, InProcessCluster, waitFor } from './in-process-cluster.ts';

// Nodes of several releases in one cluster: what each knows is said by its protocols.

const OLD = { min: 1, max: 1 };
const NEW = { min: 1, max: 2 };

describe('a cluster of several releases', () => {
  let cluster: InProcessCluster;
  const counters = new Map<string, Counters>();
  beforeEach(() => {
    cluster = new InProcessCluster();
  });
  afterEach(() => cluster.stopAll());

  const start = async (id: string, protocol: { readonly min: number; readonly max: number }): Promise<ClusterNode> => {
    const node = await cluster.start(id, { heartbeatMs: 50, downAfterMs: 600, protocol, release: `of ${protocol.max}` });
    counters.set(id, await cluster.counters(node, { shards: 3 }));
    return node;
  };
  /** What only a new release can read: the first step of a restore, and its end. */
  const restore = async (id: string): Promise<LoadReply> => {
    const { backup } = counters.get(id)!;
    await backup.restoreStep(0, { step: 'begin', id: 'backup/run' });
    return backup.restoreStep(0, { step: 'end', id: 'backup/run', sessionsExpiredBeforeMs: 0 });
  };
  const refused = expect.objectContaining({ code: 'KF_NODE_INCOMPATIBLE' });
  let count = 0;
  const serves = async (id: string): Promise<void> => {
    expect(await add(counters.get(id)!, 'key')).toBe(++count);
  };
  const isRefused = async (id: string): Promise<void> => {
    await expect(cluster.start(id, { protocol: OLD })).rejects.toEqual(refused);
    await cluster.stop(id);
  };

  test('uses what is new when the last node knows it, and has no way back', async () => {
    count = 0;
    await start('a', OLD);
    await start('b', OLD);
    await start('c', NEW);
    for (const id of ['a', 'b', 'c']) await serves(id);
    await expect(restore('c')).rejects.toEqual(refused);
    await expect(restore('c')).rejects.toThrow('node a, b of an earlier release');
    for (const id of ['a', 'b']) {
      await expect(restore('c')).rejects.toEqual(refused);
      await cluster.stop(id);
      await start(id, NEW);
      await serves(id);
    }
    const { backup } = counters.get('a')!;
    await waitFor('the news at node a', async () => (await backup.loadStates()).length === 3);
    const empty = (await backup.loadStates()).find(({ keyCount }) => keyCount === 0)!;
    expect(await backup.restoreStep(empty.range.from, { step: 'begin', id: 'backup/run' })).toMatchObject({ isLoading: true });
    await backup.restoreStep(empty.range.from, { step: 'end', id: 'backup/run', sessionsExpiredBeforeMs: 0 });
    // An old node is refused from now on, new to the cluster or not; the others do not notice.
    await isRefused('d');
    await cluster.stop('b');
    await isRefused('b');
    await serves('a');
    await start('b', NEW);
    await serves('b');
  }, 60_000);

  test('waits for a node that is down, until it is removed; and refuses one that knows only what comes later', async () => {
    count = 0;
    const a = await start('a', NEW);
    expect(a.view().nodes).toHaveLength(1);
    await expect(cluster.start('later', { protocol: { min: 3, max: 4 } })).rejects.toThrow(
      'knows protocols 3 to 4, and the cluster speaks 2',
    );
    await cluster.stopAll();

    cluster = new InProcessCluster();
    await start('a', OLD);
    await start('b', OLD);
    await cluster.stop('a');
    await start('a', NEW);
    await cluster.stop('b', false);
    await waitFor('node b to be down', () =>
      cluster.nodes
        .get('a')!
        .view()
        .nodes.some(({ id, status }) => id === 'b' && status === 'down'),
    );
    await expect(restore('a')).rejects.toThrow('node b of an earlier release');
    await cluster.nodes.get('a')!.remove('b');
    await waitFor('the restore', async () => (await restore('a')).isLoading === false);
  }, 60_000);

  test('is what this release takes part in: each new form is one that it knows', () => {
    for (const since of Object.values(SINCE)) expect(since).toBeLessThanOrEqual(PROTOCOL.max);
  });
});
