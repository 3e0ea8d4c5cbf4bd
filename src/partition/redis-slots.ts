/**
 * The slots of a Redis Cluster and who holds them: 16,384 slots by CRC16, hash tags respected.
 *
 * Promise: {@link RedisSlots.slot} is what every Redis, KeyDB and Valkey server answers to CLUSTER KEYSLOT. A node that joins takes from each other only what
 * that has above its new target, one that leaves gives its own slots away: no change moves more slots than the targets demand, and
 * afterwards every node is within one slot of its share of the weights. Slots stay in few ranges.
 *
 * Cost: a look-up is the CRC of the key or its tag and one read; a change is one pass over the slots.
 * Take it to talk to a cluster, or to plan one. For replicas over zones, plans and versions build a `Keyspace` with 16,384 slots instead.
 *
 * @see Redis Cluster specification; checked against a real server.
 */
import { KeyfleetError } from '../base/errors.ts';
import type { KeyInput } from './hasher.ts';
import { checkNodes, compareIds, noNodes, type PartitionNode, unknownNode, weightOf } from './node.ts';
import { checkReplicaCount, type MutablePartitioner, type NodeChange } from './partitioner.ts';
import { REDIS_SLOT_COUNT, redisSlot } from './redis-slot.ts';

/** Slots `from` … `to` − 1. */
export interface SlotRange {
  readonly from: number;
  readonly to: number;
}

export interface OwnedSlots<N> extends SlotRange {
  readonly node: N;
}

export interface SlotMove<N> extends SlotRange {
  readonly source: N;
  readonly target: N;
}

export interface SlotChange<N> extends NodeChange {
  /** In order of slot. */
  readonly moves: readonly SlotMove<N>[];
}

const NOBODY = 0xffff;

export class RedisSlots<N extends PartitionNode = PartitionNode> implements MutablePartitioner<N> {
  #nodes: readonly N[];
  /** For each slot the number of its node. */
  #owners: Uint16Array;

  /**
   * @param nodes - Given one range each in this order, by weight, as `redis-cli --cluster create` does; or with the ranges of `assigned`.
   * @param assigned - Who holds what now, as CLUSTER SLOTS tells it; every slot once, by ids of `nodes`.
   * @throws KF_NO_NODES, KF_DUPLICATE_NODE, KF_BAD_WEIGHT, KF_TOO_MANY_NODES; KF_UNKNOWN_NODE; KF_SLOTS_INVALID when a slot is missing or held twice.
   */
  constructor(nodes: Iterable<N>, assigned?: Iterable<SlotRange & { readonly id: string }>) {
    this.#nodes = checked([...nodes]);
    this.#owners = new Uint16Array(REDIS_SLOT_COUNT).fill(NOBODY);
    if (!assigned) {
      this.#owners = shareOut(this.#owners, this.#nodes);
      return;
    }
    for (const { from, to, id } of assigned) {
      checkRange({ from, to });
      const owner = indexOf(this.#nodes, id);
      if (this.#owners.subarray(from, to).some((held) => held !== NOBODY))
        throw new KeyfleetError('KF_SLOTS_INVALID', `slots ${from} to ${to - 1} of ${id} are held by another node too`);
      this.#owners.fill(owner, from, to);
    }
    const missing = this.#owners.indexOf(NOBODY);
    if (missing >= 0) throw new KeyfleetError('KF_SLOTS_INVALID', `slot ${missing} is held by no node`);
  }

  get nodes(): readonly N[] {
    return this.#nodes;
  }

  /** 0 … 16,383. */
  slot(key: KeyInput): number {
    return redisSlot(key);
  }

  owner(key: KeyInput): N {
    return this.#nodes[this.#owners[redisSlot(key)]!]!;
  }

  /** @throws KF_SLOTS_INVALID when there is no such slot. */
  ownerOfSlot(slot: number): N {
    checkRange({ from: slot, to: slot + 1 });
    return this.#nodes[this.#owners[slot]!]!;
  }

  /** The owner, then the owners of the slots that follow. A real cluster pairs each master with replicas of its own instead. */
  replicas(key: KeyInput, count: number, out: N[] = []): N[] {
    checkReplicaCount(count);
    out.length = 0;
    const start = redisSlot(key);
    for (let i = 0; i < REDIS_SLOT_COUNT && out.length < count && out.length < this.#nodes.length; i++) {
      const node = this.#nodes[this.#owners[(start + i) % REDIS_SLOT_COUNT]!]!;
      if (!out.includes(node)) out.push(node);
    }
    return out;
  }

  /** All ranges in order of slot, neighbours of one node joined. */
  get ranges(): OwnedSlots<N>[] {
    const ranges: OwnedSlots<N>[] = [];
    for (let from = 0, to = 1; from < REDIS_SLOT_COUNT; from = to, to++) {
      while (to < REDIS_SLOT_COUNT && this.#owners[to] === this.#owners[from]) to++;
      ranges.push({ from, to, node: this.#nodes[this.#owners[from]!]! });
    }
    return ranges;
  }

  /** How many slots a node holds. @throws KF_UNKNOWN_NODE. */
  slotCount(id: string): number {
    const owner = indexOf(this.#nodes, id);
    return this.#owners.reduce((count, held) => count + (held === owner ? 1 : 0), 0);
  }

  add(node: N): SlotChange<N> {
    return this.#rebalance([...this.#nodes, node]);
  }

  remove(id: string): SlotChange<N> {
    indexOf(this.#nodes, id);
    return this.#rebalance(this.#nodes.filter((node) => node.id !== id));
  }

  /** Any number of changes at once: the nodes that there shall be, known by id. */
  change(nodes: Iterable<N>): SlotChange<N> {
    return this.#rebalance([...nodes]);
  }

  /** Gives slots to a node, whatever its share. @throws KF_UNKNOWN_NODE, KF_SLOTS_INVALID. */
  move(range: SlotRange, id: string): SlotChange<N> {
    checkRange(range);
    const target = indexOf(this.#nodes, id);
    const owners = this.#owners.slice().fill(target, range.from, range.to);
    return this.#install(this.#nodes, owners);
  }

  #rebalance(nodes: readonly N[]): SlotChange<N> {
    checked(nodes);
    const renumbered = new Map(nodes.map((node, index) => [node.id, index]));
    const kept = this.#owners.map((owner) => renumbered.get(this.#nodes[owner]!.id) ?? NOBODY);
    return this.#install(nodes, shareOut(kept, nodes));
  }

  #install(nodes: readonly N[], owners: Uint16Array): SlotChange<N> {
    const moves: SlotMove<N>[] = [];
    let moved = 0;
    for (let slot = 0; slot < REDIS_SLOT_COUNT; slot++) {
      const source = this.#nodes[this.#owners[slot]!]!;
      const target = nodes[owners[slot]!]!;
      if (source.id === target.id) continue;
      moved++;
      const last = moves.at(-1);
      if (last && last.to === slot && last.source === source && last.target === target) moves[moves.length - 1] = { ...last, to: slot + 1 };
      else moves.push({ from: slot, to: slot + 1, source, target });
    }
    this.#nodes = nodes;
    this.#owners = owners;
    return { movedShare: moved / REDIS_SLOT_COUNT, moves };
  }
}

function checked<N extends PartitionNode>(nodes: readonly N[]): readonly N[] {
  checkNodes(nodes);
  if (nodes.length === 0) throw noNodes('a cluster');
  if (nodes.length > REDIS_SLOT_COUNT)
    throw new KeyfleetError('KF_TOO_MANY_NODES', `${nodes.length} nodes are more than a cluster has slots, ${REDIS_SLOT_COUNT}`);
  return nodes;
}

function checkRange({ from, to }: SlotRange): void {
  if (!Number.isInteger(from) || !Number.isInteger(to) || from < 0 || from >= to || to > REDIS_SLOT_COUNT)
    throw new KeyfleetError('KF_SLOTS_INVALID', `[${from}, ${to}) is not a range of slots within [0, ${REDIS_SLOT_COUNT})`);
}

function indexOf(nodes: readonly PartitionNode[], id: string): number {
  const index = nodes.findIndex((node) => node.id === id);
  if (index < 0) throw unknownNode(id);
  return index;
}

/** Slots each node shall hold: its share rounded down, and one more for the greatest remainders; equal ones by what is held, then by id. */
function targets(nodes: readonly PartitionNode[], held: Int32Array): Int32Array {
  const total = nodes.reduce((sum, node) => sum + weightOf(node), 0);
  const exact = nodes.map((node) => (REDIS_SLOT_COUNT * weightOf(node)) / total);
  const target = Int32Array.from(exact, Math.floor);
  let left = REDIS_SLOT_COUNT - target.reduce((sum, count) => sum + count, 0);
  const order = nodes.map((_, i) => i);
  const gains = (i: number): number => (held[i]! > target[i]! ? 1 : 0);
  order.sort((a, b) => exact[b]! - target[b]! - (exact[a]! - target[a]!) || gains(b) - gains(a) || compareIds(nodes[a]!, nodes[b]!));
  for (let i = 0; left > 0; i++, left--) target[order[i % order.length]!]!++;
  return target;
}

/** Takes from the nodes above their targets the last slots they hold, and gives these and the free ones to nodes below, in order of slot. */
function shareOut(given: Uint16Array, nodes: readonly PartitionNode[]): Uint16Array<ArrayBuffer> {
  const owners = Uint16Array.from(given);
  const held = new Int32Array(nodes.length);
  for (const owner of owners) if (owner !== NOBODY) held[owner]!++;
  const target = targets(nodes, held);
  for (let slot = REDIS_SLOT_COUNT - 1; slot >= 0; slot--) {
    const owner = owners[slot]!;
    if (owner === NOBODY || held[owner]! <= target[owner]!) continue;
    held[owner]!--;
    owners[slot] = NOBODY;
  }
  let taker = 0;
  for (let slot = 0; slot < REDIS_SLOT_COUNT; slot++) {
    if (owners[slot] !== NOBODY) continue;
    while (held[taker]! >= target[taker]!) taker++;
    owners[slot] = taker;
    held[taker]!++;
  }
  return owners;
}
