import type { Scenario } from './scenario.ts';
import { Stage } from './stage.ts';

// Nodes that come, or come back.

export const joiningScenarios: readonly Scenario[] = [
  {
    name: 'a leader that did not answer once is asked again',
    found: 'One answer that got lost made a node that restarted forget who leads the meta shard, and it never joined (--cluster, 2 and 3).',
    mendTakenBack: [
      {
        file: 'src/node/cluster/router.ts',
        find: 'this.hints.of(shard)?.leader || this.#host.get(shard)?.state?.leader;',
        replace: 'this.hints.of(shard)?.leader;',
      },
    ],
    failsWith: /serves again/,
    async play() {
      const stage = new Stage({ nodes: 3, replication: 3 });
      await stage.begin();
      const back = stage.leaderOf(0) === 'n3' ? 'n2' : 'n3';
      await stage.crash(back);
      const mend = stage.world.network.cut(back, { machines: true, clients: true });
      stage.machine(back).start();
      await stage.pass(15_000);
      mend();
      await stage.until(`${back} serves again`, () => stage.machine(back).process!.isReady);
      await stage.settle();
    },
  },
  {
    name: 'a new node finds somebody who gives it the meta shard',
    found: 'A new node that found the beginning of the meta log forgotten knew nobody whom it could ask (--cluster, 1).',
    mendTakenBack: [
      { file: 'src/node/cluster/known-members.ts', find: 'if (known.length === 0) this', replace: 'if (known.length > 1e9) this' },
    ],
    failsWith: /n4 serves/,
    async play() {
      const stage = new Stage({ nodes: 4, replication: 3, keptEntries: 0 });
      await stage.begin(['n1', 'n2', 'n3']);
      await stage.until('the meta log has forgotten its beginning', () => stage.cluster.logs.get(0, 1)!.truncatedUpto > 0);
      await stage.begin(['n4']);
      await stage.settle();
    },
  },
  {
    name: 'who has not heard of a registration before it was forgotten begins its shards all the same',
    found:
      'A node alone had a shard that was registered while it was away, was brought the meta shard behind that entry, and never began it (--cluster, 693336235; --hunt lost-logs, 1).',
    mendTakenBack: [
      {
        file: 'src/node/cluster/shard-host.ts',
        find: 'begin: begins && beginningOf(id, begins, keyspace.id),',
        replace: 'begin: undefined,',
      },
    ],
    failsWith: /its shards are led/,
    async play() {
      const stage = new Stage({ nodes: 3, replication: 1, keptEntries: 0, options: { downAfterMs: 600_000 } });
      await stage.begin();
      const leader = stage.leaderOf(0)!;
      const away = ['n3', 'n2'].find((name) => name !== leader)!;
      const mend = stage.world.network.cut(away, { machines: true, clients: true });
      stage.machine(away).logIsCutOff = true;
      stage.register(leader, 'late', 6);
      const late = () => stage.keyspace(leader, 'late');
      await stage.until('it is registered', () => late() !== undefined);
      if (!late()!.shards.some(({ replicas }) => replicas.includes(away))) throw new Error(`${away} has no shard of it`);
      const log = stage.cluster.logs.get(0, 1)!;
      const registered = stage.stateOf(leader, 0)!.applied;
      await stage.until('the meta log has forgotten that', () => log.truncatedUpto >= registered);
      mend();
      stage.machine(away).logIsCutOff = false;
      await stage.until('its shards are led', () => late()!.shards.every(({ id }) => stage.leaderOf(id) !== undefined));
      await stage.settle();
    },
  },
];
