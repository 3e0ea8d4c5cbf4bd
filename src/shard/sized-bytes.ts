import type { Bytes } from '../base/bytes.ts';

const LIMIT = 1024;

/**
 * Bytes to write something into that is used up at once: the same ones each time, so that nothing is allocated. Their old content is not
 * cleared. Longer ones than 1,024 bytes are made anew.
 */
export class SizedBytes {
  readonly #buffer = new ArrayBuffer(LIMIT);
  /** By length. An array of bytes has a length for good, so there is one for each, made when it is first wanted. */
  readonly #ofLength = new Array<Bytes | undefined>(LIMIT + 1).fill(undefined);

  /** `length` bytes, valid until the next call. */
  take(length: number): Bytes {
    return length > LIMIT ? new Uint8Array(length) : (this.#ofLength[length] ??= new Uint8Array(this.#buffer, 0, length));
  }
}
