import type { Bytes } from '../../base/bytes.ts';

/**
 * Received bytes that do not make a whole frame yet, joined across chunks. Pure; used by the scanners of requests and replies.
 *
 * A chunk that arrives when nothing is left over is taken as it is, without a copy. Otherwise the left-over and the chunk are joined in a buffer
 * that at least doubles whenever it is full, so that a frame of n bytes is copied O(n) bytes in all, however small its chunks.
 * Bytes once shown are never overwritten: views of them stay valid for as long as somebody holds them; but for those of a lent chunk.
 */
export class Inbox {
  /** Holds the received bytes in `[start, end)`. */
  bytes: Bytes = EMPTY;
  /** Where the unfinished frame begins. The scanner moves it on. */
  start = 0;
  end = 0;
  /** The bytes are somebody's who will use them for others. */
  isLent = false;
  #owned = false;

  /** Bytes received and not consumed. */
  get length(): number {
    return this.end - this.start;
  }

  /** Takes a chunk; it must not be changed afterwards. Returns by how much indexes into {@link bytes} must be lowered. */
  push(chunk: Bytes): number {
    const shift = this.start;
    if (this.length > 0) return this.#join(chunk);
    this.bytes = chunk;
    this.start = 0;
    this.end = chunk.length;
    this.#owned = false;
    this.isLent = false;
    return shift;
  }

  /** Takes `chunk[0 … length)`, which must stay as they are until {@link keep}. Returns as {@link push}. */
  lend(chunk: Bytes, length: number): number {
    const shift = this.start;
    if (this.length > 0) return this.#join(chunk.subarray(0, length));
    this.bytes = chunk;
    this.start = 0;
    this.end = length;
    this.#owned = false;
    this.isLent = true;
    return shift;
  }

  /** What is left of a lent chunk is copied. Returns as {@link push}. */
  keep(): number {
    if (!this.isLent) return 0;
    const shift = this.start;
    const left = this.length;
    if (left === 0) {
      this.clear();
      return shift;
    }
    const own = new Uint8Array(2 * left);
    own.set(this.bytes.subarray(this.start, this.end));
    this.bytes = own;
    this.start = 0;
    this.end = left;
    this.#owned = true;
    this.isLent = false;
    return shift;
  }

  #join(chunk: Bytes): number {
    const left = this.length;
    const shift = this.start;
    if (this.#owned && this.end + chunk.length <= this.bytes.length) {
      this.bytes.set(chunk, this.end);
      this.end += chunk.length;
      return 0;
    }
    const joined = new Uint8Array(Math.max(2 * left, left + chunk.length));
    joined.set(this.bytes.subarray(this.start, this.end));
    joined.set(chunk, left);
    this.bytes = joined;
    this.start = 0;
    this.end = left + chunk.length;
    this.#owned = true;
    this.isLent = false;
    return shift;
  }

  /** Lets go of everything. */
  clear(): void {
    this.bytes = EMPTY;
    this.start = 0;
    this.end = 0;
    this.#owned = false;
    this.isLent = false;
  }
}

const EMPTY: Bytes = new Uint8Array(0);
