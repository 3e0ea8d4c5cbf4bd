import type { Bytes } from '../../base/bytes.ts';
import {
  expiryKey,
  hookHeirRange,
  hookHeirShard,
  parseStorageKey,
  positionStart,
  RECORD,
  readU32,
  sessionRange,
  shardOutboxRange,
} from '../key-layout.ts';
import { decodeRecordHeader, type RecordHeader } from '../record.ts';
import type { PositionRange } from '../shard-state.ts';
import type { ShardReader, ShardStorage } from '../shard-storage.ts';
import { countsRange } from '../slot-counts.ts';

// All that a storage holds of a shard, but for its state: its counts by slot, its records with their cells, its sessions, what its hook has not been told,
// each in a range of keys; and the order in which its records expire, which follows from them.

export interface KeyRange {
  readonly from: Bytes;
  readonly to: Bytes;
}

/** Where that lies. */
export function dataRanges(
  shard: { readonly id: number; readonly table: number; readonly range: PositionRange },
  keyspaceId: number,
  reader: ShardReader,
): readonly KeyRange[] {
  const { id, table, range } = shard;
  return [countsRange(id), ...recordRanges(table, range, keyspaceId), ...hookRanges(id, keyspaceId, reader)];
}

/** What the hook of a shard has not been told yet, that of the shards included which it took over. */
export function hookRanges(id: number, keyspaceId: number, reader: ShardReader): readonly KeyRange[] {
  const heirs = hookHeirRange(keyspaceId, id);
  const taken = [...reader.scan(heirs)].map(({ key }) => hookHeirShard(key));
  return [heirs, ...[id, ...taken].map((shard) => shardOutboxRange(keyspaceId, shard))];
}

/** Records, cells and sessions at the positions of `range`. */
export function recordRanges(table: number, range: PositionRange, keyspaceId: number): readonly KeyRange[] {
  return [{ from: positionStart(table, range.from), to: positionStart(table, range.to) }, sessionRange(keyspaceId, range)];
}

const header: RecordHeader = { expireAtMs: undefined, generation: 0, sizeBytes: 0, key: undefined };

/** Where a pair of `table` that is a record stands in the order of expiry; undefined for any other, and for a record that does not expire. */
export function expiryOf(table: number, key: Bytes, value: Bytes): Bytes | undefined {
  // The table's number tells records from counts and sessions.
  if (readU32(key, 0) !== table || parseStorageKey(key).tag !== RECORD) return undefined;
  decodeRecordHeader(value, header);
  return header.expireAtMs === undefined ? undefined : expiryKey(key, header.expireAtMs);
}

/** Removes at most `limit` pairs of `ranges`, with their places in the order of expiry; true when nothing is left. */
export function clearData(storage: ShardStorage, table: number, ranges: readonly KeyRange[], limit: number): boolean {
  let left = limit;
  for (const range of ranges) {
    const pairs = [...storage.scan({ ...range, limit: left })];
    for (const { key, value } of pairs) {
      const expiry = expiryOf(table, key, value);
      if (expiry) storage.delete(expiry);
      storage.delete(key);
    }
    left -= pairs.length;
    if (left <= 0) return false;
  }
  return true;
}
