import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { jetStreamLogs } from '../../src/nats/jetstream-logs.ts';
import { natsTransport } from '../../src/nats/nats-transport.ts';
import { ClusterNode } from '../../src/node/cluster/cluster-node.ts';
import { SystemClock } from '../../src/node/node-clock.ts';
import { counterModule } from '../../src/shard/counter.ts';
import { openStorage } from '../../src/storage/lmdb.ts';
import { add, type Counters, read, waitFor } from '../cluster/in-process-cluster.ts';
import { hasRecentNats, NATS_SERVERS, NatsServers } from './nats-servers.ts';

// Nodes of a cluster on three real nats-servers, each with a connection and a disk of its own.

describe.skipIf(!hasRecentNats)('a cluster on three nats-servers', () => {
  let dir: string;
  let servers: NatsServers;
  let stops: Map<string, (graceful: boolean) => Promise<void>>;

  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'keyfleet-cluster-'));
    servers = await NatsServers.start(NATS_SERVERS[0]!.binary, 3);
    stops = new Map();
  }, 60_000);
  afterEach(async () => {
    await Promise.allSettled([...stops.values()].map((stop) => stop(false)));
    await servers?.stop();
    rmSync(dir, { recursive: true, force: true });
  }, 60_000);

  const start = async (nodeId: string): Promise<{ node: ClusterNode; counters: Counters }> => {
    const connection = await servers.connect();
    const storage = await openStorage({ dir: join(dir, nodeId) });
    const transport = natsTransport({ connection, cluster: 'test', self: nodeId });
    const logs = jetStreamLogs({ connection, cluster: 'test' });
    const clock = new SystemClock();
    const node = await ClusterNode.start({ nodeId, cluster: 'test', storage, clock, transport, logs, requestTimeoutMs: 20_000 });
    stops.set(nodeId, async (graceful) => {
      stops.delete(nodeId);
      await node.stop({ graceful });
      await transport.close();
      await storage.close();
      await connection.close();
    });
    return { node, counters: await node.registerKeyspace('counters', { module: counterModule, shards: 3 }) };
  };

  test('takes requests at any node, goes on when one stops, and takes it back', async () => {
    const a = await start('a');
    const [b, c] = await Promise.all([start('b'), start('c')]);
    const addAll = (...all: { counters: Counters }[]) =>
      Promise.all(Array.from({ length: 30 }, (_, i) => add(all[i % all.length]!.counters, `key ${i}`)));
    await waitFor('three copies of each shard', () => {
      const { shards, workflows } = a.node.view().keyspaces[0]!;
      return workflows.length === 0 && shards.every(({ replicas }) => replicas.length === 3);
    });
    expect(await addAll(a, b, c)).toEqual(Array(30).fill(1));
    await stops.get('b')!(true);
    expect(await addAll(a, c)).toEqual(Array(30).fill(2));
    await stops.get('c')!(false);
    expect(await addAll(a)).toEqual(Array(30).fill(3));
    const again = await start('c');
    expect(await addAll(again, a)).toEqual(Array(30).fill(4));
    expect(await read(again.counters, 'key 7', 'barrier')).toBe(4);
  }, 120_000);
});
