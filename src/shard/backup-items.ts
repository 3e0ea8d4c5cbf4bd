import { ByteReader, ByteWriter } from '../base/byte-stream.ts';
import { type Bytes, concatBytes } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';

// What a backup is made of: records, their cells, sessions, without a trace of where they lay, so that any store can take them, however its shards
// are cut. Numbers are big-endian; `sized`: a u32 and so many bytes.
//
//   record   [1][flags u8][expireAtMs f64, with flag 1][sizeBytes f64][key sized][value sized]
//   cells    [2][key sized][count u32] then for each [cell sized][value sized]           of the record before, which has flag 2
//   session  [3][place u32][client, and the number of a result that lies apart: sized][value sized]
//
// The value of a record is what its module's codec writes. docs/protocol/backup.md has the files that this goes to.

const RECORD = 1;
const CELLS = 2;
const SESSION = 3;
const HAS_EXPIRY = 1;
const HAS_CELLS = 2;

export type BackupItem =
  | {
      readonly kind: 'record';
      readonly key: Bytes;
      readonly expireAtMs: number | undefined;
      /** What it counts as. */
      readonly sizeBytes: number;
      readonly value: Bytes;
      readonly hasCells: boolean;
    }
  | { readonly kind: 'cells'; readonly key: Bytes; readonly cells: readonly { readonly cell: Bytes; readonly value: Bytes }[] }
  /** `rest`: its storage key behind the place. */
  | { readonly kind: 'session'; readonly place: number; readonly rest: Bytes; readonly value: Bytes };

export function encodeItem(item: BackupItem): Bytes {
  switch (item.kind) {
    case 'record': {
      const { key, expireAtMs, sizeBytes, value, hasCells } = item;
      const out = new ByteWriter(26 + key.length + value.length);
      out.u8(RECORD).u8((expireAtMs === undefined ? 0 : HAS_EXPIRY) | (hasCells ? HAS_CELLS : 0));
      if (expireAtMs !== undefined) out.f64(expireAtMs);
      return out.f64(sizeBytes).sized(key).sized(value).finish();
    }
    case 'cells': {
      const out = new ByteWriter(4_096).u8(CELLS).sized(item.key).u32(item.cells.length);
      for (const { cell, value } of item.cells) out.sized(cell).sized(value);
      return out.finish();
    }
    case 'session': {
      const { place, rest, value } = item;
      return new ByteWriter(13 + rest.length + value.length).u8(SESSION).u32(place).sized(rest).sized(value).finish();
    }
  }
}

/** The items of a block, one after the other, in its memory. @throws KF_BACKUP_DAMAGED when `bytes` are none. */
export function* decodeItems(bytes: Bytes): IterableIterator<BackupItem> {
  for (const { item } of encodedItems(bytes)) yield item;
}

/** As {@link decodeItems}, each with the bytes that it stands in. */
export function* encodedItems(bytes: Bytes): IterableIterator<{ readonly item: BackupItem; readonly encoded: Bytes }> {
  const reader = new ByteReader(bytes);
  while (!reader.atEnd) {
    const from = reader.at;
    let item: BackupItem;
    try {
      item = readItem(reader);
    } catch (error) {
      if (error instanceof RangeError) throw damaged('a block ends in the middle of something');
      throw error;
    }
    yield { item, encoded: bytes.subarray(from, reader.at) };
  }
}

function readItem(reader: ByteReader): BackupItem {
  const kind = reader.u8();
  switch (kind) {
    case RECORD: {
      const flags = reader.u8();
      if (flags > (HAS_EXPIRY | HAS_CELLS)) throw damaged(`a record with flags ${flags}`);
      const expireAtMs = flags & HAS_EXPIRY ? reader.f64() : undefined;
      const sizeBytes = reader.f64();
      if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0 || Number.isNaN(expireAtMs))
        throw damaged('a record with numbers that are none');
      return {
        kind: 'record',
        expireAtMs,
        sizeBytes,
        key: reader.sizedView(),
        value: reader.sizedView(),
        hasCells: (flags & HAS_CELLS) !== 0,
      };
    }
    case CELLS: {
      const key = reader.sizedView();
      const count = reader.u32();
      const cells: { readonly cell: Bytes; readonly value: Bytes }[] = [];
      for (let i = 0; i < count; i++) cells.push({ cell: reader.sizedView(), value: reader.sizedView() });
      return { kind: 'cells', key, cells };
    }
    case SESSION:
      return { kind: 'session', place: reader.u32(), rest: reader.sizedView(), value: reader.sizedView() };
    default:
      throw damaged(`an item of kind ${kind}`);
  }
}

/** Encoded items in pieces as long as a log's entry has room for, as few as can be. */
export function joinItems(items: readonly Bytes[], maxBytes: number): Bytes[] {
  const pieces: Bytes[] = [];
  let parts: Bytes[] = [];
  let bytes = 0;
  for (const encoded of items) {
    if (bytes > 0 && bytes + encoded.length > maxBytes) {
      pieces.push(concatBytes(...parts));
      parts = [];
      bytes = 0;
    }
    parts.push(encoded);
    bytes += encoded.length;
  }
  if (parts.length > 0) pieces.push(concatBytes(...parts));
  return pieces;
}

function damaged(what: string): KeyfleetError {
  return new KeyfleetError('KF_BACKUP_DAMAGED', `not what a backup holds: ${what}`);
}
