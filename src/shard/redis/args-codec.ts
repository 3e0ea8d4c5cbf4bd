import { assert } from '../../base/assert.ts';
import { type Bytes, copyBytes, putBytes } from '../../base/bytes.ts';
import type { ValueCodec } from '../value-module.ts';
import type { CommandArgs } from './command-table.ts';
import type { RedisQuery } from './handler.ts';

/** How a command travels in a log: for each argument its length (LEB128: seven bits a byte, low ones first) and its bytes. */
export const commandArgsCodec: ValueCodec<CommandArgs> = {
  encode(args) {
    const bytes = new Uint8Array(size(args));
    encodeInto(args, bytes, 0);
    return bytes;
  },
  decode,
  inPlace: { size, encode: encodeInto, decode: (bytes, from, to) => decode(copyBytes(bytes, from, to)) },
};

const SEED_BYTES = 4;

/** A query: as a command, behind a byte that says whether its chance comes with it, and that. */
export const queryArgsCodec: ValueCodec<RedisQuery> = {
  encode(query) {
    const args = commandArgsCodec.encode(query as CommandArgs);
    const seedBytes = query.seed === undefined ? 0 : SEED_BYTES;
    const bytes = new Uint8Array(1 + seedBytes + args.length);
    if (query.seed !== undefined) {
      bytes[0] = 1;
      new DataView(bytes.buffer).setUint32(1, query.seed);
    }
    bytes.set(args, 1 + seedBytes);
    return bytes;
  },
  decode(bytes) {
    if (bytes[0] === 0) return commandArgsCodec.decode(bytes.subarray(1));
    const seed = new DataView(bytes.buffer, bytes.byteOffset, bytes.length).getUint32(1);
    return Object.assign(commandArgsCodec.decode(bytes.subarray(1 + SEED_BYTES)), { seed });
  },
};

function size(args: CommandArgs): number {
  let bytes = 0;
  for (let i = 0; i < args.length; i++) bytes += varintBytes(args[i]!.length) + args[i]!.length;
  return bytes;
}

function encodeInto(args: CommandArgs, target: Bytes, from: number): void {
  let at = from;
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    let rest = arg.length;
    for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) target[at++] = (rest & 0x7f) | 0x80;
    target[at++] = rest;
    putBytes(target, at, arg);
    at += arg.length;
  }
}

function decode(bytes: Bytes): CommandArgs {
  const args: Bytes[] = [];
  let at = 0;
  while (at < bytes.length) {
    let length = 0;
    let unit = 1;
    for (; bytes[at]! >= 0x80; at++, unit *= 0x80) length += (bytes[at]! & 0x7f) * unit;
    length += bytes[at]! * unit;
    at++;
    assert(at + length <= bytes.length, () => 'a command ends inside an argument');
    args.push(bytes.subarray(at, at + length));
    at += length;
  }
  return args;
}

function varintBytes(value: number): number {
  let count = 1;
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) count++;
  return count;
}
