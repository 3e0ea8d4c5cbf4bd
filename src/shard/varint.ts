import { type Bytes, copyBytes, freshBytes } from '../base/bytes.ts';

// Whole numbers up to 2^53 in as few bytes as they need: seven bits a byte, the lowest first, the top bit saying that there is more.

export class VarintWriter {
  #bytes = freshBytes(256);
  #length = 0;

  /** Begins anew. */
  clear(): void {
    this.#length = 0;
  }

  unsigned(value: number): void {
    this.#reserve(8);
    let rest = value;
    while (rest >= 0x80) {
      this.#bytes[this.#length++] = (rest % 0x80) + 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#bytes[this.#length++] = rest;
  }

  /** Small numbers of either sign are short. */
  signed(value: number): void {
    this.unsigned(value < 0 ? -2 * value - 1 : 2 * value);
  }

  float(value: number): void {
    this.#reserve(8);
    new DataView(this.#bytes.buffer, this.#bytes.byteOffset).setFloat64(this.#length, value);
    this.#length += 8;
  }

  /** Bytes as they are; how many they are is for whoever writes to say. */
  raw(bytes: Bytes): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** Begins anew, in the same memory. */
  reset(): void {
    this.#length = 0;
  }

  /** What was written. */
  bytes(): Bytes {
    return copyBytes(this.#bytes, 0, this.#length);
  }

  #reserve(bytes: number): void {
    if (this.#length + bytes <= this.#bytes.length) return;
    const larger = freshBytes(Math.max(2 * this.#bytes.length, this.#length + bytes));
    larger.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = larger;
  }
}

export class VarintReader {
  readonly #bytes: Bytes;
  #at: number;

  constructor(bytes: Bytes, at = 0) {
    this.#bytes = bytes;
    this.#at = at;
  }

  get atEnd(): boolean {
    return this.#at >= this.#bytes.length;
  }

  unsigned(): number {
    let value = 0;
    let unit = 1;
    while (true) {
      const byte = this.#bytes[this.#at++] ?? 0;
      value += (byte & 0x7f) * unit;
      if (byte < 0x80) return value;
      unit *= 0x80;
    }
  }

  /** The next `count` bytes; fewer at the end. */
  raw(count: number): Bytes {
    const from = this.#at;
    this.#at += count;
    return this.#bytes.subarray(from, this.#at);
  }

  signed(): number {
    const value = this.unsigned();
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }
}
