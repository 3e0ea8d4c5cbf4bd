import type { Bytes } from '../../base/bytes.ts';
import type { GatherBuffer } from './proxy-gather.ts';

/**
 * The answers of one client, as bytes, in the order of its requests. A request takes a place; its answer, the bounds of a frame inside some
 * chunk, waits there until all earlier ones are known. O(1) each, no allocation but when the ring grows.
 *
 * Until it is answered a place keeps the bounds of the request's key instead, for the slow log.
 */
export class ReplyRing {
  /** The oldest place whose answer has not been taken. */
  #head = 0;
  #next = 0;
  /** Places up to here are answered, and can be taken. */
  #ready = 0;
  #mask = 15;
  #chunks: (Bytes | undefined)[] = new Array<Bytes | undefined>(16).fill(undefined);
  #starts: number[] = new Array<number>(16).fill(0);
  #ends: number[] = new Array<number>(16).fill(0);
  #answered = new Uint8Array(16);
  #commands = new Uint16Array(16);
  #servers = new Uint16Array(16);
  #sinceMs = new Float64Array(16);
  /** Bytes of answers that have come and were not taken. */
  waitingBytes = 0;

  /** Requests without an answer that could leave. */
  get inFlight(): number {
    return this.#next - this.#ready;
  }

  /** Requests whose answers were not taken yet. */
  get length(): number {
    return this.#next - this.#head;
  }

  get hasReady(): boolean {
    return this.#ready > this.#head;
  }

  /** Takes the next place; the number is the token to answer with. `key` bounds what the slow log shows. */
  open(command: number, server: number, sinceMs: number, chunk: Bytes | undefined, from: number, to: number): number {
    if (this.#next === this.#head && this.#head > WRAP_AT) this.#head = this.#next = this.#ready = 0;
    if (this.#next - this.#head > this.#mask) this.#grow();
    const at = this.#next & this.#mask;
    this.#commands[at] = command;
    this.#servers[at] = server;
    this.#sinceMs[at] = sinceMs;
    this.#chunks[at] = chunk;
    this.#starts[at] = from;
    this.#ends[at] = to;
    this.#answered[at] = 0;
    return this.#next++;
  }

  isOpen(token: number): boolean {
    return token >= this.#ready && token < this.#next && this.#answered[token & this.#mask] === 0;
  }

  commandAt(token: number): number {
    return this.#commands[token & this.#mask]!;
  }

  serverAt(token: number): number {
    return this.#servers[token & this.#mask]!;
  }

  sinceMsAt(token: number): number {
    return this.#sinceMs[token & this.#mask]!;
  }

  /** The key of a request that is not answered yet. */
  keyAt(token: number): Bytes | undefined {
    const at = token & this.#mask;
    return this.#chunks[at]?.subarray(this.#starts[at], this.#ends[at]);
  }

  /** Answers the request of `token` with `chunk[from … to)`, which nobody may change until it is taken. */
  settle(token: number, chunk: Bytes, from: number, to: number): void {
    let at = token & this.#mask;
    this.#chunks[at] = chunk;
    this.#starts[at] = from;
    this.#ends[at] = to;
    this.#answered[at] = 1;
    this.waitingBytes += to - from;
    if (token !== this.#ready) return;
    let ready = token + 1;
    for (at = ready & this.#mask; ready < this.#next && this.#answered[at] === 1; at = ready & this.#mask) ready++;
    this.#ready = ready;
  }

  /** Moves the answers that can leave to `out`, up to about `most` bytes. */
  take(out: GatherBuffer, most: number): void {
    const mask = this.#mask;
    let budget = most;
    while (this.#head < this.#ready && budget > 0) {
      const at = this.#head & mask;
      const chunk = this.#chunks[at]!;
      const from = this.#starts[at]!;
      let to = this.#ends[at]!;
      this.#chunks[at] = undefined;
      this.#head++;
      // Neighbours in one chunk are copied together.
      while (this.#head < this.#ready) {
        const after = this.#head & mask;
        if (this.#chunks[after] !== chunk || this.#starts[after] !== to) break;
        to = this.#ends[after]!;
        this.#chunks[after] = undefined;
        this.#head++;
      }
      this.waitingBytes -= to - from;
      budget -= to - from;
      out.add(chunk, from, to);
    }
  }

  clear(): void {
    this.#chunks.fill(undefined);
    this.#head = this.#ready = this.#next;
    this.waitingBytes = 0;
  }

  #grow(): void {
    const size = 2 * this.#chunks.length;
    const chunks = new Array<Bytes | undefined>(size).fill(undefined);
    const starts = new Array<number>(size).fill(0);
    const ends = new Array<number>(size).fill(0);
    const answered = new Uint8Array(size);
    const commands = new Uint16Array(size);
    const servers = new Uint16Array(size);
    const sinceMs = new Float64Array(size);
    for (let token = this.#head; token < this.#next; token++) {
      const from = token & this.#mask;
      const to = token & (size - 1);
      chunks[to] = this.#chunks[from];
      starts[to] = this.#starts[from]!;
      ends[to] = this.#ends[from]!;
      answered[to] = this.#answered[from]!;
      commands[to] = this.#commands[from]!;
      servers[to] = this.#servers[from]!;
      sinceMs[to] = this.#sinceMs[from]!;
    }
    this.#chunks = chunks;
    this.#starts = starts;
    this.#ends = ends;
    this.#answered = answered;
    this.#commands = commands;
    this.#servers = servers;
    this.#sinceMs = sinceMs;
    this.#mask = size - 1;
  }
}

/** Tokens begin again at 0 once they are this large and none is out, to stay small integers. */
const WRAP_AT = 2 ** 29;
