/**
 * Primaries that remember: each slot's primary among its replicas so that every node leads floor(t / RF) or ceil(t / RF) of the
 * t slots it holds, and as few slots as possible have another primary than before.
 *
 * The choice is a flow of least cost: slot → one of its replicas, at the price 1 when that is not the previous primary though
 * the previous primary is still there; node → at least its least, at most its most. It begins with every slot at its cheapest and goes on
 * by cheapest chains ("u gives a slot it leads to another replica v, v gives …"), all chains of one price in one round. A cheapest chain
 * never leaves a circle that would save something, so the end is the least (successive shortest paths, primal-dual form).
 *
 * Some choice always exists: giving each replica 1/RF of its slot meets every share, and a flow with whole bounds that has a solution
 * has a whole one.
 */
import { assert } from '../../base/assert.ts';
import { tally } from './matching.ts';
import { VACANT } from './topology.ts';

const FAR = 0x3fff_ffff;

/** What is to be led anew: `cells` full and legal, `previous` the primary of each slot before, or VACANT. */
export interface Leadership {
  readonly cells: Int32Array;
  readonly replicaCount: number;
  readonly nodeCount: number;
  readonly previous: Int32Array;
  /** Whether a node was in the slot before: of several choices for a slot whose primary left, one that holds the data is taken first. */
  readonly wasIn: (slot: number, node: number) => boolean;
}

/**
 * Puts the primary of each slot first.
 *
 * Cost: O(slots × RF) for each round; rounds are about as many as there are prices of chains, below ten for one change.
 */
export function steadyPrimaries(leadership: Leadership): void {
  if (leadership.replicaCount > 1) new SteadyPrimaries(leadership).settle();
}

class SteadyPrimaries {
  readonly #cells: Int32Array;
  readonly #replicaCount: number;
  readonly #slotCount: number;
  readonly #nodeCount: number;
  /** The previous primary where it is still a replica, else VACANT. */
  readonly #wanted: Int32Array;
  readonly #least: Int32Array;
  readonly #most: Int32Array;
  readonly #led: Int32Array;
  /** The slots each node holds. */
  readonly #from: Int32Array;
  readonly #slots: Int32Array;
  readonly #distance: Int32Array;

  constructor({ cells, replicaCount, nodeCount, previous, wasIn }: Leadership) {
    this.#cells = cells;
    this.#replicaCount = replicaCount;
    this.#slotCount = cells.length / replicaCount;
    this.#nodeCount = nodeCount;
    const held = tally(cells, nodeCount);
    this.#from = new Int32Array(nodeCount + 1);
    for (let node = 0; node < nodeCount; node++) this.#from[node + 1] = this.#from[node]! + held[node]!;
    this.#slots = new Int32Array(cells.length);
    const next = this.#from.slice();
    for (let at = 0; at < cells.length; at++) this.#slots[next[cells[at]!]!++] = Math.floor(at / replicaCount);
    this.#least = held.map((count) => Math.floor(count / replicaCount));
    this.#most = held.map((count) => Math.ceil(count / replicaCount));
    this.#led = new Int32Array(nodeCount);
    this.#distance = new Int32Array(nodeCount);
    this.#wanted = new Int32Array(this.#slotCount).fill(VACANT);
    this.#begin(previous, wasIn);
  }

  settle(): void {
    const { led, least, most } = { led: this.#led, least: this.#least, most: this.#most };
    const poor = (node: number): boolean => led[node]! < least[node]!;
    const canGive = (node: number): boolean => led[node]! > least[node]!;
    const rich = (node: number): boolean => led[node]! > most[node]!;
    const canTake = (node: number): boolean => led[node]! < most[node]!;
    this.#route(canGive, poor, FAR);
    this.#route(rich, canTake, FAR);
    // What is balanced now may still be had for less.
    this.#route(canGive, canTake, 0);
  }

  /** Every slot at its cheapest: its previous primary; where that is gone, who leads too few, before others who holds the data. */
  #begin(previous: Int32Array, wasIn: Leadership['wasIn']): void {
    const open: number[] = [];
    for (let slot = 0; slot < this.#slotCount; slot++) {
      const base = slot * this.#replicaCount;
      const at = previous[slot] === VACANT ? -1 : this.#placeOf(base, previous[slot]!);
      if (at < 0) open.push(slot);
      else {
        this.#wanted[slot] = previous[slot]!;
        this.#led[previous[slot]!]!++;
        this.#lead(base, at);
      }
    }
    for (const slot of open) {
      const base = slot * this.#replicaCount;
      let best = base;
      let bestWorth = -FAR;
      for (let at = base; at < base + this.#replicaCount; at++) {
        const node = this.#cells[at]!;
        const lack = this.#least[node]! - this.#led[node]!;
        const worth =
          (lack > 0 ? 2 * this.#slotCount : 0) + (wasIn(slot, node) ? this.#slotCount : 0) + Math.min(lack, this.#slotCount - 1);
        if (worth > bestWorth) {
          bestWorth = worth;
          best = at;
        }
      }
      this.#led[this.#cells[best]!]!++;
      this.#lead(base, best);
    }
  }

  /** Cheapest chains from nodes that give to nodes that take, as long as there is one cheaper than `below`. */
  #route(gives: (node: number) => boolean, takes: (node: number) => boolean, below: number): void {
    for (let round = 0; round <= this.#slotCount; round++) {
      if (!this.#led.some((_, node) => takes(node))) return;
      const price = this.#prices(gives, takes);
      if (price >= below) return;
      this.#carryOut(gives, takes, price);
    }
    assert(false, () => `more than ${this.#slotCount} rounds for ${this.#slotCount} slots`);
  }

  /** The price of a cheapest chain to each node, and of the cheapest to one that takes; FAR when there is none. */
  #prices(gives: (node: number) => boolean, takes: (node: number) => boolean): number {
    const distance = this.#distance.fill(FAR);
    const queued = new Uint8Array(this.#nodeCount);
    const queue: number[] = [];
    for (let node = 0; node < this.#nodeCount; node++) {
      if (!gives(node)) continue;
      distance[node] = 0;
      queued[node] = 1;
      queue.push(node);
    }
    for (let head = 0; head < queue.length; head++) {
      const node = queue[head]!;
      queued[node] = 0;
      for (let i = this.#from[node]!; i < this.#from[node + 1]!; i++) {
        const slot = this.#slots[i]!;
        const base = slot * this.#replicaCount;
        if (this.#cells[base] !== node) continue;
        const leaving = distance[node]! + (this.#wanted[slot] === node ? 1 : 0);
        for (let at = base + 1; at < base + this.#replicaCount; at++) {
          const other = this.#cells[at]!;
          const price = leaving - (this.#wanted[slot] === other ? 1 : 0);
          if (price >= distance[other]!) continue;
          distance[other] = price;
          if (queued[other] === 1) continue;
          queued[other] = 1;
          queue.push(other);
        }
      }
    }
    let best = FAR;
    for (let node = 0; node < this.#nodeCount; node++) if (distance[node]! < best && takes(node)) best = distance[node]!;
    return best;
  }

  /** As many chains of this price as a search in depth finds; each hop is on a cheapest chain. */
  #carryOut(gives: (node: number) => boolean, takes: (node: number) => boolean, price: number): void {
    const distance = this.#distance;
    const seen = new Uint8Array(this.#nodeCount);
    const at = this.#from.slice();
    const path: number[] = [];
    const pathCell: number[] = [];
    for (let start = 0; start < this.#nodeCount; start++) {
      while (distance[start] === 0 && gives(start) && seen[start] === 0) {
        path.length = 0;
        pathCell.length = 0;
        path.push(start);
        seen[start] = 1;
        while (path.length > 0) {
          const node = path.at(-1)!;
          if (distance[node] === price && path.length > 1 && takes(node)) break;
          const cell = this.#nextHop(node, at, seen);
          if (cell < 0) {
            path.pop();
            pathCell.pop();
            continue;
          }
          const other = this.#cells[cell]!;
          seen[other] = 1;
          path.push(other);
          pathCell.push(cell);
        }
        if (path.length === 0) break;
        for (const cell of pathCell) this.#promote(cell);
        for (const node of path) seen[node] = 0;
      }
    }
  }

  /** The next cell over which `node` can hand a slot on, on a cheapest chain, to a node not seen; −1 when there is none. */
  #nextHop(node: number, at: Int32Array, seen: Uint8Array): number {
    for (let i = at[node]!; i < this.#from[node + 1]!; i++) {
      at[node] = i;
      const slot = this.#slots[i]!;
      const base = slot * this.#replicaCount;
      if (this.#cells[base] !== node) continue;
      const leaving = this.#distance[node]! + (this.#wanted[slot] === node ? 1 : 0);
      for (let cell = base + 1; cell < base + this.#replicaCount; cell++) {
        const other = this.#cells[cell]!;
        if (seen[other] === 0 && this.#distance[other] === leaving - (this.#wanted[slot] === other ? 1 : 0)) return cell;
      }
    }
    at[node] = this.#from[node + 1]!;
    return -1;
  }

  #promote(cell: number): void {
    const base = cell - (cell % this.#replicaCount);
    this.#led[this.#cells[base]!]!--;
    this.#led[this.#cells[cell]!]!++;
    this.#lead(base, cell);
  }

  #lead(base: number, at: number): void {
    const node = this.#cells[at]!;
    this.#cells[at] = this.#cells[base]!;
    this.#cells[base] = node;
  }

  #placeOf(base: number, node: number): number {
    for (let at = base; at < base + this.#replicaCount; at++) if (this.#cells[at] === node) return at;
    return -1;
  }
}
