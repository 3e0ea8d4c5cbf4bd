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
import { compatScorer, ownScorer, QUICK_NODES, type RendezvousCompat, type Scorer, type Scores } from './rendezvous-score.ts';

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

/** Room for the answers of a scorer's quick way, by how many are asked for. */
const TOPS = Array.from({ length: QUICK_NODES + 1 }, (_, count) => new Int32Array(count));

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
    const { nodes, top } = this.#scorer;
    if (nodes.length === 0) throw noNodes('rendezvous hashing');
    if (top) {
      top(key, TOPS[1]!);
      return nodes[TOPS[1]![0]!]!;
    }
    this.#scorer.score(key, this.#scores);
    let best = 0;
    for (let i = 1; i < nodes.length; i++) if (this.#before(i, best)) best = i;
    return nodes[best]!;
  }

  /** The nodes by falling score, the owner first; with zones, no zone twice before every zone once, and within a zone no rack likewise. */
  replicas(key: KeyInput, count: number, out: N[] = []): N[] {
    checkReplicaCount(count);
    const { nodes, top } = this.#scorer;
    if (nodes.length === 0) throw noNodes('rendezvous hashing');
    const wanted = Math.min(count, nodes.length);
    out.length = 0;
    if (top && !this.#domains && wanted <= QUICK_NODES) {
      const indices = TOPS[wanted]!;
      top(key, indices);
      for (let i = 0; i < wanted; i++) out.push(nodes[indices[i]!]!);
      return out;
    }
    this.#scorer.score(key, this.#scores);
    const order = this.#domains ? this.#spreadOut(wanted, this.#domains) : this.#sorted();
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

  /** Greedy: always the best score among the nodes of the zones, then the racks, that were used least. */
  #spreadOut(wanted: number, { zone, rack, zones, racks }: Domains): number[] {
    const zoneUses = new Int32Array(zones);
    const rackUses = new Int32Array(racks);
    const taken = new Uint8Array(zone.length);
    const chosen: number[] = [];
    while (chosen.length < wanted) {
      let pick = -1;
      for (let i = 0; i < zone.length; i++) {
        if (taken[i]) continue;
        if (pick >= 0) {
          const gain = zoneUses[zone[pick]!]! - zoneUses[zone[i]!]! || rackUses[rack[pick]!]! - rackUses[rack[i]!]!;
          if (gain < 0 || (gain === 0 && !this.#before(i, pick))) continue;
        }
        pick = i;
      }
      taken[pick] = 1;
      zoneUses[zone[pick]!]!++;
      rackUses[rack[pick]!]!++;
      chosen.push(pick);
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
