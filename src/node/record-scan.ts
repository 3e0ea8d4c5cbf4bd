import type { Bytes } from '../base/bytes.ts';
import { behindRecord, type ParsedStorageKey, parseStorageKey, positionStart, RECORD, recordKeyOf } from '../shard/key-layout.ts';
import { decodeRecordHeader, type RecordHeader } from '../shard/record.ts';
import type { PositionRange } from '../shard/shard-state.ts';
import type { ValueCodec } from '../shard/value-module.ts';
import type { StorageReader } from '../storage/storage.ts';
import type { ScannedRecord } from './keyspace-handle.ts';

const POSITIONS = 0x1_0000_0000;
/** Records behind one that has cells are sought, not walked to. */
const PAIRS_AT_ONCE = 256;

export interface PageOptions {
  readonly table: number;
  readonly cursor: number;
  readonly limit: number;
  readonly end?: number;
  readonly nowMs: number;
}

export interface Page<T> {
  readonly records: readonly T[];
  readonly next: number | undefined;
}

/** Goes over the records of a table in order of position, stepping over their cells. */
export class RecordScanner<Value> {
  readonly #reader: StorageReader;
  readonly #codec: ValueCodec<Value>;

  constructor(reader: StorageReader, codec: ValueCodec<Value>) {
    this.#reader = reader;
    this.#codec = codec;
  }

  /** At least `limit` live records from position `cursor` on, unless position `end` comes before; positions are never cut in two. */
  page(options: PageOptions): Page<ScannedRecord<Value>> {
    return this.#page(options, false, (parsed, stored) => this.#live(parsed, stored, options.nowMs));
  }

  /** As {@link page}, without what lies under the keys, which is not even read when none of them `mayExpire`. */
  keys({ mayExpire, ...options }: PageOptions & { readonly mayExpire: boolean }): Page<{ readonly key: Bytes }> {
    return this.#page(options, !mayExpire, (parsed, stored, storageKey) => {
      if (parsed.key && !mayExpire) return { key: parsed.key };
      // The record of a key that was cut holds the whole key.
      const whole = mayExpire ? stored : this.#reader.get(storageKey);
      const live = whole && liveHeader(whole, options.nowMs);
      const key = parsed.key ?? live?.header.key;
      return live && key && { key };
    });
  }

  #page<T>(
    { table, cursor, limit, end = POSITIONS }: PageOptions,
    keysOnly: boolean,
    read: (parsed: ParsedStorageKey, stored: Bytes, storageKey: Bytes) => T | undefined,
  ): Page<T> {
    const records: T[] = [];
    let last = -1;
    // Expired records fill no page, but they end one: a sweep may be behind by millions.
    let seen = 0;
    for (const { parsed, stored, storageKey } of this.#records(positionStart(table, cursor), positionStart(table, end), keysOnly)) {
      if (seen >= limit && parsed.position !== last) return { records, next: parsed.position };
      seen++;
      last = parsed.position;
      const record = read(parsed, stored, storageKey);
      if (record) records.push(record);
    }
    return { records, next: undefined };
  }

  /** The live record nearest to a place in `range` that `unit` chooses between the first and the last record there. */
  sample(options: {
    readonly table: number;
    readonly range: PositionRange;
    readonly unit: number;
    readonly nowMs: number;
  }): ScannedRecord<Value> | undefined {
    const { table, range, unit, nowMs } = options;
    const from = positionStart(table, range.from);
    const to = positionStart(table, range.to);
    const [first] = this.#reader.scan({ from, to, limit: 1 });
    const [last] = this.#reader.scan({ from, to, limit: 1, reverse: true });
    if (!first || !last) return undefined;
    const low = parseStorageKey(first.key).position;
    const high = parseStorageKey(last.key).position;
    // One bit of the chance says to which side of the place to go: with one side only, what stands behind a gap would come too often.
    const place = ((unit * 2) % 1) * (high - low + 1);
    const at = positionStart(table, low + Math.floor(place));
    const forward = unit < 0.5;
    return (
      (forward ? this.#firstLive(at, to, nowMs) : this.#lastLive(from, at, nowMs)) ??
      (forward ? this.#firstLive(from, at, nowMs) : this.#firstLive(at, to, nowMs))
    );
  }

  #firstLive(from: Bytes, to: Bytes, nowMs: number): ScannedRecord<Value> | undefined {
    for (const { parsed, stored } of this.#records(from, to)) {
      const record = this.#live(parsed, stored, nowMs);
      if (record) return record;
    }
    return undefined;
  }

  #lastLive(from: Bytes, to: Bytes, nowMs: number): ScannedRecord<Value> | undefined {
    let end = to;
    while (true) {
      const [pair] = this.#reader.scan({ from, to: end, limit: 1, reverse: true });
      if (!pair) return undefined;
      const parsed = parseStorageKey(pair.key);
      const storageKey = parsed.tag === RECORD ? pair.key : recordKeyOf(pair.key, parsed.tagAt);
      const stored = parsed.tag === RECORD ? pair.value : this.#reader.get(storageKey);
      const record = stored && this.#live(parsed, stored, nowMs);
      if (record) return record;
      end = storageKey;
    }
  }

  /** The records of [from, to), expired ones included. */
  *#records(
    from: Bytes,
    to: Bytes,
    keysOnly = false,
  ): IterableIterator<{ readonly parsed: ParsedStorageKey; readonly stored: Bytes; readonly storageKey: Bytes }> {
    let start: Bytes | undefined = from;
    while (start) {
      let next: Bytes | undefined;
      let count = 0;
      for (const { key, value } of this.#reader.scan({ from: start, to, limit: PAIRS_AT_ONCE, keysOnly })) {
        count++;
        const parsed = parseStorageKey(key);
        if (parsed.tag !== RECORD) {
          next = behindRecord(key, parsed.tagAt);
          break;
        }
        yield { parsed, stored: value, storageKey: key };
        if (count === PAIRS_AT_ONCE) next = nextKey(key);
      }
      start = next;
    }
  }

  #live(parsed: ParsedStorageKey, stored: Bytes, nowMs: number): ScannedRecord<Value> | undefined {
    const live = liveHeader(stored, nowMs);
    const key = parsed.key ?? live?.header.key;
    if (!live || !key) return undefined;
    const { header, bodyAt } = live;
    const value = this.#codec.decode(stored.subarray(bodyAt));
    return { key, position: parsed.position, value, expireAtMs: header.expireAtMs, sizeBytes: header.sizeBytes };
  }
}

/** The header of a record, and where its value begins; undefined when it has expired. */
function liveHeader(stored: Bytes, nowMs: number): { readonly header: RecordHeader; readonly bodyAt: number } | undefined {
  const header: RecordHeader = { expireAtMs: undefined, generation: 0, sizeBytes: 0, key: undefined };
  const bodyAt = decodeRecordHeader(stored, header);
  return header.expireAtMs !== undefined && header.expireAtMs <= nowMs ? undefined : { header, bodyAt };
}

function nextKey(key: Bytes): Bytes {
  const out = new Uint8Array(key.length + 1);
  out.set(key);
  return out;
}
