import { utf8 } from '../../src/base/bytes.ts';
import { positionScheme } from '../../src/shard/position-scheme.ts';
import { count, expectEqual, type Scenario } from './scenario.ts';
import { Stage } from './stage.ts';

// Splits and merges of which some replicas hear late.

const HALF = 0x8000_0000;
/** Counters all over the positions. */
const KEYS = Array.from({ length: 12 }, (_, index) => `counter ${index}`);

async function countAll(stage: Stage, at: string): Promise<void> {
  for (const key of KEYS) await stage.added(at, key);
}

async function expectAll(stage: Stage, at: string, sum: string): Promise<void> {
  for (const key of KEYS) expectEqual(key, await stage.read(at, key), sum);
}

export const splitAndMergeScenarios: readonly Scenario[] = [
  {
    name: 'a genesis that nobody answers is sent again',
    found: 'A log lost the first entry of a child, whose sender waited for the answer for ever (--cluster, 718926758).',
    mendTakenBack: [
      { file: 'src/node/cluster/shard-duties.ts', find: 'this.#options.clock.after(GENESIS_TIMEOUT_MS, over);', replace: '' },
    ],
    failsWith: /the child serves/,
    async play() {
      const stage = new Stage({ nodes: 3, replication: 1 });
      await stage.begin();
      const leader = stage.leaderOf(1)!;
      stage.world.faults.order('append-lost', `${leader} 2.1`, 1);
      stage.change(leader, (workflows) => workflows.split(1));
      await stage.until('the child serves', () => stage.leaderOf(2) !== undefined);
      await stage.settle();
    },
  },
  {
    name: 'a child begins once there is room on the disk for it',
    found: 'The disk was full when it was to run its genesis, and nobody tried again (--cluster --hunt workflows, 360870373).',
    mendTakenBack: [
      {
        file: 'src/shard/replica/replica.ts',
        find: '    this.#stalled = false;\n    if (!this.#takesPart) {',
        replace: '    if (this.#takesPart) this.#stalled = false;\n    if (!this.#takesPart) {',
      },
    ],
    failsWith: /the child serves/,
    async play() {
      const stage = new Stage({ nodes: 3, replication: 1 });
      await stage.begin();
      const leader = stage.leaderOf(1)!;
      const mend = stage.world.faults.order('read-failed', `${leader} 2.1`);
      stage.change(leader, (workflows) => workflows.split(1));
      await stage.until('its log has begun', () => stage.cluster.logs.get(2, 1)?.lastSeq === 1);
      stage.machine(leader).setDiskFull(true);
      mend();
      await stage.pass(3_000);
      expectEqual('the child', stage.stateOf(leader, 2)?.status, 'awaiting-genesis');
      stage.machine(leader).setDiskFull(false);
      await stage.until('the child serves', () => stage.leaderOf(2) !== undefined);
      await stage.settle();
    },
  },
  {
    name: 'a split is over although its parent is led by who has no child',
    found:
      'A replica that was brought the parent behind the cut came to lead it, and nobody said that the split is done (--cluster, 955914756).',
    mendTakenBack: [
      {
        file: 'src/node/cluster/shard-duties.ts',
        find: "workflow.kind === 'split' ? [workflow.parent, workflow.child]",
        replace: "workflow.kind === 'split' ? [workflow.parent]",
      },
    ],
    failsWith: /under way.*split/,
    async play() {
      const stage = new Stage({ nodes: 4, replication: 3, keptEntries: 0, options: { downAfterMs: 600_000 } });
      await stage.begin();
      // Who leads the meta shard does not have the shard.
      const meta = stage.leaderOf(0)!;
      const fourth = ['n1', 'n2', 'n3', 'n4'].find((name) => !stage.replicasOf(1, meta).includes(name))!;
      if (fourth !== meta) stage.change(meta, (workflows) => workflows.move(1, { add: fourth, remove: meta }));
      await stage.until('it has moved', () => !stage.replicasOf(1, meta).includes(meta));
      const [first, other, late] = stage.replicasOf(1, meta) as [string, string, string];
      await stage.until('the first replica leads', () => stage.leaderOf(1) === first);
      await stage.crash(late);
      // It cuts the shard, and cannot say so to who leads the meta shard.
      stage.change(first, (workflows) => workflows.split(1));
      await stage.until('the split has begun', () => stage.keyspace(first).workflows.length > 0);
      const mend = stage.world.network.cut(first, { machines: [meta], clients: false });
      await stage.until(
        'the child serves',
        () => stage.stateOf(first, 2)?.leader === first && stage.stateOf(other, 2)?.status === 'serving',
      );
      const log = stage.cluster.logs.get(1, 1)!;
      const cut = stage.stateOf(other, 2)!.peerSeq;
      await stage.until('the log has forgotten the cut', () => log.truncatedUpto >= cut);
      stage.machine(late).start();
      await stage.until('its data have come', () => stage.stateOf(late, 1)?.phase === 'marked');
      const silence = stage.world.faults.order('append-lost', `${other} 1.1`);
      await stage.crash(first);
      await stage.until('who has no child leads', () => stage.leaderOf(1) === late);
      silence();
      mend();
      await stage.settle();
      expectEqual('shards in the end', stage.keyspace(first).shards.length, 2);
    },
  },
  {
    name: 'who was down while a merge gathered its shards does not hold it up',
    found: 'It came to lead the left shard, had no right one, and nobody could see the next step (--cluster, 862013977).',
    mendTakenBack: [
      {
        file: 'src/node/cluster/shard-duties.ts',
        find: 'if (next !== undefined) this.#give(shard, next, nowMs);',
        replace: 'if (next === self) this.#give(shard, next, nowMs);',
      },
    ],
    failsWith: /under way.*merge/,
    async play() {
      const stage = new Stage({ nodes: 5, replication: 2, shards: 2 });
      await stage.begin();
      const [left, right] = [...stage.keyspace('n1').shards].sort((a, b) => a.range.from - b.range.from);
      const [stays, leaves] = left!.replicas as [string, string];
      const away = ['n1', 'n2', 'n3', 'n4', 'n5'].filter((name) => !left!.replicas.includes(name) && !right!.replicas.includes(name));
      // No node of the left shard has the right one.
      for (const [index, node] of right!.replicas.filter((name) => left!.replicas.includes(name)).entries()) {
        stage.change('n1', (workflows) => workflows.move(right!.id, { add: away[index]!, remove: node }));
        await stage.until('it has moved', () => !stage.replicasOf(right!.id, 'n1').includes(node));
      }
      await stage.crash(leaves);
      await stage.until('the other one leads', () => stage.leaderOf(left!.id) === stays);
      stage.change(stays, (workflows) => workflows.merge(left!.id));
      const merge = () => stage.keyspace(stays).workflows.find(({ kind }) => kind === 'merge') as { gathers?: unknown } | undefined;
      await stage.until('the merge has begun', () => merge() !== undefined);
      await stage.until('the right shard is there', () => merge()?.gathers === undefined);
      stage.machine(stays).logIsCutOff = true;
      stage.machine(leaves).start();
      await stage.until('who was down leads', () => stage.leaderOf(left!.id) === leaves);
      stage.machine(stays).logIsCutOff = false;
      await stage.settle();
      expectEqual('shards in the end', stage.keyspace(stays).shards.length, 1);
    },
  },
  {
    name: 'a child is not brought over what a lagging parent still changes',
    found: 'The parent, which had not come to its mark, ran old entries over the child that had been brought (--cluster, 13).',
    mendTakenBack: [
      {
        file: 'src/node/cluster/shard-host.ts',
        find: 'isBlocked: (range) => this.#isOverlapped(keyspace.id, id, range),',
        replace: 'isBlocked: (range) => this.#isOverlapped(keyspace.id, id, range) && id < 0,',
      },
    ],
    failsWith: /does not hold the same bytes/,
    async play() {
      const stage = new Stage({ nodes: 3, replication: 3 });
      await stage.begin();
      const leader = stage.leaderOf(1)!;
      const late = ['n1', 'n2', 'n3'].find((name) => name !== leader)!;
      await countAll(stage, leader);
      const mend = stage.world.faults.order('read-failed', `${late} 1.1`);
      await countAll(stage, leader);
      stage.change(leader, (workflows) => workflows.split(1));
      await stage.until('the child serves', () => stage.leaderOf(2) !== undefined);
      await countAll(stage, leader);
      await stage.pass(5_000);
      mend();
      await stage.settle();
      await expectAll(stage, leader, '3');
    },
  },
  {
    name: 'nobody gives a shard that was taken over here already',
    found: 'Its records had changed since as those of its left neighbour, whose entries the taker ran over them once more (--cluster, 5).',
    mendTakenBack: [
      {
        file: 'src/shard/replica/snapshot.ts',
        find: "state.status === 'faulted' || isTakenOver(reader, state)",
        replace: "state.status === 'faulted' || (isTakenOver(reader, state) && shard < 0)",
      },
    ],
    failsWith: /does not hold the same bytes/,
    async play() {
      const stage = new Stage({ nodes: 3, replication: 3, shards: 2, keptEntries: 40, options: { downAfterMs: 600_000 } });
      await stage.begin();
      const [left, right] = [...stage.keyspace('n1').shards].sort((a, b) => a.range.from - b.range.from).map(({ id }) => id) as [
        number,
        number,
      ];
      const late = ['n1', 'n2', 'n3'].find((name) => stage.leaderOf(left) !== name && stage.leaderOf(right) !== name)!;
      const other = ['n1', 'n2', 'n3'].find((name) => name !== late)!;
      await countAll(stage, other);
      const rightKey = KEYS.find((key) => positionScheme('redis').position(utf8(key)) >= HALF)!;
      await stage.crash(late);
      // So many that the log of the right shard forgets some of them, and that of the left one nothing that follows.
      await count(stage, other, rightKey, 80);
      stage.change(other, (workflows) => workflows.merge(left));
      await stage.until('it is one shard', () => stage.keyspace(other).shards.length === 1);
      await countAll(stage, other);
      const had = stage.stateOf(late, right)!.applied;
      await stage.until(
        'the log of the right one has forgotten',
        () => (stage.cluster.logs.get(right, 1)?.truncatedUpto ?? Number.POSITIVE_INFINITY) > had,
      );
      const mend = stage.world.faults.order('read-failed', `${late} ${left}.1`);
      stage.machine(late).start();
      await stage.pass(5_000);
      mend();
      await stage.settle();
      for (const key of KEYS) expectEqual(key, await stage.read(other, key), key === rightKey ? '82' : '2');
    },
  },
  {
    name: 'a shard that was taken over and whose log is lost holds nobody up',
    found:
      'Who had not read the log of the right shard to its end waited for the rest for ever, and the merge with it: no log follows the last one of a shard that the map has no more (by hand).',
    mendTakenBack: [
      {
        file: 'src/node/cluster/shard-host.ts',
        find: 'shard?.machine !== undefined && shard.lostReport === undefined;',
        replace: 'shard?.machine !== undefined;',
      },
    ],
    failsWith: /under way.*retire/,
    async play() {
      const stage = new Stage({ nodes: 3, replication: 3, shards: 2, options: { downAfterMs: 600_000 } });
      await stage.begin();
      const [left, right] = [...stage.keyspace('n1').shards].sort((a, b) => a.range.from - b.range.from).map(({ id }) => id) as [
        number,
        number,
      ];
      const late = ['n1', 'n2', 'n3'].find((name) => stage.leaderOf(left) !== name && stage.leaderOf(right) !== name)!;
      const other = ['n1', 'n2', 'n3'].find((name) => name !== late)!;
      const mend = stage.world.faults.order('read-failed', `${late} ${right}.1`);
      await countAll(stage, other);
      stage.change(other, (workflows) => workflows.merge(left));
      await stage.until('it is one shard', () => stage.keyspace(other).shards.length === 1);
      stage.loseLog(right);
      mend();
      await countAll(stage, other);
      await stage.settle();
      await expectAll(stage, late, '2');
    },
  },
];
