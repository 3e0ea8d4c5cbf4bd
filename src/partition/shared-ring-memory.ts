/**
 * One ring in memory that threads share: one writer, any number of readers, no locks (read-copy-update).
 *
 * ```
 *   header   format | CURRENT version | last reader tag | slots | two descriptions (of the even and of the odd version)
 *   slots    one a reader, 64 bytes apart: tag of the reader, and what it is doing
 *   tables   the current version's, and beside it the one being built
 * ```
 *
 * **Publishing.** The writer builds version v+1 in bytes that no valid reader reads, then stores v+1 in CURRENT: one atomic store.
 *
 * **Reading.** A reader compare-and-sets its slot from `idle` to `reading an even/odd version`, checks that CURRENT is the version it
 * means, reads with plain loads, and compare-and-sets its slot back to `idle`. Only when that succeeds is the answer an answer.
 *
 * **Reclaiming.** Before the writer reuses bytes, it compare-and-sets every slot that reads another version than the current one to
 * `robbed`. A robbed reader's last compare-and-set fails, so it throws its answer away and reads the current version instead.
 *
 * Why no torn read gets out: if the reader's last step succeeds, the writer's robbing did not come before it; so the writer either saw the
 * slot `idle` afterwards, and its writes come after the reads (the two compare-and-sets order them), or looked before the slot was set, and
 * then CURRENT had moved on already and the reader's check of it failed. All of this is in the JavaScript memory model, on any processor.
 *
 * **A reader never waits.** It repeats itself only when the writer published during its look-up. A thread that dies, is paused or forgets to
 * close pins nothing: its slot is robbed at the next change, and given to another reader when none is free (whoever lost it takes another).
 * So memory is bounded: two tables, at most about three times the largest in all, whatever the readers do.
 */
import { KeyfleetError } from '../base/errors.ts';

/** Counts layouts, so that threads running different releases refuse each other instead of misreading. */
const FORMAT = 1;
const FORMAT_WORD = 0;
const CURRENT_WORD = 1;
const TAG_WORD = 2;
const SLOTS_WORD = 3;
const DESCRIPTION_WORD = 4;
const DESCRIPTION_WORDS = 4;
/** A cache line each, so that readers on different cores do not disturb each other. */
const SLOT_WORDS = 16;
const FIRST_SLOT_WORD = 16;

const IDLE = 0;
const READING_EVEN = 1;
const READING_ODD = 2;
const ROBBED = 3;
const STATES = 4;
const TAGS = 2 ** 29;

/** Where a version's table is. */
export interface Description {
  readonly byteOffset: number;
  /** Points, nodes, and the bytes of the nodes' records that follow the table. */
  readonly pointCount: number;
  readonly nodeCount: number;
  readonly recordBytes: number;
}

interface GrowableBuffer {
  readonly growable: boolean;
  readonly maxByteLength: number;
  grow(bytes: number): void;
}

const readingState = (version: number): number => (version & 1 ? READING_ODD : READING_EVEN);

/** The words that both sides agree on. */
export class SharedRingMemory {
  readonly buffer: SharedArrayBuffer;
  /** Of the header and the slots; fixed in size, so that growing the buffer leaves it alone. */
  readonly #words: Int32Array;
  readonly #slotCount: number;
  readonly #maxBytes: number;

  private constructor(buffer: SharedArrayBuffer, slotCount: number) {
    this.buffer = buffer;
    this.#slotCount = slotCount;
    this.#words = new Int32Array(buffer, 0, FIRST_SLOT_WORD + slotCount * SLOT_WORDS);
    this.#maxBytes = growable(buffer)?.maxByteLength ?? buffer.byteLength;
  }

  /** @throws KF_NO_SHARED_MEMORY where there is no `SharedArrayBuffer`; KF_BAD_RING when `maxBytes` has no room for a ring. */
  static create(options: { readonly slotCount: number; readonly maxBytes: number }): SharedRingMemory {
    if (typeof SharedArrayBuffer === 'undefined')
      throw new KeyfleetError(
        'KF_NO_SHARED_MEMORY',
        'there is no SharedArrayBuffer; a browser page must be cross-origin isolated (COOP and COEP headers)',
      );
    const start = 4 * (FIRST_SLOT_WORD + options.slotCount * SLOT_WORDS);
    if (!Number.isInteger(options.maxBytes) || options.maxBytes < start)
      throw new KeyfleetError('KF_BAD_RING', `maxBytes is ${options.maxBytes}; the readers' slots alone take ${start}`);
    const Growing = SharedArrayBuffer as new (bytes: number, options: { maxByteLength: number }) => SharedArrayBuffer;
    const canGrow = 'grow' in SharedArrayBuffer.prototype;
    const buffer = canGrow ? new Growing(start, { maxByteLength: options.maxBytes }) : new SharedArrayBuffer(options.maxBytes);
    const memory = new SharedRingMemory(buffer, options.slotCount);
    memory.#words[SLOTS_WORD] = options.slotCount;
    Atomics.store(memory.#words, FORMAT_WORD, FORMAT);
    return memory;
  }

  /** @throws KF_BAD_RING when `buffer` holds no shared ring of this release's layout. */
  static open(buffer: SharedArrayBuffer): SharedRingMemory {
    const header = buffer.byteLength >= 4 * FIRST_SLOT_WORD ? new Int32Array(buffer, 0, FIRST_SLOT_WORD) : undefined;
    if (header === undefined || Atomics.load(header, FORMAT_WORD) !== FORMAT)
      throw new KeyfleetError('KF_BAD_RING', `the buffer holds no shared ring of layout ${FORMAT}`);
    return new SharedRingMemory(buffer, header[SLOTS_WORD]!);
  }

  /** The published version; 0 before the first. */
  get current(): number {
    return Atomics.load(this.#words, CURRENT_WORD);
  }

  describe(version: number): Description {
    const at = DESCRIPTION_WORD + (version & 1) * DESCRIPTION_WORDS;
    const words = this.#words;
    return { byteOffset: words[at]!, pointCount: words[at + 1]!, nodeCount: words[at + 2]!, recordBytes: words[at + 3]! };
  }

  // ---- the writer's side ----

  /**
   * A place for the next version's `bytes`, away from the current one. From now on nobody's answer depends on anything but the current version.
   *
   * @throws KF_RING_MEMORY_FULL when the buffer may not grow that far; nothing has changed then.
   */
  makeRoom(bytes: number, currentBytes: number): number {
    const start = this.#words.byteLength;
    const { byteOffset } = this.describe(this.current);
    const end = byteOffset + align(currentBytes);
    const offset = this.current === 0 || start + bytes <= byteOffset ? start : end;
    if (offset + bytes > this.#maxBytes || !this.#growTo(offset + bytes))
      throw new KeyfleetError(
        'KF_RING_MEMORY_FULL',
        `the next version needs ${bytes} bytes beside the current one, ${offset + bytes} in all; maxBytes is ${this.#maxBytes}`,
      );
    this.#rob();
    return offset;
  }

  #growTo(bytes: number): boolean {
    if (bytes <= this.buffer.byteLength) return true;
    try {
      growable(this.buffer)?.grow(bytes);
    } catch {
      return false;
    }
    return bytes <= this.buffer.byteLength;
  }

  publish(description: Description): number {
    const version = this.current + 1;
    const at = DESCRIPTION_WORD + (version & 1) * DESCRIPTION_WORDS;
    this.#words.set([description.byteOffset, description.pointCount, description.nodeCount, description.recordBytes], at);
    Atomics.store(this.#words, CURRENT_WORD, version);
    return version;
  }

  #rob(): void {
    const spared = readingState(this.current);
    for (let slot = 0; slot < this.#slotCount; slot++) {
      const seen = Atomics.load(this.#words, wordOf(slot));
      const state = seen % STATES;
      if (state !== IDLE && state !== ROBBED && state !== spared)
        Atomics.compareExchange(this.#words, wordOf(slot), seen, seen - state + ROBBED);
    }
  }

  // ---- a reader's side ----

  /** A mark of its own for each reader. */
  newTag(): number {
    return (Atomics.add(this.#words, TAG_WORD, 1) + 1) & (TAGS - 1) || this.newTag();
  }

  /** A slot for the reader of this tag: a free one, else another reader's, which will notice and take another in its turn. */
  claim(tag: number): number {
    for (let slot = 0; slot < this.#slotCount; slot++)
      if (Atomics.compareExchange(this.#words, wordOf(slot), 0, tag * STATES) === 0) return slot;
    const slot = tag % this.#slotCount;
    Atomics.store(this.#words, wordOf(slot), tag * STATES);
    return slot;
  }

  release(slot: number, tag: number): void {
    Atomics.compareExchange(this.#words, wordOf(slot), tag * STATES, 0);
  }

  /** Whether the reader may now read `version`. When not, it is out of date or the slot is not the reader's. */
  enter(slot: number, tag: number, version: number): boolean {
    const idle = tag * STATES;
    const reading = idle + readingState(version);
    if (Atomics.compareExchange(this.#words, wordOf(slot), idle, reading) !== idle) return false;
    if (Atomics.load(this.#words, CURRENT_WORD) === version) return true;
    Atomics.compareExchange(this.#words, wordOf(slot), reading, idle);
    return false;
  }

  /** Whether all that was read since {@link enter} was `version`, whole. */
  leave(slot: number, tag: number, version: number): boolean {
    const reading = tag * STATES + readingState(version);
    return Atomics.compareExchange(this.#words, wordOf(slot), reading, tag * STATES) === reading;
  }

  /** The slot that the reader goes on with after {@link enter} or {@link leave} said no: its own, or a new one when it has lost it. */
  recover(slot: number, tag: number): number {
    const seen = Atomics.load(this.#words, wordOf(slot));
    if (Math.floor(seen / STATES) !== tag) return this.claim(tag);
    if (seen % STATES === IDLE || Atomics.compareExchange(this.#words, wordOf(slot), seen, tag * STATES) === seen) return slot;
    return this.recover(slot, tag);
  }
}

function wordOf(slot: number): number {
  return FIRST_SLOT_WORD + slot * SLOT_WORDS;
}

export function align(bytes: number): number {
  return Math.ceil(bytes / 8) * 8;
}

function growable(buffer: SharedArrayBuffer): GrowableBuffer | undefined {
  const candidate = buffer as unknown as Partial<GrowableBuffer>;
  return candidate.growable === true ? (candidate as GrowableBuffer) : undefined;
}
