import type { Bytes } from '../base/bytes.ts';
import { dueRange, expiryTarget, parseStorageKey } from '../shard/key-layout.ts';
import { decodeRecordHeader } from '../shard/record.ts';
import type { StorageReader } from '../storage/storage.ts';

export interface DueKey {
  readonly key: Bytes;
  readonly position: number;
}

/** Goes through the keys of tables whose time has come, in the order of their times. */
export class DueKeys {
  readonly #storage: StorageReader;
  /** How far it has come, by table. */
  readonly #passed = new Map<number, Bytes>();

  constructor(storage: StorageReader) {
    this.#storage = storage;
  }

  /** The next keys of `table` that are due at `nowMs`, at most `limit`; `last`: for {@link pass}. */
  next(
    table: number,
    nowMs: number,
    limit: number,
  ): { readonly due: readonly DueKey[]; readonly count: number; readonly last: Bytes | undefined } {
    const range = dueRange(table, nowMs);
    const due: DueKey[] = [];
    let count = 0;
    let last: Bytes | undefined;
    for (const { key: indexKey } of this.#storage.scan({ from: this.#passed.get(table) ?? range.from, to: range.to, limit })) {
      count++;
      last = indexKey;
      const { recordStorageKey } = expiryTarget(indexKey);
      const { key = this.#fullKey(recordStorageKey), position } = parseStorageKey(recordStorageKey);
      if (key) due.push({ key, position });
    }
    return { due, count, last };
  }

  /** What stands up to there has been seen to: the next look begins behind it. */
  pass(table: number, last: Bytes): void {
    this.#passed.set(table, last);
  }

  /** The next looks begin at the start again: what was removed is walked over for a while, and what was not comes again. */
  restart(): void {
    this.#passed.clear();
  }

  #fullKey(recordStorageKey: Bytes): Bytes | undefined {
    const stored = this.#storage.get(recordStorageKey);
    if (!stored) return undefined;
    const header = { expireAtMs: undefined, generation: 0, sizeBytes: 0, key: undefined as Bytes | undefined };
    decodeRecordHeader(stored, header);
    return header.key;
  }
}
