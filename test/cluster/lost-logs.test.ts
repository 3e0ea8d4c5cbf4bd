import { afterEach, describe, expect, test } from 'vitest';
import { utf8 } from '../../src/base/bytes.ts';
import type { KeyfleetError } from '../../src/base/errors.ts';
import type { ClusterNode } from '../../src/node/cluster/cluster-node.ts';
import type { ClusterNodeOptions } from '../../src/node/cluster/cluster-options.ts';
import { add, type Counters, InProcessCluster, read, waitFor } from './in-process-cluster.ts';
import { LateLogs } from './late-logs.ts';

const KEYS = 40;

describe('a shard whose log is lost', () => {
  let cluster: InProcessCluster;
  let counters: Map<string, Counters>;
  /** To each key. */
  let added: number;
  afterEach(() => cluster.stopAll());

  const start = async (id: string, options: Partial<ClusterNodeOptions> = {}): Promise<ClusterNode> => {
    const node = await cluster.start(id, { heartbeatMs: 50, downAfterMs: 500, ...options });
    counters.set(id, await cluster.counters(node, { shards: 2 }));
    return node;
  };
  const startAll = async (...ids: string[]): Promise<void> => {
    cluster = new InProcessCluster();
    counters = new Map();
    added = 0;
    for (const id of ids) await start(id);
    await waitFor(
      'copies on all nodes',
      () => keyspace('a').workflows.length === 0 && shards().every(({ replicas }) => replicas.length === ids.length),
    );
    await waitFor('logs whose ids are known', () => shards().every(({ log }) => log !== undefined) || addAll(ids[0]!));
  };
  const keyspace = (id: string) => cluster.nodes.get(id)!.view().keyspaces[0]!;
  const shards = (id = 'a') => keyspace(id).shards;
  const addAll = async (...ids: string[]): Promise<boolean> => {
    const replies = await Promise.all(Array.from({ length: KEYS }, (_, i) => add(counters.get(ids[i % ids.length]!)!, `key ${i}`)));
    expect(replies).toEqual(Array(KEYS).fill(++added));
    return false;
  };
  /** Adds to keys of its own, each addition with an id and sent until it is answered; then each key must hold as much as was added. */
  const busy = (id: string): { stop(): Promise<number> } => {
    let stopped = false;
    const counts = new Map<string, number>();
    const told = new Set<string>();
    let requestSeq = 0;
    const once = (key: string, seq: number): Promise<number> =>
      new Promise((resolve, reject) => {
        const request = { clientId: utf8(`busy on ${id}`), requestSeq: seq, ackedBelow: seq };
        const failed = (_: number, error: Error): void => {
          told.add((error as KeyfleetError).code);
          reject(error);
        };
        const sink = { settled: (_: number, reply: number) => resolve(reply), failed };
        counters.get(id)!.submit(utf8(key), { kind: 'add', by: 1 }, sink, 0, request);
      });
    const running = (async () => {
      for (let i = 0; !stopped; i++) {
        const key = `of ${id} ${i % 20}`;
        const expected = (counts.get(key) ?? 0) + 1;
        const seq = ++requestSeq;
        await waitFor('an answer', async () => {
          expect(await once(key, seq)).toBe(expected);
          return true;
        });
        counts.set(key, expected);
      }
    })();
    return {
      stop: async () => {
        stopped = true;
        await running;
        // It is not theirs to mend.
        expect([...told]).not.toContain('KF_LOG_LOST');
        for (const [key, count] of counts) expect([key, await read(counters.get(id)!, key)]).toEqual([key, count]);
        return requestSeq;
      },
    };
  };

  test('goes on with the next generation of its log, under load, and nothing is lost or done twice', async () => {
    await startAll('a', 'b', 'c');
    const works = ['a', 'b', 'c'].map(busy);
    for (const { id } of shards()) await cluster.logs.delete(id, 1);
    await waitFor('new logs', () => shards().every(({ generation, lost }) => generation === 2 && !lost));
    await addAll('a', 'b', 'c');
    for (const { id } of shards()) await cluster.logs.delete(id, 2);
    await waitFor('new logs', () => shards('b').every(({ generation, lost }) => generation === 3 && !lost));
    await addAll('a', 'b', 'c');
    for (const work of works) expect(await work.stop()).toBeGreaterThan(0);
    await waitFor('all replicas to be at the same entry', () =>
      shards().every(({ durable, applied }) => Object.keys(durable).length === 3 && Object.values(durable).every((seq) => seq === applied)),
    );
    expect(shards().every(({ id }) => !cluster.logs.has(id, 1) && !cluster.logs.has(id, 2))).toBe(true);
  });

  test('tells nobody that its log is lost whose request was not sent yet: it is served when the next one has begun', async () => {
    cluster = new InProcessCluster();
    counters = new Map();
    const late = new LateLogs(cluster.logs);
    await start('a', { logs: late });
    await add(counters.get('a')!, 'key 0');
    // More than go on their way at a time.
    late.lateMs = 300;
    for (const { id } of shards()) await cluster.logs.delete(id, 1);
    const told: Promise<string>[] = [];
    for (let i = 0; i < 100; i++) {
      told.push(
        add(counters.get('a')!, `key ${i}`).then(
          () => 'done',
          (error: KeyfleetError) => error.code,
        ),
      );
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect((await Promise.all(told)).filter((one) => one !== 'done' && one !== 'KF_OUTCOME_UNKNOWN')).toEqual([]);
  });

  test('does not wait for who is away when its leader found the loss while its lease ran', async () => {
    await startAll('a', 'b', 'c');
    await addAll('a');
    const away = shards().find(({ leader }) => leader !== undefined)!;
    const follower = away.replicas.find((node) => node !== away.leader)!;
    await cluster.stop(follower, false);
    const [by] = [...cluster.nodes.keys()];
    await waitFor('a node that is down', () =>
      cluster.nodes
        .get(by!)!
        .view()
        .nodes.some(({ id, status }) => id === follower && status === 'down'),
    );
    await waitFor('leaders', () => shards(by).every(({ leader }) => leader !== undefined && leader !== follower));
    await addAll(by!);
    for (const { id } of shards(by)) await cluster.logs.delete(id, 1);
    await waitFor('new logs', () => shards(by).every(({ generation, lost }) => generation === 2 && !lost));
    await addAll(by!);
    await start(follower);
    await waitFor('all replicas to be at the same entry', () =>
      shards(by).every(
        ({ durable, applied }) => Object.keys(durable).length === 3 && Object.values(durable).every((seq) => seq === applied),
      ),
    );
    for (let i = 0; i < KEYS; i++) expect(await read(counters.get(follower)!, `key ${i}`, 'barrier')).toBe(added);
  });

  test('waits for all of its replicas when nobody led it, and answers local reads meanwhile; or goes on without them on request', async () => {
    await startAll('a', 'b', 'c');
    await addAll('a', 'b', 'c');
    for (const id of ['a', 'b', 'c']) await cluster.stop(id, false);
    const ids = [1, 2];
    for (const id of ids) await cluster.logs.delete(id, 1);
    const [a, b] = await Promise.all(['a', 'b'].map((id) => cluster.start(id, { heartbeatMs: 50, downAfterMs: 500 })));
    await waitFor('a wait for c', () => shards().every(({ lost }) => lost?.verdict.kind === 'waits' && lost.verdict.nodes.join() === 'c'));
    counters.set('a', await cluster.counters(a!, { shards: 2 }));
    expect(await read(counters.get('a')!, 'key 3', 'local')).toBe(added);
    await expect(b!.remove('c')).rejects.toMatchObject({ code: 'KF_NODE_IN_USE' });
    await expect(b!.acceptLoss(99)).rejects.toMatchObject({ code: 'KF_NO_SHARD' });
    // One goes on without it, the other when it is back.
    await b!.acceptLoss(1);
    await waitFor('a new log', () => shards().find(({ id }) => id === 1)!.generation === 2);
    expect(shards().find(({ id }) => id === 2)!.lost).toBeDefined();
    await start('c');
    await waitFor('a new log', () => shards().every(({ generation, lost }) => generation === 2 && !lost));
    await expect(b!.acceptLoss(1)).rejects.toMatchObject({ code: 'KF_LOG_NOT_LOST' });
    await addAll('a', 'c');
    for (let i = 0; i < KEYS; i++) expect(await read(counters.get('c')!, `key ${i}`)).toBe(added);
  });

  test('goes on when all logs are lost at once, that of the meta shard too; an empty node begins no second cluster', async () => {
    await startAll('a', 'b', 'c');
    await addAll('a', 'b', 'c');
    const works = ['a', 'c'].map(busy);
    for (const id of [0, 1, 2]) await cluster.logs.delete(id, 1);
    await waitFor(
      'new logs',
      () => cluster.nodes.get('b')!.view().metaLost === undefined && shards().every(({ generation }) => generation === 2),
    );
    await addAll('a', 'b', 'c');
    for (const work of works) expect(await work.stop()).toBeGreaterThan(0);
    // Again, and nobody leads: all members are needed.
    for (const id of ['a', 'b', 'c']) await cluster.stop(id, false);
    for (const id of [0, 1, 2]) await cluster.logs.delete(id, 2);
    const starting = ['a', 'b', 'd'].map((id) => start(id));
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    expect(cluster.logs.has(0, 1) || cluster.logs.has(0, 3)).toBe(false);
    expect(cluster.errors.some(({ message }) => message.includes('it goes on when c can say'))).toBe(true);
    await Promise.all([...starting, start('c')]);
    await waitFor('new logs', () => cluster.logs.has(0, 3) && shards().every(({ generation, lost }) => generation === 3 && !lost));
    expect(
      cluster.nodes
        .get('d')!
        .view()
        .nodes.map(({ id }) => id),
    ).toEqual(['a', 'b', 'c', 'd']);
    await addAll('a', 'b', 'c', 'd');
  });

  test('goes on without members that are gone for good, when somebody says so of the meta shard', async () => {
    await startAll('a', 'b', 'c');
    await addAll('a', 'b', 'c');
    for (const id of ['a', 'b', 'c']) await cluster.stop(id, false);
    await cluster.logs.delete(0, 1);
    await start('a', { acceptMetaLoss: true });
    await waitFor('a node that can be removed', () =>
      cluster.nodes
        .get('a')!
        .remove('b')
        .then(() => true),
    );
    await addAll('a');
    await start('c');
    await addAll('a', 'c');
    await expect(cluster.nodes.get('c')!.acceptLoss(0)).rejects.toMatchObject({ code: 'KF_LOG_NOT_LOST' });
  });
});
