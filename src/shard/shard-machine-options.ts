import type { Bytes } from '../base/bytes.ts';
import { KIB, MIB } from '../base/units.ts';
import type { Entry } from './entry.ts';
import type { ShardState } from './shard-state.ts';
import type { ShardStorage } from './shard-storage.ts';
import type { SlotCounts } from './slot-counts.ts';
import type { ValueModule } from './value-module.ts';

/** Room for the longest string of Redis, which has 512 MiB, and for what its codec puts before it. */
export const DEFAULT_MAX_VALUE_BYTES: number = 512 * MIB + KIB;

export interface ShardMachineOptions<Value, Command, Reply, Query, Answer> {
  readonly storage: ShardStorage;
  readonly module: ValueModule<Value, Command, Reply, Query, Answer>;
  readonly positionOf: (key: Bytes) => number;
  readonly state: ShardState;
  readonly maxValueBytes: number;
  /** Under which number the keyspace's sessions lie. Default: 0, for a shard that has its storage to itself. */
  readonly keyspaceId?: number;
  /** The slot of a position p is `p >>> slotShift`; absent: the shard keeps no counts by slot, and is never split nor merged. */
  readonly slotShift?: number;
  /** The shard's counts by slot, where they are at hand, see `ShardMachine.born`. Default: those that are stored. */
  readonly counts?: SlotCounts | undefined;
  /** The counts of other shards of this process, so that a merge need not read them back. */
  readonly countsOf?: (shard: number) => SlotCounts | undefined;
  /** Told when storage holds garbage to remove at leisure, see record-cells.ts. */
  readonly onGarbage?: () => void;
  /** Told what each closed entry was, and which of its commands changed more than what is remembered of requests. Without it no commands are kept. */
  readonly onEntry?: (entry: Entry<Command>, seq: number, changed: readonly boolean[]) => void;
}
