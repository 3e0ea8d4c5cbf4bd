import type { KeyInput } from '../../partition/hasher.ts';
import type { Partitioner } from '../../partition/partitioner.ts';
import { partitionersOf } from './algorithms.ts';
import type { Fleet, FleetNode } from './fleet.ts';
import { keyCutter } from './hash-tag.ts';

/** How evenly keys lie: each node's keys over its fair share by weight. 1 is exact. */
export interface Balance {
  readonly peak: number;
  readonly lowest: number;
  /** Standard deviation of the ratios. */
  readonly spread: number;
}

export interface NodeLoad {
  readonly id: string;
  readonly weight: number;
  readonly owned: number;
  readonly held: number;
  /** `held` over the fair share. */
  readonly ratio: number;
}

export interface SideReport {
  readonly nodes: readonly NodeLoad[];
  readonly balance: Balance;
}

export interface MovementReport {
  readonly algorithm: string;
  readonly keys: number;
  readonly replicas: number;
  readonly before: SideReport;
  readonly after: SideReport;
  /** Keys whose owner is another node. */
  readonly ownersMoved: number;
  /** Copies that a node must fetch. */
  readonly copiesPulled: number;
  /** What these counts need at least: Σ max(0, held after − held before). */
  readonly copiesNeeded: number;
}

/** Places keys before and after a change and counts. Memory is that of the nodes, however many keys. */
export class Movement {
  readonly #algorithm: string;
  readonly #before: Side;
  readonly #after: Side;
  #keys = 0;
  #ownersMoved = 0;
  #copiesPulled = 0;

  constructor(before: Fleet, after: Fleet) {
    this.#algorithm = before.algorithm;
    const partitioners = partitionersOf(before, after);
    this.#before = new Side(before, partitioners.before);
    this.#after = new Side(after, partitioners.after);
  }

  place(key: KeyInput): void {
    const old = this.#before.place(key);
    const now = this.#after.place(key);
    this.#keys++;
    if (old[0]!.id !== now[0]!.id) this.#ownersMoved++;
    for (const node of now) if (!holds(old, node.id)) this.#copiesPulled++;
  }

  report(): MovementReport {
    const before = this.#before.report(this.#keys);
    const after = this.#after.report(this.#keys);
    const held = new Map(before.nodes.map((node) => [node.id, node.held]));
    return {
      algorithm: this.#algorithm,
      keys: this.#keys,
      replicas: this.#after.copies,
      before,
      after,
      ownersMoved: this.#ownersMoved,
      copiesPulled: this.#copiesPulled,
      copiesNeeded: after.nodes.reduce((sum, node) => sum + Math.max(0, node.held - (held.get(node.id) ?? 0)), 0),
    };
  }
}

class Side {
  readonly copies: number;
  readonly #fleet: Fleet;
  readonly #partitioner: Partitioner<FleetNode>;
  readonly #owned = new Map<string, number>();
  readonly #held = new Map<string, number>();
  readonly #found: FleetNode[] = [];
  readonly #cut: (key: KeyInput) => KeyInput;

  constructor(fleet: Fleet, partitioner: Partitioner<FleetNode>) {
    this.#fleet = fleet;
    this.copies = Math.min(fleet.replicas, fleet.nodes.length);
    this.#partitioner = partitioner;
    this.#cut = keyCutter(fleet);
  }

  place(whole: KeyInput): readonly FleetNode[] {
    const key = this.#cut(whole);
    const found = this.#found;
    if (this.copies > 1) this.#partitioner.replicas(key, this.copies, found);
    else found[0] = this.#partitioner.owner(key);
    this.#owned.set(found[0]!.id, (this.#owned.get(found[0]!.id) ?? 0) + 1);
    for (const { id } of found) this.#held.set(id, (this.#held.get(id) ?? 0) + 1);
    return found;
  }

  report(keys: number): SideReport {
    const fair = fairShares(this.#fleet.nodes, this.copies);
    const nodes = this.#fleet.nodes.map(({ id, weight }, i) => {
      const held = this.#held.get(id) ?? 0;
      return { id, weight, owned: this.#owned.get(id) ?? 0, held, ratio: keys === 0 ? 1 : held / (keys * fair[i]!) };
    });
    const ratios = nodes.map(({ ratio }) => ratio);
    const spread = Math.sqrt(ratios.reduce((sum, ratio) => sum + (ratio - 1) ** 2, 0) / Math.max(1, ratios.length));
    return { nodes, balance: { peak: Math.max(...ratios), lowest: Math.min(...ratios), spread } };
  }
}

/**
 * Copies of an average key that each node should hold, by weight. No node holds more than one copy of a key, so a heavy one is held to 1
 * and the others take over the rest by their weights.
 */
export function fairShares(nodes: readonly { readonly weight: number }[], copies: number): number[] {
  const shares = nodes.map(() => 0);
  let open = nodes.map((_, i) => i);
  let left = copies;
  for (;;) {
    const total = open.reduce((sum, i) => sum + nodes[i]!.weight, 0);
    const full = open.filter((i) => (left * nodes[i]!.weight) / total >= 1);
    if (full.length === 0) {
      for (const i of open) shares[i] = (left * nodes[i]!.weight) / total;
      return shares;
    }
    for (const i of full) shares[i] = 1;
    left -= full.length;
    open = open.filter((i) => !full.includes(i));
    if (open.length === 0 || left <= 0) return shares;
  }
}

function holds(nodes: readonly FleetNode[], id: string): boolean {
  for (const node of nodes) if (node.id === id) return true;
  return false;
}
