import { type Bytes, concatBytes, copyBytes } from '../base/bytes.ts';
import { type BackupItem, encodeItem } from './backup-items.ts';
import {
  behindPrefix,
  behindRecord,
  cellOf,
  cellPrefix,
  parseStorageKey,
  positionStart,
  RECORD,
  readU32,
  sessionRange,
} from './key-layout.ts';
import { decodeRecordHeader, type RecordHeader } from './record.ts';
import { splitCut } from './record-cells.ts';
import type { PositionRange } from './shard-state.ts';
import type { ShardReader } from './shard-storage.ts';

// All that a shard has at the positions of a range, as the items of a backup, in blocks. Reads in slices, each sought anew, so nothing is held open
// between two blocks but the reader itself, which must not change meanwhile.

/** Pairs of the storage that are read at a time. */
const SLICE = 256;
/** Cells go into an item until it has so many bytes. */
const CELL_ITEM_BYTES = 64 * 1024;
const NOTHING: RecordHeader = { expireAtMs: undefined, generation: 0, sizeBytes: 0, key: undefined };

/** Some items, and how many of them are records and sessions. */
export interface BackupBlock {
  readonly bytes: Bytes;
  readonly records: number;
  readonly sessions: number;
}

export interface RangeToRead {
  readonly reader: ShardReader;
  readonly keyspaceId: number;
  readonly table: number;
  /** Of whole places, as those of shards are: sessions lie by place. */
  readonly range: PositionRange;
}

export class RangeReader {
  readonly #items: IterableIterator<BackupItem>;
  readonly #blockBytes: number;

  /** `blockBytes`: a block ends behind the item that reaches it. */
  constructor(range: RangeToRead, blockBytes: number) {
    this.#items = itemsOf(range);
    this.#blockBytes = blockBytes;
  }

  /** The next block, or undefined behind the last. Cost: what it holds. */
  next(): BackupBlock | undefined {
    const parts: Bytes[] = [];
    let [bytes, records, sessions] = [0, 0, 0];
    while (bytes < this.#blockBytes) {
      const { value: item, done } = this.#items.next();
      if (done) break;
      if (item.kind === 'record') records++;
      else if (item.kind === 'session') sessions++;
      const encoded = encodeItem(item);
      parts.push(encoded);
      bytes += encoded.length;
    }
    return parts.length === 0 ? undefined : { bytes: concatBytes(...parts), records, sessions };
  }
}

function* itemsOf({ reader, keyspaceId, table, range }: RangeToRead): IterableIterator<BackupItem> {
  yield* recordsOf(reader, positionStart(table, range.from), positionStart(table, range.to));
  const { from, to } = sessionRange(keyspaceId, range);
  for (const { key, value } of pairsOf(reader, from, to)) {
    yield { kind: 'session', place: readU32(key, PLACE_AT), rest: copyBytes(key, PLACE_AT + 4), value };
  }
}

/** In a key of the session table: behind table and keyspace. */
const PLACE_AT = 8;

function* recordsOf(reader: ShardReader, first: Bytes, to: Bytes): IterableIterator<BackupItem> {
  let from: Bytes | undefined = first;
  while (from) {
    let next: Bytes | undefined;
    let count = 0;
    for (const { key: storageKey, value: stored } of [...reader.scan({ from, to, limit: SLICE })]) {
      count++;
      const parsed = parseStorageKey(storageKey);
      if (parsed.tag !== RECORD) {
        // Its cells have been read with it, and those of what it was before are nobody's.
        next = behindRecord(storageKey, parsed.tagAt);
        break;
      }
      if (count === SLICE) next = behind(storageKey);
      const header = { ...NOTHING };
      const valueAt = decodeRecordHeader(stored, header);
      const key = parsed.key ?? header.key;
      if (!key) continue;
      const { expireAtMs, sizeBytes, generation } = header;
      yield { kind: 'record', key, expireAtMs, sizeBytes, value: copyBytes(stored, valueAt), hasCells: generation !== 0 };
      if (generation !== 0) yield* cellsOf(reader, key, cellPrefix(storageKey, generation));
    }
    from = next;
  }
}

function* cellsOf(reader: ShardReader, key: Bytes, prefix: Bytes): IterableIterator<BackupItem> {
  let cells: { readonly cell: Bytes; readonly value: Bytes }[] = [];
  let bytes = 0;
  for (const pair of pairsOf(reader, prefix, behindPrefix(prefix))) {
    const cell = cellOf(prefix, pair.key);
    const read = cell ? { cell, value: pair.value } : splitCut(pair.value);
    const more = read.cell.length + read.value.length + 8;
    if (bytes > 0 && bytes + more > CELL_ITEM_BYTES) {
      yield { kind: 'cells', key, cells };
      cells = [];
      bytes = 0;
    }
    cells.push(read);
    bytes += more;
  }
  if (cells.length > 0) yield { kind: 'cells', key, cells };
}

function* pairsOf(reader: ShardReader, first: Bytes, to: Bytes): IterableIterator<{ readonly key: Bytes; readonly value: Bytes }> {
  let from: Bytes | undefined = first;
  while (from) {
    const slice: { readonly key: Bytes; readonly value: Bytes }[] = [...reader.scan({ from, to, limit: SLICE })];
    yield* slice;
    from = slice.length === SLICE ? behind(slice[SLICE - 1]!.key) : undefined;
  }
}

/** The first key behind `key`. */
function behind(key: Bytes): Bytes {
  const out = new Uint8Array(key.length + 1);
  out.set(key);
  return out;
}
