import { tally } from './matching.ts';
import { type Topology, VACANT } from './topology.ts';

/**
 * Reorders each slot's replicas so that every node is primary of its share: of `t` replicas it holds, floor(t / RF) or ceil(t / RF).
 * The first cell of a slot is the present primary (VACANT cells elsewhere are not allowed). Few primaries change: one slot for each step
 * of a shortest chain from a node with too many to one with too few.
 *
 * Such a choice always exists: giving each replica 1/RF of its slot meets every share exactly, and a flow with whole bounds that
 * has a solution has a whole one.
 *
 * Cost: O(slots × RF) and a breadth-first search for each chain.
 */
export function evenPrimaries(topology: Topology, cells: Int32Array): void {
  new Primaries(topology, cells).even();
}

class Primaries {
  readonly #cells: Int32Array;
  readonly #replicaCount: number;
  readonly #nodeCount: number;
  readonly #least: Int32Array;
  readonly #most: Int32Array;
  readonly #led: Int32Array;
  /** Slots led by each node, as linked lists. */
  readonly #first: Int32Array;
  readonly #next: Int32Array;
  readonly #before: Int32Array;
  readonly #parentNode: Int32Array;
  readonly #parentSlot: Int32Array;

  constructor(topology: Topology, cells: Int32Array) {
    const { replicaCount } = topology;
    const slotCount = cells.length / replicaCount;
    const nodeCount = topology.nodes.length;
    this.#cells = cells;
    this.#replicaCount = replicaCount;
    this.#nodeCount = nodeCount;
    const held = tally(cells, nodeCount);
    this.#least = held.map((count) => Math.floor(count / replicaCount));
    this.#most = held.map((count) => Math.ceil(count / replicaCount));
    this.#led = new Int32Array(nodeCount);
    this.#first = new Int32Array(nodeCount).fill(VACANT);
    this.#next = new Int32Array(slotCount);
    this.#before = new Int32Array(slotCount);
    this.#parentNode = new Int32Array(nodeCount);
    this.#parentSlot = new Int32Array(nodeCount);
    for (let slot = slotCount - 1; slot >= 0; slot--) this.#link(slot, cells[slot * replicaCount]!);
  }

  even(): void {
    if (this.#replicaCount === 1) return;
    for (let node = 0; node < this.#nodeCount; node++) this.#giveAway(node);
    // First nobody above its most: any node below its most may take. Then nobody below its least: any node above its least may give.
    for (let node = 0; node < this.#nodeCount; node++)
      while (this.#led[node]! > this.#most[node]!) if (!this.#chain(node, (end) => this.#led[end]! < this.#most[end]!)) break;
    for (let node = 0; node < this.#nodeCount; node++) while (this.#led[node]! < this.#least[node]!) if (!this.#pull(node)) break;
  }

  /** The easy ones: a slot goes straight to a replica that leads too few. */
  #giveAway(node: number): void {
    for (let slot = this.#first[node]!; slot !== VACANT && this.#led[node]! > this.#most[node]!; ) {
      const following = this.#next[slot]!;
      let poorest = VACANT;
      for (let at = slot * this.#replicaCount + 1; at < (slot + 1) * this.#replicaCount; at++) {
        const other = this.#cells[at]!;
        const lacks = this.#least[other]! - this.#led[other]!;
        if (lacks > 0 && (poorest === VACANT || lacks > this.#least[poorest]! - this.#led[poorest]!)) poorest = other;
      }
      if (poorest !== VACANT) this.#promote(slot, poorest);
      slot = following;
    }
  }

  /** A shortest chain from `start` over slots it leads to their other replicas, to a node where `ends` holds. */
  #chain(start: number, ends: (node: number) => boolean): boolean {
    const seen = this.#parentNode.fill(VACANT);
    seen[start] = start;
    const queue = [start];
    for (const node of queue) {
      for (let slot = this.#first[node]!; slot !== VACANT; slot = this.#next[slot]!) {
        for (let at = slot * this.#replicaCount + 1; at < (slot + 1) * this.#replicaCount; at++) {
          const other = this.#cells[at]!;
          if (seen[other] !== VACANT) continue;
          seen[other] = node;
          this.#parentSlot[other] = slot;
          if (ends(other)) {
            this.#follow(other, start);
            return true;
          }
          queue.push(other);
        }
      }
    }
    return false;
  }

  /** One more slot for `end`, from the nearest node that leads more than its least. */
  #pull(end: number): boolean {
    const starts: number[] = [];
    for (let node = 0; node < this.#nodeCount; node++) if (this.#led[node]! > this.#least[node]!) starts.push(node);
    const seen = this.#parentNode.fill(VACANT);
    for (const start of starts) seen[start] = start;
    const queue = starts;
    for (const node of queue) {
      for (let slot = this.#first[node]!; slot !== VACANT; slot = this.#next[slot]!) {
        for (let at = slot * this.#replicaCount + 1; at < (slot + 1) * this.#replicaCount; at++) {
          const other = this.#cells[at]!;
          if (seen[other] !== VACANT) continue;
          seen[other] = node;
          this.#parentSlot[other] = slot;
          if (other === end) {
            this.#follow(end, VACANT);
            return true;
          }
          queue.push(other);
        }
      }
    }
    return false;
  }

  #follow(end: number, start: number): void {
    for (let node = end; node !== start && this.#parentNode[node] !== node; ) {
      const from = this.#parentNode[node]!;
      this.#promote(this.#parentSlot[node]!, node);
      node = from;
    }
  }

  #promote(slot: number, node: number): void {
    const base = slot * this.#replicaCount;
    const old = this.#cells[base]!;
    let at = base + 1;
    while (this.#cells[at] !== node) at++;
    this.#cells[at] = old;
    this.#cells[base] = node;
    this.#unlink(slot, old);
    this.#link(slot, node);
  }

  #link(slot: number, node: number): void {
    const first = this.#first[node]!;
    this.#next[slot] = first;
    this.#before[slot] = VACANT;
    if (first !== VACANT) this.#before[first] = slot;
    this.#first[node] = slot;
    this.#led[node]!++;
  }

  #unlink(slot: number, node: number): void {
    const before = this.#before[slot]!;
    const next = this.#next[slot]!;
    if (before === VACANT) this.#first[node] = next;
    else this.#next[before] = next;
    if (next !== VACANT) this.#before[next] = before;
    this.#led[node]!--;
  }
}
