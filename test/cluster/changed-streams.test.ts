import { jetstreamManager } from '@nats-io/jetstream';
import { describe, expect, test } from 'vitest';
import type { ClusterReport } from '../../src/http/cluster-admin.ts';
import { streamConfig } from '../../src/nats/stream-config.ts';
import { NATS_SERVERS, waitFor } from '../nats/nats-servers.ts';
import { doorsUnderLoad } from './doors-under-load.ts';
import type { NodeWithDoors } from './node-with-doors.ts';

// Streams that are there, and are not what they were: rolled back with the disks of their servers, or deleted and made anew by somebody. What clients
// were told must be linearizable, and nothing lost or done twice.

/** Entries that a log may have beyond what a replica has run. */
const MOST_UNREAD = 10;

const [recent] = NATS_SERVERS as [(typeof NATS_SERVERS)[number], ...unknown[]];

describe.runIf(recent.isHere)('a cluster whose streams', () => {
  const cluster = doorsUnderLoad();
  const { nodes } = cluster;
  const start = () => cluster.begin({ binary: recent.binary });
  /** As far as the node has heard, shard by shard. */
  const appliedAt = ({ store }: NodeWithDoors): number[] => [...store.shards('ledger')].map(({ applied }) => applied);
  const generations = async (): Promise<number[]> => {
    const report = (await (await fetch(`${nodes[0]!.url}/v1/nodes`)).json()) as ClusterReport;
    return report.keyspaces.flatMap(({ name, shards }) =>
      name === 'ledger' ? shards.map(({ generation, lost }) => (lost ? 0 : generation)) : [],
    );
  };

  test('are rolled back on all servers goes on with the next generation of each log, and nothing is lost', async () => {
    const [servers, work] = await start();
    await servers.copyDisks();
    const copied = appliedAt(nodes[0]!);
    await work.answers(60);
    // Nodes say twice a second what they have run: of what nobody has heard, nobody can know that a log has forgotten it.
    await waitFor('all nodes to have heard of later entries', async () =>
      nodes.every((node) => appliedAt(node).every((seq, i) => seq > copied[i]! + MOST_UNREAD)),
    );
    await servers.rollBack([0, 1, 2]);
    await waitFor('new logs', async () => (await generations()).every((one) => one === 2), 60_000);
    await work.answers(60);
    expect(await work.judge()).toEqual([]);
  }, 150_000);

  test('are deleted and made anew by somebody, whoever that is, does the same', async () => {
    const [servers, work] = await start();
    const manager = await jetstreamManager(await servers.connect());
    for await (const name of manager.streams.names()) {
      if (name.startsWith('keyfleet-test-0-')) continue;
      await manager.streams.delete(name);
      await manager.streams.add({ ...streamConfig({ name, replicas: 3 }), description: 'made by hand' });
    }
    await waitFor('new logs', async () => (await generations()).every((one) => one === 2), 60_000);
    await work.answers(60);
    expect(await work.judge()).toEqual([]);
  }, 150_000);
});
