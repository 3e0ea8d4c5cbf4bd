/**
 * A permutation of 0 … size − 1 that depends on nothing but a key of 128 bits: a small Feistel network over the next power of two,
 * walked on until it lands below `size`. The halves need not be equal, so any size will do, powers of two with an odd number of bits
 * included. Whole-number arithmetic only: the same on every engine.
 */
const ROUNDS = 6;

export class KeyedPermutation {
  readonly #size: number;
  readonly #lowBits: number;
  readonly #lowMask: number;
  readonly #highMask: number;
  readonly #keys = new Int32Array(ROUNDS);

  /** `key`: four u32. */
  constructor(size: number, key: ArrayLike<number>) {
    let bits = 0;
    while (2 ** bits < size) bits++;
    this.#size = size;
    this.#lowBits = bits - (bits >> 1);
    this.#lowMask = 2 ** this.#lowBits - 1;
    this.#highMask = 2 ** (bits >> 1) - 1;
    for (let round = 0; round < ROUNDS; round++) this.#keys[round] = key[round & 3]! + Math.imul(round >> 2, 0x9e3779b9);
  }

  /** Where `rank` goes. */
  at(rank: number): number {
    let value = rank;
    do {
      let high = value >>> this.#lowBits;
      let low = value & this.#lowMask;
      for (let round = 0; round < ROUNDS; round += 2) {
        high ^= mix(low ^ this.#keys[round]!) & this.#highMask;
        low ^= mix(high ^ this.#keys[round + 1]!) & this.#lowMask;
      }
      value = ((high << this.#lowBits) | low) >>> 0;
    } while (value >= this.#size);
    return value;
  }

  /** The rank that goes to `place`: the inverse of {@link at}. */
  rankOf(place: number): number {
    let value = place;
    do {
      let high = value >>> this.#lowBits;
      let low = value & this.#lowMask;
      for (let round = ROUNDS - 2; round >= 0; round -= 2) {
        low ^= mix(high ^ this.#keys[round + 1]!) & this.#lowMask;
        high ^= mix(low ^ this.#keys[round]!) & this.#highMask;
      }
      value = ((high << this.#lowBits) | low) >>> 0;
    } while (value >= this.#size);
    return value;
  }
}

function mix(value: number): number {
  value = Math.imul(value ^ (value >>> 16), 0x21f0aaad);
  value = Math.imul(value ^ (value >>> 15), 0x735a2d97);
  return value ^ (value >>> 15);
}
