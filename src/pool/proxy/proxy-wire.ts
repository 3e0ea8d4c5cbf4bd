import { type Bytes, utf8 } from '../../base/bytes.ts';
import { isKeyfleetError, messageOf } from '../../base/errors.ts';
import { REPLY_WHOLE, ReplyScanner } from '../../resp/codec/reply-scanner.ts';
import { ReplyWriter, type RespVersion } from '../../resp/codec/reply-writer.ts';
import { errorReply, type Reply, type TaggedReply } from '../../shard/redis/reply.ts';

// Small pieces of the Redis protocol, as bytes. Pure but for Node's Buffer.

/** A request as clients send it. */
export function encodeRequest(args: readonly Bytes[]): Bytes {
  const parts: Bytes[] = [utf8(`*${args.length}\r\n`)];
  for (const arg of args) parts.push(utf8(`$${arg.length}\r\n`), arg, CRLF);
  return Buffer.concat(parts);
}

export function requestOf(...args: readonly (string | Bytes)[]): Bytes {
  return encodeRequest(args.map((arg) => (typeof arg === 'string' ? utf8(arg) : arg)));
}

/** As the proxy words an error that is not a server's: its text and, at the end, its code. */
export function failureReply(error: unknown): TaggedReply {
  return errorReply(`ERR ${messageOf(error)} (${isKeyfleetError(error) ? error.code : 'KF_INTERNAL'})`);
}

/** A reply as bytes of its own. */
export function encodeReply(reply: Reply, version: RespVersion): Bytes {
  const writer = new ReplyWriter();
  writer.write(reply, version);
  const { chunks } = writer.take();
  return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
}

/** The elements of an aggregate frame `bytes[from … to)`, as bounds; undefined when it is no array. */
export function elementsOf(
  bytes: Bytes,
  from: number,
  to: number,
): { readonly chunk: Bytes; readonly bounds: readonly (readonly [number, number])[] } | undefined {
  const type = bytes[from];
  if (type !== 42 && type !== 126) return undefined;
  const bodyFrom = bytes.indexOf(10, from) + 1;
  const body = bytes.subarray(bodyFrom, to);
  const scanner = new ReplyScanner();
  scanner.push(body);
  const bounds: [number, number][] = [];
  while (scanner.next() === REPLY_WHOLE) bounds.push([scanner.start, scanner.end]);
  return { chunk: body, bounds };
}

/** The string that a whole frame `$3\r\nabc\r\n` is. */
export function stringOf(frame: Bytes): Bytes {
  return frame.subarray(frame.indexOf(10) + 1, frame.length - 2);
}

export const CRLF: Bytes = utf8('\r\n');
