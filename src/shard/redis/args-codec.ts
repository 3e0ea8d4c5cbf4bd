import { assert } from '../../base/assert.ts';
import type { Bytes } from '../../base/bytes.ts';
import type { ValueCodec } from '../value-module.ts';
import type { CommandArgs } from './command-table.ts';
import type { RedisQuery } from './handler.ts';

/** How a command travels in a log: for each argument its length (LEB128: seven bits a byte, low ones first) and its bytes. */
export const commandArgsCodec: ValueCodec<CommandArgs> = {
  encode(args) {
    let length = 0;
    for (const arg of args) length += varintBytes(arg.length) + arg.length;
    const bytes = new Uint8Array(length);
    let at = 0;
    for (const arg of args) {
      let rest = arg.length;
      for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes[at++] = (rest & 0x7f) | 0x80;
      bytes[at++] = rest;
      bytes.set(arg, at);
      at += arg.length;
    }
    return bytes;
  },
  decode(bytes) {
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
  },
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

function varintBytes(value: number): number {
  let count = 1;
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) count++;
  return count;
}
