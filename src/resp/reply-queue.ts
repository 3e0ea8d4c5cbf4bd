import type { Reply } from '../shard/redis/reply.ts';

/**
 * Puts the answers of one connection in the order of its requests. A request takes a place; an answer that comes while it is the oldest goes
 * straight through, one that comes before its turn waits in a ring. Pure. O(1) each.
 */
export class ReplyQueue {
  /** The oldest place not answered; equal to `#next` when there is none. */
  #head = 0;
  #next = 0;
  #mask = 15;
  /** The answers that wait, at their place; undefined: not answered yet. */
  #ring: (Reply | undefined)[] = new Array<Reply | undefined>(16).fill(undefined);
  /** Index of the command at each place, for the statistics. */
  #commands = new Uint16Array(16);
  #waitingBytes = 0;

  /** Requests not answered yet, or answered before their turn. */
  get length(): number {
    return this.#next - this.#head;
  }

  /** Memory that the answers take which wait for their turn, about. */
  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  /** Takes the next place, for the command of this index; the number is the token to answer with. */
  open(command: number): number {
    if (this.#next === this.#head && this.#head > WRAP_AT) this.#head = this.#next = 0;
    if (this.#next - this.#head > this.#mask) this.#grow();
    this.#commands[this.#next & this.#mask] = command;
    return this.#next++;
  }

  commandAt(token: number): number {
    return this.#commands[token & this.#mask]!;
  }

  /** Whether the answer to `token` may go out now. When it does, call {@link shift}. */
  isNext(token: number): boolean {
    return token === this.#head;
  }

  /** The oldest request has been answered. Returns the next answer that has waited for this, with {@link shift} due again; else undefined. */
  shift(): Reply | undefined {
    this.#head++;
    const at = this.#head & this.#mask;
    const waiting = this.#ring[at];
    if (waiting === undefined) return undefined;
    this.#ring[at] = undefined;
    this.#waitingBytes -= weightOf(waiting);
    return waiting;
  }

  /** Keeps an answer until its turn. */
  wait(token: number, reply: Reply): void {
    this.#ring[token & this.#mask] = reply;
    this.#waitingBytes += weightOf(reply);
  }

  #grow(): void {
    const size = 2 * this.#ring.length;
    const ring = new Array<Reply | undefined>(size).fill(undefined);
    const commands = new Uint16Array(size);
    for (let token = this.#head; token < this.#next; token++) {
      ring[token & (size - 1)] = this.#ring[token & this.#mask];
      commands[token & (size - 1)] = this.#commands[token & this.#mask]!;
    }
    this.#ring = ring;
    this.#commands = commands;
    this.#mask = size - 1;
  }
}

/** Tokens begin again at 0 once they are this large and none is out, to stay small integers. */
const WRAP_AT = 2 ** 29;

/** For each item of an array beyond the bytes in it: the object that holds them. */
const ITEM_BYTES = 64;

/** What an answer takes in memory, about: its strings, those inside of arrays included. */
function weightOf(reply: Reply): number {
  if (reply instanceof Uint8Array) return reply.length;
  if (typeof reply !== 'object' || reply === null) return 0;
  if (!('kind' in reply)) return sum(reply);
  switch (reply.kind) {
    case 'map':
    case 'pairs':
      return reply.pairs.reduce((bytes, pair) => bytes + sum(pair), 0);
    case 'set':
    case 'push':
      return sum(reply.items);
    case 'verbatim':
      return reply.text.length;
    default:
      return 0;
  }
}

function sum(items: readonly Reply[]): number {
  let bytes = ITEM_BYTES * items.length;
  for (const item of items) bytes += weightOf(item);
  return bytes;
}
