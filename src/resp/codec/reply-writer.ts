import { unreachable } from '../../base/assert.ts';
import type { Bytes } from '../../base/bytes.ts';
import type { Reply, TaggedReply } from '../../shard/redis/reply.ts';

export type RespVersion = 2 | 3;

/** Where {@link ReplyWriter} gets its buffers, so that connections with nothing to say hold none. */
export interface BufferSource {
  take(): Bytes;
  /** Called with a buffer from `take` whose bytes nobody looks at any more. */
  give(buffer: Bytes): void;
}

/** Bulk strings from this length on are not copied into the buffer but sent from where they are. */
export const UNCOPIED_BYTES = 32 * 1024;

/**
 * Writes replies as RESP2 or RESP3 into a growing buffer, to be sent in one go. Pure.
 *
 * Long bulk strings are not copied: they become chunks of their own between those of the buffer, so their bytes must not change until sent.
 * Everything written since the last {@link take} is in `chunks` plus the current buffer.
 */
export class ReplyWriter {
  readonly #source: BufferSource;
  #buffer: Bytes = NONE;
  #at = 0;
  /** Start, in the buffer, of what is not in `#chunks` yet. */
  #from = 0;
  #chunks: Bytes[] = [];
  #chunkBytes = 0;

  constructor(source: BufferSource = FRESH_BUFFERS) {
    this.#source = source;
  }

  /** Bytes written and not taken. */
  get length(): number {
    return this.#chunkBytes + this.#at - this.#from;
  }

  /** The written bytes in order, as one chunk or several. The buffer is handed over with them; when they are sent, give it to {@link recycle}. */
  take(): { readonly chunks: readonly Bytes[]; readonly buffer: Bytes } {
    this.#cut();
    const taken = { chunks: this.#chunks, buffer: this.#buffer };
    this.#chunks = [];
    this.#chunkBytes = 0;
    this.#buffer = NONE;
    this.#at = 0;
    this.#from = 0;
    return taken;
  }

  /** Gives back a buffer got from {@link take}, all its chunks sent. */
  recycle(buffer: Bytes): void {
    if (buffer !== NONE) this.#source.give(buffer);
  }

  /** Drops what is written and gives the buffer back. */
  clear(): void {
    this.recycle(this.take().buffer);
  }

  write(reply: Reply, version: RespVersion): void {
    if (reply instanceof Uint8Array) this.bulk(reply);
    else if (typeof reply === 'number') this.integer(reply);
    else if (reply === null) this.raw(version === 3 ? NULL_3 : NULL_2);
    else if (typeof reply === 'bigint') this.line(BIG_INTEGERS.has(reply, version) ? 58 : 40, reply.toString());
    else if (isArray(reply)) {
      this.header(42, reply.length);
      for (const item of reply) this.write(item, version);
    } else this.#tagged(reply, version);
  }

  /** Bytes that are RESP already. */
  raw(bytes: Bytes): void {
    this.#room(bytes.length);
    copyInto(this.#buffer, this.#at, bytes);
    this.#at += bytes.length;
  }

  bulk(bytes: Bytes): void {
    const { length } = bytes;
    this.header(36, length);
    if (length >= UNCOPIED_BYTES) {
      this.#cut();
      this.#chunks.push(bytes);
      this.#chunkBytes += length;
      this.#room(2);
    } else {
      this.#room(length + 2);
      copyInto(this.#buffer, this.#at, bytes);
      this.#at += length;
    }
    this.#buffer[this.#at++] = 13;
    this.#buffer[this.#at++] = 10;
  }

  integer(value: number): void {
    this.header(58, value);
  }

  /** `<type><number>\r\n`, a whole number within the safe range. */
  header(type: number, value: number): void {
    this.#room(24);
    const buffer = this.#buffer;
    let at = this.#at;
    buffer[at++] = type;
    if (value < 0) {
      buffer[at++] = 45;
      value = -value;
    }
    if (value < 10) buffer[at++] = 48 + value;
    else {
      let digits = 2;
      for (let bound = 100; value >= bound; bound *= 10) digits++;
      at += digits;
      let back = at;
      for (; value > 0x7fff_ffff; value = Math.floor(value / 10)) buffer[--back] = 48 + (value % 10);
      let small = value | 0;
      for (let left = back - (at - digits); left > 0; left--) {
        const tenth = (small / 10) | 0;
        buffer[--back] = 48 + small - tenth * 10;
        small = tenth;
      }
    }
    buffer[at++] = 13;
    buffer[at++] = 10;
    this.#at = at;
  }

  /** `<type><text>\r\n`, as UTF-8; line ends in the text become blanks. */
  line(type: number, text: string): void {
    const clean = /[\r\n]/.test(text) ? text.replace(/[\r\n]/g, ' ') : text;
    this.#room(3 * clean.length + 3);
    this.#buffer[this.#at++] = type;
    this.#at += encoder.encodeInto(clean, this.#buffer.subarray(this.#at)).written;
    this.#buffer[this.#at++] = 13;
    this.#buffer[this.#at++] = 10;
  }

  #tagged(reply: TaggedReply, version: RespVersion): void {
    switch (reply.kind) {
      case 'status':
        if (reply.text === 'OK') this.raw(OK_LINE);
        else this.line(43, reply.text);
        return;
      case 'error':
        this.line(45, reply.text);
        return;
      case 'double':
        if (version === 3) this.line(44, reply.text);
        else this.bulk(encoder.encode(reply.text));
        return;
      case 'boolean':
        if (version === 3) this.raw(reply.value ? TRUE_3 : FALSE_3);
        else this.integer(reply.value ? 1 : 0);
        return;
      case 'null-array':
        this.raw(version === 3 ? NULL_3 : NULL_ARRAY_2);
        return;
      case 'map':
        if (version === 3) this.header(37, reply.pairs.length);
        else this.header(42, 2 * reply.pairs.length);
        for (const [key, value] of reply.pairs) {
          this.write(key, version);
          this.write(value, version);
        }
        return;
      case 'pairs':
        this.header(42, version === 3 ? reply.pairs.length : 2 * reply.pairs.length);
        for (const [first, second] of reply.pairs) {
          if (version === 3) this.header(42, 2);
          this.write(first, version);
          this.write(second, version);
        }
        return;
      case 'set':
        this.#aggregate(version === 3 ? 126 : 42, reply.items, version);
        return;
      case 'push':
        this.#aggregate(version === 3 ? 62 : 42, reply.items, version);
        return;
      case 'verbatim':
        if (version === 3) {
          this.header(61, reply.text.length + 4);
          this.raw(encoder.encode(`${reply.format}:`));
          this.raw(reply.text);
          this.raw(CRLF);
        } else this.bulk(reply.text);
        return;
      default:
        unreachable(reply);
    }
  }

  #aggregate(type: number, items: readonly Reply[], version: RespVersion): void {
    this.header(type, items.length);
    for (const item of items) this.write(item, version);
  }

  /** Makes room for `bytes` more. */
  #room(bytes: number): void {
    if (this.#at + bytes <= this.#buffer.length) return;
    if (this.#buffer === NONE) this.#buffer = this.#source.take();
    if (this.#at + bytes <= this.#buffer.length) return;
    const grown = new Uint8Array(Math.max(2 * this.#buffer.length, this.#at - this.#from + bytes));
    grown.set(this.#buffer.subarray(this.#from, this.#at));
    // Chunks cut from the old buffer still show it; only one that none shows may go back.
    if (this.#from === 0) this.#source.give(this.#buffer);
    this.#buffer = grown;
    this.#at -= this.#from;
    this.#from = 0;
  }

  /** Ends the chunk that the buffer holds. */
  #cut(): void {
    if (this.#at === this.#from) return;
    this.#chunks.push(this.#buffer.subarray(this.#from, this.#at));
    this.#chunkBytes += this.#at - this.#from;
    this.#from = this.#at;
  }
}

const encoder = new TextEncoder();
const NONE: Bytes = new Uint8Array(0);
const CRLF = encoder.encode('\r\n');
const OK_LINE = encoder.encode('+OK\r\n');
const NULL_2 = encoder.encode('$-1\r\n');
const NULL_3 = encoder.encode('_\r\n');
const NULL_ARRAY_2 = encoder.encode('*-1\r\n');
const TRUE_3 = encoder.encode('#t\r\n');
const FALSE_3 = encoder.encode('#f\r\n');

const FRESH_BUFFERS: BufferSource = { take: () => new Uint8Array(1024), give: () => undefined };

/** Integers of 64 bits travel as `:`; larger ones as RESP3 big numbers, for which RESP2 has no better than `:` either. */
const BIG_INTEGERS = {
  has: (value: bigint, version: RespVersion): boolean => version === 2 || (value >= -(2n ** 63n) && value < 2n ** 63n),
};

/** `Array.isArray` that also narrows read-only arrays. */
function isArray(reply: Reply): reply is readonly Reply[] {
  return Array.isArray(reply);
}

/** Copies all of `bytes` to `buffer` at `at`; by hand where that is faster than the call. */
function copyInto(buffer: Bytes, at: number, bytes: Bytes): void {
  const { length } = bytes;
  if (length > 48) buffer.set(bytes, at);
  else for (let i = 0; i < length; i++) buffer[at + i] = bytes[i]!;
}
