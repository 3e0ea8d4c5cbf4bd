import { join } from 'node:path';
import { KeyfleetError } from '../base/errors.ts';
import type { Files } from './files.ts';
import { decodeRecord, decodeSegmentHeader, findWitness, OPERATION_HEADER_BYTES, SEGMENT_HEADER_BYTES } from './journal-format.ts';
import { type Segment, segmentId } from './segments.ts';
import type { CommitNumber } from './storage.ts';

// Reads a journal back. Segments come in the order of their ids and continue each other by commit number; each ends at its first record
// that is not whole. What is behind that is one of two things:
// - a torn tail: a crash caught writes that were not synced, so nothing in them was acknowledged. The next segment, written after that
//   crash, starts with the very number that is missing; or there is none. We stop there, and nothing is lost.
// - damage: a later record, or the header of a later segment, says that the missing batch had been synced. We refuse to go on.
// Damage to the very last group that was written cannot be told from a torn tail, in this as in any journal.

/** One operation, where it lies in the file's bytes. */
export type Apply = (bytes: Buffer, at: number, length: number) => void;

export interface Replayed {
  /** The last whole batch, at least `flushed`. */
  readonly last: CommitNumber;
  /** Segments with batches in them, in order. */
  readonly segments: readonly Segment[];
  /** Files with nothing that counts. */
  readonly unused: readonly string[];
  /** Files with records behind a gap that a crash left; they must be gone before their numbers are used again. */
  readonly abandoned: readonly string[];
  readonly nextId: number;
}

export interface Replay {
  readonly files: Files;
  readonly dir: string;
  /** Batches up to here are safe elsewhere and not applied. */
  readonly flushed: CommitNumber;
  readonly apply: Apply;
  /** The batch whose operations were applied is whole. */
  readonly onBatch: (number: CommitNumber) => void;
}

/** @throws KF_STORAGE_DAMAGED, naming file and offset. */
export function replayJournal({ files, dir, flushed, apply, onBatch }: Replay): Replayed {
  const ids = files
    .list(dir)
    .map(segmentId)
    .filter((id) => id !== undefined)
    .sort((a, b) => a - b);
  const names = new Map(files.list(dir).map((name) => [segmentId(name), name]));
  const segments: Segment[] = [];
  const unused: string[] = [];
  const abandoned: string[] = [];
  let expected: CommitNumber | undefined;
  /** Where the last segment stopped, to name it if that was too early. */
  let stop = { path: dir, at: 0 };
  /** Records of a batch whose last one has not come yet. */
  let parts: { bytes: Buffer; start: number; end: number }[] = [];
  for (const id of ids) {
    const path = join(dir, names.get(id)!);
    const bytes = files.read(path);
    const header = decodeSegmentHeader(bytes);
    // Files of flushed batches go in any order, or stay to be used again: a gap among those is none.
    const wanted: CommitNumber = Math.max(expected ?? 0, flushed + 1);
    if (header === undefined || header === 'blank' || header.id !== id) {
      // Never begun, or begun in a write that did not get through; unless records in it say otherwise.
      const witness = header === undefined ? findWitness(bytes, SEGMENT_HEADER_BYTES, id, wanted) : undefined;
      if (witness !== undefined)
        throw damaged(path, 0, `its header is not readable, and a record at offset ${witness} was written after it`);
      unused.push(path);
      continue;
    }
    if (header.first > wanted) {
      if (header.synced >= wanted || findWitness(bytes, SEGMENT_HEADER_BYTES, id, wanted) !== undefined)
        throw damaged(stop.path, stop.at, `batch ${wanted} is missing, and ${path} goes on with ${header.first}`);
      abandoned.push(path);
      continue;
    }
    if (expected !== undefined && header.first < expected)
      throw damaged(path, 0, `it begins with batch ${header.first} instead of ${expected}`);
    if (header.first !== expected) parts = [];
    let next: CommitNumber = header.first;
    let at = SEGMENT_HEADER_BYTES;
    for (let record = decodeRecord(bytes, at, id); record; record = decodeRecord(bytes, at, id)) {
      if (record.index === 0) parts = [];
      // The beginning of a batch that is safe elsewhere may have gone with its segment.
      if (record.number !== next || (next > flushed && record.index !== parts.length)) break;
      parts.push({ bytes, start: record.start, end: record.end });
      at = record.end;
      if (!record.last) continue;
      if (next > flushed) {
        for (const part of parts) applyOperations(path, part, apply);
        onBatch(next);
      }
      parts = [];
      next++;
    }
    const witness = findWitness(bytes, at, id, next);
    if (witness !== undefined)
      throw damaged(path, at, `the record there is not whole, and one at offset ${witness} was written after it was`);
    expected = next;
    stop = { path, at };
    segments.push({ id, path, capacityBytes: bytes.length, file: undefined, next: undefined, first: header.first, last: next - 1 });
  }
  // A batch begun but not ended is not there; a segment that holds nothing but its beginning still belongs to the journal.
  return { last: Math.max(flushed, (expected ?? 1) - 1), segments, unused, abandoned, nextId: (ids.at(-1) ?? 0) + 1 };
}

function applyOperations(path: string, part: { bytes: Buffer; start: number; end: number }, apply: Apply): void {
  const { bytes, end } = part;
  let at = part.start;
  while (at < end) {
    const length = OPERATION_HEADER_BYTES + bytes.readUInt16LE(at + 1) + bytes.readUInt32LE(at + 3);
    if (at + length > end) throw damaged(path, at, 'an operation does not end in its record');
    apply(bytes, at, length);
    at += length;
  }
}

export function damaged(path: string, offset: number, what: string): KeyfleetError {
  return new KeyfleetError(
    'KF_STORAGE_DAMAGED',
    `${path} is damaged at offset ${offset}: ${what}; restore the directory from a backup or another replica`,
  );
}
