import { type Bytes, copyBytes } from './bytes.ts';

/** Puts numbers and bytes one behind the other. Grows as needed. */
export class ByteWriter {
  #out: Uint8Array;
  #view: DataView;
  #at = 0;

  constructor(expectedBytes = 256) {
    this.#out = new Uint8Array(expectedBytes);
    this.#view = new DataView(this.#out.buffer);
  }

  get length(): number {
    return this.#at;
  }

  u8(value: number): this {
    this.#room(1);
    this.#out[this.#at++] = value;
    return this;
  }

  u32(value: number): this {
    this.#room(4);
    this.#view.setUint32(this.#at, value);
    this.#at += 4;
    return this;
  }

  f64(value: number): this {
    this.#room(8);
    this.#view.setFloat64(this.#at, value);
    this.#at += 8;
    return this;
  }

  bytes(bytes: Bytes): this {
    this.#room(bytes.length);
    this.#out.set(bytes, this.#at);
    this.#at += bytes.length;
    return this;
  }

  /** Bytes behind their length. */
  sized(bytes: Bytes): this {
    return this.u32(bytes.length).bytes(bytes);
  }

  /** Begins anew. */
  clear(): void {
    this.#at = 0;
  }

  /** All of it, in bytes of their own. */
  finish(): Uint8Array {
    return this.#out.slice(0, this.#at);
  }

  #room(more: number): void {
    const needed = this.#at + more;
    if (needed <= this.#out.length) return;
    const grown = new Uint8Array(Math.max(needed, 2 * this.#out.length));
    grown.set(this.#out.subarray(0, this.#at));
    this.#out = grown;
    this.#view = new DataView(grown.buffer);
  }
}

/** Reads what a {@link ByteWriter} has written. Reading beyond the end throws a RangeError. */
export class ByteReader {
  readonly #bytes: Bytes;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Bytes) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  get atEnd(): boolean {
    return this.#at >= this.#bytes.length;
  }

  u8(): number {
    return this.#view.getUint8(this.#at++);
  }

  u32(): number {
    this.#at += 4;
    return this.#view.getUint32(this.#at - 4);
  }

  f64(): number {
    this.#at += 8;
    return this.#view.getFloat64(this.#at - 8);
  }

  /** How many bytes have been read. */
  get at(): number {
    return this.#at;
  }

  /** Bytes of the reader's own. */
  bytes(length: number): Uint8Array {
    const from = this.#pass(length);
    return copyBytes(this.#bytes, from, from + length);
  }

  /** As {@link sized}, in the memory of what is read. */
  sizedView(): Uint8Array {
    const length = this.u32();
    const from = this.#pass(length);
    return this.#bytes.subarray(from, from + length);
  }

  /** All that has not been read. */
  rest(): Uint8Array {
    return this.bytes(this.#bytes.length - this.#at);
  }

  sized(): Uint8Array {
    return this.bytes(this.u32());
  }

  /** Steps over so many bytes; answers where they begin. */
  #pass(length: number): number {
    const from = this.#at;
    if (from + length > this.#bytes.length) throw new RangeError(`${length} bytes at ${from} of ${this.#bytes.length}`);
    this.#at = from + length;
    return from;
  }
}
