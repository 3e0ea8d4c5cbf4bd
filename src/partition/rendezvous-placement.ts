/**
 * A table of slots placed by plain rendezvous hashing, for a {@link Keyspace}: `new Keyspace(nodes, { placement: rendezvousPlacement })`.
 *
 * Promise: the table depends on the nodes alone, and each slot on its own: a change moves what the scores of the changed nodes move, the
 * least there can be for shares that are those of chance. Balance is that of chance too: `fair` and `sticky` are more even.
 *
 * Cost: a look-up is that of every keyspace, where `Rendezvous` itself asks every node; a table is 65,536 times the work of
 * `Rendezvous.replicas`. A change scores only the nodes that came, and places anew only the slots that get or lose a node. Take it where
 * a stateless process must follow changes of very many nodes quickly; otherwise `sticky`, or `fair`.
 *
 * It knows the rules `spreadOut` and `anyNodes`, others are refused.
 *
 * @see {@link Rendezvous}; the slots take the place of keys, as four bytes, highest first.
 */
import { KeyfleetError } from '../base/errors.ts';
import type { Placement, PlacementSettings } from './keyspace.ts';
import { compareIds, type PartitionNode, weightOf } from './node.ts';
import type { SlotTable } from './placement/slot-table.ts';
import { ownScorer, QUICK_NODES, type QuickScorer } from './rendezvous-score.ts';
import { hasDomains, SpreadChoice } from './rendezvous-spread.ts';

/** What a table was made from; a table tells only the ids. */
interface Made {
  readonly nodes: readonly PartitionNode[];
  readonly settings: PlacementSettings<PartitionNode>;
}
const madeFrom = new WeakMap<SlotTable, Made>();

export const rendezvousPlacement: Placement<PartitionNode> = {
  name: 'rendezvous',
  place(given, settings, previous) {
    const nodes = [...given].sort(compareIds);
    const { slotCount, replicaCount, rule, nodeHasher } = settings;
    if (rule.name !== 'spreadOut' && rule.name !== 'anyNodes')
      throw new KeyfleetError('KF_BAD_REPLICA_RULE', `rendezvousPlacement knows the rules spreadOut and anyNodes, not ${rule.name}`);
    if (nodes.length < replicaCount)
      throw new KeyfleetError('KF_TOO_FEW_NODES', `${nodes.length} nodes cannot hold ${replicaCount} replicas of each slot`);
    const cells = new Uint16Array(slotCount * replicaCount);
    const table: SlotTable = { slotCount, replicaCount, nodeIds: nodes.map((node) => node.id), cells };
    const chooser = chooserOf(ownScorer(nodes, nodeHasher), settings);
    const old = previous && madeFrom.get(previous);
    if (previous && old && isAlike(old.settings, settings)) fillChanged(table, nodes, chooser, previous, old.nodes);
    else fillAll(table, chooser);
    madeFrom.set(table, { nodes, settings });
    return table;
  },
};

function isAlike(a: PlacementSettings<PartitionNode>, b: PlacementSettings<PartitionNode>): boolean {
  return a.slotCount === b.slotCount && a.replicaCount === b.replicaCount && a.rule.name === b.rule.name && a.nodeHasher === b.nodeHasher;
}

/** How the nodes of a slot are found, by index. */
interface Chooser {
  /** Those of all nodes. */
  choose(key: Uint8Array, out: Int32Array): void;
  /** The first `out.length` of `among` are the choice without the others, which came: the choice with them. */
  join(key: Uint8Array, among: Int32Array, out: Int32Array): void;
}

function chooserOf(scorer: QuickScorer<PartitionNode>, { rule, replicaCount }: PlacementSettings<PartitionNode>): Chooser {
  const isPlain = rule.name === 'anyNodes' || !hasDomains(scorer.nodes);
  if (isPlain && replicaCount <= QUICK_NODES) return { choose: scorer.top, join: scorer.topAmong };
  const spread = new SpreadChoice(scorer, isPlain);
  return {
    choose: (key, out) => spread.choose(key, out),
    join(key, among, out) {
      if (!spread.keeps(key, among, out.length, scorer)) spread.choose(key, out);
      else for (let i = 0; i < out.length; i++) out[i] = among[i]!;
    },
  };
}

function fillAll({ slotCount, replicaCount, cells }: SlotTable, chooser: Chooser): void {
  const found = new Int32Array(replicaCount);
  const key = new Uint8Array(4);
  for (let slot = 0; slot < slotCount; slot++) {
    chooser.choose(keyOf(slot, key), found);
    cells.set(found, slot * replicaCount);
  }
}

/** A slot whose nodes all stay as they were is now on the best of them and of those that came; any other is placed anew. */
function fillChanged(
  { slotCount, replicaCount, cells }: SlotTable,
  nodes: readonly PartitionNode[],
  chooser: Chooser,
  previous: SlotTable,
  old: readonly PartitionNode[],
): void {
  const now = new Map(nodes.map((node, i) => [node.id, i]));
  const stayed = new Set<number>();
  // By number in the previous table; −1 for a node that went or is another one now.
  const numbers = Int32Array.from(old, (node) => {
    const number = now.get(node.id);
    if (number === undefined || !scoresAlike(nodes[number]!, node)) return -1;
    stayed.add(number);
    return number;
  });
  const came = nodes.map((_, i) => i).filter((i) => !stayed.has(i));
  // Who was in the slot, then those who came.
  const among = new Int32Array(replicaCount + came.length);
  among.set(came, replicaCount);
  const found = new Int32Array(replicaCount);
  const key = new Uint8Array(4);
  for (let slot = 0; slot < slotCount; slot++) {
    const from = slot * replicaCount;
    let isWhole = true;
    for (let i = 0; i < replicaCount; i++) {
      among[i] = numbers[previous.cells[from + i]!]!;
      if (among[i]! < 0) isWhole = false;
    }
    if (!isWhole) chooser.choose(keyOf(slot, key), found);
    else if (came.length > 0) chooser.join(keyOf(slot, key), among, found);
    const cellsFrom = isWhole && came.length === 0 ? among : found;
    for (let i = 0; i < replicaCount; i++) cells[from + i] = cellsFrom[i]!;
  }
}

function scoresAlike(a: PartitionNode, b: PartitionNode): boolean {
  return weightOf(a) === weightOf(b) && a.zone === b.zone && a.rack === b.rack;
}

function keyOf(slot: number, key: Uint8Array): Uint8Array {
  key[0] = slot >>> 24;
  key[1] = slot >>> 16;
  key[2] = slot >>> 8;
  key[3] = slot;
  return key;
}
