import type { Socket } from 'node:net';
import type { Bytes } from '../../base/bytes.ts';

/** Pieces from this length on are sent from where they are instead of being copied together. */
const UNCOPIED_BYTES = 16 * 1024;
const SLAB_BYTES = 64 * 1024;

/**
 * Collects small pieces of bytes into one buffer, so that a socket gets one write a tick. One instance serves all sockets in turn:
 * between {@link add} and {@link send} nothing else may use it.
 */
export class GatherBuffer {
  #slab: Bytes = Buffer.allocUnsafeSlow(SLAB_BYTES);
  #from = 0;
  #at = 0;
  #chunks: Bytes[] = [];
  #bytes = 0;

  get length(): number {
    return this.#bytes + this.#at - this.#from;
  }

  /** Adds `chunk[from … to)`. */
  add(chunk: Bytes, from: number, to: number): void {
    const length = to - from;
    if (length >= UNCOPIED_BYTES) {
      this.#cut();
      this.#chunks.push(from === 0 && to === chunk.length ? chunk : chunk.subarray(from, to));
      this.#bytes += length;
      return;
    }
    if (this.#at + length > SLAB_BYTES) {
      this.#cut();
      this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
      this.#from = this.#at = 0;
    }
    const slab = this.#slab;
    let at = this.#at;
    if (length > 64) slab.set(chunk.subarray(from, to), at);
    else for (let i = from; i < to; i++) slab[at++] = chunk[i]!;
    this.#at += length;
  }

  /** Writes what was collected to `socket`, in order; returns how much it was. */
  send(socket: Socket): number {
    const { length } = this;
    if (length === 0) return 0;
    const isWhole = this.#chunks.length === 0;
    const first = this.#from;
    this.#cut();
    const chunks = this.#chunks;
    this.#chunks = [];
    this.#bytes = 0;
    if (chunks.length === 1) socket.write(chunks[0]!);
    else {
      socket.cork();
      for (const chunk of chunks) socket.write(chunk);
      socket.uncork();
    }
    // Taken by the system at once, as nearly always: nobody looks at those bytes any more.
    if (isWhole && socket.writableLength === 0) this.#from = this.#at = first;
    return length;
  }

  #cut(): void {
    if (this.#at === this.#from) return;
    this.#chunks.push(this.#slab.subarray(this.#from, this.#at));
    this.#bytes += this.#at - this.#from;
    this.#from = this.#at;
  }
}
