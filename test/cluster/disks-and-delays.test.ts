import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { messageOf } from '../../src/base/errors.ts';
import { Prng } from '../../src/base/prng.ts';
import { monitorRisks } from '../../src/nats/server-check.ts';
import { NATS_SERVERS } from '../nats/nats-servers.ts';
import { canMount, SmallDisk } from '../small-disk.ts';
import { ClusterProcesses } from './cluster-processes.ts';
import { forgetLogs } from './forget-logs.ts';
import { LedgerClients } from './ledger-clients.ts';

// A cluster of real processes, while clients write through every node: one is slow, one was away for too long, a nats-server's disk is full. What clients
// were told must be linearizable, and nothing lost or done twice.

const recent = NATS_SERVERS[0]!;
const DISK_BYTES = 64 * 1024 * 1024;

let cluster: ClusterProcesses | undefined;
let clients: LedgerClients | undefined;
let disk: SmallDisk | undefined;
afterEach(async () => {
  await clients?.abandon();
  await cluster?.stop();
  disk?.remove();
  [clients, cluster, disk] = [undefined, undefined, undefined];
}, 60_000);

const begin = async (options: Partial<Parameters<typeof ClusterProcesses.start>[0]> = {}): Promise<[ClusterProcesses, LedgerClients]> => {
  const started = await ClusterProcesses.start({ binary: recent.binary, shards: 2, ...options });
  cluster = started;
  clients = new LedgerClients({ urls: () => started.urls, clients: 6, chance: new Prng(12) });
  await clients.answers(100);
  return [started, clients];
};

describe.runIf(recent.isHere)('a cluster of processes', () => {
  test('goes on with a slow node, and brings one that missed what the logs have forgotten all its data', async () => {
    const [all, work] = await begin();
    const before = work.counts.answered;
    for (let burst = 0; burst < 8 || work.counts.answered < before + 50; burst++) {
      all.signal(1, 'SIGSTOP');
      await sleep(250);
      all.signal(1, 'SIGCONT');
      await sleep(20);
    }
    await all.end(2);
    await work.answers(100);
    // Two shards of one keyspace, some of another, and the one that knows the shards.
    expect(await forgetLogs(all.nats, () => work.answers(50))).toBeGreaterThan(3);
    await work.answers(20);
    await all.startNode(2);
    await work.answers(50);
    // It has all that the others have: what is judged is what it alone answers.
    await all.end(0);
    await all.end(1);
    await work.answers(50);
    expect(await work.judge()).toEqual([]);
  }, 240_000);

  test.runIf(canMount)(
    'goes on with a nats-server whose disk is full, and with it when that has room again',
    async () => {
      disk = new SmallDisk(DISK_BYTES);
      const { dir } = disk;
      const [all, work] = await begin({ storeDirOf: (index) => (index === 1 ? join(dir, 'streams') : undefined) });
      const risks = () => monitorRisks(all.nats.monitors[1]!, 5_000);
      disk.fill();
      await work.answers(150);
      await expect.poll(() => risks().catch(messageOf), { timeout: 20_000 }).toContain('its disk was full');
      disk.free();
      await all.nats.kill(1);
      all.nats.startOne(1);
      await all.nats.ready();
      expect(await risks()).toEqual([]);
      // Now it is one of the two that writes need.
      await all.nats.end(0);
      await work.answers(100);
      expect(await work.judge()).toEqual([]);
    },
    240_000,
  );
});
