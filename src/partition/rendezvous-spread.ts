/**
 * Which nodes follow each other in rendezvous hashing when they have zones: always the best score among the nodes of the zones, then the
 * racks, that were used least.
 */
import type { KeyInput } from './hasher.ts';
import type { PartitionNode } from './node.ts';
import { isBefore, type QuickScorer, roomForScores, type Scorer, type Scores } from './rendezvous-score.ts';

/** Numbers of each node's zone, and of its rack within the zone. A node without a zone is in the nameless one; so with racks. */
interface Domains {
  readonly zone: Int32Array;
  readonly rack: Int32Array;
  readonly zoneCount: number;
  readonly rackCount: number;
}

/** Whether there is anything to spread over. */
export function hasDomains(nodes: readonly PartitionNode[]): boolean {
  return nodes.some((node) => node.zone !== undefined || node.rack !== undefined);
}

export class SpreadChoice<N extends PartitionNode> {
  readonly #scorer: Scorer<N>;
  readonly #domains: Domains;
  readonly #scores: Scores;
  readonly #zoneUses: Int32Array;
  readonly #rackUses: Int32Array;
  readonly #isTaken: Uint8Array;
  readonly #bestOfZone: Int32Array;

  /** `isPlain`: zones and racks are ignored. */
  constructor(scorer: Scorer<N>, isPlain = false) {
    this.#scorer = scorer;
    this.#domains = domainsOf(isPlain ? scorer.nodes.map(({ id }) => ({ id })) : scorer.nodes);
    this.#scores = roomForScores(scorer.nodes.length);
    this.#zoneUses = new Int32Array(this.#domains.zoneCount);
    this.#rackUses = new Int32Array(this.#domains.rackCount);
    this.#isTaken = new Uint8Array(scorer.nodes.length);
    this.#bestOfZone = new Int32Array(this.#domains.zoneCount);
  }

  /** Fills `out` with the indices of the first `out.length` nodes for a key; there must be as many. */
  choose(key: KeyInput, out: Int32Array): void {
    const zoneCount = this.#bestOfZone.length;
    const { score, bestOfGroups } = this.#scorer;
    if (bestOfGroups && out.length <= zoneCount) {
      bestOfGroups(key, this.#domains.zone, this.#bestOfZone, this.#scores);
    } else {
      score(key, this.#scores);
      this.#findBestOfZones();
    }
    this.#begin();
    for (let place = 0; place < out.length; place++) {
      // As long as there are unused zones, the best of each is all that counts.
      const pick = place < zoneCount ? this.#firstOfZones() : this.#firstOfAll();
      this.#isTaken[pick] = 1;
      this.#use(pick);
      out[place] = pick;
    }
    for (let place = 0; place < out.length; place++) this.#isTaken[out[place]!] = 0;
  }

  /**
   * Of `among` the first `count` are the choice for a key without the others, which have come since: whether it still is the choice with them.
   * Exact: as long as no comer goes before the one chosen in its place, every choice is made among the same nodes as before.
   */
  keeps(key: KeyInput, among: Int32Array, count: number, scorer: QuickScorer<N>): boolean {
    scorer.scoreSome(key, among, this.#scores);
    this.#begin();
    for (let place = 0; place < count; place++) {
      for (let i = count; i < among.length; i++) if (this.#goesBefore(among[i]!, among[place]!)) return false;
      this.#use(among[place]!);
    }
    return true;
  }

  #firstOfZones(): number {
    let pick = -1;
    for (let zone = 0; zone < this.#bestOfZone.length; zone++) {
      const node = this.#bestOfZone[zone]!;
      if (this.#isTaken[node] === 0 && (pick < 0 || isBefore(this.#scores, node, pick))) pick = node;
    }
    return pick;
  }

  #firstOfAll(): number {
    let pick = -1;
    for (let node = 0; node < this.#isTaken.length; node++)
      if (this.#isTaken[node] === 0 && (pick < 0 || this.#goesBefore(node, pick))) pick = node;
    return pick;
  }

  #findBestOfZones(): void {
    const best = this.#bestOfZone.fill(-1);
    const scores = this.#scores;
    const { cost, high } = scores;
    const { zone } = this.#domains;
    for (let node = 0; node < zone.length; node++) {
      const own = zone[node]!;
      const other = best[own]!;
      // Nearly every node ends here.
      if (other >= 0 && (cost[node]! > cost[other]! || (cost[node] === cost[other] && high[node]! < high[other]!))) continue;
      if (other < 0 || isBefore(scores, node, other)) best[own] = node;
    }
  }

  #begin(): void {
    this.#zoneUses.fill(0);
    this.#rackUses.fill(0);
  }

  #use(node: number): void {
    this.#zoneUses[this.#domains.zone[node]!]!++;
    this.#rackUses[this.#domains.rack[node]!]!++;
  }

  #goesBefore(a: number, b: number): boolean {
    const { zone, rack } = this.#domains;
    const fewer = this.#zoneUses[zone[a]!]! - this.#zoneUses[zone[b]!]! || this.#rackUses[rack[a]!]! - this.#rackUses[rack[b]!]!;
    return fewer < 0 || (fewer === 0 && isBefore(this.#scores, a, b));
  }
}

/** Racks of one name in two zones are two racks. */
function domainsOf(nodes: readonly PartitionNode[]): Domains {
  const zones = new Map<string, number>();
  const racks = new Map<string, number>();
  const number = (names: Map<string, number>, name: string): number => {
    const known = names.get(name);
    if (known === undefined) names.set(name, names.size);
    return known ?? names.size - 1;
  };
  const zone = Int32Array.from(nodes, (node) => number(zones, node.zone ?? ''));
  const rack = Int32Array.from(nodes, (node) => number(racks, JSON.stringify([node.zone ?? '', node.rack ?? ''])));
  return { zone, rack, zoneCount: zones.size, rackCount: racks.size };
}
