import type { Bytes } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import { latin1Slice, utf8Slice } from './latin1.ts';

/** A reply as the library hands it out. Maps of RESP3 are flat lists, as RESP2 has them. */
export type ReplyValue = string | Buffer | number | bigint | boolean | null | RedisReplyError | ReplyValue[];

/** A server answered with an error: `-WRONGTYPE Operation against …`. */
export class RedisReplyError extends KeyfleetError {
  /** The first word: `ERR`, `WRONGTYPE`, `LOADING`, … */
  readonly reply: string;
  /** The server's name. */
  readonly backend: string;

  constructor(text: string, backend: string) {
    const reply = /^[A-Z0-9_-]*/.exec(text)![0];
    super('KF_REDIS_ERROR', text, { retryable: RETRYABLE.has(reply) });
    this.reply = reply;
    this.backend = backend;
  }
}

/** Nothing was done, and it passes by itself. */
const RETRYABLE: ReadonlySet<string> = new Set(['LOADING', 'BUSY', 'TRYAGAIN', 'MASTERDOWN', 'CLUSTERDOWN']);

let at = 0;

/** The value of the whole reply that begins at `start`: strings as text (UTF-8), or with `asBuffers` as Buffers of their own. */
export function replyValue(bytes: Bytes, start: number, asBuffers: boolean, backend: string): ReplyValue {
  at = start;
  return read(bytes, asBuffers, backend);
}

function read(bytes: Bytes, asBuffers: boolean, backend: string): ReplyValue {
  const type = bytes[at]!;
  const from = at + 1;
  switch (type) {
    case 36: {
      // $
      const length = integer(bytes, from);
      if (length < 0) return null;
      const body = at;
      at = body + length + 2;
      return asBuffers ? Buffer.from(bytes.subarray(body, body + length)) : length === 0 ? '' : utf8Slice(bytes, body, body + length);
    }
    case 58: // :
      return wholeNumber(bytes, from);
    case 43: {
      // +
      const stop = lineEnd(bytes, from);
      at = stop + 2;
      if (stop - from === 2 && bytes[from] === 79 && bytes[from + 1] === 75) return 'OK';
      return latin1Slice(bytes, from, stop);
    }
    case 45: {
      // -
      const stop = lineEnd(bytes, from);
      at = stop + 2;
      return new RedisReplyError(utf8Slice(bytes, from, stop), backend);
    }
    case 42: // *
    case 126: // ~
    case 62: {
      // >
      const count = integer(bytes, from);
      return count < 0 ? null : items(bytes, count, asBuffers, backend);
    }
    case 37: // %
      return items(bytes, 2 * integer(bytes, from), asBuffers, backend);
    case 124: // |
      items(bytes, 2 * integer(bytes, from), asBuffers, backend);
      return read(bytes, asBuffers, backend);
    case 95: // _
      at = lineEnd(bytes, from) + 2;
      return null;
    case 35: // #
      at = lineEnd(bytes, from) + 2;
      return bytes[from] === 116;
    case 44: // ,
      return Number(line(bytes, from).replace('inf', 'Infinity'));
    case 40: // (
      return BigInt(line(bytes, from));
    default: {
      // ! and =
      const length = integer(bytes, from);
      const body = at;
      at = body + length + 2;
      const text = utf8Slice(bytes, body, body + length);
      return type === 33 ? new RedisReplyError(text, backend) : text.slice(4);
    }
  }
}

function items(bytes: Bytes, count: number, asBuffers: boolean, backend: string): ReplyValue[] {
  const found: ReplyValue[] = [];
  for (let i = 0; i < count; i++) found.push(read(bytes, asBuffers, backend));
  return found;
}

/** The number in the line that begins at `from`; moves behind the line. Below 2^53. */
function integer(bytes: Bytes, from: number): number {
  let i = from;
  const negative = bytes[i] === 45;
  if (negative) i++;
  let value = 0;
  for (let byte = bytes[i]!; byte !== 13; byte = bytes[++i]!) value = value * 10 + byte - 48;
  at = i + 2;
  return negative ? -value : value;
}

function wholeNumber(bytes: Bytes, from: number): number | bigint {
  const value = integer(bytes, from);
  return Number.isSafeInteger(value) ? value : BigInt(latin1Slice(bytes, from, at - 2));
}

function line(bytes: Bytes, from: number): string {
  const stop = lineEnd(bytes, from);
  at = stop + 2;
  return latin1Slice(bytes, from, stop);
}

function lineEnd(bytes: Bytes, from: number): number {
  let stop = from;
  while (bytes[stop] !== 13) stop++;
  return stop;
}
