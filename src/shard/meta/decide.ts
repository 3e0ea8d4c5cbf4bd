import type { KeyspacePolicy } from '../policy.ts';
import { busyShards, type MapChange, type MappedShard, type ShardMap } from './shard-map.ts';

// Which shards to split and which to merge, from the sizes that their leaders report. A pure function, run inside the meta shard: the same
// report gives the same decision on every replica.

/** What the leader of a shard reports of it. */
export interface ShardSize {
  readonly id: number;
  readonly keyCount: number;
  readonly sizeBytes: number;
  /** In units of one small command, a second, lately. */
  readonly loadPerSecond: number;
  /** Where to cut it in halves, by what there is too much of; undefined: it is one slot. */
  readonly cutAt: number | undefined;
}

/** So many begin at a time, so that a great import does not stop everybody at once. */
const MOST_AT_ONCE = 8;

/** What to begin now, in this order. Shards that were split or merged just now, or take part in a workflow, are left alone. */
export function decide(options: {
  readonly map: ShardMap;
  readonly policy: KeyspacePolicy;
  readonly sizes: readonly ShardSize[];
  readonly nowMs: number;
}): MapChange[] {
  const { map, policy, nowMs } = options;
  const sizes = new Map(options.sizes.map((size) => [size.id, size]));
  const busy = busyShards(map);
  const isIdle = ({ id, restUntilMs = 0 }: MappedShard): boolean => sizes.has(id) && !busy.has(id) && restUntilMs <= nowMs;
  const isKept = ({ keptUntilMs = 0 }: MappedShard): boolean => keptUntilMs > nowMs;
  const changes: MapChange[] = [];
  // As many as there will be when all that has begun is done.
  let count = map.shards.length;
  for (const { kind } of map.workflows) count += kind === 'split' ? 1 : kind === 'merge' ? -1 : 0;

  const tooLarge = map.shards
    .filter(isIdle)
    .map(({ id }) => ({ size: sizes.get(id)!, excess: excessOf(sizes.get(id)!, policy) }))
    .filter(({ size, excess }) => excess > 1 && size.cutAt !== undefined)
    .sort((a, b) => b.excess - a.excess || a.size.id - b.size.id);
  for (const { size } of tooLarge) {
    if (count >= policy.maxShards || changes.length === MOST_AT_ONCE) break;
    changes.push({ kind: 'split', shard: size.id, at: size.cutAt! });
    count++;
  }
  if (count < policy.minShards) {
    // No shard is too large: those with most keys, and of equals the widest, make the keyspace reach its floor.
    const widest = map.shards
      .filter(
        (shard) =>
          isIdle(shard) && sizes.get(shard.id)!.cutAt !== undefined && !changes.some((one) => 'shard' in one && one.shard === shard.id),
      )
      .sort(
        (a, b) =>
          sizes.get(b.id)!.keyCount - sizes.get(a.id)!.keyCount || b.range.to - b.range.from - (a.range.to - a.range.from) || a.id - b.id,
      );
    for (const { id } of widest) {
      if (count >= policy.minShards || changes.length === MOST_AT_ONCE) break;
      changes.push({ kind: 'split', shard: id, at: sizes.get(id)!.cutAt! });
      count++;
    }
    return changes;
  }
  const { mergeThresholdRatio } = policy;
  for (let at = 0; at + 1 < map.shards.length; at++) {
    if (count <= policy.minShards || changes.length === MOST_AT_ONCE) break;
    const left = map.shards[at]!;
    const right = map.shards[at + 1]!;
    if (!isIdle(left) || !isIdle(right) || isKept(left) || isKept(right)) continue;
    const both = together(sizes.get(left.id)!, sizes.get(right.id)!);
    if (count <= policy.maxShards && !(hasLimit(policy) && excessOf(both, policy) < mergeThresholdRatio)) continue;
    changes.push({ kind: 'merge', shard: left.id });
    count--;
    at++;
  }
  return changes;
}

/** By how much a shard is beyond the limit that it is most beyond; below 1: within all. */
export function excessOf(size: Pick<ShardSize, 'keyCount' | 'sizeBytes' | 'loadPerSecond'>, policy: KeyspacePolicy): number {
  const { maxKeysPerShard, maxBytesPerShard, maxLoadPerShard } = policy;
  return Math.max(
    maxKeysPerShard === null ? 0 : size.keyCount / maxKeysPerShard,
    maxBytesPerShard === null ? 0 : size.sizeBytes / maxBytesPerShard,
    maxLoadPerShard === null ? 0 : size.loadPerSecond / maxLoadPerShard,
  );
}

/** What a shard has most too much of, and is to be halved by. */
export function measureOf(
  size: Pick<ShardSize, 'keyCount' | 'sizeBytes' | 'loadPerSecond'>,
  policy: KeyspacePolicy,
): 'keys' | 'bytes' | 'load' {
  const { maxKeysPerShard, maxBytesPerShard, maxLoadPerShard } = policy;
  const keys = maxKeysPerShard === null ? 0 : size.keyCount / maxKeysPerShard;
  const bytes = maxBytesPerShard === null ? 0 : size.sizeBytes / maxBytesPerShard;
  const load = maxLoadPerShard === null ? 0 : size.loadPerSecond / maxLoadPerShard;
  if (load > keys && load > bytes) return 'load';
  return bytes > keys ? 'bytes' : 'keys';
}

function hasLimit(policy: KeyspacePolicy): boolean {
  return policy.maxKeysPerShard !== null || policy.maxBytesPerShard !== null || policy.maxLoadPerShard !== null;
}

function together(a: ShardSize, b: ShardSize): Pick<ShardSize, 'keyCount' | 'sizeBytes' | 'loadPerSecond'> {
  return {
    keyCount: a.keyCount + b.keyCount,
    sizeBytes: a.sizeBytes + b.sizeBytes,
    loadPerSecond: a.loadPerSecond + b.loadPerSecond,
  };
}
