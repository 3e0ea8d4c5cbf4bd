import { Packr } from 'msgpackr';
import type { Bytes } from '../base/bytes.ts';
import { KeyfleetError, messageOf } from '../base/errors.ts';
import { KIB, MIB } from '../base/units.ts';

// What travels between the master and the volumes when many small values move at once: MessagePack, one document a request, and lists with
// one entry for each key asked for, in the same order, so that no key travels twice. Values come as a stream of entries, each the file as it
// lies on the disk of the source: nothing is taken apart there and put together again on the target, which verifies all of it.
//
//   entry:  u8 what it is | u32 length | that many bytes: a value file; the code and message of an error; none when the value is absent

export const packr = new Packr({ useRecords: false });

const KIND = { absent: 0, file: 1, error: 2 } as const;
const HEAD_BYTES = 5;
const FIRST_ROOM_BYTES = 128 * KIB;
/** A batch asks for values of up to a megabyte. What has become larger since goes alone, another time. */
const MAX_ENTRY_BYTES = 4 * MIB;
const SHA256_BYTES = 32;

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
export type PullResult = { readonly sha256: string } | WireError;

export interface WireError {
  readonly code: 'absent' | string;
  readonly message: string;
}

/** One value of a batch read, as its file is; undefined: there is none. */
export type WireValue = Buffer | WireError | undefined;

/** Collects entries in one piece of memory, into which files are read without a copy. */
export class EntryWriter {
  #bytes = Buffer.allocUnsafeSlow(FIRST_ROOM_BYTES);
  #length = 0;

  /** Bytes since the last {@link take}. */
  get length(): number {
    return this.#length;
  }

  absent(): void {
    this.#add(KIND.absent, Buffer.alloc(0));
  }

  error({ code, message }: WireError): void {
    this.#add(KIND.error, packr.pack([code, message]));
  }

  /**
   * Adds a file: `read` fills the room that it is given from the place `at` of the file on, and answers how many bytes came; fewer than there
   * was room for: the file has ended. When it throws, nothing is added.
   */
  file(read: (room: Buffer, at: number) => number): void {
    let size = 0;
    for (;;) {
      if (this.#bytes.length - this.#length - HEAD_BYTES - size <= 0) this.#grow();
      const room = this.#bytes.subarray(this.#length + HEAD_BYTES + size);
      const count = read(room, size);
      size += count;
      if (size > MAX_ENTRY_BYTES) throw new KeyfleetError('KF_VALUE_TOO_LARGE', 'the value has grown too large for a batch');
      if (count < room.length) break;
    }
    this.#head(KIND.file, size);
    this.#length += HEAD_BYTES + size;
  }

  /** The entries so far; the next ones are another piece. */
  take(): Buffer {
    const taken = this.#bytes.subarray(0, this.#length);
    this.#bytes = Buffer.allocUnsafeSlow(FIRST_ROOM_BYTES);
    this.#length = 0;
    return taken;
  }

  #add(kind: number, bytes: Buffer): void {
    while (this.#bytes.length - this.#length < HEAD_BYTES + bytes.length) this.#grow();
    this.#head(kind, bytes.length);
    bytes.copy(this.#bytes, this.#length + HEAD_BYTES);
    this.#length += HEAD_BYTES + bytes.length;
  }

  #head(kind: number, size: number): void {
    this.#bytes[this.#length] = kind;
    this.#bytes.writeUInt32BE(size, this.#length + 1);
  }

  #grow(): void {
    const larger = Buffer.allocUnsafeSlow(2 * this.#bytes.length);
    this.#bytes.copy(larger);
    this.#bytes = larger;
  }
}

/**
 * The values of a stream of entries, as they arrive. Files are parts of the pieces they came in.
 * @throws KF_VOLUME_IO when the stream is something else or breaks off inside an entry
 */
export async function* readEntries(stream: AsyncIterable<Buffer>): AsyncGenerator<readonly WireValue[], void> {
  let pieces: Buffer[] = [];
  let size = 0;
  let needed = HEAD_BYTES;
  for await (const piece of stream) {
    pieces.push(piece);
    size += piece.length;
    if (size < needed) continue;
    const bytes = pieces.length === 1 ? piece : Buffer.concat(pieces, size);
    const values: WireValue[] = [];
    let at = 0;
    for (;;) {
      needed = HEAD_BYTES;
      if (bytes.length - at < needed) break;
      needed += entryLength(bytes, at);
      if (bytes.length - at < needed) break;
      values.push(entryAt(bytes, at, needed));
      at += needed;
    }
    pieces = [bytes.subarray(at)];
    size = bytes.length - at;
    if (values.length > 0) yield values;
  }
  if (size > 0) throw new KeyfleetError('KF_VOLUME_IO', 'the answer ended inside a value', { retryable: true });
}

function entryLength(bytes: Buffer, at: number): number {
  const length = bytes.readUInt32BE(at + 1);
  if (length > MAX_ENTRY_BYTES || bytes[at]! > KIND.error) throw new KeyfleetError('KF_VOLUME_IO', 'the answer is no stream of values');
  return length;
}

function entryAt(bytes: Buffer, at: number, size: number): WireValue {
  const kind = bytes[at];
  if (kind === KIND.absent) return undefined;
  const content = bytes.subarray(at + HEAD_BYTES, at + size);
  if (kind === KIND.file) return content;
  const [code, message] = decode<readonly [string, string]>(content);
  return { code, message };
}

/** The digests one after the other, and what has none: its place, code and message. */
type PackedResults = readonly [digests: Buffer, errors: readonly (readonly [index: number, code: string, message: string])[]];

export function packResults(results: readonly PullResult[]): Buffer {
  const digests = Buffer.alloc(results.length * SHA256_BYTES);
  const errors: [number, string, string][] = [];
  for (const [index, result] of results.entries()) {
    if ('sha256' in result) digests.write(result.sha256, index * SHA256_BYTES, 'hex');
    else errors.push([index, result.code, result.message]);
  }
  return packr.pack([digests, errors] satisfies PackedResults);
}

export function unpackResults(bytes: Bytes): PullResult[] {
  const [digests, errors] = decode<PackedResults>(bytes);
  const hex = digests.toString('hex');
  const digits = 2 * SHA256_BYTES;
  const results: PullResult[] = Array.from({ length: digests.length / SHA256_BYTES }, (_, index) => ({
    sha256: hex.slice(index * digits, (index + 1) * digits),
  }));
  for (const [index, code, message] of errors) results[index] = { code, message };
  return results;
}

export function decode<T>(bytes: Bytes): T {
  try {
    return packr.unpack(bytes) as T;
  } catch (error) {
    throw new KeyfleetError('KF_BAD_REQUEST', `the body is not MessagePack: ${messageOf(error)}`, { cause: error });
  }
}
