import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Bytes, fromUtf8 } from '../../src/base/bytes.ts';
import { redisSlot } from '../../src/partition/redis-slot.ts';
import type { ClusterSource, RedirectPolicy } from '../../src/resp/cluster-source.ts';
import type { ClusterMember } from '../../src/resp/codec/cluster-words.ts';
import { type RedisStore, startRedisStore } from './redis-store.ts';

// The words of Redis Cluster at the door of a node, with a cluster made up for the test: this node leads the lower half of the slots, another the
// upper one, and a third node is down.

const member = (letter: string, port: number, isUp = true): ClusterMember => ({
  ...{ id: letter.repeat(40), host: '10.0.0.1', port, isSelf: letter === 'a', isUp },
});
const [here, there, down] = [member('a', 7001), member('b', 7002), member('c', 7003, false)];
const HALF = 8_192;
/** Keys of the two halves. */
const LOW = 'k2';
const HIGH = 'k1';

const source: ClusterSource = {
  picture: () => ({
    epoch: 7,
    members: [here, there, down],
    runs: [
      { first: 0, last: HALF - 1, leader: here, replicas: [there] },
      { first: HALF, last: 16_383, leader: there, replicas: [here] },
    ],
  }),
  leaderElsewhere: (key: Bytes) => (redisSlot(key) < HALF ? undefined : '10.0.0.1:7002'),
  hasReplica: (key: Bytes) => fromUtf8(key) === HIGH,
};

const stores = new Map<RedirectPolicy, RedisStore>();
const clients: Redis[] = [];
beforeAll(async () => {
  for (const redirects of ['auto', 'always', 'never'] as const) {
    stores.set(redirects, await startRedisStore({ isRemote: true, cluster: source, redirects }));
  }
});
afterAll(async () => {
  for (const client of clients) client.disconnect();
  for (const store of stores.values()) await store.close();
});

function client(redirects: RedirectPolicy = 'auto'): Redis {
  const redis = new Redis({ port: stores.get(redirects)!.port, maxRetriesPerRequest: 0, retryStrategy: () => null });
  clients.push(redis);
  return redis;
}

describe('CLUSTER', () => {
  test('tells who has which slots, as Redis does', async () => {
    const redis = client();
    expect([redisSlot(LOW) < HALF, redisSlot(HIGH) < HALF]).toEqual([true, false]);
    const node = ({ host, port, id }: ClusterMember): unknown[] => [host, port, id, []];
    expect(await redis.cluster('SLOTS')).toEqual([
      [0, HALF - 1, node(here), node(there)],
      [HALF, 16_383, node(there), node(here)],
    ]);
    expect(await redis.cluster('NODES')).toBe(
      [
        `${here.id} 10.0.0.1:7001@17001 myself,master - 0 0 7 connected 0-8191`,
        `${there.id} 10.0.0.1:7002@17002 master - 0 0 7 connected 8192-16383`,
        `${down.id} 10.0.0.1:7003@17003 master,fail - 0 0 7 disconnected\n`,
      ].join('\n'),
    );
    const shards = (await redis.cluster('SHARDS')) as unknown as [string, number[], string, unknown[][]][];
    expect(shards.map(([, slots, , nodes]) => [slots, nodes.map((one) => [one[3], one[11], one[15]])])).toEqual([
      [
        [0, HALF - 1],
        [
          [7001, 'master', 'online'],
          [7002, 'replica', 'online'],
        ],
      ],
      [
        [HALF, 16_383],
        [
          [7002, 'master', 'online'],
          [7001, 'replica', 'online'],
        ],
      ],
      [[], [[7003, 'master', 'failed']]],
    ]);
    expect(await redis.cluster('INFO')).toContain('cluster_state:ok\r\ncluster_slots_assigned:16384\r\n');
    expect(await redis.cluster('MYID')).toBe(here.id);
    expect(await redis.cluster('KEYSLOT', '{user}:1')).toBe(redisSlot('user'));
    expect(await redis.cluster('LINKS')).toEqual([]);
    expect(await redis.cluster('REPLICAS', here.id)).toEqual([]);
    await expect(redis.cluster('REPLICAS', 'nobody')).rejects.toThrow('ERR Unknown node nobody');
    await expect(redis.call('CLUSTER', 'MEET', '10.0.0.9', '7009')).rejects.toThrow("ERR unknown subcommand 'MEET'. Try CLUSTER HELP.");
    expect(await redis.info('cluster')).toContain('cluster_enabled:1');
  });

  test('counts and tells the keys of a slot', async () => {
    const redis = client('never');
    const keys = Array.from({ length: 25 }, (_, i) => `{tag}${i}`);
    await redis.mset(Object.fromEntries([...keys, 'other'].map((key) => [key, 'x'])));
    const slot = redisSlot('tag');
    expect(await redis.cluster('COUNTKEYSINSLOT', slot)).toBe(25);
    expect(((await redis.cluster('GETKEYSINSLOT', slot, 100)) as string[]).sort()).toEqual(keys.sort());
    expect((await redis.cluster('GETKEYSINSLOT', slot, 3)) as string[]).toHaveLength(3);
    await expect(redis.cluster('COUNTKEYSINSLOT', 16_384)).rejects.toThrow('ERR Invalid slot');
    await expect(redis.cluster('GETKEYSINSLOT', 1, -1)).rejects.toThrow('ERR Invalid slot or number of keys');
  });
});

describe('a key that another node leads', () => {
  const moved = `MOVED ${redisSlot(HIGH)} 10.0.0.1:7002`;

  test('is asked for here, until the connection has asked for the slots', async () => {
    const redis = client();
    expect(await redis.set(HIGH, '1')).toBe('OK');
    await redis.cluster('SLOTS');
    await expect(redis.get(HIGH)).rejects.toThrow(moved);
    await expect(redis.del(HIGH)).rejects.toThrow(moved);
    await expect(redis.blpop(HIGH, 1)).rejects.toThrow(moved);
    expect(await redis.get(LOW)).toBeNull();
    // Keys of several slots, and transactions, are taken all the same.
    expect(await redis.mget(LOW, HIGH)).toEqual([null, '1']);
    expect(await redis.multi().incr(HIGH).exec()).toEqual([[null, 2]]);
    expect(await client().get(HIGH)).toBe('2');
  });

  test('is always or never told of, as the policy says', async () => {
    await expect(client('always').get(HIGH)).rejects.toThrow(moved);
    const never = client('never');
    await never.cluster('SLOTS');
    expect(await never.get(HIGH)).toBeNull();
  });

  test('is read from the copy here, and not written, by a connection that said READONLY', async () => {
    const redis = client('always');
    expect(await redis.readonly()).toBe('OK');
    expect(await redis.get(HIGH)).toBeNull();
    await expect(redis.set(HIGH, '1')).rejects.toThrow(moved);
    expect(await redis.readwrite()).toBe('OK');
    await expect(redis.get(HIGH)).rejects.toThrow(moved);
    expect(await redis.asking()).toBe('OK');
  });
});
