/**
 * Slots being filled: the cells, the counts, and the search for chains of exchanges that put one more replica where it should be.
 *
 * A chain: a node that has too few enters a slot; whom it displaces enters another slot, and so on, until a vacant cell is filled or
 * a node is displaced that has too many. Limits per zone and rack nest, so each slot is a basis of a (laminar) matroid and a shortest
 * chain of legal exchanges, no slot twice, is legal as a whole.
 */
import { assert } from '../../base/assert.ts';
import { type Topology, VACANT } from './topology.ts';

/**
 * What a chain may do.
 * - `kept`: every node enters only slots it held before. Costs nothing.
 * - `direct`: nodes that gain keep all they held; the others enter only slots they held. Costs one move.
 * - `anyhow`: everything that is legal, with the fewest exchanges.
 */
export type ChainKind = 'kept' | 'direct' | 'anyhow';

/**
 * Slots that the searches of one kind may look at: some tenths of a second. Counted and not timed, so that every machine stops at the same
 * place and makes the same table. What `direct` has not found, least-chains.ts finds; the last kind places what is left and may look longer.
 */
const SEARCH_BUDGET: Readonly<Record<ChainKind, number>> = { kept: 1 << 23, direct: 1 << 21, anyhow: 1 << 26 };

/** Slots looked at for each node of a search for a quick chain. */
const QUICK_LOOKS = 1_024;

/** Slots looked at for one more chain of a kind just carried out: where they are rarer than that, a search of their own costs less. */
const REPEAT_LOOKS = 2_048;

/** The end of a chain: who enters which cell last. */
interface ChainEnd {
  readonly cell: number;
  readonly node: number;
}

/** One exchange: `node` enters `cell`, where `out` is. The first link of a chain is its last exchange. */
export interface Link {
  readonly cell: number;
  readonly node: number;
  readonly out: number;
}

/** How many cells each node has. By index: the iterator of a large array takes several times as long. */
export function tally(cells: Int32Array, nodeCount: number): Int32Array {
  const counts = new Int32Array(nodeCount);
  for (let at = 0; at < cells.length; at++) if (cells[at] !== VACANT) counts[cells[at]!]!++;
  return counts;
}

export class Matching {
  readonly topology: Topology;
  readonly slotCount: number;
  readonly replicaCount: number;
  /** `slotCount × replicaCount` node numbers or VACANT. */
  readonly cells: Int32Array;
  /** What each slot held before, `previousCount` numbers each; VACANT where that node is gone. */
  readonly previous: Int32Array;
  readonly previousCount: number;
  /** Cells whose node was not in the slot before. */
  readonly fresh: Uint8Array;
  readonly held: Int32Array;
  readonly target: Int32Array;
  /** Nodes that must gain: their target is above what they held. */
  readonly gains: Uint8Array;
  /** Slots that searches of the present kind may still look at before they give up and leave the rest to the next kind. */
  #budget = 0;
  #twice = false;
  /** Slots that a search may look at for each node. */
  #lookLimit = Infinity;
  /** The slots that chains of the present kind can go through. */
  #slots: Int32Array = new Int32Array(0);
  /** The slots where such chains can end, and some where they could. */
  #ends: Int32Array = new Int32Array(0);
  /** Nodes that could enter none of the ends. */
  readonly #endless: Uint8Array;
  /** Nodes the present search has not come to. */
  #unreached = 0;
  /** The slots that node n held before: `previousSlots[previousAt[n]] …`. Empty until {@link listPrevious}. */
  previousAt: Int32Array = new Int32Array(0);
  previousSlots: Int32Array = new Int32Array(0);
  readonly #reached: Uint8Array;
  readonly #parentNode: Int32Array;
  readonly #parentCell: Int32Array;
  /** Where the last search over all slots of a node found something: the next one starts there. */
  readonly #scanFrom: Int32Array;

  /** `cells` hold nothing but previous replicas. */
  constructor(topology: Topology, cells: Int32Array, previous: Int32Array, target: Int32Array) {
    const nodeCount = topology.nodes.length;
    this.topology = topology;
    this.replicaCount = topology.replicaCount;
    this.slotCount = cells.length / topology.replicaCount;
    this.cells = cells;
    this.previous = previous;
    this.previousCount = previous.length / this.slotCount;
    this.target = target;
    this.held = tally(cells, nodeCount);
    this.fresh = new Uint8Array(cells.length);
    this.gains = Uint8Array.from(target, (wanted, node) => (wanted > this.held[node]! ? 1 : 0));
    this.#reached = new Uint8Array(nodeCount);
    this.#parentNode = new Int32Array(nodeCount);
    this.#parentCell = new Int32Array(nodeCount);
    this.#scanFrom = new Int32Array(nodeCount);
    this.#endless = new Uint8Array(nodeCount);
  }

  /** Some node has too few. */
  get isShort(): boolean {
    for (let node = 0; node < this.target.length; node++) if (this.held[node]! < this.target[node]!) return true;
    return false;
  }

  /** Makes the list of previous slots, once. */
  listPrevious(): void {
    if (this.previousAt.length > 0) return;
    const nodeCount = this.target.length;
    const held = tally(this.previous, nodeCount);
    this.previousAt = new Int32Array(nodeCount + 1);
    for (let node = 0; node < nodeCount; node++) this.previousAt[node + 1] = this.previousAt[node]! + held[node]!;
    this.previousSlots = new Int32Array(this.previousAt[nodeCount]!);
    const next = this.previousAt.slice();
    for (let at = 0; at < this.previous.length; at++) {
      const node = this.previous[at]!;
      if (node !== VACANT) this.previousSlots[next[node]!++] = Math.floor(at / this.previousCount);
    }
  }

  /** Puts `node` (or nobody) into a cell. */
  set(at: number, node: number): void {
    const out = this.cells[at]!;
    if (out !== VACANT) this.held[out]!--;
    if (node !== VACANT) this.held[node]!++;
    this.cells[at] = node;
    this.fresh[at] = node !== VACANT && !this.wasIn(Math.floor(at / this.replicaCount), node) ? 1 : 0;
  }

  wasIn(slot: number, node: number): boolean {
    const base = slot * this.previousCount;
    for (let i = base; i < base + this.previousCount; i++) if (this.previous[i] === node) return true;
    return false;
  }

  /** The first of what each slot held before; VACANT where that node is gone. */
  previousPrimaries(): Int32Array {
    const primaries = new Int32Array(this.slotCount);
    for (let slot = 0; slot < primaries.length; slot++) primaries[slot] = this.previous[slot * this.previousCount]!;
    return primaries;
  }

  isIn(slot: number, node: number): boolean {
    const base = slot * this.replicaCount;
    for (let i = base; i < base + this.replicaCount; i++) if (this.cells[i] === node) return true;
    return false;
  }

  /**
   * Carries out chains of one kind until there is none; each is repeated over other slots as often as it goes. False when the budget was
   * used up first.
   */
  settle(kind: ChainKind): boolean {
    if (!this.isShort) return true;
    this.listPrevious();
    this.#budget = SEARCH_BUDGET[kind];
    this.#slots = this.#slotsWhere((at) => kind !== 'direct' || this.#isEnd(at) || this.#movable(at));
    this.#settleEach(kind);
    for (let done = 0; done <= this.cells.length; done++) {
      if (kind !== 'kept' && done % 64 === 0) this.#renewEnds();
      const chain = this.#find(kind);
      if (chain === undefined) return this.#budget > 0;
      this.#repeat(kind, chain);
    }
    assert(false, () => `more than ${this.cells.length} chains of kind ${kind}`);
  }

  /**
   * Chains that start at one node are the quickest to find: it reaches nearly all others in a step or two.
   * First by looking at few slots, then at all. Where a node finds nothing, those it reached find nothing either.
   */
  #settleEach(kind: ChainKind): void {
    const hopeless = new Uint8Array(this.target.length);
    let done = 0;
    for (let node = 0; node < this.target.length; node++)
      while (this.held[node]! < this.target[node]! && hopeless[node] === 0) {
        if (kind !== 'kept' && done++ % 64 === 0) this.#renewEnds();
        this.#lookLimit = QUICK_LOOKS;
        let chain = this.#find(kind, node);
        this.#lookLimit = Infinity;
        chain ??= this.#find(kind, node);
        if (this.#budget <= 0) return;
        if (chain !== undefined) this.#repeat(kind, chain);
        else for (const [other, reached] of this.#reached.entries()) if (reached === 1) hopeless[other] = 1;
      }
  }

  /**
   * Finds a chain, from `start` or from any node that has too few, and carries it out. One that visits a slot twice may turn out not to be
   * legal as a whole: then that is forbidden.
   */
  #find(kind: ChainKind, start?: number): readonly Link[] | undefined {
    for (const twice of [true, false]) {
      this.#twice = twice;
      const end = this.#search(kind, start);
      if (end === undefined) return undefined;
      const chain = this.#chainTo(end.cell, end.node);
      if (this.carryOut(chain)) return chain;
    }
    return undefined;
  }

  /** The end of a chain with the fewest exchanges, or undefined when there is no chain. */
  #search(kind: ChainKind, start?: number): ChainEnd | undefined {
    const { held, target } = this;
    const reached = this.#reached.fill(0);
    const queue: number[] = [];
    for (let node = 0; node < held.length; node++) {
      if (held[node]! >= target[node]! || (start ?? node) !== node) continue;
      reached[node] = 1;
      this.#parentNode[node] = VACANT;
      queue.push(node);
    }
    this.#budget -= held.length;
    this.#unreached = held.length - queue.length;
    let slots = this.#slots;
    let unreached = this.#unreached;
    for (let head = 0; head < queue.length; head++) {
      if (this.#budget <= 0) return undefined;
      const node = queue[head]!;
      if (kind === 'kept' || (kind === 'direct' && this.gains[node] === 0)) {
        this.#budget -= this.previousAt[node + 1]! - this.previousAt[node]!;
        for (let i = this.previousAt[node]!; i < this.previousAt[node + 1]!; i++) {
          const cell = this.#enter(kind, node, this.previousSlots[i]!, queue);
          if (cell >= 0) return { cell, node };
        }
        continue;
      }
      if (this.#endless[node] === 0) {
        const cell = this.#enterAny(kind, node, this.#ends, queue);
        if (cell >= 0) return { cell, node };
        if (this.#twice) this.#endless[node] = 1;
      }
      // Beyond ends, slots only lead to further nodes; when every node is reached, there is nothing to find.
      if (this.#unreached === 0) continue;
      const cell = this.#enterAny(kind, node, slots, queue);
      if (cell >= 0) return { cell, node };
      if (this.#lookLimit === Infinity && 2 * this.#unreached < unreached) {
        this.#budget -= slots.length;
        slots = this.#slotsWhere((at) => this.cells[at] !== VACANT && reached[this.cells[at]!] === 0, slots);
        unreached = this.#unreached;
      }
    }
    return undefined;
  }

  /** The slots of `among` (of all) with a cell for which `wanted` holds, in order. */
  #slotsWhere(wanted: (at: number) => boolean, among?: Int32Array): Int32Array {
    const slotCount = among?.length ?? this.slotCount;
    const slots = new Int32Array(slotCount);
    let count = 0;
    for (let i = 0; i < slotCount; i++) {
      const slot = among?.[i] ?? i;
      const base = slot * this.replicaCount;
      for (let at = base; at < base + this.replicaCount; at++) {
        if (!wanted(at)) continue;
        slots[count++] = slot;
        break;
      }
    }
    return slots.subarray(0, count);
  }

  /** Ends only become fewer, so a list of them, and of who can enter none, serves some searches. */
  #renewEnds(): void {
    this.#ends = this.#slotsWhere((at) => this.#isEnd(at));
    this.#endless.fill(0);
  }

  /** A chain can end here: the cell is vacant or its node has too many. */
  #isEnd(at: number): boolean {
    const node = this.cells[at]!;
    return node === VACANT || this.held[node]! > this.target[node]!;
  }

  /** {@link #enter} for a list of slots, from where the node was successful last. */
  #enterAny(kind: ChainKind, node: number, slots: Int32Array, queue: number[]): number {
    const first = this.#scanFrom[node]! % Math.max(1, slots.length);
    const count = slots === this.#ends ? slots.length : Math.min(slots.length, this.#lookLimit);
    for (let i = 0; i < count; i++) {
      const place = first + i < slots.length ? first + i : first + i - slots.length;
      const cell = this.#enter(kind, node, slots[place]!, queue);
      if (cell < 0 && (this.#unreached > 0 || slots === this.#ends)) continue;
      if (cell >= 0) this.#scanFrom[node] = place;
      this.#budget -= i;
      return cell;
    }
    this.#budget -= count;
    return -1;
  }

  /** Looks at every way `node` can enter `slot`. The cell where a chain can end; else −1. */
  #enter(kind: ChainKind, node: number, slot: number, queue: number[]): number {
    const { cells, replicaCount, topology } = this;
    const base = slot * replicaCount;
    for (let at = base; at < base + replicaCount; at++) {
      const out = cells[at]!;
      const isEnd = this.#isEnd(at);
      if (!isEnd && (this.#reached[out] === 1 || (kind === 'direct' && !this.#movable(at)))) continue;
      if (!topology.canReplace(cells, base, at, node) || (!this.#twice && this.#passes(node, slot))) continue;
      if (isEnd) return at;
      this.#unreached--;
      this.#reached[out] = 1;
      this.#parentNode[out] = node;
      this.#parentCell[out] = at;
      queue.push(out);
    }
    return -1;
  }

  /** In a direct chain: a copy just made can go elsewhere, and a node that lost slots can go back to one. All else stays. */
  #movable(at: number): boolean {
    const node = this.cells[at]!;
    if (this.gains[node] === 1) return this.fresh[at] === 1;
    return this.held[node]! < this.previousAt[node + 1]! - this.previousAt[node]!;
  }

  /** Whether the chain that leads to `node` goes through `slot`. */
  #passes(node: number, slot: number): boolean {
    let one = node;
    for (let steps = 0; this.#parentNode[one] !== VACANT; steps++) {
      if (steps > this.held.length) return true;
      if (Math.floor(this.#parentCell[one]! / this.replicaCount) === slot) return true;
      one = this.#parentNode[one]!;
    }
    return false;
  }

  /** The links from the last back to the first, as the search left them. */
  #chainTo(cell: number, node: number): Link[] {
    const chain: Link[] = [];
    while (node !== VACANT && chain.length <= this.held.length) {
      chain.push({ cell, node, out: this.cells[cell]! });
      cell = this.#parentCell[node]!;
      node = this.#parentNode[node]!;
    }
    return chain;
  }

  /** False, with nothing changed, when the chain is not legal as a whole. */
  carryOut(chain: readonly Link[]): boolean {
    for (const [done, { cell, node, out }] of chain.entries()) {
      if (this.cells[cell] === out && this.topology.canReplace(this.cells, cell - (cell % this.replicaCount), cell, node)) {
        this.set(cell, node);
        continue;
      }
      for (const undone of chain.slice(0, done).reverse()) this.set(undone.cell, undone.out);
      return false;
    }
    return true;
  }

  /** The same nodes in the same roles at the same price, over other slots, until one of the links finds none. */
  #repeat(kind: ChainKind, chain: readonly Link[]): void {
    const first = chain.at(-1)!.node;
    const nextSlot = chain.map((link) => Math.floor(link.cell / this.replicaCount));
    const prices = chain.map((link) => this.#price(kind, link, Math.floor(link.cell / this.replicaCount)));
    const scanned = chain.map(() => 0);
    const end = chain[0]!.out;
    while (this.held[first]! < this.target[first]! && (end === VACANT || this.held[end]! > this.target[end]!)) {
      const links: Link[] = [];
      let looks = 0;
      for (const [i, link] of chain.entries()) {
        let cell = -1;
        while (cell < 0) {
          if (scanned[i]! >= this.slotCount || ++looks > REPEAT_LOOKS) return;
          scanned[i]!++;
          nextSlot[i] = nextSlot[i]! + 1 === this.slotCount ? 0 : nextSlot[i]! + 1;
          const slot = nextSlot[i]!;
          if (links.some((other) => Math.floor(other.cell / this.replicaCount) === slot)) continue;
          const base = slot * this.replicaCount;
          for (let at = base; at < base + this.replicaCount && cell < 0; at++)
            if (
              this.cells[at] === link.out &&
              this.topology.canReplace(this.cells, base, at, link.node) &&
              this.#price(kind, link, slot) === prices[i]
            )
              cell = at;
        }
        links.push({ cell, node: link.node, out: link.out });
      }
      if (!this.carryOut(links)) return;
    }
  }

  /** Tells apart exchanges of which the kind of chain may allow one and not the other. */
  #price(kind: ChainKind, { node, out }: Link, slot: number): number {
    if (kind === 'anyhow') return 0;
    return (this.wasIn(slot, node) ? 1 : 0) + (out !== VACANT && this.wasIn(slot, out) ? 2 : 0);
  }
}
