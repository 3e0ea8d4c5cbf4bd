import type { Bytes } from '../../base/bytes.ts';
import { CR, decimal } from './ascii.ts';
import { Inbox } from './inbox.ts';

/** What {@link ReplyScanner.next} found. */
export type ReplyScanned = typeof REPLY_INCOMPLETE | typeof REPLY_WHOLE | typeof REPLY_BROKEN;
export const REPLY_INCOMPLETE = 0;
export const REPLY_WHOLE = 1;
export const REPLY_BROKEN = 2;

/**
 * Finds the bounds of replies (RESP2 and RESP3, nested ones included) in a stream of bytes given in any chunks, without making values: for a
 * proxy that passes them on, and under {@link ReplyParser} for clients. After {@link REPLY_WHOLE}, the reply is `bytes[start … end)`.
 * Pure. Cost: O(elements), long strings are stepped over.
 */
export class ReplyScanner {
  bytes: Bytes;
  start = 0;
  end = 0;
  /** First byte of the reply: its type. */
  type = 0;
  error = '';
  /** A string longer than this is refused. */
  readonly maxStringBytes: number;

  readonly #inbox = new Inbox();
  #at = 0;
  /** Elements that the reply being read still lacks; 0 between replies. */
  #missing = 0;

  constructor(options: { readonly maxStringBytes?: number } = {}) {
    this.maxStringBytes = options.maxStringBytes ?? 512 * 1024 * 1024;
    this.bytes = this.#inbox.bytes;
  }

  get pendingBytes(): number {
    return this.#inbox.length;
  }

  /** Adds received bytes, which nobody may change from here on. */
  push(chunk: Bytes): void {
    const shift = this.#inbox.push(chunk);
    this.#at -= shift;
  }

  next(): ReplyScanned {
    if (this.error !== '') return REPLY_BROKEN;
    const inbox = this.#inbox;
    const { bytes, end } = inbox;
    this.bytes = bytes;
    if (this.#missing === 0) {
      if (this.#at >= end) {
        inbox.clear();
        this.#at = 0;
        return REPLY_INCOMPLETE;
      }
      this.#missing = 1;
    }
    while (this.#missing > 0) {
      if (this.#at >= end) return REPLY_INCOMPLETE;
      const type = bytes[this.#at]!;
      const stop = this.#lineEnd(this.#at + 1, end);
      if (stop < 0) {
        if (end - this.#at > MAX_LINE_BYTES) return this.#broken('a line is too long');
        return REPLY_INCOMPLETE;
      }
      let after = stop + 2;
      let more = 0;
      switch (type) {
        case 43: // +
        case 45: // -
        case 95: // _
        case 44: // ,
        case 35: // #
          break;
        case 58: // :
        case 40: // (
          if (!isInteger(bytes, this.#at + 1, stop)) return this.#broken('invalid integer');
          break;
        case 36: // $
        case 61: // =
        case 33: {
          // !
          const length = decimal(bytes, this.#at + 1, stop);
          if (length < -1 || length > this.maxStringBytes) return this.#broken('invalid string length');
          if (length >= 0) after += length + 2;
          if (after > end) return REPLY_INCOMPLETE;
          break;
        }
        case 42: // *
        case 126: // ~
        case 62: // >
        case 37: // %
        case 124: {
          // |
          const count = decimal(bytes, this.#at + 1, stop);
          if (count < -1 || count > MAX_ELEMENTS) return this.#broken('invalid element count');
          more = Math.max(count, 0) * (type === 37 || type === 124 ? 2 : 1);
          // An attribute comes before the element that it belongs to.
          if (type === 124) more++;
          break;
        }
        default:
          return this.#broken(`unknown reply type 0x${type.toString(16)}`);
      }
      this.#at = after;
      this.#missing += more - 1;
    }
    this.start = inbox.start;
    this.end = this.#at;
    this.type = bytes[this.start]!;
    inbox.start = this.#at;
    return REPLY_WHOLE;
  }

  /** Index of the CR that ends the line holding `from`, its LF received too; -1 when it is not there yet. */
  #lineEnd(from: number, end: number): number {
    const { bytes } = this;
    // Most lines are short: a loop beats the call.
    const near = Math.min(end, from + 24);
    for (let at = from; at < near; at++) if (bytes[at] === CR) return at + 1 < end ? at : -1;
    const found = near < end ? bytes.indexOf(CR, near) : -1;
    return found < 0 || found + 1 >= end ? -1 : found;
  }

  #broken(what: string): typeof REPLY_BROKEN {
    this.error = what;
    return REPLY_BROKEN;
  }
}

const MAX_LINE_BYTES = 64 * 1024;
const MAX_ELEMENTS = 2 ** 31 - 1;

function isInteger(bytes: Bytes, from: number, to: number): boolean {
  let at = from;
  if (bytes[at] === 45 || bytes[at] === 43) at++;
  if (at === to) return false;
  for (; at < to; at++) if (bytes[at]! < 48 || bytes[at]! > 57) return false;
  return true;
}
