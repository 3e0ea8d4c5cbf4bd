import { afterEach, describe, expect, test } from 'vitest';
import { utf8 } from '../../src/base/bytes.ts';
import { isKeyfleetError } from '../../src/base/errors.ts';
import { murmur3Position } from '../../src/partition/hash/murmur3-x86-128.ts';
import { recordKey } from '../../src/shard/key-layout.ts';
import { add, InProcessCluster, read, waitFor } from './in-process-cluster.ts';

const isDifference = (error: Error): boolean => isKeyfleetError(error) && error.code === 'KF_REPLICA_DIFFERS';

describe('a replica whose disk is not true', () => {
  let cluster: InProcessCluster;
  afterEach(() => cluster.stopAll());

  test.each(['leads', 'follows'] as const)('is found out, answers no more, and is brought its data anew: one that %s', async (role) => {
    cluster = new InProcessCluster();
    const options = { limits: { digestEvery: 3 } };
    await cluster.start('a', options);
    await Promise.all([cluster.start('b', options), cluster.start('c', options)]);
    const counters = await Promise.all([...cluster.nodes.values()].map((node) => cluster.counters(node, { shards: 1 })));
    for (let i = 0; i < 40; i++) await add(counters[i % 3]!, `key ${i}`, 5);
    const everywhere = async (): Promise<(number | undefined)[]> => Promise.all(counters.map((one) => read(one, 'key 7', 'local')));
    await waitFor('copies that have caught up', async () => (await everywhere()).every((value) => value === 5));

    const [record] = cluster.nodes.get('a')!.keyspaceRecords();
    const leader = [...cluster.nodes.values()].find((node) => node.keyspace('counters').where(utf8('key 7')).isHere)!.nodeId;
    const bad = role === 'leads' ? leader : [...cluster.nodes.keys()].find((id) => id !== leader)!;
    const storage = cluster.storageOf(bad);
    const place = recordKey(record!.table, murmur3Position(utf8('key 7')), utf8('key 7'));
    const damaged = storage.get(place)!.slice();
    damaged[damaged.length - 1]! ^= 1;
    storage.put(place, damaged);
    storage.commit();

    await waitFor('somebody to differ', () => cluster.errors.some((error) => isDifference(error)));
    await waitFor('the truth everywhere', async () => (await everywhere()).every((value) => value === 5));
    expect(cluster.errors.filter((error) => isDifference(error)).length).toBe(1);
    // Writes go on.
    await waitFor('a write', async () => (await add(counters[0]!, 'key 8', 1)) > 5);
  });
});
