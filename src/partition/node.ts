import { KeyfleetError } from '../base/errors.ts';

/**
 * A member that holds keys, as the partitioners see it. Use your own type: everything here is generic over
 * `N extends PartitionNode` and hands back the very objects it was given.
 */
export interface PartitionNode {
  /** Distinct among the nodes of one partitioner. Placement depends on the id (and on weight, zone, rack), never on order or identity. */
  readonly id: string;
  /** Share of the keys relative to other nodes: a finite number above 0; 1 when absent. */
  readonly weight?: number;
  /** What fails together: replicas of one key are spread over zones. */
  readonly zone?: string;
  /** A part of a zone that fails together. */
  readonly rack?: string;
}

export function weightOf(node: PartitionNode): number {
  return node.weight ?? 1;
}

/**
 * Refuses nodes that no partitioner can place, before anything is changed.
 *
 * @throws KF_DUPLICATE_NODE when two nodes have one id; KF_BAD_WEIGHT when a weight is not a finite number above 0.
 */
export function checkNodes(nodes: Iterable<PartitionNode>): void {
  const seen = new Set<string>();
  for (const node of nodes) {
    if (seen.has(node.id)) throw duplicateNode(node.id);
    seen.add(node.id);
    checkWeight(node);
  }
}

export function checkWeight(node: PartitionNode): void {
  const weight = weightOf(node);
  if (!(weight > 0) || !Number.isFinite(weight))
    throw new KeyfleetError('KF_BAD_WEIGHT', `node ${node.id} has weight ${weight}; a weight is a finite number above 0`);
}

/** By id, as sequences of UTF-16 code units: the same order on every engine and in every locale. */
export function compareIds(a: PartitionNode, b: PartitionNode): number {
  return a.id < b.id ? -1 : a.id > b.id ? 1 : 0;
}

/** The nodes but for one. @param what - As {@link noNodes}. @throws KF_UNKNOWN_NODE; KF_NO_NODES for the last one. */
export function nodesWithout<N extends PartitionNode>(nodes: readonly N[], id: string, what: string): N[] {
  const left = nodes.filter((node) => node.id !== id);
  if (left.length === nodes.length) throw unknownNode(id);
  if (left.length === 0) throw noNodes(what);
  return left;
}

/** @param what - What needs one. */
export function noNodes(what: string): KeyfleetError {
  return new KeyfleetError('KF_NO_NODES', `${what} needs at least one node`);
}

export function duplicateNode(id: string): KeyfleetError {
  return new KeyfleetError('KF_DUPLICATE_NODE', `node ${id} is there already; ids are distinct`);
}

export function unknownNode(id: string): KeyfleetError {
  return new KeyfleetError('KF_UNKNOWN_NODE', `no node has the id ${id}`);
}
