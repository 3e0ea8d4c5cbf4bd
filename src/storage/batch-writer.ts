import type { Bytes } from '../base/bytes.ts';
import type { Journal, PlacedRecord } from './journal.ts';
import {
  closeRecord,
  DELETE,
  OPERATION_HEADER_BYTES,
  PUT,
  RECORD_HEADER_BYTES,
  SEGMENT_HEADER_BYTES,
  writeOperation,
} from './journal-format.ts';
import { type Memtable, UndoLog } from './memtable.ts';
import type { Segment } from './segments.ts';
import type { CommitNumber } from './storage.ts';

// The open batch: each operation is encoded, once, into a chunk of the memtable, as the journal will write it. The place on disk is fixed
// at the same time, in a segment that exists already; so a batch that could be put together can also be written.
//
//   chunk     … closed records │ header, operations … │ free        the operations since the last commit, in a record still open
//                              ^start                 ^used   ^limit = end of the chunk, or of the room in the segment
//
// A batch that outgrows its chunk or segment goes on in a further record.

const FIRST_CHUNK_BYTES = 64 * 1024;
const CHUNK_BYTES = 1024 * 1024;
const NONE = -1;

export class BatchWriter {
  readonly #journal: Journal;
  readonly #undo = new UndoLog();
  #memtable: Memtable;
  #chunk: Buffer = Buffer.alloc(0);
  #used = 0;
  #limit = 0;
  /** Where the open record starts in the chunk; NONE when the batch is empty. */
  #start = NONE;
  /** Where the open or else the next record goes. */
  #segment: Segment | undefined;
  #offset = 0;
  /** Finished records of the open batch, their numbers not yet filled in. */
  #closed: { chunk: Buffer; start: number; end: number; segment: Segment; offset: number }[] = [];

  constructor(journal: Journal, memtable: Memtable) {
    this.#journal = journal;
    this.#memtable = memtable;
  }

  get writeCount(): number {
    return this.#undo.length;
  }

  /** From now on writes go to another memtable. Only between batches. */
  use(memtable: Memtable): void {
    this.#memtable = memtable;
    this.#chunk = Buffer.alloc(0);
    this.#used = 0;
    this.#limit = 0;
  }

  /** @throws KF_DISK_FULL, KF_STORAGE_FAILED; then nothing changed. */
  write(key: Bytes, value: Bytes | undefined): void {
    const bytes = OPERATION_HEADER_BYTES + key.length + (value ? value.length : 0);
    const undo = this.#undo;
    undo.used = this.#used;
    undo.closed = this.#closed.length;
    if (this.#used + bytes > this.#limit) this.#makeRoom(bytes);
    writeOperation(this.#chunk, this.#used, value ? PUT : DELETE, key, value);
    this.#memtable.set(this.#used, undo);
    this.#used += bytes;
  }

  rollback(writeCount: number): void {
    const undo = this.#undo;
    if (undo.length <= writeCount) return;
    while (undo.length > writeCount) undo.pop(this.#memtable);
    const reopened = this.#closed[undo.closed];
    if (reopened) {
      this.#closed.length = undo.closed;
      const { chunks } = this.#memtable;
      while (chunks.at(-1) !== reopened.chunk) chunks.pop();
      this.#chunk = reopened.chunk;
      this.#start = reopened.start;
      this.#segment = reopened.segment;
      this.#offset = reopened.offset;
    }
    if (writeCount === 0) {
      this.#used = this.#start;
      this.#start = NONE;
      this.#limit = 0;
    } else {
      this.#used = undo.used;
      this.#limit = this.#limitFrom(this.#start);
    }
  }

  /** Hands the batch to the journal under `number`. It must not be empty. */
  commit(number: CommitNumber): void {
    this.#closeRecord();
    const closed = this.#closed;
    for (let i = 0; i < closed.length; i++) {
      const { chunk, start, end, segment, offset } = closed[i]!;
      closeRecord(chunk, start, end, number, i, i === closed.length - 1);
      const placed: PlacedRecord = { bytes: chunk, start, end, segment, offset, number };
      this.#journal.append(placed);
    }
    this.#closed.length = 0;
    this.#limit = 0;
    this.#undo.clear();
    this.#memtable.lastNumber = number;
  }

  #closeRecord(): void {
    this.#closed.push({ chunk: this.#chunk, start: this.#start, end: this.#used, segment: this.#segment!, offset: this.#offset });
    this.#offset += this.#used - this.#start;
    this.#start = NONE;
  }

  /** Opens a record with room for an operation of `bytes`. */
  #makeRoom(bytes: number): void {
    const recordBytes = RECORD_HEADER_BYTES + bytes;
    const offset = this.#start === NONE ? this.#offset : this.#offset + this.#used - this.#start;
    let segment = this.#segment;
    const fits = segment !== undefined && segment.capacityBytes - offset >= recordBytes;
    // May throw, so nothing has changed by here.
    if (!fits) segment = this.#journal.segmentAfter(segment, recordBytes);
    if (this.#start !== NONE) this.#closeRecord();
    if (!fits) {
      this.#segment = segment;
      this.#offset = SEGMENT_HEADER_BYTES;
    }
    if (this.#chunk.length - this.#used < recordBytes) this.#newChunk(recordBytes);
    this.#start = this.#used;
    this.#limit = this.#limitFrom(this.#start);
    this.#used += RECORD_HEADER_BYTES;
  }

  #limitFrom(start: number): number {
    return Math.min(this.#chunk.length, start + this.#segment!.capacityBytes - this.#offset);
  }

  #newChunk(bytes: number): void {
    const { chunks } = this.#memtable;
    const usual = Math.min(CHUNK_BYTES, FIRST_CHUNK_BYTES * 2 ** Math.min(chunks.length, 4));
    this.#chunk = Buffer.allocUnsafeSlow(Math.max(usual, bytes));
    this.#used = 0;
    chunks.push(this.#chunk);
  }
}
