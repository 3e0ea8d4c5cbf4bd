import { Packr } from 'msgpackr';
import type { Bytes } from '../base/bytes.ts';
import { KeyfleetError, messageOf } from '../base/errors.ts';
import { MIB } from '../base/units.ts';

// What travels between the master and the volumes when many small values move at once: MessagePack, one document a request. Lists have one
// entry for each key asked for, in the same order, so that no key travels twice. Values come as frames, each a length (u32) and a list of
// some values: few enough to be in memory, and many enough that a stream of small pieces costs nothing a value.

export const packr = new Packr({ useRecords: false });

/** Values of a frame; each has at most a megabyte or so. */
export const FRAME_VALUES = 64;
const LENGTH_BYTES = 4;
const MAX_FRAME_BYTES = 256 * MIB;

/** A request from the master to the target of a move: fetch these from `from` and store them. */
export interface PullRequest {
  readonly from: string;
  readonly keys: readonly Bytes[];
  /** The version that each gets. */
  readonly versions: readonly number[];
}

/** A request from the master: remove these, each when it is not newer than its version. */
export interface DeleteRequest {
  readonly keys: readonly Bytes[];
  readonly versions: readonly number[];
}

/** Per value of a {@link PullRequest}: the SHA-256 of what is now stored, or why not. `absent`: the source has none. */
export type PullResult = { readonly sha256: string } | { readonly code: 'absent' | string; readonly message: string };

/** One value of a batch read; undefined: there is none. */
export type WireValue =
  | { readonly body: Bytes; readonly contentType: string; readonly sha256: string }
  | { readonly error: string; readonly message: string }
  | undefined;

type PackedValue = readonly [body: Bytes, contentType: string, sha256: Buffer] | readonly [error: string, message: string] | null;
type PackedResult = Buffer | readonly [code: string, message: string];

export function packFrame(values: readonly WireValue[]): Buffer {
  const packed = packr.pack(
    values.map((value): PackedValue => {
      if (value === undefined) return null;
      if ('error' in value) return [value.error, value.message];
      return [value.body, value.contentType, Buffer.from(value.sha256, 'hex')];
    }),
  );
  const length = Buffer.allocUnsafe(LENGTH_BYTES);
  length.writeUInt32BE(packed.length);
  return Buffer.concat([length, packed]);
}

/** The values of each frame of a stream. @throws KF_VOLUME_IO when the stream is something else or breaks off inside a frame */
export async function* unpackFrames(stream: AsyncIterable<Buffer>): AsyncGenerator<readonly WireValue[], void> {
  let pieces: Buffer[] = [];
  let size = 0;
  let needed = LENGTH_BYTES;
  for await (const piece of stream) {
    pieces.push(piece);
    size += piece.length;
    if (size < needed) continue;
    let bytes = pieces.length === 1 ? piece : Buffer.concat(pieces);
    for (;;) {
      needed = LENGTH_BYTES + (bytes.length < LENGTH_BYTES ? 0 : frameLength(bytes));
      if (bytes.length < needed) break;
      yield decode<readonly PackedValue[]>(bytes.subarray(LENGTH_BYTES, needed)).map(unpackValue);
      bytes = bytes.subarray(needed);
    }
    pieces = [bytes];
    size = bytes.length;
  }
  if (size > 0) throw new KeyfleetError('KF_VOLUME_IO', 'the answer ended inside a frame', { retryable: true });
}

function frameLength(bytes: Buffer): number {
  const length = bytes.readUInt32BE(0);
  if (length > MAX_FRAME_BYTES) throw new KeyfleetError('KF_VOLUME_IO', `a frame of ${length} bytes is none`);
  return length;
}

function unpackValue(packed: PackedValue): WireValue {
  if (packed === null) return undefined;
  if (packed.length === 2) return { error: packed[0], message: packed[1] };
  return { body: packed[0], contentType: packed[1], sha256: packed[2].toString('hex') };
}

export function packResults(results: readonly PullResult[]): Buffer {
  return packr.pack(
    results.map((result): PackedResult => ('sha256' in result ? Buffer.from(result.sha256, 'hex') : [result.code, result.message])),
  );
}

export function unpackResults(bytes: Bytes): PullResult[] {
  return decode<readonly PackedResult[]>(bytes).map((packed) =>
    Buffer.isBuffer(packed) ? { sha256: packed.toString('hex') } : { code: packed[0], message: packed[1] },
  );
}

export function decode<T>(bytes: Bytes): T {
  try {
    return packr.unpack(bytes) as T;
  } catch (error) {
    throw new KeyfleetError('KF_BAD_REQUEST', `the body is not MessagePack: ${messageOf(error)}`, { cause: error });
  }
}
