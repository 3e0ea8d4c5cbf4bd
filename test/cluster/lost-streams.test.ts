import { jetstreamManager } from '@nats-io/jetstream';
import { describe, expect, test } from 'vitest';
import type { ClusterReport } from '../../src/http/cluster-admin.ts';
import { NATS_SERVERS, waitFor } from '../nats/nats-servers.ts';
import { clusterUnderLoad } from './cluster-under-load.ts';

// A cluster of real processes whose logs go, while clients write through every node. What clients were told must be linearizable, and nothing lost or
// done twice.

const [recent, debian] = NATS_SERVERS as [(typeof NATS_SERVERS)[number], (typeof NATS_SERVERS)[number]];

const load = clusterUnderLoad();
const report = async (index: number): Promise<ClusterReport> =>
  (await (await fetch(`${load.cluster.urlOf(index)}/v1/nodes`)).json()) as ClusterReport;
/** The generations of the shards' logs, in order. */
const generations = async (): Promise<number[]> =>
  (await report(0)).keyspaces.flatMap(({ shards }) => shards.map(({ generation, lost }) => (lost ? 0 : generation))).sort();
/** Deletes the streams of shards from `least` on. */
const deleteStreams = async (): Promise<number> => {
  const manager = await jetstreamManager(await load.cluster.nats.connect());
  let deleted = 0;
  for await (const name of manager.streams.names())
    if (!name.startsWith('keyfleet-test-0-') && (await manager.streams.delete(name))) deleted++;
  return deleted;
};

const allAt = (generation: number): Promise<void> =>
  waitFor('new logs', async () => (await generations()).every((one) => one === generation), 60_000);

describe.runIf(recent.isHere)('a cluster of processes', () => {
  test('whose streams are deleted, and whose NATS servers then lose everything, goes on with new logs', async () => {
    const [all, work] = await load.begin({ binary: recent.binary, shards: 2 });
    expect(await deleteStreams()).toBe((await generations()).length);
    await allAt(2);
    await work.answers(100);
    await all.nats.wipe([0, 1, 2]);
    await allAt(3);
    await work.answers(100);
    // The third is to take the others up again, or they it: of three copies each needs three servers.
    await all.nats.wipe([0, 1]);
    await work.answers(100);
    expect(await work.judge()).toEqual([]);
  }, 240_000);
});

describe.runIf(debian.isHere)("a cluster on Debian's nats-servers", () => {
  test('whose streams are deleted goes on with new ones', async () => {
    const [, work] = await load.begin({ binary: debian.binary, shards: 2 });
    expect(await deleteStreams()).toBe((await generations()).length);
    await allAt(2);
    await work.answers(100);
    expect(await work.judge()).toEqual([]);
  }, 120_000);
});
