import { type Bytes, fromUtf8 } from '../../base/bytes.ts';
import { errorReply, NULL_ARRAY, OK, type Reply } from '../../shard/redis/reply.ts';
import { CR, decimal, latin1 } from './ascii.ts';
import { REPLY_WHOLE, ReplyScanner } from './reply-scanner.ts';

/**
 * Reads replies in the terms that {@link ReplyWriter} writes them: `parse(write(reply, 3))` is `reply`. For clients and tests; a proxy passes on the bytes that
 * {@link ReplyScanner} finds. Strings are views of the received chunks. Attributes are passed over.
 */
export class ReplyParser {
  readonly #scanner: ReplyScanner;

  constructor(options: { readonly maxStringBytes?: number } = {}) {
    this.#scanner = new ReplyScanner(options);
  }

  /** Why the stream cannot be read on; undefined while it can. */
  get error(): string | undefined {
    return this.#scanner.error === '' ? undefined : this.#scanner.error;
  }

  get pendingBytes(): number {
    return this.#scanner.pendingBytes;
  }

  /** Adds a chunk and returns the replies that are whole now. */
  push(chunk: Bytes): Reply[] {
    const scanner = this.#scanner;
    scanner.push(chunk);
    const replies: Reply[] = [];
    while (scanner.next() === REPLY_WHOLE) replies.push(readReply(scanner.bytes, scanner.start));
    return replies;
  }
}

/** The value of the whole reply that begins at `start`, as found by {@link ReplyScanner}. */
export function readReply(bytes: Bytes, start: number): Reply {
  return read(bytes, { at: start });
}

function read(bytes: Bytes, cursor: { at: number }): Reply {
  const type = bytes[cursor.at]!;
  const from = cursor.at + 1;
  const stop = bytes.indexOf(CR, from);
  cursor.at = stop + 2;
  switch (type) {
    case 43: {
      const text = fromUtf8(bytes.subarray(from, stop));
      return text === 'OK' ? OK : { kind: 'status', text };
    }
    case 45:
      return errorReply(fromUtf8(bytes.subarray(from, stop)));
    case 58: {
      const value = decimal(bytes, from, stop);
      return Number.isSafeInteger(value) ? value : BigInt(latin1(bytes, from, stop));
    }
    case 40:
      return BigInt(latin1(bytes, from, stop));
    case 44:
      return { kind: 'double', text: latin1(bytes, from, stop) };
    case 35:
      return { kind: 'boolean', value: bytes[from] === 116 };
    case 95:
      return null;
    case 36:
      return string(bytes, from, stop, cursor) ?? null;
    case 33:
      return errorReply(fromUtf8(string(bytes, from, stop, cursor) ?? bytes.subarray(0, 0)));
    case 61: {
      const text = string(bytes, from, stop, cursor);
      if (text === undefined) return null;
      return { kind: 'verbatim', format: latin1(text, 0, 3) === 'mkd' ? 'mkd' : 'txt', text: text.subarray(4) };
    }
    case 42: {
      const count = decimal(bytes, from, stop);
      return count < 0 ? NULL_ARRAY : items(bytes, count, cursor);
    }
    case 126:
      return { kind: 'set', items: items(bytes, decimal(bytes, from, stop), cursor) };
    case 62:
      return { kind: 'push', items: items(bytes, decimal(bytes, from, stop), cursor) };
    case 37:
      return { kind: 'map', pairs: pairs(bytes, decimal(bytes, from, stop), cursor) };
    default:
      // An attribute: passed over, for the element behind it.
      pairs(bytes, decimal(bytes, from, stop), cursor);
      return read(bytes, cursor);
  }
}

function string(bytes: Bytes, from: number, stop: number, cursor: { at: number }): Bytes | undefined {
  const length = decimal(bytes, from, stop);
  if (length < 0) return undefined;
  const at = cursor.at;
  cursor.at = at + length + 2;
  return bytes.subarray(at, at + length);
}

function items(bytes: Bytes, count: number, cursor: { at: number }): Reply[] {
  const found: Reply[] = [];
  for (let i = 0; i < count; i++) found.push(read(bytes, cursor));
  return found;
}

function pairs(bytes: Bytes, count: number, cursor: { at: number }): [Reply, Reply][] {
  const found: [Reply, Reply][] = [];
  for (let i = 0; i < count; i++) found.push([read(bytes, cursor), read(bytes, cursor)]);
  return found;
}
