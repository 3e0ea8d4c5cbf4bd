import { excessOf, measureOf, type ShardSize } from '../shard/meta/decide.ts';
import type { KeyspacePolicy } from '../shard/policy.ts';
import type { ShardState } from '../shard/shard-state.ts';
import type { SlotCounts } from '../shard/slot-counts.ts';

interface Measured {
  readonly state: Readonly<ShardState>;
  readonly counts: SlotCounts;
}

/** Where to cut a shard in halves: by keys, or by bytes or load where the policy has more to say of those; undefined: it is one slot. */
export function cutOf({ counts, state }: Measured, policy: KeyspacePolicy, loadPerSecond: number): number | undefined {
  const slot = counts.middle(measureOf({ ...state, loadPerSecond }, policy));
  return slot === undefined ? undefined : slot * 2 ** counts.shift;
}

/** What the decisions about splits and merges need of a shard. The cut is looked for where it may be wanted: `grows`, or beyond a limit. */
export function sizeOfShard(shard: Measured, policy: KeyspacePolicy, loadPerSecond: number, grows: boolean): ShardSize {
  const { id, keyCount, sizeBytes } = shard.state;
  const size = { id, keyCount, sizeBytes, loadPerSecond, cutAt: undefined };
  return grows || excessOf(size, policy) > 1 ? { ...size, cutAt: cutOf(shard, policy, loadPerSecond) } : size;
}
