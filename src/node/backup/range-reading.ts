import { type Bytes, toHex } from '../../base/bytes.ts';
import { stateKey } from '../../shard/key-layout.ts';
import type { LoadCommand, LoadReply } from '../../shard/load.ts';
import { stillLoading } from '../../shard/load.ts';
import { type BackupBlock, RangeReader } from '../../shard/range-reader.ts';
import { faulted, ShardMovedError } from '../../shard/shard-moved-error.ts';
import { decodeShardState, type PositionRange } from '../../shard/shard-state.ts';
import type { Storage, StorageSnapshot } from '../../storage/storage.ts';

// What a backup reads from a keyspace, and a restore writes to it, wherever the keyspace's shards are.

/** A part of a backup: what one shard had in one range behind one entry. */
export interface RangeHead {
  readonly shard: number;
  /** What of the range that was asked for the shard has: from where it was asked, up to its end or the shard's. */
  readonly range: PositionRange;
  /** The entry of the shard's log, its leadership and its hash. */
  readonly seq: number;
  readonly epoch: number;
  readonly hash: string;
  /** The time of that entry, in milliseconds since 1970. */
  readonly nowMs: number;
  readonly sessionsExpiredBeforeMs: number;
}

/** A part that is being read. Does not change meanwhile. */
export interface RangeReading {
  readonly head: RangeHead;
  /** The next block; undefined behind the last. @throws KF_NODE_SILENT and the like, of another node. */
  next(): Promise<BackupBlock | undefined>;
  /** To be called in any case: it holds old versions of the data. */
  close(): void;
}

/** A shard, as a restore finds it. */
export interface LoadState {
  readonly range: PositionRange;
  readonly keyCount: number;
  /** The restore that fills it, or has filled it; empty: none. */
  readonly loadId: string;
  readonly isLoading: boolean;
}

/** How a keyspace is read by backups and filled by restores. */
export interface KeyspaceBackup {
  /**
   * What the shard with position `from` has of [from, to), as of one entry: all that was answered before the call, and nothing by half.
   * @throws KF_KEYSPACE_LOADING, KF_UNAVAILABLE, KF_SHARD_MOVED.
   */
  read(from: number, to: number): Promise<RangeReading>;
  /** The shards, in order of position. */
  loadStates(): Promise<readonly LoadState[]>;
  /** Has the shard with `position` take a step of a restore, durably. @throws as runLoad. */
  restoreStep(position: number, load: LoadCommand): Promise<LoadReply>;
  /** Where a key is. */
  positionOf(key: Bytes): number;
  /** The shard of a position, by any number that tells it from the others. */
  shardIndexAt(position: number): number;
  /** Items that a step may carry; one that is longer is refused with KF_VALUE_TOO_LARGE. */
  readonly maxItemBytes: number;
}

/** A block has about so many bytes, unless a value is longer. */
const BLOCK_BYTES = 256 * 1024;

/** A part read from a snapshot of this process's storage. */
export class SnapshotReading implements RangeReading {
  readonly head: RangeHead;
  readonly #snapshot: StorageSnapshot;
  readonly #reader: RangeReader;

  /**
   * Takes `snapshot` over. Fulfilled when all that it shows is durable.
   * @throws KF_SHARD_MOVED when it does not have position `from` of the shard as of entry `minSeq` or later; KF_KEYSPACE_LOADING, KF_SHARD_FAULTED; what
   *   the storage throws. The snapshot is let go then.
   */
  static async open(
    storage: Storage,
    snapshot: StorageSnapshot,
    range: { readonly keyspaceId: number; readonly shard: number; readonly from: number; readonly to: number; readonly minSeq: number },
  ): Promise<SnapshotReading> {
    try {
      const reading = new SnapshotReading(snapshot, range);
      await storage.whenDurable(snapshot.number);
      return reading;
    } catch (error) {
      snapshot.release();
      throw error;
    }
  }

  private constructor(
    snapshot: StorageSnapshot,
    options: { readonly keyspaceId: number; readonly shard: number; readonly from: number; readonly to: number; readonly minSeq: number },
  ) {
    const { keyspaceId, shard, from, to, minSeq } = options;
    const stored = snapshot.get(stateKey(shard));
    if (!stored) throw faulted(shard, 0);
    const state = decodeShardState(stored);
    const { status, applied, epoch, hash, nowMs, sessionsExpiredBeforeMs, table } = state;
    if (status === 'loading') throw stillLoading(state);
    if (status === 'faulted') throw faulted(shard, applied);
    if (status !== 'serving' || applied < minSeq || from < state.range.from || from >= state.range.to)
      throw new ShardMovedError(state, from);
    const range = { from, to: Math.min(to, state.range.to) };
    this.head = { shard, range, seq: applied, epoch, hash: toHex(hash), nowMs, sessionsExpiredBeforeMs };
    this.#snapshot = snapshot;
    this.#reader = new RangeReader({ reader: snapshot, keyspaceId, table, range }, BLOCK_BYTES);
  }

  /** The next block, at once. */
  read(): BackupBlock | undefined {
    return this.#reader.next();
  }

  async next(): Promise<BackupBlock | undefined> {
    return this.read();
  }

  close(): void {
    this.#snapshot.release();
  }
}
