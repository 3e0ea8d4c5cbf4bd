import { assert } from '../base/assert.ts';
import type { Bytes } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import { expiryKey, isCut, recordKey } from './key-layout.ts';
import { decodeRecordHeader, encodeRecord, type RecordHeader } from './record.ts';
import { type CellOwner, dropGeneration, StoredCellReader, StoredCells, tooLarge } from './record-cells.ts';
import type { ShardReader, ShardStorage } from './shard-storage.ts';
import type { CommandContext, QueryContext, ValueCodec } from './value-module.ts';

const NO_BYTES: Bytes = new Uint8Array(0);

/** One record as a query sees it. Used again for the next: {@link load} makes it another record. */
export class RecordView<Value> implements QueryContext, CellOwner {
  readonly cells: StoredCellReader;
  key: Bytes = NO_BYTES;
  position = 0;
  nowMs = 0;
  expireAtMs: number | undefined;
  sizeBytes = 0;
  storageKey: Bytes = NO_BYTES;
  generation = 0;
  /** Undefined when the key is absent or has expired. */
  value: Value | undefined;
  protected readonly codec: ValueCodec<Value>;
  readonly #reader: ShardReader;
  /** What storage holds, expired or not. */
  protected stored: Bytes | undefined;
  protected bodyAt = 0;
  protected readonly header: RecordHeader = { expireAtMs: undefined, generation: 0, sizeBytes: 0, key: undefined };

  constructor(reader: ShardReader, codec: ValueCodec<Value>) {
    this.#reader = reader;
    this.codec = codec;
    this.cells = new StoredCellReader(reader, this);
  }

  load(table: number, position: number, key: Bytes, nowMs: number): void {
    const storageKey = recordKey(table, position, key);
    this.storageKey = storageKey;
    this.key = key;
    this.position = position;
    this.nowMs = nowMs;
    this.value = undefined;
    this.expireAtMs = undefined;
    this.sizeBytes = 0;
    this.generation = 0;
    const stored = this.#reader.get(storageKey);
    this.stored = stored;
    if (stored === undefined) return;
    const header = this.header;
    this.bodyAt = decodeRecordHeader(stored, header);
    if (header.expireAtMs !== undefined && header.expireAtMs <= nowMs) return;
    this.expireAtMs = header.expireAtMs;
    this.sizeBytes = header.sizeBytes;
    this.generation = header.generation;
    this.value = this.codec.decode(stored.subarray(this.bodyAt));
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

  constructor(storage: ShardStorage, codec: ValueCodec<Value>, duties: RecordDuties) {
    super(storage, codec);
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

  /** Storage holds a record here, though perhaps an expired one. */
  get exists(): boolean {
    return this.stored !== undefined;
  }

  /** When the record in storage expires, expired or not. */
  get storedExpireAtMs(): number | undefined {
    return this.stored && this.header.expireAtMs;
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
    const { stored, header } = this;
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
    assert(stored !== undefined || !same, () => 'an absent record with a value');
    const body = same ? stored!.subarray(this.bodyAt) : this.codec.encode(value);
    if (body.length > this.#duties.maxValueBytes) throw tooLarge(body.length, this.#duties.maxValueBytes);
    const size = sizeBytes ?? (same ? header.sizeBytes : body.length);
    if (!Number.isSafeInteger(size) || size < 0)
      throw new KeyfleetError('KF_BAD_RESULT', `a value module says that a value has ${size} bytes`);
    this.#duties.onWrite();
    if (stored === undefined) {
      counts.keys++;
      counts.bytes += this.key.length + size;
    } else {
      counts.bytes += size - header.sizeBytes;
      if (!live && header.generation !== 0) this.#dropCells(header.generation);
    }
    const storedExpiry = stored === undefined ? undefined : header.expireAtMs;
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
    const key = isCut(this.storageKey) ? this.key : undefined;
    this.#storage.put(this.storageKey, encodeRecord({ expireAtMs: expiry, generation: this.generation, sizeBytes: size, key }, body));
  }

  #remove(counts: CountChange): void {
    const { stored, header } = this;
    // Cells that the command wrote before it decided that there is no value.
    if (this.generation !== 0 && (stored === undefined || this.generation !== header.generation)) this.#dropCells(this.generation);
    if (stored === undefined) return;
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
