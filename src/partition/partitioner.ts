import { KeyfleetError } from '../base/errors.ts';
import type { KeyInput } from './hasher.ts';
import type { PartitionNode } from './node.ts';

/** What every way to choose nodes has in common. */
export interface Partitioner<N extends PartitionNode> {
  readonly nodes: readonly N[];
  /** The node that a key belongs to. @throws KF_NO_NODES when there is none. */
  owner(key: KeyInput): N;
  /**
   * The first `count` distinct nodes for a key, the owner first; all nodes when there are fewer. Written to `out` when given, which is
   * then returned, so that a loop allocates nothing.
   *
   * @throws KF_NO_NODES; KF_BAD_REPLICA_COUNT when `count` is not a whole number above 0.
   */
  replicas(key: KeyInput, count: number, out?: N[]): N[];
}

/** What a change of the nodes cost. */
export interface NodeChange {
  /** Share of all keys whose owner is another one now, 0 … 1: exact where the algorithm keeps a table, else what is expected of a good hash. */
  readonly movedShare: number;
}

export interface MutablePartitioner<N extends PartitionNode> extends Partitioner<N> {
  /** @throws KF_DUPLICATE_NODE, KF_BAD_WEIGHT; nothing is changed then. */
  add(node: N): NodeChange;
  /** @throws KF_UNKNOWN_NODE, KF_NO_NODES for the last node; nothing is changed then. */
  remove(id: string): NodeChange;
}

export function checkReplicaCount(count: number): void {
  if (!Number.isInteger(count) || count < 1)
    throw new KeyfleetError('KF_BAD_REPLICA_COUNT', `${count} replicas are asked for; ask for a whole number from 1`);
}
