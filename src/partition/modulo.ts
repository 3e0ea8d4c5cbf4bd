/**
 * The naive scheme: hash modulo the number of nodes. Here to agree with twemproxy's and libmemcached's `modula`, and to compare with.
 *
 * Promise: an even spread over the nodes by whole weights, and nothing else: a node more or less moves nearly every key (n/(n+1) of them).
 * Cost: one hash and one remainder. For a set of nodes that changes choose anything else: `Rendezvous`, `JumpBackHash`, `Keyspace`.
 */
import { KeyfleetError } from '../base/errors.ts';
import { type HashkitName, hashkit } from './hash/hashkit.ts';
import { murmur3_x86_128 } from './hash/murmur3-x86-128.ts';
import type { Hasher, KeyInput } from './hasher.ts';
import { checkNodes, nodesWithout, noNodes, type PartitionNode, weightOf } from './node.ts';
import { checkReplicaCount, type MutablePartitioner, type NodeChange } from './partitioner.ts';

export interface ModuloOptions {
  /** Agree with the `modula` of one of these; libmemcached's ignores weights. */
  readonly dialect?: 'twemproxy' | 'libmemcached';
  /** The key hash of the dialect: `fnv1a_64` for twemproxy, `one_at_a_time` for libmemcached when absent. */
  readonly hash?: HashkitName;
  readonly hashTag?: string;
  /** Without a dialect: `murmur3_x86_128` when absent. */
  readonly hasher?: Hasher;
}

/** More residues than this are not compared one by one when the nodes change. */
const COMPARED_RESIDUES = 1 << 18;

export class Modulo<N extends PartitionNode = PartitionNode> implements MutablePartitioner<N> {
  readonly #keyHash: (key: KeyInput) => number;
  readonly #weighted: boolean;
  #nodes: readonly N[];
  /** Each node's number, as often as its weight says. */
  #turns: Uint32Array;

  /**
   * @param nodes - Their order decides: all users of a pool must list them alike.
   * @throws KF_DUPLICATE_NODE; KF_BAD_WEIGHT also when a weight is not whole; KF_UNKNOWN_HASH; KF_BAD_OPTION.
   */
  constructor(nodes: Iterable<N> = [], options: ModuloOptions = {}) {
    const hasher = options.hasher ?? murmur3_x86_128;
    this.#keyHash =
      options.dialect === undefined
        ? (key) => hasher.position(key)
        : hashkit(options.hash ?? (options.dialect === 'twemproxy' ? 'fnv1a_64' : 'one_at_a_time'), options.hashTag);
    this.#weighted = options.dialect !== 'libmemcached';
    this.#nodes = [...nodes];
    this.#turns = this.#build(this.#nodes);
  }

  get nodes(): readonly N[] {
    return this.#nodes;
  }

  owner(key: KeyInput): N {
    if (this.#nodes.length === 0) throw noNodes('modulo');
    return this.#nodes[this.#turns[this.#keyHash(key) % this.#turns.length]!]!;
  }

  /** The owner, then the nodes after it in the list. */
  replicas(key: KeyInput, count: number, out: N[] = []): N[] {
    checkReplicaCount(count);
    if (this.#nodes.length === 0) throw noNodes('modulo');
    const first = this.#turns[this.#keyHash(key) % this.#turns.length]!;
    out.length = 0;
    for (let i = 0; i < count && i < this.#nodes.length; i++) out.push(this.#nodes[(first + i) % this.#nodes.length]!);
    return out;
  }

  add(node: N): NodeChange {
    return this.#replace([...this.#nodes, node]);
  }

  remove(id: string): NodeChange {
    return this.#replace(nodesWithout(this.#nodes, id, 'modulo'));
  }

  /** The moved share is counted over the residues of both sizes together, the first 262,144 of them when there are more. */
  #replace(nodes: readonly N[]): NodeChange {
    const turns = this.#build(nodes);
    const before = { nodes: this.#nodes, turns: this.#turns };
    this.#nodes = nodes;
    this.#turns = turns;
    if (before.nodes.length === 0) return { movedShare: 1 };
    const residues = Math.min(before.turns.length * turns.length, COMPARED_RESIDUES);
    let moved = 0;
    for (let r = 0; r < residues; r++) {
      const old = before.nodes[before.turns[r % before.turns.length]!]!;
      if (old.id !== nodes[turns[r % turns.length]!]!.id) moved++;
    }
    return { movedShare: moved / residues };
  }

  #build(nodes: readonly N[]): Uint32Array {
    checkNodes(nodes);
    const turns: number[] = [];
    nodes.forEach((node, index) => {
      const weight = this.#weighted ? weightOf(node) : 1;
      if (!Number.isInteger(weight) || weight > 65_536)
        throw new KeyfleetError('KF_BAD_WEIGHT', `node ${node.id} has weight ${weight}; modulo takes whole weights up to 65,536`);
      for (let i = 0; i < weight; i++) turns.push(index);
    });
    return Uint32Array.from(turns);
  }
}
