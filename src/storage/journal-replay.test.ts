import { describe, expect, test } from 'vitest';
import { type Files, realFiles } from './files.ts';
import {
  closeRecord,
  encodeSegmentHeader,
  PUT,
  RECORD_HEADER_BYTES,
  SEGMENT_HEADER_BYTES,
  sealRecord,
  writeOperation,
} from './journal-format.ts';
import { replayJournal } from './journal-replay.ts';
import { segmentName } from './segments.ts';

const OPERATION_BYTES = 9;

/** A segment with one record, one operation, for each of `numbers`, followed by zeros. */
function segment(id: number, numbers: readonly number[], synced: number): [string, Buffer] {
  const recordBytes = RECORD_HEADER_BYTES + OPERATION_BYTES;
  const bytes = Buffer.alloc(SEGMENT_HEADER_BYTES + numbers.length * recordBytes + 64);
  encodeSegmentHeader({ id, first: numbers[0]!, synced }).copy(bytes);
  numbers.forEach((number, index) => {
    const start = SEGMENT_HEADER_BYTES + index * recordBytes;
    writeOperation(bytes, start + RECORD_HEADER_BYTES, PUT, Buffer.from([number]), Buffer.from([number]));
    closeRecord(bytes, start, start + recordBytes, number, 0, true);
    sealRecord(bytes, start, start + recordBytes, id, synced);
  });
  return [segmentName(id), bytes];
}

function replay(flushed: number, ...segments: readonly [string, Buffer][]) {
  const stored = new Map(segments);
  const files: Files = {
    ...realFiles,
    list: () => [...stored.keys()],
    read: (path) => stored.get(path.split(/[\\/]/).at(-1)!)!,
  };
  const batches: number[] = [];
  const replayed = replayJournal({ files, dir: 'd', flushed, apply: () => {}, onBatch: (number) => batches.push(number) });
  return { batches, last: replayed.last };
}

describe('reading a journal back', () => {
  test('gives the batches behind what is flushed', () => {
    expect(replay(2, segment(1, [1, 2, 3], 0), segment(2, [4, 5], 3))).toEqual({ batches: [3, 4, 5], last: 5 });
  });

  test('misses no batch that is flushed, though its segment went before an earlier one', () => {
    expect(replay(5, segment(1, [1, 2], 0), segment(4, [5, 6], 4))).toEqual({ batches: [6], last: 6 });
    expect(replay(5, segment(1, [1], 0), segment(3, [3], 2), segment(4, [6, 7], 5))).toEqual({ batches: [6, 7], last: 7 });
  });

  test('refuses to go on when a synced batch behind what is flushed is missing', () => {
    expect(() => replay(3, segment(1, [1, 2], 0), segment(4, [5, 6], 4))).toThrow(expect.objectContaining({ code: 'KF_STORAGE_DAMAGED' }));
  });
});
