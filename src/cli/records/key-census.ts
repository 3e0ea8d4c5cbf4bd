import type { Bytes } from '../../base/bytes.ts';
import { murmur3_x86_128 } from '../../partition/hash/murmur3-x86-128.ts';

/**
 * Counts distinct keys by a 64-bit hash of each: 16 to 32 bytes of memory a key, whatever its length. For n keys the count is exact but
 * for a chance of n² / 2^65 (one in 37,000 for 10 million, less than one in three thousand for 100 million).
 */
export class KeyCensus {
  #slots = new Uint32Array(2 * 1_024);
  #count = 0;
  readonly #lanes = new Uint32Array(2);

  get distinctCount(): number {
    return this.#count;
  }

  /** Whether `key` is new. */
  add(key: Bytes): boolean {
    murmur3_x86_128.lanes(key, 0, this.#lanes);
    const high = this.#lanes[0]!;
    let low = this.#lanes[1]!;
    // Both halves zero marks a free slot.
    if (high === 0 && low === 0) low = 1;
    if (2 * (this.#count + 1) > this.#slots.length / 2) this.#grow();
    return this.#insert(high, low);
  }

  #insert(high: number, low: number): boolean {
    const slots = this.#slots;
    const mask = slots.length / 2 - 1;
    for (let slot = low & mask; ; slot = (slot + 1) & mask) {
      const there = slots[2 * slot]!;
      const thereLow = slots[2 * slot + 1]!;
      if (there === high && thereLow === low) return false;
      if (there === 0 && thereLow === 0) {
        slots[2 * slot] = high;
        slots[2 * slot + 1] = low;
        this.#count++;
        return true;
      }
    }
  }

  #grow(): void {
    const old = this.#slots;
    this.#slots = new Uint32Array(2 * old.length);
    this.#count = 0;
    for (let i = 0; i < old.length; i += 2) if (old[i] !== 0 || old[i + 1] !== 0) this.#insert(old[i]!, old[i + 1]!);
  }
}
