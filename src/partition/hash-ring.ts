/**
 * The classic consistent-hashing ring: each node stands at many points (virtual nodes) of a circle of hashes, and a key belongs to the
 * first point at or after its own hash.
 *
 * Promise: a node that joins takes keys only to itself, about its share; a node that leaves gives away its own keys and no others.
 * The answer depends on the set of nodes and the hasher, never on the order of changes. Two virtual nodes never share a point.
 * A change is all or nothing.
 *
 * Cost: a look-up is one hash and about one step through an index, at any number of nodes; a change copies the table: O(points).
 * Memory is about 32 bytes a point with 16-byte digests.
 *
 * Balance is that of chance: with 160 points a node the fullest of 100 nodes holds about a quarter more than its share. Choose it to agree
 * with other software or to share it between threads; for balance within a per cent choose `Keyspace`.
 *
 * @see Karger et al., "Consistent Hashing and Random Trees", STOC 1997; the Rust crate lfchring, whose rings this one reproduces.
 */
import { KeyfleetError } from '../base/errors.ts';
import { murmur3_x86_128 } from './hash/murmur3-x86-128.ts';
import type { Hasher, KeyInput } from './hasher.ts';
import { checkNodes, compareIds, duplicateNode, type PartitionNode, unknownNode, weightOf } from './node.ts';
import type { MutablePartitioner } from './partitioner.ts';
import { badHasher, lanesName, lfchringName, merged, renumbered, tableOf, type VirtualNodeName } from './ring-build.ts';
import { RingChange } from './ring-change.ts';
import { RingQueries } from './ring-queries.ts';
import { headOf } from './ring-table.ts';
import { RingView } from './ring-view.ts';

export interface HashRingOptions {
  /** Points of a node of weight 1; a node of weight w gets `virtualNodes × w`, rounded, at least one. 1 … 65,536; 160 when absent. */
  readonly virtualNodes?: number;
  /** Distinct nodes that hold a key, 1 … 255; 3 when absent. A ring of fewer nodes gives all it has. */
  readonly replicationFactor?: number;
  /** `murmur3_x86_128` when absent. Any hasher whose digest is bytes; the ring is ordered by the whole digest. */
  readonly hasher?: Hasher;
  /** What a point's place is the digest of. When absent as lfchring has it, but for `murmur3_x86_128`, which such names make collide. */
  readonly virtualNodeName?: VirtualNodeName;
}

const MOST_POINTS = 65_536;

export class HashRing<N extends PartitionNode = PartitionNode> extends RingQueries<N> implements MutablePartitioner<N> {
  readonly virtualNodes: number;
  readonly replicationFactor: number;
  readonly hasher: Hasher;
  readonly #nameOf: VirtualNodeName;
  #view: RingView<N>;

  /**
   * @throws KF_BAD_RING when an option is out of range; KF_BAD_HASHER when the hasher contradicts itself; and all that {@link insert} throws.
   */
  constructor(nodes: Iterable<N> = [], options: HashRingOptions = {}) {
    super();
    this.virtualNodes = inRange('virtualNodes', options.virtualNodes ?? 160, MOST_POINTS);
    this.replicationFactor = inRange('replicationFactor', options.replicationFactor ?? 3, 255);
    this.hasher = options.hasher ?? murmur3_x86_128;
    this.#nameOf = options.virtualNodeName ?? (this.hasher.name === murmur3_x86_128.name ? lanesName : lfchringName);
    checkHasher(this.hasher);
    this.#view = this.#viewOf([]);
    this.insert(nodes);
  }

  owner(key: KeyInput): N {
    return this.#view.owner(key);
  }

  replicas(key: KeyInput, count: number = this.replicationFactor, out?: N[]): N[] {
    return this.#view.replicas(key, count, out);
  }

  /** O(1): versions are immutable. */
  snapshot(): RingView<N> {
    return this.#view;
  }

  protected answer<T>(ask: (view: RingView<N>) => T): T {
    return ask(this.#view);
  }

  /**
   * Puts all of `nodes` on the ring, or none of them.
   *
   * @returns What moved, computed when asked for.
   * @throws KF_DUPLICATE_NODE when an id is there already or twice in `nodes`; KF_BAD_WEIGHT; KF_BAD_RING when a weight asks for more than
   * 65,536 points; KF_RING_COLLISION when two points have one digest. The ring is then as it was.
   */
  insert(nodes: Iterable<N>): RingChange<N> {
    const before = this.#view;
    const added = [...nodes].sort(compareIds);
    checkNodes(added);
    for (const node of added) if (this.has(node.id)) throw duplicateNode(node.id);
    if (added.length > 0) {
      const all = [...before.nodes, ...added].sort(compareIds);
      const placeOf = new Map(all.map((node, place) => [node.id, place]));
      const places = (some: readonly N[]): number[] => some.map((node) => placeOf.get(node.id)!);
      const sources = added.map((node) => ({ name: node.id, points: this.#pointsOf(node) }));
      const fresh = tableOf(sources, places(added), this.hasher, this.#nameOf);
      const old = renumbered(before.table, Int32Array.from(places(before.nodes)));
      this.#view = this.#viewOf(all, old.count === 0 ? fresh : merged(old, fresh));
    }
    return new RingChange(before, this.#view);
  }

  /**
   * Takes the node of this id, or all of these nodes or ids, off the ring, or none of them. The last node may go: an empty ring is a ring.
   *
   * @returns What moved, computed when asked for.
   * @throws KF_UNKNOWN_NODE when an id is not there; KF_DUPLICATE_NODE when one is given twice. The ring is then as it was.
   */
  remove(nodes: string | Iterable<PartitionNode | string>): RingChange<N> {
    const before = this.#view;
    const gone = new Set<string>();
    for (const node of typeof nodes === 'string' ? [nodes] : nodes) {
      const id = typeof node === 'string' ? node : node.id;
      if (!this.has(id)) throw unknownNode(id);
      if (gone.has(id)) throw duplicateNode(id);
      gone.add(id);
    }
    if (gone.size > 0) {
      const kept = before.nodes.filter((node) => !gone.has(node.id));
      let next = 0;
      const newPlace = Int32Array.from(before.nodes, (node) => (gone.has(node.id) ? -1 : next++));
      this.#view = this.#viewOf(kept, renumbered(before.table, newPlace));
    }
    return new RingChange(before, this.#view);
  }

  /** Inserts one node. See {@link insert}. */
  add(node: N): RingChange<N> {
    return this.insert([node]);
  }

  /** A ring of its own with the same nodes and options. O(1): versions are shared until one of them changes. */
  clone(): HashRing<N> {
    const copy = new HashRing<N>([], {
      virtualNodes: this.virtualNodes,
      replicationFactor: this.replicationFactor,
      hasher: this.hasher,
      virtualNodeName: this.#nameOf,
    });
    copy.#view = this.#view;
    return copy;
  }

  #viewOf(nodes: readonly N[], table = tableOf([], [], this.hasher, this.#nameOf)): RingView<N> {
    return new RingView(table, nodes, this.replicationFactor, this.hasher);
  }

  #pointsOf(node: N): number {
    const points = Math.max(1, Math.round(this.virtualNodes * weightOf(node)));
    if (points <= MOST_POINTS) return points;
    throw new KeyfleetError(
      'KF_BAD_RING',
      `node ${node.id} would have ${points} virtual nodes (${this.virtualNodes} × weight ${weightOf(node)}); ${MOST_POINTS} are the most`,
    );
  }
}

function inRange(name: string, value: number, most: number): number {
  if (Number.isInteger(value) && value >= 1 && value <= most) return value;
  throw new KeyfleetError('KF_BAD_RING', `${name} is ${value}; it is a whole number from 1 to ${most}`);
}

/** A hasher whose quick form disagrees with its digest would send keys to the wrong nodes without a word. */
function checkHasher(hasher: Hasher): void {
  if (!Number.isInteger(hasher.digestBytes) || hasher.digestBytes < 1) throw badHasher(hasher, `says ${hasher.digestBytes} bytes a digest`);
  const digest = hasher.digest('keyfleet');
  if (digest.length !== hasher.digestBytes)
    throw badHasher(hasher, `gave a digest of ${digest.length} bytes and says ${hasher.digestBytes}`);
  if (hasher.digestBytes < 8) return;
  const lanes = new Uint32Array(2);
  hasher.lanes('keyfleet', 0, lanes);
  if (lanes[0] !== headOf(digest) || lanes[1] !== headOf(digest.subarray(4)))
    throw badHasher(hasher, 'has lanes that are not the first 64 bits of its digest');
}
