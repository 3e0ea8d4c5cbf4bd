import { describe, expect, test } from 'vitest';
import { NATS_SERVERS } from '../nats/nats-servers.ts';
import { clusterUnderLoad } from './cluster-under-load.ts';

// A whole cluster of real processes, while clients write through every node: processes are killed and stand still, networks break, everything is
// restarted one by one. What clients were told must be linearizable, and nothing lost or done twice. `npm run soak:cluster` does it for longer.

const [recent, debian] = NATS_SERVERS as [(typeof NATS_SERVERS)[number], (typeof NATS_SERVERS)[number]];

const { begin } = clusterUnderLoad();

describe.runIf(recent.isHere)('a cluster of processes', () => {
  test('nodes are killed, stand still and hear nothing; a nats-server is killed', async () => {
    const [all, work] = await begin({ binary: recent.binary, hasLinks: true });
    await all.kill(0);
    await work.answers(100);
    await all.startNode(0);
    // For longer than its leases last: when it goes on, it answers nothing old.
    all.signal(1, 'SIGSTOP');
    await work.answers(100);
    all.signal(1, 'SIGCONT');
    await work.answers(50);
    for (const link of all.linksOf(2)) link.silence();
    await work.answers(100);
    for (const link of all.linksOf(2)) link.open();
    await all.nats.kill(0);
    await work.answers(100);
    all.nats.startOne(0);
    await work.answers(50);
    expect(await work.judge()).toEqual([]);
  }, 240_000);

  test('every node and every nats-server is restarted in turn, and no request fails', async () => {
    const [all, work] = await begin({ binary: recent.binary });
    for (let index = 0; index < 3; index++) {
      expect(await all.end(index)).toBe(0);
      await work.answers(20);
      await all.startNode(index);
      await work.answers(20);
    }
    for (let index = 0; index < 3; index++) {
      await all.nats.end(index);
      await work.answers(20);
      all.nats.startOne(index);
      await all.nats.ready();
      await work.answers(20);
    }
    expect(await work.judge()).toEqual([]);
  }, 240_000);
});

describe.runIf(debian.isHere)("a cluster on Debian's nats-servers", () => {
  test('works, and a node that is killed comes back', async () => {
    const [all, work] = await begin({ binary: debian.binary });
    await all.kill(2);
    await work.answers(100);
    await all.startNode(2);
    await work.answers(50);
    expect(await work.judge()).toEqual([]);
  }, 120_000);
});
