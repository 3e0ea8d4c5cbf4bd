import type { Bytes } from '../base/bytes.ts';

/** See the contract of the storage. */
export interface ValueViewer {
  view(bytes: Bytes, from: number, to: number): void;
}

/**
 * What a shard needs of a storage: ordered bytes, changed in an open batch that shows at once and can be undone back to a savepoint.
 * The contract is that of `src/storage/storage.ts`, of which this is the part that involves no time.
 */
export interface ShardReader {
  get(key: Bytes): Bytes | undefined;
  show(key: Bytes, viewer: ValueViewer): boolean;
  has(key: Bytes): boolean;
  scan(options: {
    readonly from: Bytes;
    readonly to?: Bytes;
    readonly reverse?: boolean;
    readonly limit?: number;
  }): IterableIterator<{ readonly key: Bytes; readonly value: Bytes }>;
}

export interface ShardStorage extends ShardReader {
  put(key: Bytes, value: Bytes): void;
  delete(key: Bytes): void;
  savepoint(): number;
  rollback(savepoint: number): void;
}
