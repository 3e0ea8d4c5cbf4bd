import { BoundedLoad } from '../../partition/bounded-load.ts';
import type { KeyInput } from '../../partition/hasher.ts';
import type { Partitioner } from '../../partition/partitioner.ts';
import type { FleetNode } from './fleet.ts';

/** Nodes of bounded load, where every copy of a key that is asked for is placed and stays: one unit of load. */
export class LoadedNodes implements Partitioner<FleetNode> {
  readonly #inner: Partitioner<FleetNode>;
  readonly #bounded: BoundedLoad<FleetNode>;

  constructor(inner: Partitioner<FleetNode>) {
    this.#inner = inner;
    this.#bounded = new BoundedLoad(inner);
  }

  get nodes(): readonly FleetNode[] {
    return this.#inner.nodes;
  }

  /** All nodes as the key asks for them when none is full; places nothing. */
  wishes(key: KeyInput): readonly FleetNode[] {
    return this.#inner.replicas(key, this.nodes.length);
  }

  owner(key: KeyInput): FleetNode {
    return this.#bounded.acquire(key);
  }

  /** Where too few nodes have room for all copies, the first full ones take the rest. */
  replicas(key: KeyInput, count: number, out: FleetNode[] = []): FleetNode[] {
    this.#bounded.replicas(key, count, out);
    const missing = Math.min(count, this.nodes.length) - out.length;
    if (missing > 0) {
      const full = this.#inner.replicas(key, this.nodes.length).filter((node) => !out.includes(node));
      out.push(...full.slice(0, missing));
    }
    for (const { id } of out) this.#bounded.setLoad(id, this.#bounded.loadOf(id) + 1);
    return out;
  }
}
