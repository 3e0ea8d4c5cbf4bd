/**
 * Consistent hashing with bounded loads: the keys go where another partitioner sends them, unless that node is full; then to the next one
 * for the key that is not.
 *
 * Promise: when a key is placed, no node gets above ceil(c × its fair share of all load), c = 1.25 by default; a key stays with its owner as long
 * as that has room. Loads are told, by {@link BoundedLoad.acquire} and {@link BoundedLoad.release} or by {@link BoundedLoad.setLoad}, so the
 * answer depends on them: two processes that know different loads may place a key differently.
 *
 * Cost: that of the partitioner, and of a few more replicas when nodes are full: on average below 1 + 1/(c − 1)² of them.
 * Take it for caches and workers where one hot node hurts more than a key found on its second choice; for data that must be where it was put, don't.
 *
 * @see Mirrokni, Thorup, Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2016.
 */
import { KeyfleetError } from '../base/errors.ts';
import type { KeyInput } from './hasher.ts';
import { noNodes, type PartitionNode, unknownNode, weightOf } from './node.ts';
import { checkReplicaCount, type Partitioner } from './partitioner.ts';

export interface BoundedLoadOptions {
  /** c: how far above its fair share a node may be loaded, at least 1; 1.25 when absent. */
  readonly factor?: number;
}

export class BoundedLoad<N extends PartitionNode = PartitionNode> implements Partitioner<N> {
  readonly factor: number;
  readonly #inner: Partitioner<N>;
  readonly #loads = new Map<string, number>();
  #known: readonly N[] = [];
  #totalLoad = 0;
  #totalWeight = 0;

  /**
   * @param inner - A ring, rendezvous, or anything else that orders nodes for a key. Its nodes may change later; loads are kept by id.
   * @throws KF_BAD_OPTION when the factor is below 1.
   */
  constructor(inner: Partitioner<N>, options: BoundedLoadOptions = {}) {
    this.factor = options.factor ?? 1.25;
    if (!(this.factor >= 1) || !Number.isFinite(this.factor))
      throw new KeyfleetError('KF_BAD_OPTION', `the factor of bounded loads is ${this.factor}; it is a number from 1`);
    this.#inner = inner;
  }

  get nodes(): readonly N[] {
    return this.#inner.nodes;
  }

  /** The load of all nodes together. */
  get totalLoad(): number {
    this.#refresh();
    return this.#totalLoad;
  }

  loadOf(id: string): number {
    return this.#loads.get(id) ?? 0;
  }

  /** What the node may hold when one unit more is placed. */
  capacityOf(node: N): number {
    this.#refresh();
    return Math.ceil((this.factor * (this.#totalLoad + 1) * weightOf(node)) / this.#totalWeight);
  }

  /** Where {@link acquire} would place the key now. */
  owner(key: KeyInput): N {
    this.#refresh();
    const count = this.#known.length;
    if (count === 0) throw noNodes('bounded loads');
    const first = this.#inner.owner(key);
    if (this.#hasRoom(first)) return first;
    for (let depth = 4, seen = 1; ; depth *= 4) {
      const candidates = this.#inner.replicas(key, Math.min(depth, count));
      for (; seen < candidates.length; seen++) if (this.#hasRoom(candidates[seen]!)) return candidates[seen]!;
      // The capacities add up to more than the load and one, so some node has room; it can only be one that the inner partitioner withholds.
      if (depth >= count) return first;
    }
  }

  /** The first `count` nodes for the key that have room; fewer when fewer have. */
  replicas(key: KeyInput, count: number, out: N[] = []): N[] {
    checkReplicaCount(count);
    this.#refresh();
    if (this.#known.length === 0) throw noNodes('bounded loads');
    const order = this.#inner.replicas(key, this.#known.length);
    out.length = 0;
    for (const node of order) if (out.length < count && this.#hasRoom(node)) out.push(node);
    return out;
  }

  /** Places one unit of load for the key and returns where. */
  acquire(key: KeyInput): N {
    const node = this.owner(key);
    this.#loads.set(node.id, this.loadOf(node.id) + 1);
    this.#totalLoad++;
    return node;
  }

  /** Takes one unit of load off a node: a request that ended, a key that expired. @throws KF_UNKNOWN_NODE when it has none. */
  release(id: string): void {
    const load = this.loadOf(id);
    if (load < 1) throw new KeyfleetError('KF_UNKNOWN_NODE', `node ${id} has no load to release`);
    this.setLoad(id, load - 1);
  }

  /** What the node was found to carry, in the units of {@link acquire}. @throws KF_UNKNOWN_NODE; KF_BAD_OPTION when `load` is negative. */
  setLoad(id: string, load: number): void {
    if (!(load >= 0) || !Number.isFinite(load)) throw new KeyfleetError('KF_BAD_OPTION', `node ${id} cannot carry a load of ${load}`);
    this.#refresh();
    const known = this.#known.some((node) => node.id === id);
    if (!known && !this.#loads.has(id)) throw unknownNode(id);
    if (known) this.#totalLoad += load - this.loadOf(id);
    if (known || load > 0) this.#loads.set(id, load);
    else this.#loads.delete(id);
  }

  #hasRoom(node: N): boolean {
    return this.loadOf(node.id) + 1 <= this.capacityOf(node);
  }

  /** The totals are over the nodes that are there; a node that left keeps its load in case it comes back. */
  #refresh(): void {
    if (this.#known === this.#inner.nodes) return;
    this.#known = this.#inner.nodes;
    this.#totalWeight = this.#known.reduce((sum, node) => sum + weightOf(node), 0);
    this.#totalLoad = this.#known.reduce((sum, node) => sum + this.loadOf(node.id), 0);
  }
}
