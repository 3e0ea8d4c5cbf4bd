// What do placements cost and give as nodes grow? For `fair`, `sticky` and a table of rendezvous hashing with 65,536 slots and 3 replicas: time to build and to change,
// how even the table is, and how many replicas a change moves beside the least possible; then look-ups per second with 16-character keys,
// beside npm hashring in the same run. The numbers to quote: peak, moves, and M/s of replicas().
//
//   npm run bench -- placement [--large]
import { createRequire } from 'node:module';
import { cpus, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { Prng } from '../src/base/prng.ts';
import { showCount } from '../src/base/units.ts';
import { Keyspace } from '../src/partition/keyspace.ts';
import { fair } from '../src/partition/placement/fair.ts';
import type { Plan } from '../src/partition/placement/plan.ts';
import { diffTables } from '../src/partition/placement/plan-diff.ts';
import { type SlotTable, tableChecksum } from '../src/partition/placement/slot-table.ts';
import { sticky } from '../src/partition/placement/sticky.ts';
import { rendezvousPlacement } from '../src/partition/rendezvous-placement.ts';

const { values: flags } = parseArgs({ options: { large: { type: 'boolean', default: false } } });
const NODE_COUNTS = flags.large ? [10, 100, 1_000, 4_096] : [10, 100, 1_000];
const CLUSTERS = flags.large ? 16 : 4;
const LOOKUPS = flags.large ? 20_000_000 : 1_000_000;
const PEER_LOOKUPS = LOOKUPS / 20;

interface BenchNode {
  readonly id: string;
  readonly weight?: number;
  readonly zone?: string;
  readonly rack?: string;
}
type Shape = readonly [name: string, fields: (number: number) => Partial<BenchNode>];
const SHAPES: readonly Shape[] = [
  ['equal', () => ({})],
  ['weights 1-10', (number) => ({ weight: 1 + (number % 10) })],
  ['4 zones', (number) => ({ zone: `zone-${number % 4}` })],
  ['3 zones', (number) => ({ zone: `zone-${number % 3}` })],
];

const PLACEMENTS = [
  ['fair', 'fair'],
  ['sticky', 'sticky'],
  ['rendezvous', rendezvousPlacement],
] as const;

/** Clusters differ in nothing but the names of their nodes: what `fair` moves differs by some hundredths from one to the next. */
const nodeOf = (number: number, [, fields]: Shape, cluster = 0): BenchNode => ({ id: `node-${cluster}-${number}`, ...fields(number) });
const nodesOf = (count: number, shape: Shape, cluster = 0): BenchNode[] =>
  Array.from({ length: count }, (_, number) => nodeOf(number, shape, cluster));
/** The peer has no types of its own. */
const HashRing = createRequire(import.meta.url)('hashring') as new (
  ids: readonly string[],
) => { range(key: string, count: number): string[] };
/** Of the processor and not the clock, for other work on the machine slows that. */
const timed = <T>(run: () => T): readonly [T, number] => {
  const start = process.cpuUsage();
  const result = run();
  const { user, system } = process.cpuUsage(start);
  return [result, (user + system) / 1_000];
};
const median = (times: number[]): number => times.sort((a, b) => a - b)[times.length >> 1]!;
let checksum = 0;
const note = (table: SlotTable): void => {
  checksum = (Math.imul(checksum, 31) + tableChecksum(table)) >>> 0;
};

console.log(`${cpus().length} × ${cpus()[0]?.model}, Node ${process.version}, load ${loadavg()[0]!.toFixed(1)}`);
console.log(
  `\n65,536 slots, 3 replicas; moves: copies made / the least for the counts reached, owners: likewise of primaries;\na node added and removed again, mean of ${CLUSTERS} clusters; times are the processor's`,
);
console.log('placement   nodes  shape         build ms  change ms    peak  trough  primary peak   moves   owners');
fair(nodesOf(50, SHAPES[0]!));
for (const count of NODE_COUNTS)
  for (const shape of SHAPES)
    for (const [name, placement] of PLACEMENTS) {
      const buildMs: number[] = [];
      const changeMs: number[] = [];
      const plans: Plan[] = [];
      let peak = 0;
      let trough = Infinity;
      let primaryPeak = 0;
      for (let cluster = 0; cluster < CLUSTERS; cluster++) {
        const [keyspace, ms] = timed(() => new Keyspace(nodesOf(count, shape, cluster), { placement }));
        buildMs.push(ms);
        const comer = nodeOf(1_000_000 + cluster * 7, shape, cluster);
        for (const next of [undefined, { add: [comer] }, { remove: [comer.id] }]) {
          if (next) {
            const [plan, planMs] = timed(() => keyspace.apply(next));
            plans.push(plan);
            changeMs.push(planMs);
          }
          const now = keyspace.balance();
          peak = Math.max(peak, now.peak);
          trough = Math.min(trough, now.trough);
          primaryPeak = Math.max(primaryPeak, now.primaryPeak);
        }
        note(keyspace.table);
      }
      const sum = (pick: (plan: Plan) => number): number => plans.reduce((all, plan) => all + pick(plan), 0);
      const moves = sum((plan) => plan.totals.replicasMoved) / sum((plan) => plan.totals.minimumMoves);
      const owners = sum((plan) => plan.totals.primariesChanged) / sum((plan) => plan.totals.minimumPrimaryChanges);
      console.log(
        [
          name.padEnd(10),
          showCount(count).padStart(6),
          ` ${shape[0].padEnd(12)}`,
          median(buildMs).toFixed(0).padStart(9),
          median(changeMs).toFixed(0).padStart(10),
          peak.toFixed(4).padStart(7),
          trough.toFixed(4).padStart(7),
          primaryPeak.toFixed(4).padStart(13),
          `${moves.toFixed(3)}×`.padStart(8),
          `${owners.toFixed(3)}×`.padStart(8),
        ].join(' '),
      );
    }

console.log('\nsticky, all at once: copies made, whether no table with these counts makes fewer, the sum over nodes of what they lack');
const zoned = (count: number, zones: number): BenchNode[] =>
  nodesOf(count, ['', (number) => (zones === 0 ? {} : { zone: `zone-${number % zones}` })]);
const rows: [string, SlotTable | undefined, readonly BenchNode[], readonly BenchNode[]][] = [
  ...(
    [
      [0, 3],
      [4, 5],
      [3, 4],
    ] as const
  ).map(([from, to]): (typeof rows)[number] => [
    `1,000 nodes, ${from || 'no'} zones to ${to}`,
    undefined,
    zoned(1_000, from),
    zoned(1_000, to),
  ]),
];
const heavy = nodesOf(10, ['', (number) => ({ weight: 1 + number, zone: `zone-${number % 4}` })]);
rows.push(['10 nodes, weights 1-10, 4 zones: weight 2 goes', undefined, heavy, heavy.filter((_, i) => i !== 1)]);
const random = new Prng(4);
const uneven = Array.from({ length: 100 }, (_, number) => {
  const zone = 'aaaaabbbcd'[random.below(10)]!;
  return { id: `node-${number}`, weight: 1 + random.below(10), zone, rack: `rack-${random.below(1 + random.below(6))}` };
});
const cells = new Uint16Array(3 * 65_536);
for (let at = 0; at < cells.length; at++)
  do cells[at] = random.below(100);
  while (cells.subarray(at - (at % 3), at).includes(cells[at]!));
const byChance = { slotCount: 65_536, replicaCount: 3, nodeIds: uneven.map(({ id }) => id), cells };
rows.push(['100 nodes, a table of chance to uneven zones and racks', byChance, uneven, uneven]);
for (const [name, given, from, to] of rows) {
  const before = given ?? sticky(fair(from), from);
  const [after, ms] = timed(() => sticky(before, to));
  const { replicasMoved, minimumMoves } = diffTables(before, after).totals;
  note(after);
  console.log(
    `${name.padEnd(55)} ${showCount(replicasMoved).padStart(7)}  ${after.isLeast ? 'the least' : 'perhaps not'}, ${showCount(minimumMoves)}; ${ms.toFixed(0)} ms`,
  );
}

console.log('\nfair, equal weights, by slack: what evenness costs in moves');
for (const slack of [0.01, 0.02, 0.03, 0.05, 0.1]) {
  const row = NODE_COUNTS.filter((count) => count >= 100).map((count) => {
    const place = { name: 'fair', place: (nodes: readonly BenchNode[]) => fair(nodes, { slack }) };
    const keyspace = new Keyspace(nodesOf(count, SHAPES[0]!), { placement: place });
    const { peak } = keyspace.balance();
    const { totals } = keyspace.simulate({ add: [nodeOf(1_000_000, SHAPES[0]!)] }).plan;
    return `${showCount(count)} nodes: peak ${peak.toFixed(4)}, moves ${(totals.replicasMoved / totals.minimumMoves).toFixed(3)}×`;
  });
  console.log(`slack ${slack.toFixed(2)}  ${row.join('   ')}`);
}

console.log(`\nlook-ups of 16-character keys, ${showCount(LOOKUPS)} each, M/s`);
console.log(' nodes   owner  replicas  replicasInto  replicas (Buffer)  npm hashring range(3)   ratio');
const keys = Array.from({ length: 1 << 14 }, (_, number) => `user:${String(number * 7919).padStart(11, '0')}`);
const buffers = keys.map((key) => Buffer.from(key));
const perSecond = (lookups: number, one: (index: number) => number): number => {
  let sum = 0;
  for (let i = 0; i < Math.min(lookups, 200_000); i++) sum += one(i & 16_383);
  const [, ms] = timed(() => {
    for (let i = 0; i < lookups; i++) sum += one(i & 16_383);
  });
  checksum = (checksum + sum) >>> 0;
  return lookups / ms / 1_000;
};
for (const count of [...NODE_COUNTS.slice(0, 3), 10_000]) {
  const keyspace = new Keyspace(nodesOf(count, SHAPES[0]!));
  const out: BenchNode[] = [];
  const owner = perSecond(LOOKUPS, (i) => keyspace.owner(keys[i]!).id.length);
  const replicas = perSecond(LOOKUPS, (i) => keyspace.replicas(keys[i]!)[2]!.id.length);
  const into = perSecond(LOOKUPS, (i) => keyspace.replicasInto(keys[i]!, out)[2]!.id.length);
  const bytes = perSecond(LOOKUPS, (i) => keyspace.replicas(buffers[i]!)[2]!.id.length);
  const ring = count > 1_000 ? undefined : new HashRing(keyspace.nodes.map((node) => node.id));
  const peer = ring && perSecond(PEER_LOOKUPS, (i) => ring.range(keys[i]!, 3)[2]!.length);
  console.log(
    [
      showCount(count).padStart(6),
      owner.toFixed(1).padStart(7),
      replicas.toFixed(1).padStart(9),
      into.toFixed(1).padStart(13),
      bytes.toFixed(1).padStart(18),
      (peer?.toFixed(2) ?? '-').padStart(22),
      (peer === undefined ? '-' : `${(replicas / peer).toFixed(0)}×`).padStart(7),
    ].join(' '),
  );
}
console.log(`\nchecksum ${checksum.toString(16).padStart(8, '0')}`);
