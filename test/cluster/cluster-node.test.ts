import { afterEach, describe, expect, test } from 'vitest';
import { utf8 } from '../../src/base/bytes.ts';
import { FIRST_TABLE, tableStart } from '../../src/shard/key-layout.ts';
import { plain, plainBytes } from '../../src/shard/plain-bytes.ts';
import { add, type Counters, InProcessCluster, read, waitFor } from './in-process-cluster.ts';

describe('nodes of a cluster', () => {
  let cluster: InProcessCluster;
  afterEach(() => cluster.stopAll());

  const three = async (): Promise<Counters[]> => {
    cluster = new InProcessCluster();
    await cluster.start('a');
    await Promise.all([cluster.start('b'), cluster.start('c')]);
    const counters = [];
    for (const node of cluster.nodes.values()) counters.push(await cluster.counters(node, { shards: 4 }));
    return counters;
  };

  test('take any request, wherever its shard is led', async () => {
    const counters = await three();
    let sum = 0;
    for (let i = 0; i < 60; i++) {
      expect(await add(counters[i % 3]!, `key ${i % 20}`)).toBe(Math.floor(i / 20) + 1);
      sum++;
    }
    for (const mode of ['lease', 'barrier'] as const) {
      for (const one of counters) expect(await read(one, 'key 7', mode)).toBe(3);
    }
    await waitFor('copies that have caught up', async () => {
      const answers = await Promise.all(counters.map((one) => read(one, 'key 7', 'local')));
      return answers.every((answer) => answer === 3);
    });
    expect(await counters[0]!.counts()).toMatchObject({ keyCount: 20 });
    expect(sum).toBe(60);
  });

  test('give back every record of a scan, from whichever node', async () => {
    const counters = await three();
    await Promise.all(Array.from({ length: 100 }, (_, i) => add(counters[i % 3]!, `key ${i}`, i)));
    for (const one of counters) {
      const seen = new Map<string, number>();
      for (let cursor: number | undefined = 0; cursor !== undefined; ) {
        const page: Awaited<ReturnType<Counters['scan']>> = await one.scan({ cursor, limit: 10 });
        for (const { key, value } of page.records) seen.set(Buffer.from(key).toString(), value);
        cursor = page.next;
      }
      expect(seen.size).toBe(100);
      for (const [key, value] of seen) expect(key).toBe(`key ${value}`);
    }
  });

  test('remove what has expired, on every replica', async () => {
    await three();
    const notes = await cluster.nodes.get('b')!.registerKeyspace('notes', { module: plainBytes, shards: 2 });
    const sink = { settled: () => {}, failed: () => {} };
    for (let i = 0; i < 50; i++) notes.submit(utf8(`note ${i}`), plain.set(utf8('x'), { ttlMs: 50 }), sink, 0);
    await waitFor('expired notes to go', async () => (await notes.counts()).keyCount === 0, 10_000);
    const left = (id: string) =>
      [...cluster.storageOf(id).scan({ from: tableStart(FIRST_TABLE), to: tableStart(FIRST_TABLE + 100) })].length;
    await waitFor('all copies to know', () => ['a', 'b', 'c'].every((id) => left(id) === 0));
  });

  test('clear a keyspace', async () => {
    const counters = await three();
    await Promise.all(Array.from({ length: 30 }, (_, i) => add(counters[0]!, `key ${i}`)));
    await counters[1]!.clear();
    expect(await counters[2]!.counts()).toEqual({ keyCount: 0, sizeBytes: 0, expiringCount: 0 });
    expect(await add(counters[0]!, 'key 3')).toBe(1);
  });
});
