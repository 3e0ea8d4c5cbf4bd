import { createHash } from 'node:crypto';
import { type Bytes, concatBytes, fromUtf8, utf8 } from '../../base/bytes.ts';
import { KeyfleetError } from '../../base/errors.ts';
import type { BackupBlock } from '../../shard/range-reader.ts';
import type { RangeHead, RangeReading } from './range-reading.ts';

// A part of a backup as it stands in a file, and comes over HTTP:
//
//   KFBACKUP\n  then frames [kind u8][length u32][payload]:
//   H  the head, JSON; once, first
//   B  [records u32][sessions u32][items], see src/shard/backup-items.ts; any number
//   E  the end, JSON: what there was, and the SHA-256 of all bytes before this frame; once, last

const MAGIC = utf8('KFBACKUP\n');
const HEAD = 0x48;
const BLOCK = 0x42;
const END = 0x45;
const FRAME_BYTES = 5;
/** A frame is no longer than a value can be, and something around it. */
const MAX_FRAME_BYTES = 1024 * 1024 * 1024;
/** Of heads and ends. */
const MAX_JSON_BYTES = 64 * 1024;

/** What stands at the end of a part. */
export interface RangeEnd {
  readonly records: number;
  readonly sessions: number;
  readonly blocks: number;
}

export type RangePiece =
  | { readonly kind: 'head'; readonly head: RangeHead }
  | { readonly kind: 'block'; readonly block: BackupBlock }
  | { readonly kind: 'end'; readonly end: RangeEnd };

/** The bytes of a part. Closes `reading` at its end, and when it is left, begun or not. */
export function rangeFile(reading: RangeReading): AsyncIterableIterator<Bytes> {
  const bytes = bytesOf(reading);
  return {
    next: () => bytes.next(),
    return: () => {
      reading.close();
      return bytes.return();
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

async function* bytesOf(reading: RangeReading): AsyncGenerator<Bytes, void, undefined> {
  const hash = createHash('sha256');
  const hashed = (bytes: Bytes): Bytes => {
    hash.update(bytes);
    return bytes;
  };
  try {
    yield hashed(concatBytes(MAGIC, frame(HEAD, utf8(JSON.stringify(reading.head)))));
    let [records, sessions, blocks] = [0, 0, 0];
    for (let block = await reading.next(); block; block = await reading.next()) {
      const counts = new Uint8Array(8);
      new DataView(counts.buffer).setUint32(0, block.records);
      new DataView(counts.buffer).setUint32(4, block.sessions);
      yield hashed(frame(BLOCK, counts, block.bytes));
      records += block.records;
      sessions += block.sessions;
      blocks++;
    }
    const end: RangeEnd & { readonly sha256: string } = { records, sessions, blocks, sha256: hash.digest('hex') };
    yield frame(END, utf8(JSON.stringify(end)));
  } finally {
    reading.close();
  }
}

/**
 * Reads a part piece by piece, and sees that it is whole and what was written. Holds one block at a time.
 * @throws KF_BACKUP_CUT_SHORT when it ends before its end; KF_BACKUP_DAMAGED.
 */
export async function* rangePieces(chunks: AsyncIterable<Bytes>): AsyncGenerator<RangePiece, void, undefined> {
  const input = new Input(chunks);
  try {
    yield* piecesOf(input);
  } finally {
    await input.close();
  }
}

async function* piecesOf(input: Input): AsyncGenerator<RangePiece, void, undefined> {
  const hash = createHash('sha256');
  const magic = await input.take(MAGIC.length);
  if (Buffer.compare(magic, MAGIC) !== 0) throw damaged('it does not begin as a part of a backup does');
  hash.update(magic);
  let [records, sessions, blocks] = [0, 0, 0];
  for (let isFirst = true; ; isFirst = false) {
    const head = await input.take(FRAME_BYTES);
    const kind = head[0]!;
    const length = new DataView(head.buffer, head.byteOffset).getUint32(1);
    if (length > (kind === BLOCK ? MAX_FRAME_BYTES : MAX_JSON_BYTES) || isFirst !== (kind === HEAD))
      throw damaged(`a frame of kind ${kind}, ${length} bytes`);
    const payload = await input.take(length);
    if (kind === END) {
      const end = parsed<RangeEnd & { readonly sha256: string }>(payload);
      if (end.sha256 !== hash.digest('hex') || end.records !== records || end.sessions !== sessions || end.blocks !== blocks)
        throw damaged('what it holds is not what its end says');
      if (!(await input.isAtEnd())) throw damaged('it goes on behind its end');
      yield { kind: 'end', end };
      return;
    }
    hash.update(head);
    hash.update(payload);
    if (kind === HEAD) {
      yield { kind: 'head', head: parsed<RangeHead>(payload) };
    } else if (kind === BLOCK && length >= 8) {
      const view = new DataView(payload.buffer, payload.byteOffset);
      const block = { bytes: payload.subarray(8), records: view.getUint32(0), sessions: view.getUint32(4) };
      records += block.records;
      sessions += block.sessions;
      blocks++;
      yield { kind: 'block', block };
    } else throw damaged(`a frame of kind ${kind}, ${length} bytes`);
  }
}

/** Bytes taken as many at a time as are wanted. */
class Input {
  readonly #chunks: AsyncIterator<Bytes>;
  #parts: Bytes[] = [];
  #length = 0;

  constructor(chunks: AsyncIterable<Bytes>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** @throws KF_BACKUP_CUT_SHORT. */
  async take(length: number): Promise<Bytes> {
    while (this.#length < length) {
      if (!(await this.#more()))
        throw new KeyfleetError('KF_BACKUP_CUT_SHORT', 'a part of a backup ends in the middle', { retryable: true });
    }
    const joined = this.#parts.length === 1 ? this.#parts[0]! : Buffer.concat(this.#parts);
    const rest = joined.subarray(length);
    this.#parts = rest.length > 0 ? [rest] : [];
    this.#length = rest.length;
    return joined.subarray(0, length);
  }

  /** Nothing more is wanted. */
  async close(): Promise<void> {
    await this.#chunks.return?.();
  }

  async isAtEnd(): Promise<boolean> {
    return this.#length === 0 && !(await this.#more());
  }

  async #more(): Promise<boolean> {
    const { value, done } = await this.#chunks.next();
    if (done) return false;
    this.#parts.push(value);
    this.#length += value.length;
    return true;
  }
}

function frame(kind: number, ...parts: readonly Bytes[]): Bytes {
  const head = new Uint8Array(FRAME_BYTES);
  head[0] = kind;
  new DataView(head.buffer).setUint32(
    1,
    parts.reduce((sum, { length }) => sum + length, 0),
  );
  return concatBytes(head, ...parts);
}

/** JSON of ours, which has been found whole. */
function parsed<T>(bytes: Bytes): T {
  try {
    return JSON.parse(fromUtf8(bytes)) as T;
  } catch {
    throw damaged('a head or an end that is no JSON');
  }
}

function damaged(what: string): KeyfleetError {
  return new KeyfleetError('KF_BACKUP_DAMAGED', `a part of a backup: ${what}`);
}
