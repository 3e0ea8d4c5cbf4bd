/**
 * Rendezvous hashing: every node gets a score for the key, and the highest wins. The simplest scheme that has every promise.
 *
 * Promise: a key is on the same node whatever the order of nodes and changes, on every engine (no `Math.log`; see fixed-log.ts). Nodes own
 * keys in proportion to their weights. A node that joins, or gains weight, takes keys only to itself; one that leaves, or loses weight, gives away
 * its own keys and no others: the least movement there can be. Replicas are the next best scores, one zone after the other when nodes
 * have zones, and one rack after the other within them.
 *
 * Cost: one hash of the key, then 3 ns a node with equal weights, about 15 ns with unequal ones; no table, a change is free.
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
import { compatScorer, ownScorer, type RendezvousCompat, type Scorer, type Scores } from './rendezvous-score.ts';

export interface RendezvousOptions {
  /** Hashes keys and ids; `murmur3_x86_128` when absent. */
  readonly hasher?: Hasher;
  /** Whether replicas avoid the zones and racks already used. True when absent. */
  readonly spread?: boolean;
  /** Agree with another library instead; `hasher` is then not asked. */
  readonly compat?: RendezvousCompat;
}

/** Numbers of each node's zone, and of its rack within the zone. */
interface Domains {
  readonly zone: Int32Array;
  readonly rack: Int32Array;
  readonly zones: number;
  readonly racks: number;
}

export class Rendezvous<N extends PartitionNode = PartitionNode> implements MutablePartitioner<N> {
  readonly #scorerOf: (nodes: readonly N[]) => Scorer<N>;
  readonly #spread: boolean;
  #given: readonly N[] = [];
  #scorer!: Scorer<N>;
  #scores!: Scores;
  /** Undefined when there is nothing to spread over. */
  #domains: Domains | undefined;

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
    const { nodes, first } = this.#scorer;
    if (nodes.length === 0) throw noNodes('rendezvous hashing');
    if (first) return nodes[first(key)]!;
    this.#scorer.score(key, this.#scores);
    let best = 0;
    for (let i = 1; i < nodes.length; i++) if (this.#before(i, best)) best = i;
    return nodes[best]!;
  }

  /** The nodes by falling score, the owner first; with zones, no zone twice before every zone once, and within a zone no rack likewise. */
  replicas(key: KeyInput, count: number, out: N[] = []): N[] {
    checkReplicaCount(count);
    const { nodes } = this.#scorer;
    if (nodes.length === 0) throw noNodes('rendezvous hashing');
    this.#scorer.score(key, this.#scores);
    out.length = 0;
    const wanted = Math.min(count, nodes.length);
    if (this.#domains) for (const index of this.#spreadOut(wanted, this.#domains)) out.push(nodes[index]!);
    else if (wanted > 8) for (const index of this.#sorted().slice(0, wanted)) out.push(nodes[index]!);
    else for (const index of this.#best(wanted)) out.push(nodes[index]!);
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
    this.#scores = { cost: new Float64Array(nodes.length), high: new Uint32Array(nodes.length), low: new Uint32Array(nodes.length) };
    this.#domains = this.#spread ? domainsOf(this.#scorer.nodes) : undefined;
  }

  #before(a: number, b: number): boolean {
    const { cost, high, low } = this.#scores;
    if (cost[a] !== cost[b]) return cost[a]! < cost[b]!;
    if (high[a] !== high[b]) return high[a]! > high[b]!;
    if (low[a] !== low[b]) return low[a]! > low[b]!;
    return a < b;
  }

  #sorted(): number[] {
    return Array.from(this.#scores.cost, (_, i) => i).sort((a, b) => (this.#before(a, b) ? -1 : 1));
  }

  /** The best `wanted`, by insertion: quicker than sorting for a few of many. */
  #best(wanted: number): number[] {
    const best: number[] = [];
    for (let i = 0; i < this.#scores.cost.length; i++) {
      let at = best.length;
      while (at > 0 && this.#before(i, best[at - 1]!)) at--;
      if (at === wanted) continue;
      if (best.length === wanted) best.pop();
      best.splice(at, 0, i);
    }
    return best;
  }

  /** Greedy: always the best score among the nodes of the zones, then the racks, that were used least. */
  #spreadOut(wanted: number, domains: Domains): number[] {
    const order = this.#sorted();
    const zoneUses = new Int32Array(domains.zones);
    const rackUses = new Int32Array(domains.racks);
    const chosen: number[] = [];
    while (chosen.length < wanted) {
      let pick = 0;
      for (let i = 1; i < order.length; i++) {
        const [a, b] = [order[i]!, order[pick]!];
        const zoneGain = zoneUses[domains.zone[a]!]! - zoneUses[domains.zone[b]!]!;
        if (zoneGain < 0 || (zoneGain === 0 && rackUses[domains.rack[a]!]! < rackUses[domains.rack[b]!]!)) pick = i;
      }
      const index = order.splice(pick, 1)[0]!;
      zoneUses[domains.zone[index]!]!++;
      rackUses[domains.rack[index]!]!++;
      chosen.push(index);
    }
    return chosen;
  }
}

/** A node without a zone is a zone of its own kind (the nameless one); racks of one name in two zones are two racks. */
function domainsOf(nodes: readonly PartitionNode[]): Domains | undefined {
  if (!nodes.some((node) => node.zone !== undefined || node.rack !== undefined)) return undefined;
  const zones = new Map<string, number>();
  const racks = new Map<string, number>();
  const number = (names: Map<string, number>, name: string): number => {
    const known = names.get(name);
    if (known === undefined) names.set(name, names.size);
    return known ?? names.size - 1;
  };
  const zone = Int32Array.from(nodes, (node) => number(zones, node.zone ?? ''));
  const rack = Int32Array.from(nodes, (node) => number(racks, JSON.stringify([node.zone ?? '', node.rack ?? ''])));
  return { zone, rack, zones: zones.size, racks: racks.size };
}
