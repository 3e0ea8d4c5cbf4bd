import type { Bytes } from '../base/bytes.ts';
import type { InPlaceCodec } from './value-module.ts';

// The hash that chains a shard's entries: hash(n) = H(hash(n-1), entry n). It tells replicas apart that were fed different entries, by
// accident; it is not meant against an enemy. The round of MurmurHash3_x86_128, fed piecewise through a buffer so that the cost of a small
// command is a copy of its bytes.

const BUFFER_BYTES = 1 << 15;
const C1 = 0x239b961b;
const C2 = 0xab0e9789;
const C3 = 0x38b34ae5;
const C4 = 0xa1e38b93;

export const HASH_BYTES = 16;
export const ZERO_HASH: Bytes = new Uint8Array(HASH_BYTES);

export class ChainHash {
  readonly #buffer = new Uint8Array(BUFFER_BYTES);
  readonly #view = new DataView(this.#buffer.buffer);
  #length = 0;
  #total = 0;
  #a = 0;
  #b = 0;
  #c = 0;
  #d = 0;

  /** Begins the hash of an entry that follows one with hash `previous`. */
  start(previous: Bytes): void {
    this.#a = this.#b = this.#c = this.#d = 0;
    this.#length = 0;
    this.#total = 0;
    this.add(previous);
  }

  addByte(byte: number): void {
    if (this.#length === BUFFER_BYTES) this.#absorb();
    this.#buffer[this.#length++] = byte;
  }

  addU32(value: number): void {
    if (this.#length + 4 > BUFFER_BYTES) this.#absorb();
    this.#view.setUint32(this.#length, value);
    this.#length += 4;
  }

  add(bytes: Bytes): void {
    let from = 0;
    while (from < bytes.length) {
      if (this.#length === BUFFER_BYTES) this.#absorb();
      const count = Math.min(bytes.length - from, BUFFER_BYTES - this.#length);
      if (count <= 32) for (let i = 0; i < count; i++) this.#buffer[this.#length + i] = bytes[from + i]!;
      else this.#buffer.set(count === bytes.length ? bytes : bytes.subarray(from, from + count), this.#length);
      this.#length += count;
      from += count;
    }
  }

  /** Adds the `size` bytes that `codec` makes of `value`. */
  addEncoded<T>(codec: InPlaceCodec<T>, value: T, size: number): void {
    if (this.#length + size > BUFFER_BYTES) this.#absorb();
    if (this.#length + size > BUFFER_BYTES) {
      const bytes = new Uint8Array(size);
      codec.encode(value, bytes, 0);
      this.add(bytes);
    } else {
      codec.encode(value, this.#buffer, this.#length);
      this.#length += size;
    }
  }

  /** The hash of all that was added since {@link start}. */
  finish(): Bytes {
    const total = this.#total + this.#length;
    while (this.#length % 16 !== 0) this.#buffer[this.#length++] = 0;
    this.#absorb();
    let a = this.#a ^ total;
    let b = this.#b ^ total;
    let c = this.#c ^ total;
    let d = this.#d ^ total;
    a = (a + b + c + d) | 0;
    b = (b + a) | 0;
    c = (c + a) | 0;
    d = (d + a) | 0;
    a = mixed(a);
    b = mixed(b);
    c = mixed(c);
    d = mixed(d);
    a = (a + b + c + d) | 0;
    const out = new Uint8Array(HASH_BYTES);
    const view = new DataView(out.buffer);
    view.setInt32(0, a);
    view.setInt32(4, (b + a) | 0);
    view.setInt32(8, (c + a) | 0);
    view.setInt32(12, (d + a) | 0);
    return out;
  }

  /** Takes in the whole blocks of the buffer and keeps the rest. */
  #absorb(): void {
    const view = this.#view;
    const end = this.#length - (this.#length % 16);
    let a = this.#a;
    let b = this.#b;
    let c = this.#c;
    let d = this.#d;
    for (let at = 0; at < end; at += 16) {
      let k = Math.imul(view.getInt32(at, true), C1);
      a ^= Math.imul((k << 15) | (k >>> 17), C2);
      a = (((a << 19) | (a >>> 13)) + b) | 0;
      a = (Math.imul(a, 5) + 0x561ccd1b) | 0;
      k = Math.imul(view.getInt32(at + 4, true), C2);
      b ^= Math.imul((k << 16) | (k >>> 16), C3);
      b = (((b << 17) | (b >>> 15)) + c) | 0;
      b = (Math.imul(b, 5) + 0x0bcaa747) | 0;
      k = Math.imul(view.getInt32(at + 8, true), C3);
      c ^= Math.imul((k << 17) | (k >>> 15), C4);
      c = (((c << 15) | (c >>> 17)) + d) | 0;
      c = (Math.imul(c, 5) + 0x96cd1c35) | 0;
      k = Math.imul(view.getInt32(at + 12, true), C4);
      d ^= Math.imul((k << 18) | (k >>> 14), C1);
      d = (((d << 13) | (d >>> 19)) + a) | 0;
      d = (Math.imul(d, 5) + 0x32ac3b17) | 0;
    }
    this.#a = a;
    this.#b = b;
    this.#c = c;
    this.#d = d;
    this.#buffer.copyWithin(0, end, this.#length);
    this.#length -= end;
    this.#total += end;
  }
}

function mixed(h: number): number {
  h ^= h >>> 16;
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return h ^ (h >>> 16);
}
