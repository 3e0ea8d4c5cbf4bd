import type { Bytes } from '../base/bytes.ts';
import type { BufferSource } from './codec/reply-writer.ts';

const BUFFER_BYTES = 16 * 1024;
const KEPT = 64;

/** Output buffers, lent to connections that have something to say. Keeps a few for the next; the rest is left to the collector. */
export class OutputBuffers implements BufferSource {
  readonly #free: Bytes[] = [];

  take(): Bytes {
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(BUFFER_BYTES);
  }

  give(buffer: Bytes): void {
    if (buffer.length === BUFFER_BYTES && this.#free.length < KEPT) this.#free.push(buffer);
  }
}
