import { count, expectEqual, type Scenario } from './scenario.ts';
import { Stage } from './stage.ts';

// Replicas that were away for longer than the log waits, and take their data from others.

const KEY = 'counter';
const SHARD = 1;

export const snapshotScenarios: readonly Scenario[] = [
  {
    name: 'what a snapshot leaves out may have been run',
    found:
      'A leader with a full disk told its clients that nothing was done of a command that the others had run, so it ran twice (hunt snapshots, 457575519).',
    mendTakenBack: [
      { file: 'src/shard/replica/replica.ts', find: 'this.#depose(why, outcomeUnknown(why));', replace: 'this.#depose(why);' },
    ],
    failsWith: /the counter after 4 commands: 5/,
    async play() {
      const stage = new Stage({ nodes: 3, replication: 3, keptEntries: 0 });
      await stage.begin();
      const leader = stage.leaderOf(SHARD)!;
      await count(stage, leader, KEY, 3);
      const had = stage.stateOf(leader, SHARD)!.applied;
      stage.machine(leader).setDiskFull(true);
      // It knows of its entry only what it reads.
      stage.world.faults.order('append-answer-lost', `${leader} ${SHARD}.1`);
      const told = stage.add(leader, KEY);
      const log = stage.cluster.logs.get(SHARD, 1)!;
      await stage.until('the log has forgotten the entry', () => log.truncatedUpto > had);
      stage.machine(leader).setDiskFull(false);
      await stage.until('somebody is told', () => told.answer !== undefined);
      await stage.settle();
      expectEqual('the counter after 4 commands', await stage.read(leader, KEY), '4');
    },
  },
  {
    name: 'two that both need a snapshot do not give each other theirs for ever',
    found: 'Each asked the other first, took no newer data than it had, and began anew (hunt disasters, 94).',
    mendTakenBack: [
      {
        file: 'src/node/snapshot-transfer.ts',
        find: 'return logGeneration >= generation && applied > beyond;',
        replace: 'return logGeneration >= generation && beyond < 1e9 && applied >= 0;',
      },
    ],
    failsWith: /replicas of the meta shard are at/,
    async play() {
      const stage = new Stage({ nodes: 4, replication: 4, keptEntries: 0 });
      await stage.begin();
      const [one, other, stays] = stage.replicasOf(SHARD, 'n1') as [string, string, string];
      await count(stage, stays, KEY, 1);
      await stage.crash(one);
      await stage.crash(other);
      await stage.until('another leads', () => stage.leaderOf(SHARD) !== undefined);
      await count(stage, stays, KEY, 5);
      const log = stage.cluster.logs.get(SHARD, 1)!;
      const had = [one, other].map((name) => stage.stateOf(name, SHARD)!.applied);
      await stage.until('the log has forgotten what they need', () => had.every((applied) => log.truncatedUpto > applied + 1));
      await stage.settle();
      expectEqual('the counter', await stage.read(one, KEY), '6');
    },
  },
  {
    name: 'data are asked of whoever has them now',
    found: 'A replica asked for ever the one node that had the shard when it began to ask (--cluster, 783156077).',
    mendTakenBack: [
      {
        file: 'src/node/cluster/hosted-shard.ts',
        find: 'const { peers } = this.#options;',
        replace: 'const asOfNow = this.#options.peers();\n    const peers = () => asOfNow;',
      },
    ],
    failsWith: /is nothing on|is at entry|serves/,
    async play() {
      const stage = new Stage({ nodes: 5, replication: 3, keptEntries: 0, options: { downAfterMs: 600_000 } });
      await stage.begin();
      const [giver, another, taker] = stage.replicasOf(SHARD, 'n1') as [string, string, string];
      const others = ['n1', 'n2', 'n3', 'n4', 'n5'].filter((name) => name !== giver && name !== another && name !== taker);
      await stage.crash(taker);
      await count(stage, giver, KEY, 3);
      const log = stage.cluster.logs.get(SHARD, 1)!;
      const had = stage.stateOf(taker, SHARD)!.applied;
      await stage.until('the log has forgotten what it needs', () => log.truncatedUpto > had + 1);
      const mend = stage.world.network.cut(taker, { machines: true, clients: true });
      stage.machine(taker).start();
      await stage.pass(3_000);
      for (const [index, remove] of [giver, another].entries()) {
        stage.change(remove, (workflows) => workflows.move(SHARD, { add: others[index]!, remove }));
        await stage.until('the shard has moved away', () => stage.stateOf(remove, SHARD) === undefined);
      }
      mend();
      await stage.settle();
      expectEqual('the counter', await stage.read(taker, KEY), '3');
    },
  },
];
