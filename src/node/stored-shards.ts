import { KeyfleetError } from '../base/errors.ts';
import type { LocalLog, LocalShard } from '../log/local.ts';
import type { Entry } from '../shard/entry.ts';
import { META_TABLE, stateKey } from '../shard/key-layout.ts';
import { type KeyspaceRecord, META_SHARD_ID, type MetaRecord } from '../shard/meta/meta-records.ts';
import { type MetaCommand, type MetaReply, metaModule } from '../shard/meta-module.ts';
import type { PositionScheme } from '../shard/position-scheme.ts';
import { ShardMachine } from '../shard/shard-machine.ts';
import type { ShardMachineOptions } from '../shard/shard-machine-options.ts';
import { COUNTS_UNKNOWN, decodeShardState, encodeShardState, newShardState, type ShardState } from '../shard/shard-state.ts';
import { removeCounts, type SlotCounts } from '../shard/slot-counts.ts';
import { recountSlots } from '../shard/slot-recount.ts';
import type { ValueModule } from '../shard/value-module.ts';
import type { Storage } from '../storage/storage.ts';
import type { HookRunner } from './hook-runner.ts';

/** The meta shard: which keyspaces there are, and their shards. */
export type MetaShard = LocalShard<MetaRecord, MetaCommand, MetaReply, null, KeyspaceRecord | undefined>;

export interface StoredShardsOptions {
  readonly storage: Storage;
  readonly log: LocalLog;
  /** Of users' values. */
  readonly maxValueBytes: number;
  /** Told of what a keyspace's shards do, by the keyspace's number. */
  readonly hookOf: (keyspaceId: number) => HookRunner<never> | undefined;
  /** The counts of a shard that is open already. */
  readonly countsOf: (keyspace: string, shard: number) => SlotCounts | undefined;
  readonly onGarbage: () => void;
}

/** Which shard, and of what. */
export interface StoredShard<V, C, R, Q, A> {
  readonly id: number;
  readonly keyspace: string;
  readonly keyspaceId: number;
  readonly module: ValueModule<V, C, R, Q, A>;
  readonly scheme: PositionScheme;
  /** Where they are known already. */
  readonly counts?: SlotCounts | undefined;
}

/** The shards of one node as they lie in its storage: each is opened with its state, its counts and its keyspace's hook. */
export class StoredShards {
  readonly #options: StoredShardsOptions;

  constructor(options: StoredShardsOptions) {
    this.#options = options;
  }

  /** The meta shard, a new one in a storage that has none. */
  openMeta(leader: string): MetaShard {
    const stored = this.#options.storage.get(stateKey(META_SHARD_ID));
    const state = stored
      ? decodeShardState(stored)
      : newShardState({ id: META_SHARD_ID, range: { from: 0, to: 0x1_0000_0000 }, table: META_TABLE, leader });
    // The limit is for users' values: the map of a keyspace's shards is none.
    return this.#open({ state, module: metaModule, positionOf: () => 0, keyspaceId: 0, maxValueBytes: Number.POSITIVE_INFINITY });
  }

  /** @throws KF_DATA_DAMAGED when the state of the shard is missing. */
  open<V, C, R, Q, A>({ id, keyspace, keyspaceId, module, scheme, counts }: StoredShard<V, C, R, Q, A>): LocalShard<V, C, R, Q, A> {
    const { storage, maxValueBytes, hookOf, countsOf } = this.#options;
    const stored = storage.get(stateKey(id));
    if (!stored) throw new KeyfleetError('KF_DATA_DAMAGED', `the state of shard ${id} of keyspace ${keyspace} is missing`);
    const hook = hookOf(keyspaceId) as unknown as HookRunner<C> | undefined;
    return this.#open({
      state: this.#withCounts(decodeShardState(stored), scheme),
      module,
      positionOf: scheme.position,
      slotShift: scheme.slotShift,
      keyspaceId,
      maxValueBytes,
      counts,
      countsOf: (shard) => countsOf(keyspace, shard),
      ...(hook ? { onEntry: (entry: Entry<C>, seq: number, changed: readonly boolean[]) => hook.take(id, entry, seq, changed) } : {}),
    });
  }

  #open<V, C, R, Q, A>(options: Omit<ShardMachineOptions<V, C, R, Q, A>, 'storage' | 'onGarbage'>): LocalShard<V, C, R, Q, A> {
    const { storage, onGarbage } = this.#options;
    return { machine: new ShardMachine({ ...options, storage, onGarbage }), lastWrite: 0 };
  }

  /** A shard written by a release that kept no counts by slot has them from now on. */
  #withCounts(state: ShardState, scheme: PositionScheme): ShardState {
    if (state.countsSince !== COUNTS_UNKNOWN) return state;
    const { storage, log } = this.#options;
    const counts = recountSlots(storage, { ...state, shift: scheme.slotShift });
    const counted = { ...state, countsSince: state.applied };
    log.inBatch((batch) => {
      removeCounts(batch, state.id);
      counts.writeAll(batch, state.id, state.applied);
      batch.put(stateKey(state.id), encodeShardState(counted));
    });
    return counted;
  }
}
