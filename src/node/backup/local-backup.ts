import { setTimeout as sleep } from 'node:timers/promises';
import type { Bytes } from '../../base/bytes.ts';
import { isKeyfleetError } from '../../base/errors.ts';
import type { AnyLocalShard, LocalLog } from '../../log/local.ts';
import type { LoadCommand, LoadReply } from '../../shard/load.ts';
import type { PositionScheme } from '../../shard/position-scheme.ts';
import type { Storage } from '../../storage/storage.ts';
import { type KeyspaceBackup, type LoadState, type RangeReading, SnapshotReading } from './range-reading.ts';

/** So often a shard is asked that is just being split or merged, and so long after one another. */
const ATTEMPTS = 50;
const PAUSE_MS = 20;

/** What is read of the keyspace. */
interface KeyspaceShards {
  readonly id: number;
  readonly scheme: PositionScheme;
  readonly shards: readonly AnyLocalShard[];
  shardIndexAt(position: number): number;
}

/** A keyspace whose shards are all in this process. */
export class LocalBackup implements KeyspaceBackup {
  readonly maxItemBytes = 1024 * 1024;
  readonly #log: LocalLog;
  readonly #storage: Storage;
  readonly #keyspace: KeyspaceShards;

  constructor(log: LocalLog, storage: Storage, keyspace: KeyspaceShards) {
    this.#log = log;
    this.#storage = storage;
    this.#keyspace = keyspace;
  }

  async read(from: number, to: number): Promise<RangeReading> {
    for (let attempt = 1; ; attempt++) {
      try {
        const { id: shard, applied: minSeq } = this.#shardAt(from).machine.state;
        const snapshot = this.#log.snapshot();
        return await SnapshotReading.open(this.#storage, snapshot, { keyspaceId: this.#keyspace.id, shard, from, to, minSeq });
      } catch (error) {
        if (!isKeyfleetError(error) || error.code !== 'KF_SHARD_MOVED' || attempt === ATTEMPTS) throw error;
        await sleep(PAUSE_MS);
      }
    }
  }

  async loadStates(): Promise<readonly LoadState[]> {
    await this.#log.flush();
    return this.#keyspace.shards.map(({ machine: { state } }) => {
      const { range, keyCount, loadId, status } = state;
      return { range, keyCount, loadId, isLoading: status === 'loading' };
    });
  }

  async restoreStep(position: number, load: LoadCommand): Promise<LoadReply> {
    const reply = this.#log.inEntry(this.#shardAt(position), (machine) => machine.restore(load));
    await this.#log.flush();
    return reply;
  }

  positionOf(key: Bytes): number {
    return this.#keyspace.scheme.position(key);
  }

  shardIndexAt(position: number): number {
    return this.#keyspace.shardIndexAt(position);
  }

  #shardAt(position: number): AnyLocalShard {
    return this.#keyspace.shards[this.#keyspace.shardIndexAt(position)]!;
  }
}
