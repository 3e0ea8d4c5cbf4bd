import { assert } from '../base/assert.ts';
import type { Bytes } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import { inPlace } from './in-place-codec.ts';
import { expiryKey, isCut, recordKey } from './key-layout.ts';
import { decodeRecordHeader, encodeRecordHeader, type RecordHeader, recordBytes } from './record.ts';
import { type CellOwner, dropGeneration, StoredCellReader, StoredCells, tooLarge } from './record-cells.ts';
import type { ShardReader, ShardStorage, ValueViewer } from './shard-storage.ts';
import { SizedBytes } from './sized-bytes.ts';
import type { CommandContext, InPlaceCodec, QueryContext, ValueCodec } from './value-module.ts';

const NO_BYTES: Bytes = new Uint8Array(0);
/** Where records are put together. Storage copies them. */
const records = new SizedBytes();

/** One record as a query sees it. Used again for the next: {@link load} makes it another record. */
export class RecordView<Value> implements QueryContext, CellOwner, ValueViewer {
  readonly cells: StoredCellReader;
  key: Bytes = NO_BYTES;
  position = 0;
  expireAtMs: number | undefined;
  sizeBytes = 0;
  storageKey: Bytes = NO_BYTES;
  generation = 0;
  /** Undefined when the key is absent or has expired. */
  value: Value | undefined;
  /** Storage holds a record here, though perhaps an expired one. */
  exists = false;
  protected readonly codec: InPlaceCodec<Value>;
  /** What storage says of the record, expired or not. Of none: nothing. */
  protected readonly header: RecordHeader = { expireAtMs: undefined, generation: 0, sizeBytes: 0, key: undefined };
  readonly #reader: ShardReader;
  readonly #keys: SizedBytes | undefined;
  #nowMs = 0;
  #clock: (() => number) | undefined;

  /** `keys`: where storage keys are written; absent: to bytes of their own, for a view that is loaded once. */
  constructor(reader: ShardReader, codec: ValueCodec<Value>, keys?: SizedBytes) {
    this.#reader = reader;
    this.#keys = keys;
    this.codec = inPlace(codec);
    this.cells = new StoredCellReader(reader, this);
  }

  /** The time is read when it is first asked for: a look at the clock costs as much as a look at a small record that never expires. */
  get nowMs(): number {
    if (this.#clock) {
      this.#nowMs = Math.max(this.#nowMs, this.#clock());
      this.#clock = undefined;
    }
    return this.#nowMs;
  }

  /** Looks the record up, at `nowMs`, or if it is later at what `clock` says. */
  load(table: number, position: number, key: Bytes, nowMs: number, clock?: () => number): void {
    const storageKey = recordKey(table, position, key, this.#keys);
    this.storageKey = storageKey;
    this.cells.forget();
    this.key = key;
    this.position = position;
    this.#nowMs = nowMs;
    this.#clock = clock;
    this.value = undefined;
    this.expireAtMs = undefined;
    this.sizeBytes = 0;
    this.generation = 0;
    this.exists = this.#reader.show(storageKey, this);
  }

  view(stored: Bytes, from: number, to: number): void {
    const { header } = this;
    const bodyAt = decodeRecordHeader(stored, header, from, to);
    if (header.expireAtMs !== undefined && header.expireAtMs <= this.nowMs) return;
    this.expireAtMs = header.expireAtMs;
    this.sizeBytes = header.sizeBytes;
    this.generation = header.generation;
    this.value = this.codec.decode(stored, bodyAt, to);
  }
}

/** What the taking of a change did to the shard's counts. */
export interface CountChange {
  keys: number;
  bytes: number;
  expiring: number;
}

export interface RecordDuties {
  readonly maxValueBytes: number;
  readonly newGeneration: () => number;
  readonly onWrite: () => void;
  readonly onGarbage: () => void;
}

/** One record as a command sees it, and the way its changes go to storage. */
export class ShardRecord<Value> extends RecordView<Value> implements CommandContext {
  override readonly cells: StoredCells;
  /** Something of it has been written since it was loaded. */
  wrote = false;
  readonly #storage: ShardStorage;
  readonly #duties: RecordDuties;

  constructor(storage: ShardStorage, codec: ValueCodec<Value>, duties: RecordDuties, keys?: SizedBytes) {
    super(storage, codec, keys);
    this.#storage = storage;
    this.#duties = {
      ...duties,
      onWrite: () => {
        this.wrote = true;
        duties.onWrite();
      },
    };
    this.cells = new StoredCells({ storage, owner: this, ...this.#duties });
  }

  override load(table: number, position: number, key: Bytes, nowMs: number): void {
    this.wrote = false;
    super.load(table, position, key, nowMs);
  }

  /**
   * Makes `value` the record's, or removes it, and adds what changed to `counts`. `expireAtMs`: a time, null for never, undefined for as
   * before. Throws what storage throws, KF_VALUE_TOO_LARGE, or what the codec throws; the caller undoes the writes then.
   */
  take(value: Value | undefined, expireAtMs: number | null | undefined, sizeBytes: number | undefined, counts: CountChange): void {
    const expiry = expireAtMs === undefined ? this.expireAtMs : (expireAtMs ?? undefined);
    if (value === undefined || (expiry !== undefined && expiry <= this.nowMs)) {
      this.#remove(counts);
      return;
    }
    const { exists, header } = this;
    const live = this.value !== undefined;
    const same = live && value === this.value;
    if (
      same &&
      expiry === header.expireAtMs &&
      this.generation === header.generation &&
      (sizeBytes === undefined || sizeBytes === header.sizeBytes)
    ) {
      return;
    }
    assert(exists || !same, () => 'an absent record with a value');
    const bodyBytes = this.codec.size(value);
    if (bodyBytes > this.#duties.maxValueBytes) throw tooLarge(bodyBytes, this.#duties.maxValueBytes);
    const size = sizeBytes ?? (same ? header.sizeBytes : bodyBytes);
    if (!Number.isSafeInteger(size) || size < 0)
      throw new KeyfleetError('KF_BAD_RESULT', `a value module says that a value has ${size} bytes`);
    this.#duties.onWrite();
    const storedExpiry = exists ? header.expireAtMs : undefined;
    if (exists) {
      counts.bytes += size - header.sizeBytes;
      if (!live && header.generation !== 0) this.#dropCells(header.generation);
    } else {
      counts.keys++;
      counts.bytes += this.key.length + size;
    }
    if (storedExpiry !== expiry) {
      if (storedExpiry !== undefined) {
        this.#storage.delete(expiryKey(this.storageKey, storedExpiry));
        counts.expiring--;
      }
      if (expiry !== undefined) {
        this.#storage.put(expiryKey(this.storageKey, expiry), NO_BYTES);
        counts.expiring++;
      }
    }
    // What storage said is not asked for any more: the header becomes that of the new record.
    header.expireAtMs = expiry;
    header.generation = this.generation;
    header.sizeBytes = size;
    header.key = isCut(this.storageKey) ? this.key : undefined;
    const record = records.take(recordBytes(header, bodyBytes));
    this.codec.encode(value, record, encodeRecordHeader(header, bodyBytes, record));
    this.#storage.put(this.storageKey, record);
  }

  #remove(counts: CountChange): void {
    const { exists, header } = this;
    // Cells that the command wrote before it decided that there is no value.
    if (this.generation !== 0 && (!exists || this.generation !== header.generation)) this.#dropCells(this.generation);
    if (!exists) return;
    this.#duties.onWrite();
    if (header.generation !== 0) this.#dropCells(header.generation);
    if (header.expireAtMs !== undefined) {
      this.#storage.delete(expiryKey(this.storageKey, header.expireAtMs));
      counts.expiring--;
    }
    this.#storage.delete(this.storageKey);
    counts.keys--;
    counts.bytes -= this.key.length + header.sizeBytes;
  }

  #dropCells(generation: number): void {
    if (dropGeneration(this.#storage, this.storageKey, generation)) this.#duties.onGarbage();
  }
}
