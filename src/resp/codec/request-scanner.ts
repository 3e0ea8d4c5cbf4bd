import { type Bytes, copyBytes } from '../../base/bytes.ts';
import { CR, decimal, LF, NOT_DECIMAL } from './ascii.ts';
import { Inbox } from './inbox.ts';
import { splitInline } from './inline.ts';

/** How large a request may be. Redis's numbers by default. */
export interface RequestLimits {
  /** The longest argument (`proto-max-bulk-len`). */
  bulkBytes: number;
  /** The most arguments of one request. */
  args: number;
  /** The longest line: an inline command, or the header of a multibulk or bulk. */
  inlineBytes: number;
}

export const REQUEST_LIMITS: Readonly<RequestLimits> = { bulkBytes: 512 * 1024 * 1024, args: 1024 * 1024, inlineBytes: 64 * 1024 };

/** What a client that has not given the password yet may send, as in Redis. */
export const UNAUTHENTICATED_LIMITS = { bulkBytes: 16_384, args: 10 } as const;

/** What {@link RequestScanner.next} found: all that was received is used up, a whole request, or bytes that are no RESP. */
export type Scanned = typeof NEED_MORE | typeof REQUEST | typeof BROKEN;
export const NEED_MORE = 0;
export const REQUEST = 1;
export const BROKEN = 2;

/**
 * Finds requests, and the bounds of their arguments, in a stream of bytes given in any chunks: multibulk (`*2\r\n$3\r\nGET\r\n…`) and inline
 * (`GET key\r\n`) commands. Makes no strings and no buffers of its own for requests that lie whole in one chunk; resumes where it stopped.
 *
 * After {@link REQUEST}, argument i is `bytes[starts[i] … ends[i])`, valid until the next call; views of it made by {@link arg} stay valid.
 * A malformed stream ends in {@link BROKEN} with Redis's own text in {@link error}; the connection then has to be closed.
 * Pure. Cost: O(bytes), whatever the chunks.
 */
export class RequestScanner {
  readonly limits: RequestLimits;
  /** While false, the narrower {@link UNAUTHENTICATED_LIMITS} hold. */
  authenticated = true;
  bytes: Bytes;
  argCount = 0;
  readonly starts: number[] = [];
  readonly ends: number[] = [];
  error = '';
  /** Length of the last request on the wire. */
  requestBytes = 0;

  readonly #inbox = new Inbox();
  /** Where scanning goes on. */
  #at = 0;
  /** Arguments still missing from the multibulk being read; -1 outside of one. */
  #missing = -1;
  /** Length of the bulk being read; -1 before its header. */
  #bulk = -1;
  /** Inline: no line feed before this index. */
  #searched = 0;

  constructor(limits: Partial<RequestLimits> = {}) {
    this.limits = { ...REQUEST_LIMITS, ...limits };
    this.bytes = this.#inbox.bytes;
  }

  /** Bytes received that belong to no request returned yet. */
  get pendingBytes(): number {
    return this.#inbox.length;
  }

  /** Adds received bytes, which nobody may change from here on. */
  push(chunk: Bytes): void {
    this.#shift(this.#inbox.push(chunk));
  }

  /** Adds `chunk[0 … length)`, which nobody may change before {@link keep}; views of it made by {@link arg} are valid until then. */
  lend(chunk: Bytes, length: number): void {
    this.#shift(this.#inbox.lend(chunk, length));
  }

  /** Copies what is left of a lent chunk. */
  keep(): void {
    this.#shift(this.#inbox.keep());
  }

  #shift(by: number): void {
    this.#at -= by;
    this.#searched -= by;
    if (by === 0) return;
    for (let i = 0; i < this.argCount; i++) {
      this.starts[i]! -= by;
      this.ends[i]! -= by;
    }
  }

  /** Looks for the next whole request. After {@link BROKEN} it stays broken. */
  next(): Scanned {
    if (this.error !== '') return BROKEN;
    const inbox = this.#inbox;
    this.bytes = inbox.bytes;
    for (;;) {
      if (this.#missing < 0) {
        inbox.start = this.#at;
        this.argCount = 0;
        if (this.#at >= inbox.end) {
          inbox.clear();
          this.#at = 0;
          this.#searched = 0;
          return NEED_MORE;
        }
        if (this.bytes[this.#at] !== 42) {
          const found = this.#inline();
          if (found !== undefined) return found;
          continue;
        }
        const count = this.#header(this.limits.args, 'too big mbulk count string');
        if (count === undefined) return this.error === '' ? NEED_MORE : BROKEN;
        if (count > this.limits.args || count === NOT_DECIMAL) return this.#broken('invalid multibulk length');
        if (!this.authenticated && count > UNAUTHENTICATED_LIMITS.args) return this.#broken('unauthenticated multibulk length');
        if (count <= 0) continue;
        this.#missing = count;
      }
      const found = this.#multibulk();
      if (found !== undefined) return found;
    }
  }

  /** Argument `i` of the request just found, as a view that keeps its whole chunk alive: copy what is kept. */
  arg(i: number): Bytes {
    return this.bytes.subarray(this.starts[i], this.ends[i]);
  }

  /** The arguments from `from` on, copied if they are short or lent: see {@link arg}. With a `first`, that stands in for the first of them. */
  args(from = 0, first?: Bytes): Bytes[] {
    const args = new Array<Bytes>(this.argCount - from);
    const { bytes, starts, ends } = this;
    const { isLent } = this.#inbox;
    if (first !== undefined) args[0] = first;
    for (let i = first === undefined ? from : from + 1; i < this.argCount; i++) {
      const start = starts[i]!;
      const length = ends[i]! - start;
      args[i - from] =
        isLent || length <= COPIED_BYTES
          ? copyBytes(bytes, start, start + length)
          : new Uint8Array(bytes.buffer, bytes.byteOffset + start, length);
    }
    return args;
  }

  /** Forgets everything received. */
  clear(): void {
    this.#inbox.clear();
    this.#at = 0;
    this.#searched = 0;
    this.#missing = -1;
    this.#bulk = -1;
    this.argCount = 0;
  }

  #multibulk(): Scanned | undefined {
    const { bytes, starts, ends } = this;
    const end = this.#inbox.end;
    while (this.#missing > 0) {
      let length = this.#bulk;
      if (length < 0) {
        const at = this.#at;
        if (at >= end) return NEED_MORE;
        if (bytes[at] !== 36) return this.#broken(`expected '$', got '${shown(bytes[at]!)}'`);
        // The common header, two digits at most, without a call.
        const first = at + 1 < end ? bytes[at + 1]! - 48 : -1;
        if (first >= 0 && first <= 9 && at + 3 < end && bytes[at + 2] === CR) {
          length = first;
          this.#at = at + 4;
        } else {
          const read = this.#header(Number.MAX_SAFE_INTEGER, 'too big bulk count string');
          if (read === undefined) return this.error === '' ? NEED_MORE : BROKEN;
          if (read < 0 || read > this.limits.bulkBytes) return this.#broken('invalid bulk length');
          if (!this.authenticated && read > UNAUTHENTICATED_LIMITS.bulkBytes) return this.#broken('unauthenticated bulk length');
          length = read;
        }
        this.#bulk = length;
      }
      const start = this.#at;
      if (start + length + 2 > end) return NEED_MORE;
      starts[this.argCount] = start;
      ends[this.argCount++] = start + length;
      this.#at = start + length + 2;
      this.#bulk = -1;
      this.#missing--;
    }
    this.#missing = -1;
    this.requestBytes = this.#at - this.#inbox.start;
    this.#inbox.start = this.#at;
    return REQUEST;
  }

  /** Reads `<type><number>\r\n` at the cursor and moves past it. Undefined when it is not whole yet, or too long (then `error` is set). */
  #header(most: number, tooLong: string): number | undefined {
    const { bytes } = this;
    const end = this.#inbox.end;
    const from = this.#at + 1;
    let at = from;
    let value = 0;
    for (; at < end; at++) {
      const digit = bytes[at]! - 48;
      if (digit < 0 || digit > 9) break;
      value = value * 10 + digit;
    }
    // Anything but plain digits, or a leading zero, is left to the strict reader.
    if (at >= end || bytes[at] !== CR || at === from || bytes[from] === 48 || value > most) {
      const stop = bytes.indexOf(CR, from);
      if (stop < 0 || stop >= end) {
        if (end - this.#at > this.limits.inlineBytes) this.#broken(tooLong);
        return undefined;
      }
      at = stop;
      value = decimal(bytes, from, stop);
    }
    if (at + 1 >= end) return undefined;
    this.#at = at + 2;
    return value;
  }

  /** An inline command; undefined for an empty line, which is passed over. */
  #inline(): Scanned | undefined {
    const inbox = this.#inbox;
    const line = inbox.start;
    const found = this.bytes.indexOf(LF, Math.max(line, this.#searched));
    if (found < 0 || found >= inbox.end) {
      this.#searched = inbox.end;
      return inbox.length > this.limits.inlineBytes ? this.#broken('too big inline request') : NEED_MORE;
    }
    const stop = found > line && this.bytes[found - 1] === CR ? found - 1 : found;
    const args = splitInline(this.bytes, line, stop);
    if (args === undefined) return this.#broken('unbalanced quotes in request');
    this.#at = found + 1;
    this.requestBytes = this.#at - line;
    if (args.length === 0) return undefined;
    inbox.start = this.#at;
    this.#show(args);
    return REQUEST;
  }

  /** Lays decoded arguments out in a buffer of their own. */
  #show(args: readonly Bytes[]): void {
    let length = 0;
    for (const arg of args) length += arg.length;
    const own = new Uint8Array(length);
    let at = 0;
    for (const arg of args) {
      own.set(arg, at);
      this.starts[this.argCount] = at;
      at += arg.length;
      this.ends[this.argCount++] = at;
    }
    this.bytes = own;
  }

  #broken(what: string): typeof BROKEN {
    this.error = `ERR Protocol error: ${what}`;
    return BROKEN;
  }
}

/** Arguments up to this length are copied by {@link RequestScanner.args}: a view costs as much, and would keep its chunk alive. */
const COPIED_BYTES = 32;

function shown(byte: number): string {
  return byte === CR || byte === LF ? ' ' : String.fromCharCode(byte);
}
