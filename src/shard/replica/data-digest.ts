import { type Bytes, compareBytes, concatBytes, copyBytes } from '../../base/bytes.ts';
import { ChainHash, ZERO_HASH } from '../chain-hash.ts';
import { f64Bytes } from '../entry.ts';
import { behindRecord, CELL, cellPrefix, parseStorageKey, positionStart, RECORD, recordKeyOf, tableStart } from '../key-layout.ts';
import { generationOf } from '../record.ts';
import type { ShardState } from '../shard-state.ts';
import type { ShardReader } from '../shard-storage.ts';

// A hash over a stretch of a shard's records with their cells, as they lie in storage: equal on two replicas that have run the same entries, unless a
// module is not pure or a disk is not true. What replicas remove at leisure, each at its own time, is left out: cells of earlier generations, sessions.

/** Where a stretch begins, and how much it takes at most. */
export interface Stretch {
  /** A storage key behind its table's number; empty: the first of the shard. */
  readonly from: Bytes;
  readonly maxPairs: number;
  readonly maxBytes: number;
}

export interface DataDigest {
  readonly hash: Bytes;
  /** Where the next stretch begins; undefined: this one came to the end. */
  readonly next: Bytes | undefined;
}

/** The table's number. */
const TABLE_BYTES = 4;

/** The digest of a stretch and of what the state says of all records. Cost: a scan of as many pairs as it takes. */
export function dataDigest(reader: ShardReader, state: Readonly<ShardState>, stretch: Stretch): DataDigest {
  const { table, range, keyCount, sizeBytes, expiringCount, nextGeneration } = state;
  const chain = new ChainHash();
  chain.start(ZERO_HASH);
  for (const number of [keyCount, sizeBytes, expiringCount, nextGeneration]) chain.add(f64Bytes(number));
  const first = positionStart(table, range.from);
  const to = positionStart(table, range.to);
  let from = concatBytes(tableStart(table), stretch.from);
  if (compareBytes(from, first) < 0) from = first;
  let pairs = 0;
  let bytes = 0;
  const live = new LiveCells(reader);
  scanning: while (compareBytes(from, to) < 0) {
    for (const { key, value } of reader.scan({ from, to })) {
      const { tag, tagAt } = parseStorageKey(key);
      if (tag === RECORD) live.enter(key, value);
      else {
        const behind = tag === CELL ? live.behindGarbage(key, tagAt) : undefined;
        if (behind) {
          from = behind;
          continue scanning;
        }
      }
      if (pairs === stretch.maxPairs || (pairs > 0 && bytes + key.length + value.length > stretch.maxBytes)) {
        return { hash: chain.finish(), next: copyBytes(key, TABLE_BYTES) };
      }
      chain.add(key.subarray(TABLE_BYTES));
      chain.addU32(value.length);
      chain.add(value);
      pairs++;
      bytes += key.length + value.length;
    }
    break;
  }
  return { hash: chain.finish(), next: undefined };
}

/** Tells the cells that a record has from those that it, or one before it, once had. */
class LiveCells {
  readonly #reader: ShardReader;
  #record: Bytes | undefined;
  /** What the keys of its cells begin with; undefined: it has none. */
  #prefix: Bytes | undefined;

  constructor(reader: ShardReader) {
    this.#reader = reader;
  }

  enter(record: Bytes, value: Bytes | undefined): void {
    this.#record = record;
    const generation = value ? generationOf(value) : 0;
    this.#prefix = generation === 0 ? undefined : cellPrefix(record, generation);
  }

  /** Undefined for a cell that counts; else the first key that may count again. */
  behindGarbage(cell: Bytes, tagAt: number): Bytes | undefined {
    const record = recordKeyOf(cell, tagAt);
    if (!this.#record || compareBytes(this.#record, record) !== 0) this.enter(record, this.#reader.get(record));
    const prefix = this.#prefix;
    if (!prefix) return behindRecord(cell, tagAt);
    const place = compareBytes(cell.subarray(0, prefix.length), prefix);
    if (place === 0) return undefined;
    return place < 0 ? prefix : behindRecord(cell, tagAt);
  }
}
