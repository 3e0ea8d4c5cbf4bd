// How evenly does each algorithm spread keys, and how much does it move when a node joins or leaves?
//
// Three copies of each key, nodes of equal weight. "peak" is the fullest node's load over its fair share; "join" and "leave" are the copies
// fetched when one node joins, or one in the middle leaves, over what these loads need at least. The row "chance alone" is an exact spread of
// as many keys drawn at random: no figure of a sample can be told from 1 better than that. With --write the table and a plot go into docs/.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Prng } from '../src/base/prng.ts';
import { showCount } from '../src/base/units.ts';
import { ALGORITHMS } from '../src/cli/placement/algorithms.ts';
import { barPlot } from '../src/cli/placement/bar-plot.ts';
import type { Fleet } from '../src/cli/placement/fleet.ts';
import { Movement, type MovementReport } from '../src/cli/placement/movement.ts';

const SIZES = [10, 100];
const KEYS = process.argv.includes('--large') ? 200_000 : 20_000;
const COPIES = 3;
const CHANCE = 'chance alone';

interface Row {
  readonly algorithm: string;
  readonly cells: readonly {
    readonly peak: number;
    readonly lowest: number;
    readonly join: MovementReport;
    readonly leave: MovementReport;
  }[];
}

function fleetOf(algorithm: string, size: number): Fleet {
  const nodes = Array.from({ length: size }, (_, i) => ({ id: `node-${i}`, weight: 1 }));
  return {
    nodes,
    algorithm,
    replicas: COPIES,
    hash: undefined,
    hashTag: undefined,
    virtualNodes: undefined,
    slots: undefined,
    splits: undefined,
  };
}

function measure(algorithm: string, size: number): Row['cells'][number] {
  const before = fleetOf(algorithm, size);
  const joined: Fleet = { ...before, nodes: [...before.nodes, { id: 'one-more', weight: 1 }] };
  const left: Fleet = { ...before, nodes: before.nodes.filter((_, i) => i !== Math.floor(size / 2)) };
  const moves = [joined, left].map((after) => {
    const movement = new Movement(before, after);
    for (let i = 0; i < KEYS; i++) movement.place(`user:${i}`);
    return movement.report();
  });
  const { peak, lowest } = moves[0]!.before.balance;
  return { peak, lowest, join: moves[0]!, leave: moves[1]! };
}

/** Peak and lowest of keys that fall on nodes by chance, each on three different ones. */
function chance(size: number): { peak: number; lowest: number } {
  const random = new Prng(size);
  const held = new Float64Array(size);
  for (let key = 0; key < KEYS; key++) {
    const taken = new Set<number>();
    while (taken.size < COPIES) taken.add(random.below(size));
    for (const node of taken) held[node]!++;
  }
  const fair = (KEYS * COPIES) / size;
  return { peak: Math.max(...held) / fair, lowest: Math.min(...held) / fair };
}

const needed = ({ copiesPulled, copiesNeeded }: MovementReport): number => copiesPulled / copiesNeeded;

// Ranges are as even as whoever chooses them makes them.
const rows: Row[] = ALGORITHMS.filter(({ name }) => name !== 'range').map(({ name }) => {
  process.stderr.write(`${name} `);
  return { algorithm: name, cells: SIZES.map((size) => measure(name, size)) };
});
process.stderr.write('\n');
const byChance = SIZES.map(chance);

const head = ['algorithm', ...SIZES.flatMap((size) => [`${size} nodes: peak`, 'lowest', 'join', 'leave'])];
const body = [
  ...rows.map(({ algorithm, cells }) => [
    algorithm,
    ...cells.flatMap(({ peak, lowest, join, leave }) => [
      peak.toFixed(3),
      lowest.toFixed(3),
      `${needed(join).toFixed(2)} ×`,
      `${needed(leave).toFixed(2)} ×`,
    ]),
  ]),
  [CHANCE, ...byChance.flatMap(({ peak, lowest }) => [peak.toFixed(3), lowest.toFixed(3), '', ''])],
];
const markdown = [
  `${showCount(KEYS)} keys, ${COPIES} copies of each, nodes of equal weight.`,
  '',
  `| ${head.join(' | ')} |`,
  `| ${head.map((_, i) => (i === 0 ? '---' : '--:')).join(' | ')} |`,
  ...body.map((cells) => `| ${cells.join(' | ')} |`),
].join('\n');
console.log(markdown);
console.log(
  `checksum ${rows.reduce((sum, { cells }) => sum + cells.reduce((all, { join, leave }) => all + join.copiesPulled + leave.copiesPulled, 0), 0)}`,
);

if (process.argv.includes('--write')) {
  const docs = new URL('../../../docs/', import.meta.url);
  const page = fileURLToPath(new URL('algorithms.md', docs));
  const [begin, end] = ['<!-- balance: npm run bench -- balance --large --write -->', '<!-- end of balance -->'];
  const text = readFileSync(page, 'utf8');
  const from = text.indexOf(begin) + begin.length;
  const to = text.indexOf(end);
  if (from < begin.length || to < from) throw new Error(`${page} has no place for the table`);
  writeFileSync(page, `${text.slice(0, from)}\n${markdown}\n${text.slice(to)}`);
  const names = rows.map(({ algorithm }) => algorithm);
  const svg = barPlot([
    {
      title: 'Load of the fullest node, three copies of each key (1 is exact)',
      unit: 'load / fair share',
      groups: names,
      series: SIZES.map((size, i) => ({ name: `${size} nodes`, values: rows.map(({ cells }) => cells[i]!.peak) })),
      reference: { at: byChance.at(-1)!.peak, label: `what chance alone gives ${SIZES.at(-1)} nodes` },
      show: (value) => value.toFixed(2),
    },
    {
      title: `Copies fetched when one node more joins ${SIZES[0]}`,
      unit: 'times what is needed',
      groups: names,
      series: [
        { name: 'one joins', values: rows.map(({ cells }) => needed(cells[0]!.join)) },
        { name: 'one leaves', values: rows.map(({ cells }) => needed(cells[0]!.leave)) },
      ],
      reference: { at: 1, label: 'what is needed' },
      show: (value) => value.toFixed(1),
    },
  ]);
  writeFileSync(fileURLToPath(new URL('balance.svg', docs)), svg);
}
