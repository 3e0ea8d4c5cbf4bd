import { assert } from '../base/assert.ts';
import { type Bytes, concatBytes } from '../base/bytes.ts';
import { behindPrefix, systemKey } from './key-layout.ts';
import type { PositionRange } from './shard-state.ts';
import type { ShardReader, ShardStorage } from './shard-storage.ts';
import { VarintReader, VarintWriter } from './varint.ts';

// How many keys and bytes a shard has in each slot of its range, exact after any crash, so that the two halves of a shard are known before it is
// cut and without looking at a single record. Kept in memory; on disk so that an entry of 64 new keys costs two small records more, and an
// entry that changes no count costs none:
//
//   ['c' shard 0 block]   the counts of 128 slots, as of entry q
//   ['c' shard 1 ring]    what one entry changed: entry s, at ring place s mod B, where B is the number of blocks of the whole keyspace
//
// Entry s writes its changes, and in full the one block whose turn it is, s mod B, if that has changed since it was last written. So when the
// changes of an entry are overwritten, B entries later, every block has been written since. A block is read back as what is stored for it
// plus all changes of later entries. What is stored for slots outside of the range counts for nothing, so a shard that gives its upper part
// away writes nothing, and one that takes a part over writes the blocks of that part.

/** Slots in a block. */
const BLOCK_BITS = 7;
const BLOCK_SLOTS = 1 << BLOCK_BITS;
const BLOCK = 0;
const CHANGES = 1;

/** What lies in a stretch of slots. */
export interface SlotSum {
  readonly keys: number;
  readonly bytes: number;
  readonly expiring: number;
}

export class SlotCounts {
  /** The slot of a position p is `p >>> shift`. */
  readonly shift: number;
  readonly firstSlot: number;
  /** One past the last. */
  readonly endSlot: number;
  readonly #keys: Float64Array;
  readonly #bytes: Float64Array;
  readonly #expiring: Float64Array;
  /** Work done lately, see {@link addLoad}. Half as exact as the counts, and half as large, as every request writes to it. */
  readonly #load: Float32Array;
  /** Blocks that differ from what is stored. */
  readonly #dirty: Uint8Array;
  /** All changes since {@link settle}, four numbers each: slot from the first on, keys, bytes, expiring. */
  readonly #changes: number[] = [];
  /** Where in them those of the open entry begin. */
  #entryAt = 0;

  constructor(options: { readonly range: PositionRange; readonly shift: number }) {
    const { range, shift } = options;
    this.shift = shift;
    this.firstSlot = range.from >>> shift;
    this.endSlot = ((range.to - 1) >>> shift) + 1;
    const slots = this.endSlot - this.firstSlot;
    this.#keys = new Float64Array(slots);
    this.#bytes = new Float64Array(slots);
    this.#expiring = new Float64Array(slots);
    this.#load = new Float32Array(slots);
    this.#dirty = new Uint8Array(this.#blockCount);
  }

  /** What is stored for shard `id`: see {@link SlotCounts.close}. `since`: what entries before this one stored counts no more. */
  static load(
    reader: ShardReader,
    options: { id: number; range: PositionRange; shift: number; since: number; applied: number },
  ): SlotCounts {
    const { id, since, applied } = options;
    const counts = new SlotCounts(options);
    const writtenAt = new Float64Array(counts.#blockCount);
    const late: { seq: number; body: VarintReader }[] = [];
    const prefix = countsPrefix(id);
    for (const { key, value } of reader.scan({ from: prefix, to: behindPrefix(prefix) })) {
      const view = new DataView(value.buffer, value.byteOffset, value.length);
      const seq = view.getFloat64(0);
      if (seq < since || seq > applied) continue;
      const kind = key[prefix.length];
      const index = (key[prefix.length + 1]! << 8) | key[prefix.length + 2]!;
      const body = new VarintReader(value, 8);
      if (kind === CHANGES) late.push({ seq, body });
      else {
        const block = index - (counts.firstSlot >>> BLOCK_BITS);
        if (block < 0 || block >= writtenAt.length) continue;
        writtenAt[block] = seq;
        counts.#readBlock(block, body);
      }
    }
    for (const { seq, body } of late) {
      while (!body.atEnd) {
        const slot = body.unsigned();
        const keys = body.signed();
        const bytes = body.signed();
        const expiring = body.signed();
        if (slot >= counts.#keys.length) continue;
        const block = counts.#blockOf(slot);
        if (seq <= writtenAt[block]!) continue;
        counts.#shift(slot, keys, bytes, expiring);
        counts.#dirty[block] = 1;
      }
    }
    return counts;
  }

  /** A record of the open entry's commands came, went, or changed its size. */
  add(position: number, keys: number, bytes: number, expiring: number): void {
    const slot = (position >>> this.shift) - this.firstSlot;
    this.#shift(slot, keys, bytes, expiring);
    this.#dirty[this.#blockOf(slot)] = 1;
    this.#changes.push(slot, keys, bytes, expiring);
  }

  /** Work done for a key there. Not part of the state: what the leader of the shard saw lately. It costs a wait for memory. */
  addLoad(position: number, load: number): void {
    this.#load[(position >>> this.shift) - this.firstSlot]! += load;
  }

  /** Lets past work count for half as much from now on. */
  fadeLoad(): void {
    const load = this.#load;
    for (let slot = 0; slot < load.length; slot++) load[slot]! /= 2;
  }

  /** Writes what entry `seq` of shard `id` changed, and the block whose turn it is. */
  close(storage: ShardStorage, id: number, seq: number): void {
    const changes = this.#changes;
    const turn = seq % this.#turns;
    if (this.#entryAt < changes.length) {
      const out = new VarintWriter();
      out.float(seq);
      for (let at = this.#entryAt; at < changes.length; at += 4) {
        out.unsigned(changes[at]!);
        out.signed(changes[at + 1]!);
        out.signed(changes[at + 2]!);
        out.signed(changes[at + 3]!);
      }
      storage.put(countsKey(id, CHANGES, turn), out.bytes());
      this.#entryAt = changes.length;
    }
    const block = turn - (this.firstSlot >>> BLOCK_BITS);
    if (block >= 0 && block < this.#blockCount && this.#dirty[block]) this.#writeBlock(storage, id, seq, block);
  }

  /** Writes everything as of entry `seq` for a shard of which nothing is stored. */
  writeAll(storage: ShardStorage, id: number, seq: number): void {
    const out = new VarintWriter();
    for (let block = 0; block < this.#blockCount; block++) {
      if (!this.#isEmptyBlock(block)) this.#writeBlock(storage, id, seq, block, out);
      this.#dirty[block] = 0;
    }
  }

  /** Writes, as of entry `seq`, the blocks from slot `from` on: also empty ones, over what they may have held once. */
  writeFrom(storage: ShardStorage, id: number, seq: number, from: number): void {
    const out = new VarintWriter();
    for (let block = this.#blockOf(from - this.firstSlot); block < this.#blockCount; block++)
      this.#writeBlock(storage, id, seq, block, out);
  }

  /** What has been added so far will not be undone any more. */
  settle(): void {
    this.#changes.length = 0;
    this.#entryAt = 0;
  }

  /** Takes back all that was added since {@link settle}; what was written, the storage has rolled back. */
  undo(): void {
    const changes = this.#changes;
    for (let at = 0; at < changes.length; at += 4) {
      this.#shift(changes[at]!, -changes[at + 1]!, -changes[at + 2]!, -changes[at + 3]!);
    }
    // Blocks that were written, and are not any more.
    this.#dirty.fill(1);
    this.settle();
  }

  /** The part that lies in `range`. */
  cut(range: PositionRange): SlotCounts {
    const part = new SlotCounts({ range, shift: this.shift });
    assert(part.firstSlot >= this.firstSlot && part.endSlot <= this.endSlot, () => 'a part that is not within the whole');
    part.#copyFrom(this);
    return part;
  }

  /** Together with what lies right behind. */
  joined(right: SlotCounts, range: PositionRange): SlotCounts {
    const whole = new SlotCounts({ range, shift: this.shift });
    whole.#copyFrom(this);
    whole.#copyFrom(right);
    return whole;
  }

  /** None of it, over the same slots. */
  emptied(range: PositionRange): SlotCounts {
    return new SlotCounts({ range, shift: this.shift });
  }

  /** What lies in [from, to), which must be slots of the shard. */
  sum(from = this.firstSlot, to = this.endSlot): SlotSum {
    let keys = 0;
    let bytes = 0;
    let expiring = 0;
    for (let slot = from - this.firstSlot; slot < to - this.firstSlot; slot++) {
      keys += this.#keys[slot]!;
      bytes += this.#bytes[slot]!;
      expiring += this.#expiring[slot]!;
    }
    return { keys, bytes, expiring };
  }

  /**
   * The slot at which to cut so that both sides have as nearly as can be the same `measure`; undefined when there is only one slot.
   * Without anything to measure: the middle. O(slots).
   */
  middle(measure: 'keys' | 'bytes' | 'load'): number | undefined {
    const slots = this.endSlot - this.firstSlot;
    if (slots < 2) return undefined;
    const values = measure === 'keys' ? this.#keys : measure === 'bytes' ? this.#bytes : this.#load;
    let total = 0;
    for (const value of values) total += value;
    if (!(total > 0)) return this.firstSlot + (slots >>> 1);
    let left = 0;
    let slot = 0;
    while (2 * (left + values[slot]!) < total) left += values[slot++]!;
    // The slot with the middle in it goes to the side that it makes less unequal.
    if (2 * (left + values[slot]!) - total < total - 2 * left) slot++;
    return this.firstSlot + Math.min(Math.max(slot, 1), slots - 1);
  }

  /** Blocks of the whole keyspace. */
  get #turns(): number {
    return Math.max(1, 2 ** (32 - this.shift - BLOCK_BITS));
  }

  get #blockCount(): number {
    return ((this.endSlot - 1) >>> BLOCK_BITS) - (this.firstSlot >>> BLOCK_BITS) + 1;
  }

  /** The block of a slot, both counted from the shard's first. */
  #blockOf(slot: number): number {
    return ((slot + this.firstSlot) >>> BLOCK_BITS) - (this.firstSlot >>> BLOCK_BITS);
  }

  #shift(slot: number, keys: number, bytes: number, expiring: number): void {
    this.#keys[slot]! += keys;
    this.#bytes[slot]! += bytes;
    this.#expiring[slot]! += expiring;
  }

  /** Takes the counts of `other` where both have slots, and which blocks of it are still to be written. */
  #copyFrom(other: SlotCounts): void {
    const first = Math.max(this.firstSlot, other.firstSlot);
    const end = Math.min(this.endSlot, other.endSlot);
    const to = first - this.firstSlot;
    const part = <T extends Float64Array | Float32Array>(counts: T): T =>
      counts.subarray(first - other.firstSlot, end - other.firstSlot) as T;
    this.#keys.set(part(other.#keys), to);
    this.#bytes.set(part(other.#bytes), to);
    this.#expiring.set(part(other.#expiring), to);
    this.#load.set(part(other.#load), to);
    for (let block = first >>> BLOCK_BITS; block <= (end - 1) >>> BLOCK_BITS; block++) {
      if (other.#dirty[block - (other.firstSlot >>> BLOCK_BITS)]) this.#dirty[block - (this.firstSlot >>> BLOCK_BITS)] = 1;
    }
  }

  /** The first and the last slot but one of a block, counted from the shard's first. */
  #slotsOf(block: number): readonly [number, number] {
    const start = ((this.firstSlot >>> BLOCK_BITS) + block) << BLOCK_BITS;
    return [Math.max(start, this.firstSlot) - this.firstSlot, Math.min(start + BLOCK_SLOTS, this.endSlot) - this.firstSlot];
  }

  #isEmptyBlock(block: number): boolean {
    const [from, to] = this.#slotsOf(block);
    for (let slot = from; slot < to; slot++) if (this.#keys[slot] !== 0) return false;
    return true;
  }

  #writeBlock(storage: ShardStorage, id: number, seq: number, block: number, out = new VarintWriter()): void {
    out.clear();
    out.float(seq);
    const [from, to] = this.#slotsOf(block);
    for (let slot = from; slot < to; slot++) {
      const keys = this.#keys[slot]!;
      out.unsigned(keys);
      if (keys === 0) continue;
      out.unsigned(this.#bytes[slot]!);
      out.unsigned(this.#expiring[slot]!);
    }
    storage.put(countsKey(id, BLOCK, (this.firstSlot >>> BLOCK_BITS) + block), out.bytes());
    this.#dirty[block] = 0;
  }

  #readBlock(block: number, body: VarintReader): void {
    const [from, to] = this.#slotsOf(block);
    for (let slot = from; slot < to && !body.atEnd; slot++) {
      const keys = body.unsigned();
      if (keys === 0) continue;
      this.#keys[slot] = keys;
      this.#bytes[slot] = body.unsigned();
      this.#expiring[slot] = body.unsigned();
    }
  }
}

/** Deletes all that is stored of a shard's counts by slot. */
export function removeCounts(storage: ShardStorage, id: number): void {
  const found: Bytes[] = [];
  for (const { key } of storage.scan(countsRange(id))) found.push(key);
  for (const key of found) storage.delete(key);
}

/** Where the counts of a shard lie. */
export function countsRange(id: number): { readonly from: Bytes; readonly to: Bytes } {
  const from = countsPrefix(id);
  return { from, to: behindPrefix(from) };
}

function countsPrefix(id: number): Bytes {
  return systemKey('c', Uint8Array.of(id >>> 24, id >>> 16, id >>> 8, id));
}

function countsKey(id: number, kind: number, index: number): Bytes {
  return concatBytes(countsPrefix(id), Uint8Array.of(kind, index >>> 8, index));
}
