import { Packr, RESET_BUFFER_MODE } from 'msgpackr';
import { type Bytes, copyBytes } from '../base/bytes.ts';
import type { ValueCodec } from './value-module.ts';

// Records are written into each message by themselves, so equal values give equal bytes, today and after a restart, and a value that was
// read back gives the bytes it was read from. A Map stays a Map and a plain object a plain object.
const packr = new Packr({ useRecords: true, moreTypes: true });
/** Reads from bytes that do not stay as they are: copies those that a value holds. */
const copyingPackr = new Packr({ useRecords: true, moreTypes: true, copyBuffers: true });

/**
 * Where values up to this length are copied to be read: always the same bytes, since msgpackr makes a view of each bytes it reads from, which
 * takes four times as long as reading a value of a hundred bytes.
 */
const READ_BYTES = 16 * 1024;
const read = new Uint8Array(READ_BYTES);

const NO_BYTES: Bytes = new Uint8Array(0);
/** What {@link pack} returned last. */
let packed: Bytes = NO_BYTES;

/** The bytes stay as they are until something is packed again, by whomever. */
function pack(value: unknown): Bytes {
  return packr.pack(value, RESET_BUFFER_MODE);
}

const codec: ValueCodec<unknown> = {
  encode: (value) => copyBytes(pack(value)),
  decode: (bytes: Bytes): unknown => packr.unpack(bytes),
  inPlace: {
    size(value) {
      packed = pack(value);
      return packed.length;
    },
    encode(_value, target, at) {
      target.set(packed, at);
      packed = NO_BYTES;
    },
    decode(bytes, from, to) {
      const length = to - from;
      if (length > READ_BYTES) return packr.unpack(copyBytes(bytes, from, to));
      read.set(bytes.subarray(from, to));
      return copyingPackr.unpack(read, length);
    },
  },
};

/**
 * Any plain data as MessagePack: objects, arrays, strings, numbers, bigints up to 64 bits, booleans, null, undefined, Map, Set, Date and
 * bytes. Not instances of classes, nor functions.
 */
export function messagePack<T>(): ValueCodec<T> {
  return codec as ValueCodec<T>;
}
