import type { Command } from 'commander';
import { showCount } from '../../base/units.ts';
import type { KeyInput } from '../../partition/hasher.ts';
import type { Partitioner } from '../../partition/partitioner.ts';
import { bar, columns, percent, TextOutput } from '../terminal/text-output.ts';
import { usage } from '../terminal/usage.ts';
import { partitionerOf } from './algorithms.ts';
import type { Fleet, FleetNode } from './fleet.ts';
import { addFleetFlags, algorithmHelp, type FleetFlags, fleetOf } from './fleet-flags.ts';
import { keyCutter } from './hash-tag.ts';
import { KEY_FLAGS, type KeyFlags, keysOfArguments, readKeys } from './key-source.ts';
import { whyHere } from './why-here.ts';

interface LocateFlags extends FleetFlags, KeyFlags {
  readonly json?: boolean;
  readonly summary?: boolean;
  readonly explain?: boolean;
}

export function define(command: Command): void {
  addFleetFlags(command)
    .argument('[keys...]', 'keys; without any they are read from --keys or standard input')
    .option(...KEY_FLAGS.keys)
    .option(...KEY_FLAGS.hex)
    .option('--explain', 'why each key is where it is')
    .option('--summary', 'how many keys each node gets, instead of a line a key')
    .option('--json', 'one JSON object a key, or one of the whole summary')
    .addHelpText(
      'after',
      `${algorithmHelp()}

A stream of keys gives one line a key: the key, a tab, its nodes with the owner first, tabs between them.

Examples:
  keyfleet locate --node a b c -- user:1 user:2
  keyfleet locate --node a b c d --replicas 3 --explain -- user:1
  keyfleet locate --nodes twemproxy.yml --pool cache < keys.txt
  keyfleet locate --node a b:2 c@zone1 --replicas 2 --keys keys.txt --summary`,
    )
    .action(runLocate);
}

async function runLocate(keys: readonly string[], flags: LocateFlags): Promise<void> {
  const fleet = fleetOf(flags);
  const partitioner = partitionerOf(fleet);
  const cut = keyCutter(fleet);
  const out = new TextOutput();
  if (keys.length > 0 && flags.keys !== undefined) throw usage('keys are given as arguments and with --keys; choose one');
  const batches = keys.length > 0 ? [keysOfArguments(keys, flags.hex === true)] : readKeys(flags.keys ?? '-', flags.hex === true);
  if (flags.summary && flags.explain) throw usage('--explain tells of each key and --summary of none; choose one');
  const counts = flags.summary ? new NodeCounts(fleet) : undefined;
  const isTable = keys.length > 0 && !flags.json && !flags.explain && process.stdout.isTTY === true;
  const rows: string[][] = [];
  const nodes: FleetNode[] = [];
  for await (const batch of batches) {
    for (const [i, whole] of batch.keys.entries()) {
      const key = cut(whole);
      const found = holders(partitioner, key, fleet, nodes);
      if (counts) counts.count(found);
      else if (flags.json || flags.explain) {
        const why = flags.explain ? { why: whyHere(partitioner, key, fleet) } : {};
        if (flags.json)
          out.write(`${JSON.stringify({ [flags.hex ? 'keyHex' : 'key']: batch.texts[i], nodes: found.map(({ id }) => id), ...why })}\n`);
        else out.write(`${lineOf(batch.texts[i]!, found)}${why.why!.map((step) => `  ${step}\n`).join('')}`);
      } else if (isTable) rows.push([batch.texts[i]!, ...found.map(({ id }) => id)]);
      else out.write(lineOf(batch.texts[i]!, found));
    }
    await out.settle(1 << 16);
  }
  if (counts) out.write(flags.json ? `${JSON.stringify(counts.toJSON())}\n` : counts.toText());
  if (isTable) out.write(columns([['key', 'owner', ...Array.from({ length: fleet.replicas - 1 }, (_, i) => `replica ${i + 2}`)], ...rows]));
  await out.settle();
}

function holders(partitioner: Partitioner<FleetNode>, key: KeyInput, { replicas }: Fleet, out: FleetNode[]): readonly FleetNode[] {
  if (replicas > 1) return partitioner.replicas(key, replicas, out);
  out[0] = partitioner.owner(key);
  return out;
}

function lineOf(text: string, nodes: readonly FleetNode[]): string {
  let line = text;
  for (const { id } of nodes) line += `\t${id}`;
  return `${line}\n`;
}

/** Keys a node owns, and keys it holds as any replica. */
class NodeCounts {
  readonly #fleet: Fleet;
  readonly #owned = new Map<string, number>();
  readonly #held = new Map<string, number>();
  #keys = 0;

  constructor(fleet: Fleet) {
    this.#fleet = fleet;
  }

  count(nodes: readonly FleetNode[]): void {
    this.#keys++;
    for (const [i, { id }] of nodes.entries()) {
      if (i === 0) this.#owned.set(id, (this.#owned.get(id) ?? 0) + 1);
      this.#held.set(id, (this.#held.get(id) ?? 0) + 1);
    }
  }

  toJSON(): object {
    return {
      keys: this.#keys,
      nodes: this.#fleet.nodes.map(({ id, weight }) => ({ id, weight, owned: this.#owned.get(id) ?? 0, held: this.#held.get(id) ?? 0 })),
    };
  }

  toText(): string {
    const { nodes, replicas } = this.#fleet;
    const most = Math.max(1, ...this.#held.values());
    const rows = nodes.map(({ id, weight }) => {
      const held = this.#held.get(id) ?? 0;
      const cells = [id, String(weight), showCount(this.#owned.get(id) ?? 0)];
      if (replicas > 1) cells.push(showCount(held));
      return [...cells, percent(held / Math.max(1, this.#keys * Math.min(replicas, nodes.length))), bar(held / most, 30)];
    });
    const head = ['node', 'weight', 'owns', ...(replicas > 1 ? ['holds'] : []), 'share', ''];
    return `${showCount(this.#keys)} keys\n${columns([head, ...rows])}`;
  }
}
