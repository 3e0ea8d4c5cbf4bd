import { behindRecord, parseStorageKey, positionStart, RECORD } from './key-layout.ts';
import { decodeRecordHeader, type RecordHeader } from './record.ts';
import type { PositionRange } from './shard-state.ts';
import type { ShardReader } from './shard-storage.ts';
import { SlotCounts } from './slot-counts.ts';

/**
 * The counts by slot of a range, counted from its records one by one: for data of a release that kept none, and to check the kept ones against.
 * O(records).
 */
export function recountSlots(
  reader: ShardReader,
  options: { readonly table: number; readonly range: PositionRange; readonly shift: number },
): SlotCounts {
  const { table, range } = options;
  const counts = new SlotCounts(options);
  const header: RecordHeader = { expireAtMs: undefined, generation: 0, sizeBytes: 0, key: undefined };
  const to = positionStart(table, range.to);
  let from: Uint8Array | undefined = positionStart(table, range.from);
  while (from) {
    let behindCells: Uint8Array | undefined;
    for (const { key, value } of reader.scan({ from, to })) {
      const parsed = parseStorageKey(key);
      if (parsed.tag !== RECORD) {
        behindCells = behindRecord(key, parsed.tagAt);
        break;
      }
      decodeRecordHeader(value, header);
      const keyBytes = (parsed.key ?? header.key)?.length ?? 0;
      counts.add(parsed.position, 1, keyBytes + header.sizeBytes, header.expireAtMs === undefined ? 0 : 1);
    }
    from = behindCells;
  }
  counts.settle();
  return counts;
}
