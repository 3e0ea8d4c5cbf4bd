import { createHash, type Hash, hash } from 'node:crypto';
import { closeSync, openSync, writeSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import { Packr, Unpackr } from 'msgpackr';
import type { Bytes } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import { MIB } from '../base/units.ts';

// One value in one file, which says itself which key it is and proves itself undamaged:
//
//   0        header, 64 bytes: magic, lengths, version, checksum of header and meta
//   64       meta: MessagePack of { key, contentType }
//   ..       body, as it came
//   ..       trailer: CRC-32 of each 1 MiB chunk of the body (u32 each), SHA-256 of the body, CRC-32 of the trailer
//
// The chunk checksums let any part be verified before it is sent, ranges included; the SHA-256 is the value's ETag and what a move compares.
// The header is written last, over zeros, before the file is synced and renamed: a file without a sound header is not a value.

/** What a value is, besides its bytes. */
export interface ValueInfo {
  readonly key: Bytes;
  readonly contentType: string;
  readonly sizeBytes: number;
  /** Grows with each write of the key; the higher one wins. */
  readonly version: number;
  /** SHA-256 of the bytes, in hex. */
  readonly sha256: string;
}

/** A file that is not a sound value. The bytes on disk are not what was stored: restore from another copy. */
export class ValueDamagedError extends KeyfleetError {
  override readonly name = 'ValueDamagedError';
  constructor(path: string, what: string) {
    super('KF_VALUE_DAMAGED', `${path}: ${what}; the stored value is damaged, restore it from another copy`);
  }
}

const MAGIC = Buffer.from('KFVALUE1', 'latin1');
const HEADER_BYTES = 64;
export const CHUNK_BYTES = MIB;
/** A large value is synced as it grows, so that the sync at its end, during which nobody hears of us, is short. */
const SYNC_EVERY_BYTES = 128 * MIB;
const SHA256_BYTES = 32;
const CRC_BYTES = 4;
/** A file up to this size is read at once. */
const SMALL_FILE_BYTES = 256 * 1024;

const packr = new Packr({ useRecords: false });
const unpackr = new Unpackr({ useRecords: false });

interface Layout {
  readonly metaBytes: number;
  readonly bodyBytes: number;
  readonly version: number;
  readonly metaCrc: number;
}

const bodyOffset = (layout: Layout): number => HEADER_BYTES + layout.metaBytes;
const chunkCount = (bodyBytes: number): number => Math.ceil(bodyBytes / CHUNK_BYTES);
const trailerBytes = (bodyBytes: number): number => chunkCount(bodyBytes) * CRC_BYTES + SHA256_BYTES + CRC_BYTES;

function encodeHeader(layout: Layout): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  MAGIC.copy(header, 0);
  header.writeUInt32BE(layout.metaBytes, 8);
  header.writeUInt32BE(CHUNK_BYTES, 12);
  header.writeBigUInt64BE(BigInt(layout.bodyBytes), 16);
  header.writeUInt32BE(layout.metaCrc, 32);
  setVersion(header, layout.version);
  return header;
}

/** Completes a header, or changes a complete one. */
function setVersion(header: Buffer, version: number): void {
  header.writeUInt32BE(Math.floor(version / 2 ** 32), 24);
  header.writeUInt32BE(version >>> 0, 28);
  header.writeUInt32BE(crc32(header.subarray(0, 60)), 60);
}

function decodeHeader(header: Buffer, path: string): Layout {
  if (header.length < HEADER_BYTES) throw new ValueDamagedError(path, 'shorter than a header');
  if (!header.subarray(0, 8).equals(MAGIC)) throw new ValueDamagedError(path, 'no header');
  if (crc32(header.subarray(0, 60)) !== header.readUInt32BE(60)) throw new ValueDamagedError(path, 'the header has changed');
  if (header.readUInt32BE(12) !== CHUNK_BYTES) throw new ValueDamagedError(path, 'an unknown chunk size');
  return {
    metaBytes: header.readUInt32BE(8),
    bodyBytes: Number(header.readBigUInt64BE(16)),
    version: header.readUInt32BE(24) * 2 ** 32 + header.readUInt32BE(28),
    metaCrc: header.readUInt32BE(32),
  };
}

function decodeMeta(meta: Buffer, layout: Layout, path: string): { key: Bytes; contentType: string } {
  if (meta.length !== layout.metaBytes || crc32(meta) !== layout.metaCrc) throw new ValueDamagedError(path, 'the key has changed');
  const [key, contentType] = unpackr.unpack(meta) as [Buffer, string];
  return { key: Buffer.from(key), contentType };
}

interface Trailer {
  readonly chunkCrcs: readonly number[];
  readonly sha256: string;
}

function decodeTrailer(trailer: Buffer, bodyBytes: number, path: string): Trailer {
  const chunks = chunkCount(bodyBytes);
  const crcAt = chunks * CRC_BYTES + SHA256_BYTES;
  if (trailer.length !== crcAt + CRC_BYTES) throw new ValueDamagedError(path, 'cut short');
  if (crc32(trailer.subarray(0, crcAt)) !== trailer.readUInt32BE(crcAt)) throw new ValueDamagedError(path, 'the checksums have changed');
  return {
    chunkCrcs: Array.from({ length: chunks }, (_, chunk) => trailer.readUInt32BE(chunk * CRC_BYTES)),
    sha256: trailer.toString('hex', chunks * CRC_BYTES, chunks * CRC_BYTES + SHA256_BYTES),
  };
}

function encodeTrailer(chunkCrcs: readonly number[], sha256: Buffer): Buffer {
  const trailer = Buffer.alloc(chunkCrcs.length * CRC_BYTES + SHA256_BYTES + CRC_BYTES);
  for (const [chunk, crc] of chunkCrcs.entries()) trailer.writeUInt32BE(crc, chunk * CRC_BYTES);
  sha256.copy(trailer, chunkCrcs.length * CRC_BYTES);
  trailer.writeUInt32BE(crc32(trailer.subarray(0, trailer.length - CRC_BYTES)), trailer.length - CRC_BYTES);
  return trailer;
}

/** The whole file of a value whose bytes are at hand. */
export function encodeValueFile(options: {
  readonly key: Bytes;
  readonly contentType: string;
  readonly version: number;
  readonly body: Bytes;
}): {
  readonly file: readonly Buffer[];
  readonly info: ValueInfo;
} {
  const { key, contentType, version } = options;
  const body = Buffer.from(options.body.buffer, options.body.byteOffset, options.body.byteLength);
  const meta = packr.pack([key, contentType]);
  const chunkCrcs: number[] = [];
  for (let at = 0; at < body.length; at += CHUNK_BYTES) chunkCrcs.push(crc32(body.subarray(at, at + CHUNK_BYTES)));
  const sha256 = hash('sha256', body, 'hex');
  const header = encodeHeader({ metaBytes: meta.length, bodyBytes: body.length, version, metaCrc: crc32(meta) });
  return {
    file: [header, meta, body, encodeTrailer(chunkCrcs, Buffer.from(sha256, 'hex'))],
    info: { key, contentType, sizeBytes: body.length, version, sha256 },
  };
}

/** Writes a value of unknown or large size piece by piece; {@link finish} makes the file whole. Syncing and naming it is the caller's. */
export class ValueFileWriter {
  readonly #file: FileHandle;
  readonly #key: Bytes;
  readonly #contentType: string;
  readonly #meta: Buffer;
  readonly #sha256: Hash = createHash('sha256');
  readonly #chunkCrcs: number[] = [];
  #crc = 0;
  #bodyBytes = 0;
  #unsyncedBytes = 0;

  constructor(file: FileHandle, options: { readonly key: Bytes; readonly contentType: string }) {
    this.#file = file;
    this.#key = options.key;
    this.#contentType = options.contentType;
    this.#meta = packr.pack([options.key, options.contentType]);
  }

  async write(piece: Buffer): Promise<void> {
    this.#sha256.update(piece);
    for (let at = 0; at < piece.length; ) {
      const room = CHUNK_BYTES - (this.#bodyBytes % CHUNK_BYTES);
      const part = piece.subarray(at, at + room);
      this.#crc = crc32(part, this.#crc);
      this.#bodyBytes += part.length;
      at += part.length;
      if (this.#bodyBytes % CHUNK_BYTES === 0) this.#endChunk();
    }
    await writeFully(this.#file, piece, HEADER_BYTES + this.#meta.length + this.#bodyBytes - piece.length);
    this.#unsyncedBytes += piece.length;
    if (this.#unsyncedBytes < SYNC_EVERY_BYTES) return;
    this.#unsyncedBytes = 0;
    await this.#file.datasync();
  }

  #endChunk(): void {
    this.#chunkCrcs.push(this.#crc);
    this.#crc = 0;
  }

  async finish(version: number): Promise<ValueInfo> {
    if (this.#bodyBytes % CHUNK_BYTES !== 0) this.#endChunk();
    const sha256 = this.#sha256.digest();
    const layout = { metaBytes: this.#meta.length, bodyBytes: this.#bodyBytes, version, metaCrc: crc32(this.#meta) };
    await writeFully(this.#file, encodeTrailer(this.#chunkCrcs, sha256), bodyOffset(layout) + this.#bodyBytes);
    await writeFully(this.#file, Buffer.concat([encodeHeader(layout), this.#meta]), 0);
    return { key: this.#key, contentType: this.#contentType, sizeBytes: this.#bodyBytes, version, sha256: sha256.toString('hex') };
  }
}

/** Writes a file from its beginning. One call may write less than it was given, on a disk that fills up for one: what is left is written again. */
export async function writeWhole(file: FileHandle, parts: readonly Buffer[]): Promise<void> {
  const { bytesWritten } = await file.writev(parts, 0);
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  if (bytesWritten < length) await writeFully(file, Buffer.concat(parts).subarray(bytesWritten), bytesWritten);
}

/** Makes a file of these bytes; it must not be there. Blocks: for small files. */
export function writeNewFile(path: string, file: Buffer): void {
  const fd = openSync(path, 'wx');
  try {
    for (let done = 0; done < file.length; ) {
      const count = writeSync(fd, file, done, file.length - done, done);
      if (count === 0) throw nothingMore();
      done += count;
    }
  } finally {
    closeSync(fd);
  }
}

function nothingMore(): Error {
  return Object.assign(new Error('nothing more can be written'), { code: 'ENOSPC' });
}

async function writeFully(file: FileHandle, bytes: Buffer, at: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, at + done);
    if (bytesWritten === 0) throw nothingMore();
    done += bytesWritten;
  }
}

/** Reads up to `length` bytes at `at`; fewer only at the end of the file. */
async function readFully(file: FileHandle, at: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(length);
  let done = 0;
  while (done < length) {
    const { bytesRead } = await file.read(bytes, done, length - done, at + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return bytes.subarray(0, done);
}

/** A value file open for reading. Everything it hands out has been verified; damage is a {@link ValueDamagedError}. */
export class ValueFileReader {
  readonly info: ValueInfo;
  readonly #file: FileHandle;
  readonly #path: string;
  readonly #bodyOffset: number;
  readonly #chunkCrcs: readonly number[];
  /** The body, when the file was small enough to be read at once. */
  readonly #body: Buffer | undefined;

  private constructor(
    file: FileHandle,
    path: string,
    layout: Layout,
    meta: { key: Bytes; contentType: string },
    trailer: Trailer,
    body: Buffer | undefined,
  ) {
    this.#file = file;
    this.#path = path;
    this.#bodyOffset = bodyOffset(layout);
    this.#chunkCrcs = trailer.chunkCrcs;
    this.#body = body;
    this.info = { ...meta, sizeBytes: layout.bodyBytes, version: layout.version, sha256: trailer.sha256 };
  }

  /** Reads and verifies what stands around the body. The reader does not close `file`. */
  static async open(file: FileHandle, path: string): Promise<ValueFileReader> {
    const { size: fileBytes } = await file.stat();
    const head = await readFully(file, 0, Math.min(fileBytes, SMALL_FILE_BYTES));
    const layout = decodeHeader(head.subarray(0, HEADER_BYTES), path);
    const wholeBytes = bodyOffset(layout) + layout.bodyBytes + trailerBytes(layout.bodyBytes);
    if (fileBytes !== wholeBytes) throw new ValueDamagedError(path, `has ${fileBytes} bytes instead of ${wholeBytes}`);
    const bodyEnd = bodyOffset(layout) + layout.bodyBytes;
    const small = head.length === fileBytes;
    const meta = decodeMeta(
      small ? head.subarray(HEADER_BYTES, bodyOffset(layout)) : await readFully(file, HEADER_BYTES, layout.metaBytes),
      layout,
      path,
    );
    const trailer = decodeTrailer(
      small ? head.subarray(bodyEnd) : await readFully(file, bodyEnd, trailerBytes(layout.bodyBytes)),
      layout.bodyBytes,
      path,
    );
    return new ValueFileReader(file, path, layout, meta, trailer, small ? head.subarray(bodyOffset(layout), bodyEnd) : undefined);
  }

  /** The bytes `[from, to)` in pieces of at most 1 MiB, each verified before it is given out. */
  async *read(from = 0, to = this.info.sizeBytes): AsyncGenerator<Buffer, void> {
    for (let chunk = Math.floor(from / CHUNK_BYTES); chunk * CHUNK_BYTES < to; chunk++) {
      const chunkFrom = chunk * CHUNK_BYTES;
      const bytes = await this.#readChunk(chunk);
      yield bytes.subarray(Math.max(0, from - chunkFrom), Math.min(bytes.length, to - chunkFrom));
    }
  }

  /** The whole body when it was small enough to be read with the header (verified), else undefined: use {@link read}. */
  smallBody(): Buffer | undefined {
    if (this.#body === undefined) return undefined;
    this.#verify(0, this.#body);
    return this.#body;
  }

  /** Reads everything and compares it with its checksums. */
  async verify(): Promise<void> {
    const sha256 = createHash('sha256');
    for await (const piece of this.read()) sha256.update(piece);
    if (sha256.digest('hex') !== this.info.sha256) throw new ValueDamagedError(this.#path, 'the bytes have changed');
  }

  async #readChunk(chunk: number): Promise<Buffer> {
    const at = chunk * CHUNK_BYTES;
    const length = Math.min(CHUNK_BYTES, this.info.sizeBytes - at);
    const bytes =
      this.#body === undefined ? await readFully(this.#file, this.#bodyOffset + at, length) : this.#body.subarray(at, at + length);
    if (bytes.length !== length) throw new ValueDamagedError(this.#path, 'cut short');
    this.#verify(chunk, bytes);
    return bytes;
  }

  #verify(chunk: number, bytes: Buffer): void {
    if (bytes.length > 0 && crc32(bytes) !== this.#chunkCrcs[chunk])
      throw new ValueDamagedError(this.#path, `the bytes from ${chunk * CHUNK_BYTES} on have changed`);
  }
}

/**
 * Makes a whole value file, as another volume has it, one of `version`, in place. Everything in it is verified first.
 * @throws KF_VALUE_DAMAGED
 */
export function adoptValueFile(
  file: Buffer,
  { key, version, from }: { readonly key: Bytes; readonly version: number; readonly from: string },
): ValueInfo {
  const path = `a file from ${from}`;
  const header = file.subarray(0, HEADER_BYTES);
  const layout = decodeHeader(header, path);
  const bodyEnd = bodyOffset(layout) + layout.bodyBytes;
  const wholeBytes = bodyEnd + trailerBytes(layout.bodyBytes);
  if (file.length !== wholeBytes) throw new ValueDamagedError(path, `has ${file.length} bytes instead of ${wholeBytes}`);
  const meta = decodeMeta(file.subarray(HEADER_BYTES, bodyOffset(layout)), layout, path);
  if (Buffer.compare(meta.key, key) !== 0) throw new ValueDamagedError(path, 'holds another key');
  const { sha256 } = decodeTrailer(file.subarray(bodyEnd), layout.bodyBytes, path);
  // The trailer is sound and was made with this digest: its chunks are those of this very body.
  if (hash('sha256', file.subarray(bodyOffset(layout), bodyEnd), 'hex') !== sha256)
    throw new ValueDamagedError(path, 'the bytes have changed');
  setVersion(header, version);
  // Field by field: to spread takes 1.6 µs more.
  return { key: meta.key, contentType: meta.contentType, sizeBytes: layout.bodyBytes, version, sha256 };
}

/** The bytes at the beginning of a value file that {@link versionInHeader} wants. */
export const VERSION_BYTES = HEADER_BYTES;

/** The version that a value file's first bytes name. @throws KF_VALUE_DAMAGED */
export function versionInHeader(header: Buffer, path: string): number {
  return decodeHeader(header, path).version;
}
