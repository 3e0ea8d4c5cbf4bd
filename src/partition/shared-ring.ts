import { type Bytes, concatBytes, toHex, utf8 } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import { murmur3_x86_128 } from './hash/murmur3-x86-128.ts';
import { HashRing, type HashRingOptions } from './hash-ring.ts';
import type { Hasher, KeyInput } from './hasher.ts';
import type { PartitionNode } from './node.ts';
import type { MutablePartitioner } from './partitioner.ts';
import type { RingChange } from './ring-change.ts';
import { RingQueries } from './ring-queries.ts';
import { tableBytes } from './ring-table.ts';
import type { RingView } from './ring-view.ts';
import { align, SharedRingMemory } from './shared-ring-memory.ts';
import { SharedRingReader } from './shared-ring-reader.ts';

export interface SharedRingOptions extends HashRingOptions {
  /** Slots for readers, 64 bytes each; 128 when absent. More readers than slots still get right answers, at the cost of taking slots in turn. */
  readonly readerSlots?: number;
  /** How far the shared memory may grow, 256 MiB when absent: address space, taken up only as the ring grows. A ring needs about three tables. */
  readonly maxBytes?: number;
}

/** What a thread needs to read a shared ring: plain data and a `SharedArrayBuffer`, so `postMessage` and `workerData` carry it. */
export interface SharedRingHandle {
  readonly kind: 'keyfleet-shared-ring';
  readonly buffer: SharedArrayBuffer;
  readonly replicationFactor: number;
  readonly hasher: string;
  /** The hasher's digest of a fixed text: a function cannot be sent along, so the other side shows that it has the same one. */
  readonly hasherProof: string;
}

const PROOF_TEXT = 'keyfleet shared ring';

/**
 * A {@link HashRing} that threads share: this object is its one writer, in the thread that made it; any number of threads read.
 *
 * ```ts
 * const ring = new SharedRing([{ id: 'a' }, { id: 'b' }]);
 * worker.postMessage(ring.share());
 * // in the worker
 * const reader = SharedRing.open(handle);
 * reader.owner('user:42');           // sees ring.insert(…) of the other thread on its next look-up
 * ```
 *
 * Promise: a reader's answer is that of one published version, whole, the newest when it asked; readers never block and cannot hold up the
 * writer or its memory. How, and why that is so: {@link SharedRingMemory}. Virtual nodes, replication factor and hasher are fixed at creation.
 *
 * Cost: a change builds the next table aside, as a `HashRing` does, and copies it once into the shared memory.
 *
 * Nodes cross to readers as JSON: `id`, `weight`, `zone` and whatever else of them JSON keeps.
 */
export class SharedRing<N extends PartitionNode = PartitionNode> extends RingQueries<N> implements MutablePartitioner<N> {
  readonly #memory: SharedRingMemory;
  /** By id, of the nodes on the ring: a number of its own for each node that ever joins, so that readers decode a node once; then its JSON. */
  readonly #records = new Map<string, Bytes>();
  #ring: HashRing<N>;
  #nextUid = 1;
  #currentBytes = 0;

  /** @throws KF_NO_SHARED_MEMORY where there is no `SharedArrayBuffer`; KF_RING_MEMORY_FULL; and all that `new HashRing` throws. */
  constructor(nodes: Iterable<N> = [], options: SharedRingOptions = {}) {
    super();
    const { readerSlots = 128, maxBytes = 256 * 2 ** 20 } = options;
    if (!Number.isInteger(readerSlots) || readerSlots < 1 || readerSlots > 65_536)
      throw new KeyfleetError('KF_BAD_RING', `readerSlots is ${readerSlots}; it is a whole number from 1 to 65536`);
    this.#ring = new HashRing(nodes, options);
    this.#memory = SharedRingMemory.create({ slotCount: readerSlots, maxBytes });
    this.#publish(this.#ring);
  }

  /** A reader of the ring that another thread (or this one) shares. @throws KF_BAD_RING, KF_BAD_HASHER when `hasher` is not the ring's. */
  static open<N extends PartitionNode = PartitionNode>(
    handle: SharedRingHandle,
    options: { readonly hasher?: Hasher } = {},
  ): SharedRingReader<N> {
    const hasher = options.hasher ?? murmur3_x86_128;
    if (handle?.kind !== 'keyfleet-shared-ring') throw new KeyfleetError('KF_BAD_RING', 'this is no handle of a shared ring');
    if (hasher.name !== handle.hasher || proofOf(hasher) !== handle.hasherProof)
      throw new KeyfleetError(
        'KF_BAD_HASHER',
        `the ring was made with hasher ${handle.hasher}; open it with the same, not with ${hasher.name}`,
      );
    return new SharedRingReader<N>(SharedRingMemory.open(handle.buffer), handle.replicationFactor, hasher);
  }

  /** For `postMessage` or `workerData`. One handle serves any number of threads. */
  share(): SharedRingHandle {
    const { hasher, replicationFactor } = this.#ring;
    const { buffer } = this.#memory;
    return { kind: 'keyfleet-shared-ring', buffer, replicationFactor, hasher: hasher.name, hasherProof: proofOf(hasher) };
  }

  get replicationFactor(): number {
    return this.#ring.replicationFactor;
  }

  get virtualNodes(): number {
    return this.#ring.virtualNodes;
  }

  get hasher(): Hasher {
    return this.#ring.hasher;
  }

  /** The published version: 1 from the start, and one more with each change. */
  get version(): number {
    return this.#memory.current;
  }

  /** Bytes of shared memory taken up. */
  get sharedBytes(): number {
    return this.#memory.buffer.byteLength;
  }

  owner(key: KeyInput): N {
    return this.#ring.owner(key);
  }

  replicas(key: KeyInput, count?: number, out?: N[]): N[] {
    return this.#ring.replicas(key, count, out);
  }

  /** O(1): versions are immutable. */
  snapshot(): RingView<N> {
    return this.#ring.snapshot();
  }

  /**
   * Puts all of `nodes` on the ring and publishes it, or does nothing.
   *
   * @throws KF_RING_MEMORY_FULL when the memory may not grow that far; and all that `HashRing.insert` throws. Nothing has changed then.
   */
  insert(nodes: Iterable<N>): RingChange<N> {
    return this.#change((ring) => ring.insert(nodes));
  }

  /** Takes one node, by its id, or all of these nodes or ids off the ring and publishes it, or does nothing. @throws what `HashRing.remove` throws. */
  remove(nodes: string | Iterable<PartitionNode | string>): RingChange<N> {
    return this.#change((ring) => ring.remove(nodes));
  }

  add(node: N): RingChange<N> {
    return this.insert([node]);
  }

  protected answer<T>(ask: (view: RingView<N>) => T): T {
    return ask(this.#ring.snapshot());
  }

  #change(make: (ring: HashRing<N>) => RingChange<N>): RingChange<N> {
    const next = this.#ring.clone();
    const change = make(next);
    if (change.after === change.before) return change;
    try {
      this.#publish(next);
      this.#ring = next;
    } finally {
      for (const id of this.#records.keys()) if (!this.#ring.has(id)) this.#records.delete(id);
    }
    return change;
  }

  #publish(ring: HashRing<N>): void {
    const { table, nodes } = ring.snapshot();
    const records = concatBytes(...nodes.map((node) => this.#recordOf(node)));
    const at = align(tableBytes(table));
    const bytes = at + align(records.length);
    const byteOffset = this.#memory.makeRoom(bytes, this.#currentBytes);
    const target = new Uint8Array(this.#memory.buffer, byteOffset, bytes);
    target.set(table.bytes());
    target.set(records, at);
    this.#memory.publish({ byteOffset, pointCount: table.count, nodeCount: nodes.length, recordBytes: records.length });
    this.#currentBytes = bytes;
  }

  #recordOf(node: N): Bytes {
    const known = this.#records.get(node.id);
    if (known) return known;
    const json = utf8(JSON.stringify(node));
    const record = new Uint8Array(8 + json.length);
    const header = new DataView(record.buffer);
    header.setUint32(0, this.#nextUid++, true);
    header.setUint32(4, json.length, true);
    record.set(json, 8);
    this.#records.set(node.id, record);
    return record;
  }
}

function proofOf(hasher: Hasher): string {
  return toHex(hasher.digest(PROOF_TEXT));
}
