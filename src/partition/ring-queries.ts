import type { Bytes } from '../base/bytes.ts';
import type { KeyInput } from './hasher.ts';
import type { PartitionNode } from './node.ts';
import type { RingView, VirtualNode } from './ring-view.ts';

/** What every ring answers: {@link HashRing}, the writer of a {@link SharedRing} and its readers. All but `replicas` with `out` give fresh objects. */
export abstract class RingQueries<N extends PartitionNode> {
  abstract readonly replicationFactor: number;

  /** Runs `ask` on one version of the ring, whole. */
  protected abstract answer<T>(ask: (view: RingView<N>) => T): T;

  /** This version of the ring, in memory of its own: later changes do not touch it. */
  abstract snapshot(): RingView<N>;

  /** The node of the first point at or after the key's hash. @throws KF_NO_NODES when the ring is empty. */
  abstract owner(key: KeyInput): N;

  /**
   * The first `count` distinct nodes from the key's hash onwards, all nodes when there are fewer; the first is the owner.
   * Written to `out` when given, which is then returned, so that a loop allocates nothing. `count` is the replication factor when absent.
   *
   * @throws KF_NO_NODES when the ring is empty; KF_BAD_REPLICA_COUNT when `count` is not a whole number above 0.
   */
  abstract replicas(key: KeyInput, count?: number, out?: N[]): N[];

  /** The nodes that hold the key, as many as the replication factor. @throws KF_NO_NODES when the ring is empty. */
  nodesForKey(key: KeyInput): N[] {
    return this.replicas(key, this.replicationFactor);
  }

  /** The nodes, in order of id. */
  get nodes(): readonly N[] {
    return this.answer((view) => view.nodes);
  }

  get nodeCount(): number {
    return this.answer((view) => view.nodes.length);
  }

  get virtualNodeCount(): number {
    return this.answer((view) => view.table.count);
  }

  has(id: string): boolean {
    return this.answer((view) => view.placeOf(id) >= 0);
  }

  /** Whether a virtual node stands exactly at `digest`. */
  hasVirtualNode(digest: Bytes): boolean {
    return this.answer((view) => view.hasVirtualNode(digest));
  }

  /** The point that the key belongs to. @throws KF_NO_NODES when the ring is empty. */
  virtualNodeForKey(key: KeyInput): VirtualNode<N> {
    return this.answer((view) => view.virtualNodeForKey(key));
  }

  /** The first point at or after `digest`. @throws KF_NO_NODES when the ring is empty. */
  virtualNodeAt(digest: Bytes): VirtualNode<N> {
    return this.answer((view) => view.virtualNodeAt(digest));
  }

  /** The point before the one that the key belongs to. @throws KF_NO_NODES when the ring is empty. */
  predecessor(key: KeyInput): VirtualNode<N> {
    return this.answer((view) => view.neighbour(key, -1));
  }

  /** The point after the one that the key belongs to. @throws KF_NO_NODES when the ring is empty. */
  successor(key: KeyInput): VirtualNode<N> {
    return this.answer((view) => view.neighbour(key, 1));
  }

  /** The nearest point before the key's that is another node's. @throws KF_NO_NODES, KF_RING_SINGLE_NODE when there is no other node. */
  predecessorNode(key: KeyInput): VirtualNode<N> {
    return this.answer((view) => view.neighbourNode(key, -1));
  }

  /** The nearest point after the key's that is another node's. @throws KF_NO_NODES, KF_RING_SINGLE_NODE when there is no other node. */
  successorNode(key: KeyInput): VirtualNode<N> {
    return this.answer((view) => view.neighbourNode(key, 1));
  }

  /** The points from the lowest digest up, as they stand now: changes made meanwhile do not show. */
  [Symbol.iterator](): IterableIterator<VirtualNode<N>> {
    return this.snapshot().virtualNodes(1);
  }

  /** The points from the highest digest down, as they stand now. */
  reversed(): IterableIterator<VirtualNode<N>> {
    return this.snapshot().virtualNodes(-1);
  }
}
