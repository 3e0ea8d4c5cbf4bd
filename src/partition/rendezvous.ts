/**
 * Rendezvous hashing: every node gets a score for the key, and the highest wins. The simplest scheme that has every promise.
 *
 * Promise: a key is on the same node whatever the order of nodes and changes, on every engine (no `Math.log`; see fixed-log.ts). Nodes own
 * keys in proportion to their weights. A node that joins, or gains weight, takes keys only to itself; one that leaves, or loses weight, gives away
 * its own keys and no others: the least movement there can be. Replicas are the next best scores, one zone after the other when nodes
 * have zones, and one rack after the other within them.
 *
 * Cost: one hash of the key, then a few nanoseconds a node: only a node that may still be among the best costs a logarithm. No table.
 * The default up to about 50 nodes. Beyond, `Keyspace` answers in constant time and balances better than chance does.
 *
 * @see Thaler & Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", 1998; Schindelhauer & Schomaker, "Weighted Distributed Hash
 * Tables", 2005, for the weights.
 */
import { KeyfleetError } from '../base/errors.ts';
import { murmur3_x86_128 } from './hash/murmur3-x86-128.ts';
import type { Hasher, KeyInput } from './hasher.ts';
import { checkNodes, checkWeight, duplicateNode, noNodes, type PartitionNode, unknownNode, weightOf } from './node.ts';
import { checkReplicaCount, type MutablePartitioner, type NodeChange } from './partitioner.ts';
import {
  compatScorer,
  isBefore,
  ownScorer,
  QUICK_NODES,
  type RendezvousCompat,
  roomForScores,
  type Scorer,
  type Scores,
} from './rendezvous-score.ts';
import { hasDomains, SpreadChoice } from './rendezvous-spread.ts';

export interface RendezvousOptions {
  /** Hashes keys and ids; `murmur3_x86_128` when absent. */
  readonly hasher?: Hasher;
  /** Whether replicas avoid the zones and racks already used. True when absent. */
  readonly spread?: boolean;
  /** Agree with another library instead; `hasher` is then not asked. */
  readonly compat?: RendezvousCompat;
}

/** Room for the answers of a scorer's quick way, by how many are asked for. */
const TOPS = Array.from({ length: QUICK_NODES + 1 }, (_, count) => new Int32Array(count));

export class Rendezvous<N extends PartitionNode = PartitionNode> implements MutablePartitioner<N> {
  readonly #scorerOf: (nodes: readonly N[]) => Scorer<N>;
  readonly #spread: boolean;
  #given: readonly N[] = [];
  #scorer!: Scorer<N>;
  #scores!: Scores;
  /** Undefined when there is nothing to spread over. */
  #spreadChoice: SpreadChoice<N> | undefined;

  /** @throws KF_DUPLICATE_NODE, KF_BAD_WEIGHT. */
  constructor(nodes: Iterable<N> = [], options: RendezvousOptions = {}) {
    const { hasher = murmur3_x86_128, compat } = options;
    this.#scorerOf = compat === undefined ? (given) => ownScorer(given, hasher) : (given) => compatScorer(compat, given);
    this.#spread = options.spread ?? true;
    this.#replace([...nodes]);
  }

  /** In the order in which they came. */
  get nodes(): readonly N[] {
    return this.#given;
  }

  owner(key: KeyInput): N {
    const { nodes, top } = this.#scorer;
    if (nodes.length === 0) throw noNodes('rendezvous hashing');
    if (top) {
      top(key, TOPS[1]!);
      return nodes[TOPS[1]![0]!]!;
    }
    this.#scorer.score(key, this.#scores);
    let best = 0;
    for (let i = 1; i < nodes.length; i++) if (isBefore(this.#scores, i, best)) best = i;
    return nodes[best]!;
  }

  /** The nodes by falling score, the owner first; with zones, no zone twice before every zone once, and within a zone no rack likewise. */
  replicas(key: KeyInput, count: number, out: N[] = []): N[] {
    checkReplicaCount(count);
    const { nodes, top } = this.#scorer;
    if (nodes.length === 0) throw noNodes('rendezvous hashing');
    const wanted = Math.min(count, nodes.length);
    out.length = 0;
    if (top && !this.#spreadChoice && wanted <= QUICK_NODES) {
      const indices = TOPS[wanted]!;
      top(key, indices);
      for (let i = 0; i < wanted; i++) out.push(nodes[indices[i]!]!);
      return out;
    }
    const order = this.#spreadChoice === undefined ? this.#sorted(key) : new Int32Array(wanted);
    this.#spreadChoice?.choose(key, order);
    for (let i = 0; i < wanted; i++) out.push(nodes[order[i]!]!);
    return out;
  }

  add(node: N): NodeChange {
    if (this.#given.some((other) => other.id === node.id)) throw duplicateNode(node.id);
    checkWeight(node);
    this.#replace([...this.#given, node]);
    return { movedShare: this.#shareOf(node, this.#given) };
  }

  remove(id: string): NodeChange {
    const node = this.#find(id);
    if (this.#given.length === 1) throw noNodes('rendezvous hashing');
    const movedShare = this.#shareOf(node, this.#given);
    this.#replace(this.#given.filter((other) => other !== node));
    return { movedShare };
  }

  /** Puts `node` in the place of the one with its id: another weight, zone or address. @throws KF_UNKNOWN_NODE, KF_BAD_WEIGHT. */
  update(node: N): NodeChange {
    const old = this.#find(node.id);
    checkWeight(node);
    const before = this.#shareOf(old, this.#given);
    this.#replace(this.#given.map((other) => (other === old ? node : other)));
    return { movedShare: Math.abs(this.#shareOf(node, this.#given) - before) };
  }

  #find(id: string): N {
    const node = this.#given.find((other) => other.id === id);
    if (!node) throw unknownNode(id);
    return node;
  }

  #shareOf(node: N, nodes: readonly N[]): number {
    return weightOf(node) / nodes.reduce((sum, other) => sum + weightOf(other), 0);
  }

  #replace(nodes: readonly N[]): void {
    checkNodes(nodes);
    if (nodes.reduce((sum, node) => sum + weightOf(node), 0) === Number.POSITIVE_INFINITY)
      throw new KeyfleetError('KF_BAD_WEIGHT', 'the weights add up to more than a number can hold');
    this.#scorer = this.#scorerOf(nodes);
    this.#given = nodes;
    this.#scores = roomForScores(nodes.length);
    this.#spreadChoice = this.#spread && hasDomains(nodes) ? new SpreadChoice(this.#scorer) : undefined;
  }

  #sorted(key: KeyInput): Int32Array {
    this.#scorer.score(key, this.#scores);
    return Int32Array.from(this.#scores.cost, (_, i) => i).sort((a, b) => (isBefore(this.#scores, a, b) ? -1 : 1));
  }
}
