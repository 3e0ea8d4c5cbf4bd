import { type Bytes, copyBytes } from '../base/bytes.ts';
import type { InPlaceCodec, ValueCodec } from './value-module.ts';

const NO_BYTES: Bytes = new Uint8Array(0);

/** The codec's own way of working in place; for one that has none, by way of copies. */
export function inPlace<T>(codec: ValueCodec<T>): InPlaceCodec<T> {
  return codec.inPlace ?? byCopies(codec);
}

function byCopies<T>(codec: ValueCodec<T>): InPlaceCodec<T> {
  let encoded = NO_BYTES;
  return {
    size(value) {
      encoded = codec.encode(value);
      return encoded.length;
    },
    encode(_value, target, at) {
      target.set(encoded, at);
      encoded = NO_BYTES;
    },
    decode: (bytes, from, to) => codec.decode(copyBytes(bytes, from, to)),
  };
}
