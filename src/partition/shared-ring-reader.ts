import { fromUtf8 } from '../base/bytes.ts';
import type { Hasher, KeyInput } from './hasher.ts';
import type { PartitionNode } from './node.ts';
import { RingQueries } from './ring-queries.ts';
import { RingTable, tableBytes } from './ring-table.ts';
import { RingView } from './ring-view.ts';
import { align, type SharedRingMemory } from './shared-ring-memory.ts';

/**
 * A thread's own view of a {@link SharedRing}, got from `SharedRing.open(handle)`.
 *
 * Promise: every answer is the answer of one published version, whole, and of the newest one published before the question. A look-up
 * never waits for the writer or for another reader, and leaves nothing to clean up should its thread die in the middle of it.
 *
 * Cost: that of a {@link HashRing} and two compare-and-sets on a cache line of its own. The first look-up after a change decodes the nodes
 * that are new; the table itself is never copied.
 *
 * One reader serves one thread. Its nodes are plain objects, what JSON keeps of the writer's.
 */
export class SharedRingReader<N extends PartitionNode = PartitionNode> extends RingQueries<N> {
  readonly replicationFactor: number;
  readonly hasher: Hasher;
  readonly #memory: SharedRingMemory;
  readonly #tag: number;
  #slot: number;
  /** What `#view` shows; 0 before the first look-up. */
  #version = 0;
  #view: RingView<N>;
  #answered = 0;
  #nodesByUid = new Map<number, N>();

  constructor(memory: SharedRingMemory, replicationFactor: number, hasher: Hasher) {
    super();
    this.#memory = memory;
    this.replicationFactor = replicationFactor;
    this.hasher = hasher;
    this.#view = new RingView<N>(new RingTable({ count: 0, digestBytes: hasher.digestBytes }), [], replicationFactor, hasher);
    this.#tag = memory.newTag();
    this.#slot = memory.claim(this.#tag);
  }

  /** The version that the last answer came from: 1, 2, 3, …; 0 before the first. */
  get version(): number {
    return this.#answered;
  }

  /** The version that the next answer will come from, unless the writer publishes meanwhile. */
  get latestVersion(): number {
    return this.#memory.current;
  }

  owner(key: KeyInput): N {
    for (;;) {
      const view = this.#enter();
      let node: N;
      try {
        node = view.owner(key);
      } catch (error) {
        if (this.#leave()) throw error;
        continue;
      }
      if (this.#leave()) return node;
    }
  }

  replicas(key: KeyInput, count: number = this.replicationFactor, out: N[] = []): N[] {
    for (;;) {
      const view = this.#enter();
      try {
        view.replicas(key, count, out);
      } catch (error) {
        if (this.#leave()) throw error;
        continue;
      }
      if (this.#leave()) return out;
    }
  }

  /** Copies the table: O(points). For many look-ups in one version, or to keep one. */
  snapshot(): RingView<N> {
    return this.answer(({ table, nodes }) => {
      const copy = new RingTable(table);
      copy.bytes().set(table.bytes());
      return new RingView(copy, nodes, this.replicationFactor, this.hasher);
    });
  }

  /** Gives the reader's slot back. A look-up after it takes one again, so nothing breaks. */
  close(): void {
    this.#memory.release(this.#slot, this.#tag);
  }

  protected answer<T>(ask: (view: RingView<N>) => T): T {
    for (;;) {
      const view = this.#enter();
      let result: T;
      try {
        result = ask(view);
      } catch (error) {
        if (this.#leave()) throw error;
        continue;
      }
      if (this.#leave()) return result;
    }
  }

  /** The newest version, entered. Repeats itself only when the writer publishes meanwhile. */
  #enter(): RingView<N> {
    const memory = this.#memory;
    while (!memory.enter(this.#slot, this.#tag, this.#version)) {
      this.#slot = memory.recover(this.#slot, this.#tag);
      const version = memory.current;
      if (version === this.#version || !memory.enter(this.#slot, this.#tag, version)) continue;
      let loaded: Loaded<N>;
      try {
        loaded = this.#load(version);
      } catch (error) {
        if (memory.leave(this.#slot, this.#tag, version)) throw error;
        continue;
      }
      if (!memory.leave(this.#slot, this.#tag, version)) continue;
      this.#version = version;
      this.#view = loaded.view;
      this.#nodesByUid = loaded.nodesByUid;
    }
    return this.#view;
  }

  #leave(): boolean {
    if (this.#memory.leave(this.#slot, this.#tag, this.#version)) {
      this.#answered = this.#version;
      return true;
    }
    this.#slot = this.#memory.recover(this.#slot, this.#tag);
    return false;
  }

  #load(version: number): Loaded<N> {
    const { byteOffset, pointCount, nodeCount, recordBytes } = this.#memory.describe(version);
    const shape = { count: pointCount, digestBytes: this.hasher.digestBytes };
    const table = new RingTable(shape, this.#memory.buffer, byteOffset);
    // Copied first: a decoder may refuse shared memory.
    const records = new Uint8Array(this.#memory.buffer, byteOffset + align(tableBytes(shape)), recordBytes).slice();
    const header = new DataView(records.buffer);
    const nodes: N[] = [];
    const nodesByUid = new Map<number, N>();
    for (let i = 0, at = 0; i < nodeCount; i++) {
      const uid = header.getUint32(at, true);
      const length = header.getUint32(at + 4, true);
      const node = this.#nodesByUid.get(uid) ?? (JSON.parse(fromUtf8(records.subarray(at + 8, at + 8 + length))) as N);
      nodes.push(node);
      nodesByUid.set(uid, node);
      at += 8 + length;
    }
    return { view: new RingView(table, nodes, this.replicationFactor, this.hasher), nodesByUid };
  }
}

interface Loaded<N extends PartitionNode> {
  readonly view: RingView<N>;
  readonly nodesByUid: Map<number, N>;
}
