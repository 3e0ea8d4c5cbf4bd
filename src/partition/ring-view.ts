import { type Bytes, toHex } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import type { Hasher, KeyInput } from './hasher.ts';
import { noNodes, type PartitionNode } from './node.ts';
import { checkReplicaCount } from './partitioner.ts';
import type { RingTable } from './ring-table.ts';

/** A point of a ring: one of its node's virtual nodes. */
export interface VirtualNode<N> {
  readonly node: N;
  /** Which of its node's virtual nodes this is, from 0. */
  readonly number: number;
  /** Where it stands: the ring is ordered by the whole digest. */
  readonly digest: Bytes;
}

/** What one version of a ring answers. Immutable; {@link HashRing} and the readers of a {@link SharedRing} ask theirs. */
export class RingView<N extends PartitionNode> {
  readonly table: RingTable;
  /** In order of id; `table.owners` holds places in it. */
  readonly nodes: readonly N[];
  readonly replicationFactor: number;
  readonly hasher: Hasher;

  constructor(table: RingTable, nodes: readonly N[], replicationFactor: number, hasher: Hasher) {
    this.table = table;
    this.nodes = nodes;
    this.replicationFactor = replicationFactor;
    this.hasher = hasher;
  }

  owner(key: KeyInput): N {
    return this.nodes[this.table.owners[this.#seek(key)]!]!;
  }

  replicas(key: KeyInput, count: number, out: N[] = []): N[] {
    checkReplicaCount(count);
    const { table, nodes } = this;
    const found = table.ownersFrom(this.#seek(key), Math.min(count, nodes.length), places);
    for (let i = 0; i < found; i++) out[i] = nodes[places[i]!]!;
    out.length = found;
    return out;
  }

  /** Where the node of this id stands in `nodes`; -1 when it is not there. */
  placeOf(id: string): number {
    const { nodes } = this;
    let low = 0;
    let high = nodes.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (nodes[middle]!.id < id) low = middle + 1;
      else high = middle;
    }
    return nodes[low]?.id === id ? low : -1;
  }

  hasVirtualNode(digest: Bytes): boolean {
    const { table } = this;
    if (digest.length !== table.digestBytes) return false;
    const point = table.seekDigest(digest);
    return point < table.count && toHex(table.digestOf(point)) === toHex(digest);
  }

  virtualNodeForKey(key: KeyInput): VirtualNode<N> {
    return this.virtualNode(this.#seek(key));
  }

  virtualNodeAt(digest: Bytes): VirtualNode<N> {
    this.#notEmpty();
    return this.virtualNode(this.table.seekDigest(digest) % this.table.count);
  }

  neighbour(key: KeyInput, step: 1 | -1): VirtualNode<N> {
    return this.virtualNode(this.#around(this.#seek(key), step));
  }

  neighbourNode(key: KeyInput, step: 1 | -1): VirtualNode<N> {
    const { owners, count } = this.table;
    const start = this.#seek(key);
    let point = this.#around(start, step);
    for (let i = 0; i < count && owners[point] === owners[start]; i++) point = this.#around(point, step);
    if (owners[point] === owners[start])
      throw new KeyfleetError('KF_RING_SINGLE_NODE', `the ring has one node, ${this.nodes[0]?.id}, so no other node stands next to it`);
    return this.virtualNode(point);
  }

  virtualNode(point: number): VirtualNode<N> {
    const { table } = this;
    return { node: this.nodes[table.owners[point]!]!, number: table.numbers[point]!, digest: table.digestOf(point) };
  }

  *virtualNodes(step: 1 | -1): IterableIterator<VirtualNode<N>> {
    const { count } = this.table;
    for (let i = 0; i < count; i++) yield this.virtualNode(step === 1 ? i : count - 1 - i);
  }

  #around(point: number, step: number): number {
    const { count } = this.table;
    return (point + step + count) % count;
  }

  #seek(key: KeyInput): number {
    this.#notEmpty();
    return this.table.seek(this.hasher, key);
  }

  #notEmpty(): void {
    if (this.table.count === 0) throw noNodes('a look-up in a hash ring');
  }
}

const places: number[] = [];
