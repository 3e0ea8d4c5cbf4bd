import { writeFileSync } from 'node:fs';
import type { Command } from 'commander';
import { messageOf } from '../../base/errors.ts';
import { showCount } from '../../base/units.ts';
import { wholeNumber } from '../terminal/number-flags.ts';
import { bar, columns, percent, TextOutput } from '../terminal/text-output.ts';
import { usage } from '../terminal/usage.ts';
import { ALGORITHMS, algorithmNamed } from './algorithms.ts';
import { barPlot } from './bar-plot.ts';
import type { Fleet } from './fleet.ts';
import {
  addChangeFlags,
  addFleetFlags,
  algorithmHelp,
  type ChangeFlags,
  changed,
  type FleetFlags,
  fleetOf,
  hasChange,
} from './fleet-flags.ts';
import { KEY_FLAGS, type KeyFlags, readKeys } from './key-source.ts';
import { Movement, type MovementReport, type NodeLoad } from './movement.ts';

interface SimulateFlags extends FleetFlags, ChangeFlags, KeyFlags {
  readonly count: string;
  readonly svg?: string;
  readonly json?: boolean;
}

/** The node that joins when nothing else is asked for. */
const ONE_MORE = 'one-more';

export function define(command: Command): void {
  addChangeFlags(addFleetFlags(command))
    .option('-c, --count <keys>', 'how many keys to make up when none are given: user:0, user:1, …', '100000')
    .option(...KEY_FLAGS.keys)
    .option(...KEY_FLAGS.hex)
    .option('--svg <file>', 'write a plot of balance and movement')
    .option('--json', 'print the report as JSON')
    .addHelpText(
      'after',
      `${algorithmHelp()}

Several algorithms, with commas between them or "all", are compared. Without a change one node of weight 1 more joins, "${ONE_MORE}".

Examples:
  keyfleet simulate --node a b c d
  keyfleet simulate --node a b c:2 --add d --remove a --replicas 2 --svg plot.svg
  keyfleet simulate --nodes fleet.yml --algorithm all --keys keys.txt`,
    )
    .action(runSimulate);
}

async function runSimulate(flags: SimulateFlags): Promise<void> {
  const names = flags.algorithm === 'all' ? ALGORITHMS.map(({ name }) => name) : flags.algorithm?.split(',');
  for (const name of names ?? []) algorithmNamed(name);
  const base = fleetOf({ ...flags, ...(names === undefined ? {} : { algorithm: names[0]! }) });
  const changes = hasChange(flags) ? flags : { add: [ONE_MORE] };
  const movements: Movement[] = [];
  const unfit: { readonly algorithm: string; readonly because: string }[] = [];
  for (const algorithm of names ?? [base.algorithm]) {
    const fleet: Fleet = { ...base, algorithm };
    try {
      movements.push(new Movement(fleet, changed(fleet, changes)));
    } catch (error) {
      // Of several algorithms, one that cannot serve this fleet is told and left out.
      if ((names?.length ?? 1) === 1) throw error;
      unfit.push({ algorithm, because: messageOf(error) });
    }
  }
  if (flags.keys === undefined) {
    const count = wholeNumber('--count', flags.count);
    for (let i = 0; i < count; i++) for (const movement of movements) movement.place(`user:${i}`);
  } else {
    for await (const { keys } of readKeys(flags.keys, flags.hex === true))
      for (const key of keys) for (const movement of movements) movement.place(key);
  }
  const reports = movements.map((movement) => movement.report());
  if (reports[0]?.keys === 0) throw usage(`--keys: ${flags.keys} holds no key`);
  const says = changeText(changes);
  if (flags.svg !== undefined) writePlot(flags.svg, reports, says);
  const out = new TextOutput();
  if (flags.json) out.write(`${JSON.stringify({ change: says, reports, unfit }, null, 2)}\n`);
  else out.write(reports.length === 1 ? reportText(reports[0]!, says) : comparisonText(reports, says));
  if (!flags.json) for (const { algorithm, because } of unfit) out.write(`left out: ${algorithm}: ${because}\n`);
  await out.settle();
}

function changeText({ add = [], remove = [], reweigh = [] }: ChangeFlags): string {
  return [...add.map((node) => `+ ${node}`), ...remove.map((id) => `- ${id}`), ...reweigh.map((one) => `~ ${one}`)].join(', ');
}

/** One algorithm, node by node. */
export function reportText(report: MovementReport, change: string): string {
  const { keys, replicas, before, after } = report;
  const old = new Map(before.nodes.map((node) => [node.id, node]));
  const gone = before.nodes.filter((node) => !after.nodes.some(({ id }) => id === node.id));
  const most = Math.max(...after.nodes.map(({ ratio }) => ratio), ...before.nodes.map(({ ratio }) => ratio));
  const row = (id: string, now: NodeLoad | undefined): string[] => {
    const was = old.get(id);
    return [
      id,
      String((now ?? was)!.weight),
      was === undefined ? '-' : showCount(was.held),
      now === undefined ? '-' : showCount(now.held),
      now === undefined ? '' : `${now.ratio.toFixed(3)} x`,
      now === undefined ? 'left' : bar(now.ratio / most, 30),
    ];
  };
  return [
    `${report.algorithm}, ${showCount(keys)} keys, ${replicas === 1 ? 'one copy' : `${replicas} copies`} of each; ${change}\n\n`,
    columns([
      ['node', 'weight', 'before', 'after', 'of its fair share', ''],
      ...after.nodes.map((node) => row(node.id, node)),
      ...gone.map((node) => row(node.id, undefined)),
    ]),
    `\nbalance   fullest node ${before.balance.peak.toFixed(3)} x its fair share before, ${after.balance.peak.toFixed(3)} x after; `,
    `emptiest ${before.balance.lowest.toFixed(3)} x, ${after.balance.lowest.toFixed(3)} x\n`,
    `movement  ${showCount(report.copiesPulled)} copies are fetched (${percent(report.copiesPulled / (keys * replicas))} of all), `,
    `${timesNeeded(report)} what these loads need; ${showCount(report.ownersMoved)} keys change owner\n`,
  ].join('');
}

/** Several algorithms, a line each. */
export function comparisonText(reports: readonly MovementReport[], change: string): string {
  const rows = reports.map((report) => [
    report.algorithm,
    report.before.balance.peak.toFixed(3),
    report.after.balance.peak.toFixed(3),
    report.after.balance.lowest.toFixed(3),
    percent(report.copiesPulled / (report.keys * report.replicas)),
    timesNeeded(report),
    percent(report.ownersMoved / report.keys),
  ]);
  const head = ['algorithm', 'peak before', 'peak after', 'lowest after', 'copies fetched', 'of what is needed', 'owners changed'];
  return `${showCount(reports[0]?.keys ?? 0)} keys; ${change}\n\n${columns([head, ...rows])}`;
}

function timesNeeded({ copiesPulled, copiesNeeded }: MovementReport): string {
  return copiesNeeded === 0 ? (copiesPulled === 0 ? '1.000 x' : 'more than') : `${(copiesPulled / copiesNeeded).toFixed(3)} x`;
}

function writePlot(file: string, reports: readonly MovementReport[], change: string): void {
  try {
    writeFileSync(file, plotOf(reports, change));
  } catch (error) {
    throw usage(`--svg: cannot write ${file}: ${messageOf(error)}`);
  }
}

/** Balance on top (by node for one algorithm, by algorithm for several), movement below. */
export function plotOf(reports: readonly MovementReport[], change: string): string {
  const [only] = reports;
  const ratio = { unit: 'load / fair share', reference: { at: 1, label: 'fair share' }, show: (value: number) => value.toFixed(2) };
  const ids = only && [...new Set([...only.before.nodes, ...only.after.nodes].map(({ id }) => id))];
  const ratiosOf = (nodes: readonly NodeLoad[]): number[] => ids!.map((id) => nodes.find((node) => node.id === id)?.ratio ?? Number.NaN);
  const names = reports.map(({ algorithm }) => algorithm);
  const balance =
    reports.length === 1
      ? {
          title: `Load of each node: ${only!.algorithm}, ${change}`,
          groups: ids!,
          series: [
            { name: 'before', values: ratiosOf(only!.before.nodes) },
            { name: 'after', values: ratiosOf(only!.after.nodes) },
          ],
          ...ratio,
        }
      : {
          title: `Load of the fullest and the emptiest node after ${change}`,
          groups: names,
          series: [
            { name: 'fullest', values: reports.map(({ after }) => after.balance.peak) },
            { name: 'emptiest', values: reports.map(({ after }) => after.balance.lowest) },
          ],
          ...ratio,
        };
  const share = (count: number, { keys, replicas }: MovementReport): number => count / (keys * replicas);
  return barPlot([
    balance,
    {
      title: `Copies fetched for ${change}`,
      unit: 'share of all copies',
      groups: names,
      series: [
        { name: 'fetched', values: reports.map((report) => share(report.copiesPulled, report)) },
        { name: 'needed for these loads', values: reports.map((report) => share(report.copiesNeeded, report)) },
      ],
      show: (value) => percent(value, 1),
    },
  ]);
}
