import type { Socket } from 'node:net';
import type { Bytes } from '../base/bytes.ts';
import { latin1Slice } from './latin1.ts';
import type { EncodedRequest } from './reply-sink.ts';

/** Bytes below this length join the text: joining them costs less than a write of their own. */
const COPIED_BYTES = 4 * 1024;

/** What waits to be written to one socket: small pieces as one text, large ones as they are. */
export class Outbox {
  #text = '';
  #chunks: (string | Bytes)[] = [];
  #chunkBytes = 0;

  get length(): number {
    return this.#text.length + this.#chunkBytes;
  }

  add(request: EncodedRequest): void {
    if (typeof request === 'string') this.#text += request;
    else if (request instanceof Uint8Array) this.addBytes(request, 0, request.length);
    else {
      for (const part of request as readonly (string | Bytes)[]) {
        if (typeof part === 'string') this.#text += part;
        else this.addBytes(part, 0, part.length);
      }
    }
  }

  /** `bytes[start … end)`: short ones are copied at once, long ones must not change until they are written. */
  addBytes(bytes: Bytes, start: number, end: number): void {
    if (end - start < COPIED_BYTES) {
      this.#text += latin1Slice(bytes, start, end);
      return;
    }
    if (this.#text !== '') {
      this.#chunks.push(this.#text);
      this.#chunkBytes += this.#text.length;
      this.#text = '';
    }
    this.#chunks.push(start === 0 && end === bytes.length ? bytes : bytes.subarray(start, end));
    this.#chunkBytes += end - start;
  }

  /** Gives all to the socket, in one write where it is one piece. */
  flush(socket: Socket): void {
    const text = this.#text;
    this.#text = '';
    if (this.#chunks.length === 0) {
      if (text !== '') socket.write(text, 'latin1');
      return;
    }
    const chunks = this.#chunks;
    if (text !== '') chunks.push(text);
    this.#chunks = [];
    this.#chunkBytes = 0;
    socket.cork();
    for (const chunk of chunks) {
      if (typeof chunk === 'string') socket.write(chunk, 'latin1');
      else socket.write(chunk);
    }
    socket.uncork();
  }

  clear(): void {
    this.#text = '';
    this.#chunks = [];
    this.#chunkBytes = 0;
  }
}
