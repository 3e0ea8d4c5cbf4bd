import { type Command, Option } from 'commander';
import { messageOf } from '../../base/errors.ts';
import { wholeNumber } from '../terminal/number-flags.ts';
import { usage } from '../terminal/usage.ts';
import { ALGORITHMS, algorithmNamed, DEFAULT_ALGORITHM } from './algorithms.ts';
import { type Fleet, type FleetNode, parseNode } from './fleet.ts';
import { type FleetFile, readFleetFile } from './fleet-file.ts';

export interface FleetFlags {
  readonly node?: readonly string[];
  readonly nodes?: string;
  readonly pool?: string;
  readonly algorithm?: string;
  readonly replicas?: string;
  readonly hash?: string;
  readonly hashTag?: string;
  readonly virtualNodes?: string;
  readonly slots?: string;
  readonly split?: readonly string[];
}

export interface ChangeFlags {
  readonly add?: readonly string[];
  readonly remove?: readonly string[];
  readonly reweigh?: readonly string[];
}

/** The flags that say which nodes there are and how they are chosen. */
export function addFleetFlags(command: Command): Command {
  return command
    .addOption(new Option('-n, --node <node...>', 'a node: id, id:weight, host:port:weight, each with @zone or @zone/rack'))
    .addOption(new Option('-f, --nodes <file>', 'nodes and settings from a YAML or JSON file; a twemproxy configuration works as it is'))
    .addOption(new Option('--pool <name>', 'which pool of a twemproxy configuration'))
    .addOption(new Option('-a, --algorithm <name>', `how nodes are chosen (default: ${DEFAULT_ALGORITHM})`))
    .addOption(new Option('-r, --replicas <count>', 'how many nodes hold a key, all when there are fewer (default: 1)'))
    .addOption(new Option('--hash <name>', "the hash of keys (default: the algorithm's own)"))
    .addOption(new Option('--hash-tag <two characters>', 'only what stands between them counts, {} for example'))
    .addOption(new Option('--virtual-nodes <count>', 'points of a node of weight 1 (ring)'))
    .addOption(
      new Option('--slots <count>', 'slots of the table (keyspace, fair), or entries, a prime (maglev); default: 65,536 or 65,537'),
    )
    .addOption(new Option('--split <key...>', 'where each range but the first starts, in order; range 1 is of the first node, … (range)'));
}

export function addChangeFlags(command: Command): Command {
  return command
    .addOption(new Option('--add <node...>', 'a node that joins, written like --node'))
    .addOption(new Option('--remove <id...>', 'a node that leaves'))
    .addOption(new Option('--reweigh <id=weight...>', 'a node that gets another weight'));
}

/** The lines of `--help` on algorithms. */
export function algorithmHelp(): string {
  const width = Math.max(...ALGORITHMS.map(({ name }) => name.length));
  return ['\nAlgorithms:', ...ALGORITHMS.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`)].join('\n');
}

/** @throws KF_USAGE naming the flag; KF_CONFIG naming the file, line and column. */
export function fleetOf(flags: FleetFlags): Fleet {
  if (flags.pool !== undefined && flags.nodes === undefined) throw usage('--pool chooses a pool of the file given with --nodes');
  const file: FleetFile = flags.nodes === undefined ? { nodes: [] } : readFleetFile(flags.nodes, flags.pool);
  const nodes = [...file.nodes, ...parseNodes('--node', flags.node)];
  const seen = new Set<string>();
  for (const { id } of nodes) {
    if (seen.has(id)) throw usage(`--node: node ${JSON.stringify(id)} is there already; ids are distinct`);
    seen.add(id);
  }
  const hashTag = flags.hashTag ?? file.hashTag;
  if (hashTag !== undefined && !/^[ -~]{2}$/.test(hashTag))
    throw usage(`--hash-tag: ${JSON.stringify(hashTag)} is not two ASCII characters, such as {}`);
  if (nodes.length === 0) throw usage('no nodes: give them with --node a b c or --nodes FILE');
  return {
    nodes,
    algorithm: algorithmNamed(flags.algorithm ?? file.algorithm ?? DEFAULT_ALGORITHM).name,
    replicas: wholeNumber('--replicas', flags.replicas) ?? file.replicas ?? 1,
    hash: flags.hash ?? file.hash,
    hashTag,
    virtualNodes: wholeNumber('--virtual-nodes', flags.virtualNodes) ?? file.virtualNodes,
    slots: wholeNumber('--slots', flags.slots) ?? file.slots,
    splits: flags.split ?? file.splits,
  };
}

export function hasChange({ add, remove, reweigh }: ChangeFlags): boolean {
  return [add, remove, reweigh].some((list) => list !== undefined && list.length > 0);
}

/** The fleet after the changes. @throws KF_USAGE naming the flag. */
export function changed(fleet: Fleet, changes: ChangeFlags): Fleet {
  const nodes = new Map(fleet.nodes.map((node) => [node.id, node]));
  const known = (flag: string, id: string): FleetNode => {
    const node = nodes.get(id);
    if (node === undefined) throw usage(`${flag}: there is no node ${JSON.stringify(id)}; there are ${shortList([...nodes.keys()])}`);
    return node;
  };
  for (const id of changes.remove ?? []) {
    known('--remove', id);
    nodes.delete(id);
  }
  for (const text of changes.reweigh ?? []) {
    const equals = text.lastIndexOf('=');
    const weight = Number(text.slice(equals + 1) || Number.NaN);
    if (equals < 1 || !(weight > 0) || !Number.isFinite(weight))
      throw usage(`--reweigh: ${JSON.stringify(text)} is not id=weight with a weight above 0`);
    const node = known('--reweigh', text.slice(0, equals));
    nodes.set(node.id, { ...node, weight });
  }
  for (const node of parseNodes('--add', changes.add)) {
    if (nodes.has(node.id)) throw usage(`--add: node ${JSON.stringify(node.id)} is there already`);
    nodes.set(node.id, node);
  }
  if (nodes.size === 0) throw usage('--remove: no node would be left');
  return { ...fleet, nodes: [...nodes.values()] };
}

function parseNodes(flag: string, texts: readonly string[] = []): FleetNode[] {
  return texts.map((text) => {
    try {
      return parseNode(text);
    } catch (error) {
      throw usage(`${flag}: ${messageOf(error)}`);
    }
  });
}

function shortList(ids: readonly string[]): string {
  return ids.length > 10 ? `${ids.slice(0, 10).join(', ')} and ${ids.length - 10} more` : ids.join(', ');
}
