import type { ReplySink } from './reply-sink.ts';

/** Requests of one connection that have no answer yet, oldest first: a ring of a power of two. O(1) each, no allocation but when it grows. */
export class PendingRequests {
  #sinks: (ReplySink | undefined)[] = new Array(64).fill(undefined);
  #tokens: unknown[] = new Array(64).fill(undefined);
  #head = 0;
  #tail = 0;
  /** Those from here on have not been given to the socket. */
  #written = 0;

  get length(): number {
    return this.#tail - this.#head;
  }

  /** How many of them the server may have. */
  get writtenLength(): number {
    return Math.max(0, this.#written - this.#head);
  }

  push(sink: ReplySink, token: unknown): void {
    if (this.#tail - this.#head === this.#sinks.length) this.#grow();
    const place = this.#tail & (this.#sinks.length - 1);
    this.#sinks[place] = sink;
    this.#tokens[place] = token;
    this.#tail++;
  }

  /** Puts these before all others, as given to the socket; no other has been yet. */
  unshift(sink: ReplySink, tokens: readonly unknown[]): void {
    const others = this.drain();
    for (const token of tokens) this.push(sink, token);
    this.#written = this.#tail;
    for (const other of others) this.push(other.sink, other.token);
  }

  /** All that are there have been given to the socket. */
  markWritten(): void {
    this.#written = this.#tail;
  }

  /** Takes the oldest, and gives it the answer `bytes[start … end)`. */
  answer(bytes: Uint8Array, start: number, end: number): void {
    const place = this.#head & (this.#sinks.length - 1);
    const sink = this.#sinks[place]!;
    const token = this.#tokens[place];
    this.#sinks[place] = undefined;
    this.#tokens[place] = undefined;
    this.#head++;
    sink.onReply(token, bytes, start, end);
  }

  /** Takes all, oldest first. */
  drain(): { readonly sink: ReplySink; readonly token: unknown; readonly isWritten: boolean }[] {
    const mask = this.#sinks.length - 1;
    const all = Array.from({ length: this.length }, (_, i) => {
      const place = (this.#head + i) & mask;
      return { sink: this.#sinks[place]!, token: this.#tokens[place], isWritten: this.#head + i < this.#written };
    });
    this.#head = this.#tail;
    this.#sinks = new Array(64).fill(undefined);
    this.#tokens = new Array(64).fill(undefined);
    return all;
  }

  #grow(): void {
    const size = this.#sinks.length;
    const sinks = new Array<ReplySink | undefined>(2 * size).fill(undefined);
    const tokens = new Array<unknown>(2 * size).fill(undefined);
    for (let i = 0; i < size; i++) {
      sinks[(this.#head + i) & (2 * size - 1)] = this.#sinks[(this.#head + i) & (size - 1)];
      tokens[(this.#head + i) & (2 * size - 1)] = this.#tokens[(this.#head + i) & (size - 1)];
    }
    this.#sinks = sinks;
    this.#tokens = tokens;
  }
}
