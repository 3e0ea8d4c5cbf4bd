/**
 * What is still missing, at the least number of copies: chains of exchanges in order of their price (successive shortest paths).
 *
 * A chain as in matching.ts; entering a slot costs 1 unless the node held it before, and displacing a copy just made gives 1 back. Chains
 * of one price are found together: one search labels every node with the price of its cheapest chain, then a search in depth carries out
 * as many as there are along exchanges that fit the labels, and so on until the price rises. A table that was the least for what it
 * places stays so with every cheapest chain: the last one is the least there is.
 *
 * What makes it quick: which node of a rack enters a slot that none of them held is all the same. The first of a rack (its scout) tries
 * all other nodes, each at the first cell that will do; the next ones look only at slots they held, and at those the scout sits in.
 */
import type { Link, Matching } from './matching.ts';
import { type Topology, VACANT } from './topology.ts';

const FAR = 0x3fff_ffff;
const NOBODY = -1;

/** Cells looked at before the search gives up, some seconds: counted and not timed, so that every machine makes the same table. */
const BUDGET = 2 ** 30;

/** How often a search comes back to a node, on average. More is a circle that saves something, which only a custom rule can make. */
const MOST_VISITS = 64;

export class LeastChains {
  readonly #matching: Matching;
  readonly #topology: Topology;
  readonly #replicaCount: number;
  /** Stands for all vacant cells, after the nodes: where every chain may end. */
  readonly #vacancy: number;
  /** Cells as the round began: those of node n that are copies just made from `from[2n]`, its others from `from[2n + 1]`. */
  readonly #from: Int32Array;
  readonly #cellOf: Int32Array;
  readonly #distance: Int32Array;
  readonly #parentNode: Int32Array;
  readonly #parentCell: Int32Array;
  /** For each rack who tried all other nodes, and at what distance. */
  readonly #scout: Int32Array;
  readonly #scoutDistance: Int32Array;
  /** How far the search in depth is with each node: first the slots it held, then cells of one node after the other. */
  readonly #atPrevious: Int32Array;
  readonly #atNode: Int32Array;
  readonly #atCell: Int32Array;
  readonly #closed: Uint8Array;
  #budget = BUDGET;
  /** No slot twice in one chain. */
  #isStrict = false;

  constructor(matching: Matching) {
    const nodeCount = matching.target.length;
    const rackCount = matching.topology.rackLimit.length;
    this.#matching = matching;
    this.#topology = matching.topology;
    this.#replicaCount = matching.replicaCount;
    this.#vacancy = nodeCount;
    this.#from = new Int32Array(2 * nodeCount + 3);
    this.#cellOf = new Int32Array(matching.cells.length);
    this.#distance = new Int32Array(nodeCount + 1);
    this.#parentNode = new Int32Array(nodeCount + 1);
    this.#parentCell = new Int32Array(nodeCount + 1);
    this.#scout = new Int32Array(rackCount);
    this.#scoutDistance = new Int32Array(rackCount);
    this.#atPrevious = new Int32Array(nodeCount);
    this.#atNode = new Int32Array(nodeCount);
    this.#atCell = new Int32Array(nodeCount);
    this.#closed = new Uint8Array(nodeCount + 1);
  }

  /** Carries out chains that cost at most `mostPrice` until there is none. False when the search gave up before. */
  settle(mostPrice = FAR - 1): boolean {
    if (this.#matching.isShort) this.#matching.listPrevious();
    for (let round = 0; round <= this.#cellOf.length; round++) {
      if (!this.#matching.isShort) return true;
      this.#listCells();
      const price = this.#label();
      if (this.#budget <= 0) return false;
      if (price > mostPrice) return true;
      if (this.#carryOutAll(price) || this.#carryOutLabelled(price)) continue;
      // The cheapest chain visits a slot twice and is not legal as a whole.
      this.#isStrict = true;
      const strictPrice = this.#label();
      this.#isStrict = false;
      if (strictPrice > mostPrice || !this.#carryOutLabelled(strictPrice)) return false;
    }
    return false;
  }

  #listCells(): void {
    const { cells, fresh } = this.#matching;
    const from = this.#from.fill(0);
    const listOf = (at: number): number => (cells[at] === VACANT ? 2 * this.#vacancy : 2 * cells[at]! + 1 - fresh[at]!);
    for (let at = 0; at < cells.length; at++) from[listOf(at) + 2]!++;
    for (let i = 2; i < from.length; i++) from[i]! += from[i - 1]!;
    for (let at = 0; at < cells.length; at++) this.#cellOf[from[listOf(at) + 1]!++] = at;
    this.#budget -= cells.length;
  }

  /** Labels every node with the price at which a chain comes to it. The least price of an end of chains; FAR when there is none. */
  #label(): number {
    const { held, target } = this.#matching;
    const distance = this.#distance.fill(FAR);
    this.#parentNode.fill(NOBODY);
    this.#scout.fill(NOBODY);
    const queue: number[] = [];
    const queued = new Uint8Array(this.#vacancy);
    for (let node = 0; node < this.#vacancy; node++) {
      if (held[node]! >= target[node]!) continue;
      distance[node] = 0;
      queued[node] = 1;
      queue.push(node);
    }
    for (let head = 0; head < queue.length; head++) {
      if (head > MOST_VISITS * this.#vacancy) this.#budget = 0;
      if (this.#budget <= 0) return FAR;
      const node = queue[head]!;
      queued[node] = 0;
      this.#lookAtHeld(node, queue, queued);
      this.#lookAtOthers(node, queue, queued);
    }
    let price = distance[this.#vacancy]!;
    for (let node = 0; node < this.#vacancy; node++) if (distance[node]! < price && held[node]! > target[node]!) price = distance[node]!;
    return price;
  }

  /** Slots that `node` held before: entering one is free. */
  #lookAtHeld(node: number, queue: number[], queued: Uint8Array): void {
    const { previousAt, previousSlots, fresh } = this.#matching;
    const distance = this.#distance[node]!;
    for (let i = previousAt[node]!; i < previousAt[node + 1]!; i++) {
      const base = previousSlots[i]! * this.#replicaCount;
      for (let at = base; at < base + this.#replicaCount; at++) this.#reach(node, at, distance - fresh[at]!, queue, queued);
    }
    this.#budget -= (previousAt[node + 1]! - previousAt[node]!) * this.#replicaCount;
  }

  /** Slots that `node` did not hold before. */
  #lookAtOthers(node: number, queue: number[], queued: Uint8Array): void {
    const from = this.#from;
    const distance = this.#distance[node]!;
    let isWorthwhile = false;
    for (let other = 0; other <= this.#vacancy && !isWorthwhile; other++)
      if (this.#distance[other]! > distance) isWorthwhile = from[2 * other]! < from[2 * other + 2]!;
    if (!isWorthwhile) return;
    const rack = this.#topology.rackOf[node]!;
    const scout = this.#scout[rack]!;
    if (scout !== NOBODY && this.#scoutDistance[rack]! <= distance) {
      for (let i = from[2 * scout]!; i < from[2 * scout + 2]!; i++) {
        const base = this.#cellOf[i]! - (this.#cellOf[i]! % this.#replicaCount);
        for (let at = base; at < base + this.#replicaCount; at++)
          this.#reach(node, at, distance + 1 - this.#matching.fresh[at]!, queue, queued);
      }
      this.#budget -= (from[2 * scout + 2]! - from[2 * scout]!) * this.#replicaCount;
      return;
    }
    for (let other = 0; other < this.#vacancy; other++) {
      if (other === node) continue;
      this.#tryCells(node, from[2 * other]!, from[2 * other + 1]!, distance, queue, queued);
      this.#tryCells(node, from[2 * other + 1]!, from[2 * other + 2]!, distance + 1, queue, queued);
    }
    this.#tryCells(node, from[2 * this.#vacancy]!, from[2 * this.#vacancy + 1]!, distance + 1, queue, queued);
    if (this.#topology.rule.admits !== undefined) return;
    this.#scout[rack] = node;
    this.#scoutDistance[rack] = distance;
  }

  /** The first of some cells, all of one node, that `node` may take. */
  #tryCells(node: number, from: number, to: number, price: number, queue: number[], queued: Uint8Array): void {
    let i = from;
    while (i < to && !this.#reach(node, this.#cellOf[i]!, price, queue, queued)) {
      if (price >= this.#distance[this.#vertexAt(this.#cellOf[i]!)]!) break;
      i++;
    }
    this.#budget -= i - from + 1;
  }

  /** Comes to whoever is in the cell, when that is cheaper than it was and `node` may displace it. */
  #reach(node: number, at: number, price: number, queue: number[], queued: Uint8Array): boolean {
    const other = this.#vertexAt(at);
    if (price >= this.#distance[other]!) return false;
    const base = at - (at % this.#replicaCount);
    if (!this.#topology.canReplace(this.#matching.cells, base, at, node)) return false;
    if (this.#isStrict && this.#passes(node, base)) return false;
    this.#distance[other] = price;
    this.#parentNode[other] = node;
    this.#parentCell[other] = at;
    if (other !== this.#vacancy && queued[other] === 0) {
      queued[other] = 1;
      queue.push(other);
    }
    return true;
  }

  #vertexAt(at: number): number {
    const node = this.#matching.cells[at]!;
    return node === VACANT ? this.#vacancy : node;
  }

  /** Whether the chain that leads to `node` goes through the slot at `base`. */
  #passes(node: number, base: number): boolean {
    for (let steps = 0; this.#parentNode[node] !== NOBODY; steps++) {
      const cell = this.#parentCell[node]!;
      if (steps > this.#vacancy || cell - (cell % this.#replicaCount) === base) return true;
      node = this.#parentNode[node]!;
    }
    return false;
  }

  /** Whether a chain of this price may end in the cell. */
  #isEnd(at: number, price: number): boolean {
    const { cells, held, target } = this.#matching;
    const node = cells[at]!;
    return node === VACANT || (held[node]! > target[node]! && this.#distance[node] === price);
  }

  /** As many chains of this price as a search in depth finds; each exchange is on a cheapest chain. */
  #carryOutAll(price: number): boolean {
    const { cells, held, target, previousAt } = this.#matching;
    const closed = this.#closed.fill(0);
    this.#atPrevious.set(previousAt.subarray(0, this.#vacancy));
    this.#atNode.fill(0);
    this.#atCell.fill(0);
    let isAny = false;
    for (let start = 0; start < this.#vacancy; start++) {
      while (this.#distance[start] === 0 && held[start]! < target[start]! && closed[start] === 0) {
        const path = [start];
        const pathCells: number[] = [];
        closed[start] = 1;
        while (path.length > 0) {
          const cell = this.#nextCell(path.at(-1)!, pathCells);
          if (cell === NOBODY) {
            path.pop();
            pathCells.pop();
            continue;
          }
          pathCells.push(cell);
          if (this.#isEnd(cell, price)) break;
          closed[cells[cell]!] = 1;
          path.push(cells[cell]!);
        }
        if (path.length === 0) break;
        for (let i = path.length - 1; i >= 0; i--) this.#matching.set(pathCells[i]!, path[i]!);
        for (const node of path) closed[node] = 0;
        isAny = true;
      }
    }
    return isAny;
  }

  /** The next cell that `node` can enter on a cheapest chain, in a slot this chain has not been to; NOBODY when there is none. */
  #nextCell(node: number, pathCells: readonly number[]): number {
    const { cells, fresh, previousAt, previousSlots } = this.#matching;
    const from = this.#from;
    const distance = this.#distance[node]!;
    for (let i = this.#atPrevious[node]!; i < previousAt[node + 1]!; i++) {
      this.#atPrevious[node] = i;
      this.#budget--;
      const base = previousSlots[i]! * this.#replicaCount;
      for (let at = base; at < base + this.#replicaCount; at++) {
        const other = this.#vertexAt(at);
        if (this.#closed[other] === 0 && this.#distance[other] === distance - fresh[at]! && this.#mayEnter(node, at, pathCells)) return at;
      }
    }
    this.#atPrevious[node] = previousAt[node + 1]!;
    for (let other = this.#atNode[node]!; other <= this.#vacancy; other++) {
      if (other !== this.#atNode[node]) {
        this.#atNode[node] = other;
        this.#atCell[node] = 0;
      }
      const price = this.#distance[other]! - distance;
      if (this.#closed[other] === 1 || (price !== 1 && (price !== 0 || other === this.#vacancy))) continue;
      const list = other === this.#vacancy ? 2 * other : 2 * other + price;
      const id = other === this.#vacancy ? VACANT : other;
      for (let i = Math.max(from[list]!, this.#atCell[node]!); i < from[list + 1]!; i++) {
        this.#atCell[node] = i;
        this.#budget--;
        const at = this.#cellOf[i]!;
        if (cells[at] === id && fresh[at] === 1 - price && this.#mayEnter(node, at, pathCells)) return at;
      }
    }
    this.#atNode[node] = this.#vacancy + 1;
    return NOBODY;
  }

  #mayEnter(node: number, at: number, pathCells: readonly number[]): boolean {
    const base = at - (at % this.#replicaCount);
    if (!this.#topology.canReplace(this.#matching.cells, base, at, node)) return false;
    return !pathCells.some((cell) => cell - (cell % this.#replicaCount) === base);
  }

  /** The chain by which the labels came to an end of this price; it may go through a slot twice. */
  #carryOutLabelled(price: number): boolean {
    const { held, target, cells } = this.#matching;
    let end = this.#distance[this.#vacancy] === price ? this.#vacancy : NOBODY;
    for (let node = 0; node < this.#vacancy && end === NOBODY; node++)
      if (this.#distance[node] === price && held[node]! > target[node]!) end = node;
    const chain: Link[] = [];
    while (end !== NOBODY && this.#parentNode[end] !== NOBODY && chain.length <= this.#vacancy) {
      const cell = this.#parentCell[end]!;
      const node = this.#parentNode[end]!;
      chain.push({ cell, node, out: cells[cell]! });
      end = node;
    }
    return chain.length > 0 && this.#matching.carryOut(chain);
  }
}
