import type { Transaction } from 'lmdb';
import { assert } from '../base/assert.ts';
import type { Bytes } from '../base/bytes.ts';
import { keyHash } from './key-hash.ts';
import { LayeredScan, type Layers } from './layered-scan.ts';
import type { LmdbTable, TableRange } from './lmdb-table.ts';
import type { Memtable } from './memtable.ts';
import type { CommitNumber, ScanOptions, StoragePair, StorageSnapshot, ValueViewer } from './storage.ts';

/** Frozen memtables over an LMDB read transaction: what was there when it was taken. */
export class LmdbSnapshot implements StorageSnapshot {
  readonly number: CommitNumber;
  readonly #memtables: readonly Memtable[];
  readonly #table: LmdbTable;
  #transaction: Transaction | undefined;
  readonly #layers: Layers;

  constructor(number: CommitNumber, memtables: readonly Memtable[], table: LmdbTable) {
    this.number = number;
    this.#memtables = memtables;
    this.#table = table;
    this.#transaction = table.hold();
    const self = this;
    this.#layers = {
      get memtables() {
        return self.#memtables;
      },
      range: (options): TableRange => table.range(options, self.#held),
      generation: 0,
      get isOpen() {
        return self.#transaction !== undefined;
      },
    };
  }

  get #held(): Transaction {
    const transaction = this.#transaction;
    assert(transaction !== undefined, () => 'read from a released snapshot');
    return transaction;
  }

  get(key: Bytes): Bytes | undefined {
    const transaction = this.#held;
    const hash = keyHash(key);
    for (const memtable of this.#memtables) {
      const found = memtable.find(key, hash);
      if (found !== undefined) return found === 'deleted' ? undefined : found;
    }
    return key.length === 0 ? undefined : this.#table.get(key, transaction);
  }

  show(key: Bytes, viewer: ValueViewer): boolean {
    const value = this.get(key);
    if (value) viewer.view(value, 0, value.length);
    return value !== undefined;
  }

  has(key: Bytes): boolean {
    return this.get(key) !== undefined;
  }

  scan(options: ScanOptions): IterableIterator<StoragePair> {
    return new LayeredScan(this.#layers, options);
  }

  release(): void {
    this.#transaction?.done();
    this.#transaction = undefined;
  }
}
