import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { fromUtf8, toHex } from '../../src/base/bytes.ts';
import type { AnyHook } from '../../src/node/cluster/cluster-hooks.ts';
import type { ClusterNode } from '../../src/node/cluster/cluster-node.ts';
import type { CommittedCommand } from '../../src/node/leader-hook.ts';
import type { CounterCommand } from '../../src/shard/counter.ts';
import { hookHeirKey, hookOutboxRange } from '../../src/shard/key-layout.ts';
import { add, type Counters, InProcessCluster, reshape as reshapeShard, run, Sender, untilKnown, waitFor } from './in-process-cluster.ts';

// Hooks in a cluster: whoever leads a shard tells, and whoever leads it next goes on.

type Event = CommittedCommand<CounterCommand> & { readonly by: string };

describe('hooks of a cluster', () => {
  let cluster: InProcessCluster;
  /** What was told, by all nodes, in the order in which it was. */
  let events: Event[];
  /** What the hook does with an event beside remembering it. */
  let behave: (event: Event) => void | Promise<void>;
  let counters: Map<string, Counters>;
  let sender: Sender;
  beforeEach(() => {
    cluster = new InProcessCluster();
    events = [];
    behave = () => {};
    counters = new Map();
    sender = new Sender('hooks');
  });
  afterEach(() => cluster.stopAll());

  const hookOf = (by: string): AnyHook => ({
    onCommandCommitted: async (event: CommittedCommand<CounterCommand>) => {
      await behave({ ...event, by });
      events.push({ ...event, by });
    },
    timeoutMs: 1_000,
  });
  const start = async (id: string, shards = 4): Promise<ClusterNode> => {
    const node = await cluster.start(id, { heartbeatMs: 50, hooks: { counters: hookOf(id) } });
    counters.set(id, await cluster.counters(node, { shards }));
    return node;
  };
  const some = (): ClusterNode => [...cluster.nodes.values()][0]!;
  const shards = () => some().view().keyspaces[0]!.shards;
  /** Splits or merges the shard at a place. */
  const reshape = (what: 'split' | 'merge', index: number): Promise<void> => reshapeShard(some(), what, shards()[index]!.id);
  const amountOf = ({ command }: Event): number => (command.kind === 'add' ? command.by : 0);
  const placeOf = ({ token, index }: Event): string => `${token.shard}/${token.epoch}/${token.seq}/${index}`;
  /** Each shard's commands were told for the first time in the order of its log. */
  const checkOrder = (): void => {
    const last = new Map<number, number>();
    const seen = new Set<string>();
    const epochs = new Map<number, number>();
    for (const event of events) {
      if (seen.has(placeOf(event))) continue;
      seen.add(placeOf(event));
      const { shard, seq, epoch } = event.token;
      const place = seq * 1_000 + event.index;
      expect(place).toBeGreaterThan(last.get(shard) ?? -1);
      last.set(shard, place);
      expect(epoch).toBeGreaterThanOrEqual(epochs.get(shard) ?? 0);
      epochs.set(shard, epoch);
    }
  };
  /** What waits on some node, and which shard is the heir of which. */
  const untold = (): string[] => {
    const { id } = some().keyspaceRecords()[0]!;
    const heirs = { from: hookHeirKey(id, 0, 0), to: hookHeirKey(id + 1, 0, 0) };
    return [...cluster.nodes.keys()].flatMap((node) => {
      const storage = cluster.storageOf(node);
      const inOutbox = [...storage.scan(hookOutboxRange(id))].map(({ key }) => `outbox ${toHex(key)} on ${node}`);
      return [...inOutbox, ...[...storage.scan(heirs)].map(({ key }) => `heir ${toHex(key)} on ${node}`)];
    });
  };
  /** Nothing waits on any node, and no shard is the heir of another. */
  const isTold = (): boolean => untold().length === 0;

  test('are told of every acknowledged command, in the order of each shard, though leaders die and hand over, and shards are split and merged', async () => {
    for (const id of ['a', 'b', 'c']) await start(id);
    await waitFor('three copies of all', () => shards().every(({ replicas }) => replicas.length === 3));
    const acknowledged = new Set<number>();
    let next = 1;
    let stop = false;
    const clients = ['a', 'a', 'b', 'c'].map(async (id, client) => {
      while (!stop) {
        const amount = next++;
        const node = counters.get(id)!;
        await add(node, `key ${client} ${amount % 13}`, amount).then(
          () => acknowledged.add(amount),
          () => new Promise((resolve) => setTimeout(resolve, 20)),
        );
      }
    });
    const answers = (count: number): Promise<void> => {
      const goal = acknowledged.size + count;
      return waitFor(`${count} answers`, () => acknowledged.size >= goal);
    };
    // Slow enough that something always waits to be told.
    behave = () => new Promise((resolve) => setTimeout(resolve, 1));
    await answers(60);
    // Each leads a shard by now, so that it matters when one of them dies.
    await waitFor('each node to tell', () => new Set(events.map(({ by }) => by)).size === 3);
    await cluster.stop('b', false);
    await answers(60);
    await reshape('split', 0);
    await answers(30);
    await start('b');
    await answers(30);
    await reshape('merge', 1);
    await reshape('merge', 0);
    await answers(30);
    await waitFor('a shard of c', () => shards().some(({ leader }) => leader === 'c'));
    await cluster.stop('c');
    await answers(30);
    await start('c');
    await answers(30);
    stop = true;
    await Promise.all(clients);
    behave = () => {};
    await waitFor('all to be told', () => {
      const told = new Set(events.map(amountOf));
      expect({ untold: untold(), missed: [...acknowledged].filter((amount) => !told.has(amount)) }).toEqual({ untold: [], missed: [] });
      return true;
    });
    checkOrder();
  }, 60_000);

  test('that fail or hang hold up no command, and no other shard; what they missed is told when they are well again', async () => {
    for (const id of ['a', 'b']) await start(id);
    const [sick] = shards();
    let attempts = 0;
    let isSick = true;
    behave = async ({ token }) => {
      if (token.shard !== sick!.id || !isSick) return;
      attempts++;
      if (attempts % 2 === 0) throw new Error('as asked');
      await new Promise(() => {});
    };
    await Promise.all(Array.from({ length: 100 }, (_, i) => sender.add(counters.get('a')!, `key ${i}`, i + 1)));
    await waitFor('the other shards to be told', () => {
      const keys = shards().filter(({ id }) => id !== sick!.id);
      return new Set(events.map(({ token }) => token.shard)).size === keys.length;
    });
    await waitFor('some attempts', () => attempts >= 3);
    expect(events.some(({ token }) => token.shard === sick!.id)).toBe(false);
    expect(cluster.errors.some((error) => 'code' in error && error.code === 'KF_HOOK_FAILED')).toBe(true);
    isSick = false;
    await waitFor('all to be told', () => new Set(events.map(amountOf)).size === 100 && isTold());
    checkOrder();
  }, 40_000);

  test('come with a shard to another node, what was not told with it; and a merged shard tells what the other one had not', async () => {
    await start('a', 2);
    behave = () => Promise.reject(new Error('not now'));
    await Promise.all(Array.from({ length: 60 }, (_, i) => sender.add(counters.get('a')!, `key ${i}`, i + 1)));
    // Of three shards, one is the heir of another, which was the heir of a third.
    await reshape('split', 1);
    await sender.add(counters.get('a')!, 'key 7', 1_000);
    await reshape('merge', 1);
    await reshape('merge', 0);
    await start('b');
    await cluster.nodes.get('a')!.leave();
    await cluster.stop('a');
    expect(events).toEqual([]);
    behave = () => {};
    await waitFor('all to be told', () => new Set(events.map(amountOf)).size === 61 && isTold());
    checkOrder();
    expect(new Set(events.map(({ by }) => by))).toEqual(new Set(['b']));
    expect(new Set(events.map(({ token }) => token.shard)).size).toBe(2);
  }, 40_000);

  test('hear once of a request that was sent twice, and not of what changed nothing', async () => {
    for (const id of ['a', 'b']) await start(id);
    const submit = (id: string, key: string, command: CounterCommand, requestSeq: number): Promise<number> =>
      sender.send(counters.get(id)!, key, command, requestSeq);
    for (const id of ['a', 'b', 'a']) expect(await submit(id, 'once', { kind: 'add', by: 5 }, 1)).toBe(5);
    await submit('a', 'nothing there', { kind: 'remove' }, 2);
    await untilKnown(() => run(counters.get('a')!, 'nothing there', { kind: 'remove' }));
    await expect(submit('b', 'no number', { kind: 'add', by: 0.5 }, 3)).rejects.toThrow('whole numbers');
    await submit('b', 'last', { kind: 'add', by: 1 }, 4);
    await waitFor('all to be told', () => events.length >= 2 && isTold());
    // Whoever leads next may tell again what the last one had told.
    const told = new Map(events.map((event) => [placeOf(event), fromUtf8(event.key)]));
    expect([...told.values()].sort()).toEqual(['last', 'once']);
  }, 20_000);
});
