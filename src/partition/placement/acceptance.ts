import type { Offers } from './offers.ts';
import { type Topology, VACANT } from './topology.ts';

const UNASKED = 0;
const HELD = 1;
const DROPPED = 2;

/**
 * Deferred acceptance: each slot asks nodes best score first until enough hold it; a node above its cap drops the slot it ranks worst, which
 * then asks on. Every slot keeps the best legal replicas among the nodes that have not refused it, so the outcome is the one stable
 * matching that is best for the slots, in whatever order they ask (Gale & Shapley; Roth for limits that nest).
 */
export class Acceptance {
  readonly #topology: Topology;
  readonly #offers: Offers;
  readonly #caps: Int32Array;
  readonly #cells: Int32Array;
  readonly #held: Int32Array;
  readonly #state: Uint8Array;
  /** The worst near offer a full node holds. */
  readonly #worst: Int32Array;
  readonly #queue: number[];
  readonly #farState: number[] = [];
  /** Offers beyond the horizon that a node holds, worst first. */
  readonly #farHeld = new Map<number, number[]>();

  constructor(topology: Topology, offers: Offers, caps: Int32Array, slotCount: number) {
    this.#topology = topology;
    this.#offers = offers;
    this.#caps = caps;
    this.#cells = new Int32Array(slotCount * topology.replicaCount).fill(VACANT);
    this.#held = new Int32Array(caps.length);
    this.#state = new Uint8Array(offers.slotOf.length);
    this.#worst = new Int32Array(caps.length);
    this.#queue = Array.from({ length: slotCount }, (_, slot) => slotCount - 1 - slot);
  }

  /** The cells of each slot in order of acceptance; VACANT where a slot ran out of offers. */
  settle(): Int32Array {
    for (let slot = this.#queue.pop(); slot !== undefined; slot = this.#queue.pop()) this.#fill(slot);
    return this.#cells;
  }

  #fill(slot: number): void {
    const { bySlot, slotStart, nodeOf, nearCount } = this.#offers;
    let at = this.#nextVacant(slot);
    for (let i = slotStart[slot]!; i < slotStart[slot + 1]! && at >= 0; i++) {
      const offer = bySlot[i]!;
      if (this.#state[offer] === UNASKED && this.#ask(slot, at, nodeOf[offer]!, offer)) at = this.#nextVacant(slot);
    }
    for (const rest of [false, true]) {
      if (at < 0) return;
      for (const offer of this.#offers.far(slot, rest)) {
        if (at < 0) return;
        if (this.#farState[offer - nearCount] === undefined && this.#ask(slot, at, this.#offers.node(offer), offer))
          at = this.#nextVacant(slot);
      }
    }
  }

  #nextVacant(slot: number): number {
    const { replicaCount } = this.#topology;
    for (let at = slot * replicaCount; at < (slot + 1) * replicaCount; at++) if (this.#cells[at] === VACANT) return at;
    return -1;
  }

  #ask(slot: number, at: number, node: number, offer: number): boolean {
    if (!this.#topology.canReplace(this.#cells, slot * this.#topology.replicaCount, at, node)) return false;
    if (!this.#accept(node, offer)) return false;
    this.#cells[at] = node;
    return true;
  }

  #accept(node: number, offer: number): boolean {
    const { nearCount } = this.#offers;
    const cap = this.#caps[node]!;
    if (this.#held[node]! < cap) {
      this.#hold(node, offer);
      if (++this.#held[node]! === cap) this.#worst[node] = this.#worstFrom(node, this.#offers.start[node + 1]! - 1);
      return true;
    }
    const far = this.#farHeld.get(node);
    const worst = far?.[0] ?? this.#worst[node]!;
    if (cap === 0 || (worst < nearCount ? offer > worst : offer >= nearCount && this.#offers.rank(offer) > this.#offers.rank(worst))) {
      if (offer < nearCount) this.#state[offer] = DROPPED;
      else this.#farState[offer - nearCount] = DROPPED;
      return false;
    }
    this.#hold(node, offer);
    if (worst < nearCount) {
      this.#state[worst] = DROPPED;
      this.#worst[node] = this.#worstFrom(node, worst - 1);
    } else {
      this.#farState[worst - nearCount] = DROPPED;
      far!.splice(far!.indexOf(worst), 1);
      if (offer < nearCount && offer > this.#worst[node]!) this.#worst[node] = offer;
    }
    const slot = this.#offers.slot(worst);
    this.#cells[this.#cells.indexOf(node, slot * this.#topology.replicaCount)] = VACANT;
    this.#queue.push(slot);
    return true;
  }

  #hold(node: number, offer: number): void {
    const { nearCount } = this.#offers;
    if (offer < nearCount) {
      this.#state[offer] = HELD;
      return;
    }
    this.#farState[offer - nearCount] = HELD;
    const far = this.#farHeld.get(node) ?? [];
    far.push(offer);
    far.sort((a, b) => this.#offers.rank(b) - this.#offers.rank(a));
    this.#farHeld.set(node, far);
  }

  /** The worst near offer held, at or before `offer`; below the node's first when it holds none. */
  #worstFrom(node: number, offer: number): number {
    while (offer >= this.#offers.start[node]! && this.#state[offer] !== HELD) offer--;
    return offer;
  }
}
