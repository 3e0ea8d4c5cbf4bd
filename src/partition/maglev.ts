/**
 * Maglev hashing: a table so large that every node's share of it is even, filled by letting the nodes claim entries in turn, each by its own
 * permutation. The scheme of network load balancers.
 *
 * Promise: each node has its share of the table by weight, rounded up or down to whole entries, so its share of the keys is exact within
 * 1/tableSize and the chance of the key hash; the answer depends on the set of nodes alone. It does not promise least movement: when a node joins or leaves, a few keys move between others (about 1 % of all with a
 * table a hundred times the number of nodes; {@link NodeChange.movedShare} counts them exactly).
 *
 * Cost: a look-up is one hash and one read, at any number of nodes; a change fills the table anew, about 10 ms for 65,537 entries.
 * Take it for stateless load balancing, where balance matters more than a few moved connections. Where moved keys cost, take `Keyspace`
 * (as fast, exact movement) or `Rendezvous` (few nodes).
 *
 * @see Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016; weights as in katran's second version.
 */
import { KeyfleetError } from '../base/errors.ts';
import { murmur3_x86_128 } from './hash/murmur3-x86-128.ts';
import type { Hasher, KeyInput } from './hasher.ts';
import { weightedTable } from './maglev-table.ts';
import { checkNodes, compareIds, nodesWithout, noNodes, type PartitionNode, weightOf } from './node.ts';
import { checkReplicaCount, type MutablePartitioner, type NodeChange } from './partitioner.ts';

export interface MaglevOptions {
  /** A prime, at least 100 times the number of nodes for an even spread and little movement; 65,537 when absent. */
  readonly tableSize?: number;
  /** Hashes keys and ids; `murmur3_x86_128` when absent. */
  readonly hasher?: Hasher;
}

const MOST_ENTRIES = 1 << 24;
const lanes = new Uint32Array(2);

export class Maglev<N extends PartitionNode = PartitionNode> implements MutablePartitioner<N> {
  readonly tableSize: number;
  readonly hasher: Hasher;
  /** By id: the order in which nodes claim. */
  #nodes: readonly N[] = [];
  #table = new Int32Array(0);

  /** @throws KF_BAD_OPTION when the table size is not a prime up to 2^24, or smaller than the number of nodes; KF_DUPLICATE_NODE; KF_BAD_WEIGHT. */
  constructor(nodes: Iterable<N> = [], options: MaglevOptions = {}) {
    this.tableSize = options.tableSize ?? 65_537;
    this.hasher = options.hasher ?? murmur3_x86_128;
    if (!isPrime(this.tableSize) || this.tableSize > MOST_ENTRIES)
      throw new KeyfleetError('KF_BAD_OPTION', `a Maglev table has a prime size up to 2^24; ${this.tableSize} is none`);
    this.#replace([...nodes]);
  }

  /** In order of id. */
  get nodes(): readonly N[] {
    return this.#nodes;
  }

  /** For each entry the number of its node in {@link nodes}. */
  get table(): Int32Array {
    return this.#table.slice();
  }

  owner(key: KeyInput): N {
    if (this.#nodes.length === 0) throw noNodes('maglev');
    return this.#nodes[this.#table[this.hasher.position(key) % this.tableSize]!]!;
  }

  /**
   * The owner, then the owners of further entries: the key's hash also gives the step from one to the next, so each replica is a new draw from
   * the table. Neighbouring entries are not: nodes of similar steps follow each other all over the table.
   */
  replicas(key: KeyInput, count: number, out: N[] = []): N[] {
    checkReplicaCount(count);
    const size = this.tableSize;
    const wanted = Math.min(count, this.#nodes.length);
    if (wanted === 0) throw noNodes('maglev');
    out.length = 0;
    this.hasher.lanes(key, 0, lanes);
    let entry = lanes[0]! % size;
    const step = (lanes[1]! % (size - 1)) + 1;
    // The size is a prime, so the walk comes to every entry.
    for (let i = 0; i < size && out.length < wanted; i++) {
      const node = this.#nodes[this.#table[entry]!]!;
      if (!out.includes(node)) out.push(node);
      entry = (entry + step) % size;
    }
    // A node too light for a single entry comes last.
    for (let i = 0; out.length < wanted; i++) if (!out.includes(this.#nodes[i]!)) out.push(this.#nodes[i]!);
    return out;
  }

  add(node: N): NodeChange {
    return this.#replace([...this.#nodes, node]);
  }

  remove(id: string): NodeChange {
    return this.#replace(nodesWithout(this.#nodes, id, 'maglev'));
  }

  #replace(given: readonly N[]): NodeChange {
    checkNodes(given);
    if (given.length > this.tableSize)
      throw new KeyfleetError('KF_BAD_OPTION', `${given.length} nodes do not fit into a Maglev table of ${this.tableSize} entries`);
    const nodes = [...given].sort(compareIds);
    const table = nodes.length === 0 ? new Int32Array(0) : this.#fill(nodes);
    let moved = 0;
    if (this.#table.length > 0)
      for (let i = 0; i < table.length; i++) if (nodes[table[i]!]!.id !== this.#nodes[this.#table[i]!]!.id) moved++;
    const movedShare = this.#table.length === 0 ? 1 : moved / this.tableSize;
    this.#nodes = nodes;
    this.#table = table;
    return { movedShare };
  }

  #fill(nodes: readonly N[]): Int32Array<ArrayBuffer> {
    const walks = nodes.map((node) => {
      this.hasher.lanes(node.id, 0, lanes);
      return { offset: lanes[0]! % this.tableSize, skip: (lanes[1]! % (this.tableSize - 1)) + 1 };
    });
    return Int32Array.from(weightedTable(this.tableSize, walks, nodes.map(weightOf)));
  }
}

function isPrime(value: number): boolean {
  if (!Number.isInteger(value) || value < 2) return false;
  for (let divisor = 2; divisor * divisor <= value; divisor++) if (value % divisor === 0) return false;
  return true;
}
