import { assert } from '../../base/assert.ts';
import { type Bytes, fromUtf8, utf8 } from '../../base/bytes.ts';
import { messagePack } from '../message-pack.ts';
import type { ValueCodec } from '../value-module.ts';
import { VarintReader, VarintWriter } from '../varint.ts';
import { WRONG_TYPE } from './error-replies.ts';
import { NULL_ARRAY, OK, type Reply, type TaggedReply } from './reply.ts';

// A reply on its way from one node to another, or kept by a session: a byte for what it is, then varints, texts and further replies. What the
// doors know by identity (OK, the null array, WRONGTYPE) comes back as the same object.

/** No message of MessagePack begins so; sessions of before this codec hold such messages. */
const OURS = 0xc1;

const NULL = 0;
const POSITIVE = 1;
const NEGATIVE = 2;
const BIG = 3;
const BULK = 4;
const ARRAY = 5;
/** Replies that are always the same object, by their place. */
const SHARED = 6;
const SHARED_REPLIES: readonly TaggedReply[] = [OK, NULL_ARRAY, WRONG_TYPE];
const TRUE = 10;
const FALSE = 11;
const TEXTS = ['status', 'error', 'double'] as const;
const FIRST_TEXT = 12;
const PAIRED = ['map', 'pairs'] as const;
const FIRST_PAIRED = 16;
const LISTED = ['set', 'push'] as const;
const FIRST_LISTED = 20;
const FORMATS = ['txt', 'mkd'] as const;
const FIRST_VERBATIM = 24;

const older = messagePack<Reply>();
const writer = new VarintWriter();

export const replyCodec: ValueCodec<Reply> = {
  encode(reply) {
    writer.reset();
    writer.raw(Uint8Array.of(OURS));
    write(reply);
    return writer.bytes();
  },
  decode(bytes) {
    return bytes[0] === OURS ? read(new VarintReader(bytes, 1)) : older.decode(bytes);
  },
};

function write(reply: Reply): void {
  if (reply === null) writer.unsigned(NULL);
  else if (typeof reply === 'number') {
    assert(Number.isSafeInteger(reply), () => `an integer reply of ${reply}`);
    writer.unsigned(reply < 0 ? NEGATIVE : POSITIVE);
    writer.unsigned(Math.abs(reply));
  } else if (typeof reply === 'bigint') writeBytes(BIG, utf8(String(reply)));
  else if (reply instanceof Uint8Array) writeBytes(BULK, reply);
  else if (Array.isArray(reply)) writeAll(ARRAY, reply);
  else writeTagged(reply as TaggedReply);
}

function writeTagged(reply: TaggedReply): void {
  const shared = SHARED_REPLIES.indexOf(reply);
  if (shared >= 0) {
    writer.unsigned(SHARED + shared);
    return;
  }
  switch (reply.kind) {
    case 'status':
    case 'error':
    case 'double':
      writeBytes(FIRST_TEXT + TEXTS.indexOf(reply.kind), utf8(reply.text));
      return;
    case 'boolean':
      writer.unsigned(reply.value ? TRUE : FALSE);
      return;
    case 'null-array':
      writer.unsigned(SHARED + SHARED_REPLIES.indexOf(NULL_ARRAY));
      return;
    case 'map':
    case 'pairs':
      writeAll(FIRST_PAIRED + PAIRED.indexOf(reply.kind), reply.pairs.flat());
      return;
    case 'set':
    case 'push':
      writeAll(FIRST_LISTED + LISTED.indexOf(reply.kind), reply.items);
      return;
    case 'verbatim':
      writeBytes(FIRST_VERBATIM + FORMATS.indexOf(reply.format), reply.text);
      return;
  }
}

function writeBytes(tag: number, bytes: Bytes): void {
  writer.unsigned(tag);
  writer.unsigned(bytes.length);
  writer.raw(bytes);
}

function writeAll(tag: number, replies: readonly Reply[]): void {
  writer.unsigned(tag);
  writer.unsigned(replies.length);
  for (const reply of replies) write(reply);
}

function read(reader: VarintReader): Reply {
  const tag = reader.unsigned();
  const bytes = (): Bytes => reader.raw(reader.unsigned());
  switch (tag) {
    case NULL:
      return null;
    case POSITIVE:
      return reader.unsigned();
    case NEGATIVE:
      return -reader.unsigned();
    case BIG:
      return BigInt(fromUtf8(bytes()));
    case BULK:
      return bytes();
    case ARRAY:
      return readAll(reader);
    case TRUE:
    case FALSE:
      return { kind: 'boolean', value: tag === TRUE };
  }
  const shared = SHARED_REPLIES[tag - SHARED];
  if (shared) return shared;
  const text = TEXTS[tag - FIRST_TEXT];
  if (text) return { kind: text, text: fromUtf8(bytes()) };
  const paired = PAIRED[tag - FIRST_PAIRED];
  if (paired) return { kind: paired, pairs: inPairs(readAll(reader)) };
  const listed = LISTED[tag - FIRST_LISTED];
  if (listed) return { kind: listed, items: readAll(reader) };
  const format = FORMATS[tag - FIRST_VERBATIM];
  assert(format !== undefined, () => `no reply begins with ${tag}`);
  return { kind: 'verbatim', format, text: bytes() };
}

function readAll(reader: VarintReader): Reply[] {
  const count = reader.unsigned();
  const replies: Reply[] = [];
  for (let i = 0; i < count; i++) replies.push(read(reader));
  return replies;
}

function inPairs(flat: readonly Reply[]): (readonly [Reply, Reply])[] {
  return Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i]!, flat[2 * i + 1]!]);
}
