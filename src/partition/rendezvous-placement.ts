/**
 * A table of slots placed by plain rendezvous hashing, for a {@link Keyspace}: `new Keyspace(nodes, { placement: rendezvousPlacement })`.
 *
 * Promise: the table depends on the nodes alone, and each slot on its own: a change moves what the scores of the changed nodes move, the
 * least there can be for shares that are those of chance. Balance is that of chance too: `fair` and `sticky` are more even.
 *
 * Cost: a look-up is that of every keyspace, where `Rendezvous` itself asks every node; a table is 65,536 times the work of
 * `Rendezvous.replicas`. Without zones a change scores only the nodes that came and the slots of those that went. Take it where a
 * stateless process must follow changes of very many nodes quickly; otherwise `sticky`, or `fair`.
 *
 * It knows the rules `spreadOut` and `anyNodes`, others are refused.
 *
 * @see {@link Rendezvous}; the slots take the place of keys, as four bytes, highest first.
 */
import { KeyfleetError } from '../base/errors.ts';
import type { Hasher } from './hasher.ts';
import type { Placement, PlacementSettings } from './keyspace.ts';
import { compareIds, type PartitionNode, weightOf } from './node.ts';
import type { SlotTable } from './placement/slot-table.ts';
import { Rendezvous, type RendezvousOptions } from './rendezvous.ts';
import { ownScorer, QUICK_NODES, type QuickScorer } from './rendezvous-score.ts';

/** The nodes that a table was made for; a table tells only their ids. */
const madeFor = new WeakMap<SlotTable, readonly PartitionNode[]>();

export const rendezvousPlacement: Placement<PartitionNode> = {
  name: 'rendezvous',
  place(given, settings, previous) {
    const nodes = [...given].sort(compareIds);
    const { slotCount, replicaCount } = settings;
    if (nodes.length < replicaCount)
      throw new KeyfleetError('KF_TOO_FEW_NODES', `${nodes.length} nodes cannot hold ${replicaCount} replicas of each slot`);
    const cells = new Uint16Array(slotCount * replicaCount);
    const table: SlotTable = { slotCount, replicaCount, nodeIds: nodes.map((node) => node.id), cells };
    const spread = spreads(settings, nodes);
    const old = previous && madeFor.get(previous);
    if (spread || replicaCount > QUICK_NODES) fillSpread(table, nodes, { hasher: settings.nodeHasher, spread });
    else if (previous && old && !spreads(settings, old)) fillChanged(table, nodes, settings.nodeHasher, previous, old);
    else fillAll(table, ownScorer(nodes, settings.nodeHasher));
    madeFor.set(table, nodes);
    return table;
  },
};

function spreads({ rule }: PlacementSettings<PartitionNode>, nodes: readonly PartitionNode[]): boolean {
  if (rule.name !== 'spreadOut' && rule.name !== 'anyNodes')
    throw new KeyfleetError('KF_BAD_REPLICA_RULE', `rendezvousPlacement knows the rules spreadOut and anyNodes, not ${rule.name}`);
  return rule.name === 'spreadOut' && nodes.some((node) => node.zone !== undefined || node.rack !== undefined);
}

function fillSpread({ slotCount, replicaCount, cells }: SlotTable, nodes: readonly PartitionNode[], options: RendezvousOptions): void {
  const rendezvous = new Rendezvous(nodes, options);
  const indexOf = new Map(nodes.map((node, i) => [node, i]));
  const found: PartitionNode[] = [];
  const key = new Uint8Array(4);
  for (let slot = 0; slot < slotCount; slot++) {
    rendezvous.replicas(keyOf(slot, key), replicaCount, found);
    for (let i = 0; i < replicaCount; i++) cells[slot * replicaCount + i] = indexOf.get(found[i]!)!;
  }
}

function fillAll({ slotCount, replicaCount, cells }: SlotTable, { top }: QuickScorer<PartitionNode>): void {
  const found = new Int32Array(replicaCount);
  const key = new Uint8Array(4);
  for (let slot = 0; slot < slotCount; slot++) {
    top(keyOf(slot, key), found);
    cells.set(found, slot * replicaCount);
  }
}

/** A slot whose nodes all stay as they were is now on the best of them and of those that came; any other is placed anew. */
function fillChanged(
  table: SlotTable,
  nodes: readonly PartitionNode[],
  hasher: Hasher,
  previous: SlotTable,
  old: readonly PartitionNode[],
): void {
  const { slotCount, replicaCount, cells } = table;
  const { top, topAmong } = ownScorer(nodes, hasher);
  const now = new Map(nodes.map((node, i) => [node.id, i]));
  const stayed = new Set<number>();
  // By number in the previous table; −1 for a node that went or has another weight.
  const numbers = Int32Array.from(old, (node) => {
    const number = now.get(node.id);
    if (number === undefined || weightOf(nodes[number]!) !== weightOf(node)) return -1;
    stayed.add(number);
    return number;
  });
  const came = nodes.map((_, i) => i).filter((i) => !stayed.has(i));
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
    keyOf(slot, key);
    if (!isWhole) top(key, found);
    else if (came.length > 0) topAmong(key, among, found);
    else found.set(among);
    cells.set(found, from);
  }
}

function keyOf(slot: number, key: Uint8Array): Uint8Array {
  key[0] = slot >>> 24;
  key[1] = slot >>> 16;
  key[2] = slot >>> 8;
  key[3] = slot;
  return key;
}
