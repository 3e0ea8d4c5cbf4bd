import { Packr } from 'msgpackr';
import { type Bytes, copyBytes } from '../base/bytes.ts';
import type { ValueCodec } from './value-module.ts';

// Records are written into each message by themselves, so equal values give equal bytes, today and after a restart, and a value that was
// read back gives the bytes it was read from. A Map stays a Map and a plain object a plain object.
const packr = new Packr({ useRecords: true, moreTypes: true });

const codec: ValueCodec<unknown> = {
  // What it returns is part of a buffer that it goes on writing to.
  encode: (value) => copyBytes(packr.pack(value)),
  decode: (bytes: Bytes): unknown => packr.unpack(bytes),
};

/**
 * Any plain data as MessagePack: objects, arrays, strings, numbers, bigints up to 64 bits, booleans, null, undefined, Map, Set, Date and
 * bytes (which come back as a Buffer in Node). Not instances of classes, nor functions.
 */
export function messagePack<T>(): ValueCodec<T> {
  return codec as ValueCodec<T>;
}
