import { KeyfleetError } from '../base/errors.ts';

/** When the shards of a keyspace are split and merged. A limit of `null` is none. */
export interface KeyspacePolicy {
  /** Never more shards than this. Default: 256, or as many as the keyspace begins with. */
  readonly maxShards: number;
  /** Never fewer, and a floor to grow to. Default: as many as the keyspace begins with. */
  readonly minShards: number;
  /** A shard with more keys is split. Default: null. */
  readonly maxKeysPerShard: number | null;
  /** A shard with more bytes of keys and values is split. Default: null. */
  readonly maxBytesPerShard: number | null;
  /** A shard with more work is split: in units of one small command, a second. Default: null. */
  readonly maxLoadPerShard: number | null;
  /** What a query of a key that is not there counts as work. Default: 0. */
  readonly loadPerQueryToMissingKey: number;
  /** Two neighbours are merged when together they stay below this part of every limit. From 0 (never) to below 1. Default: 0.5. */
  readonly mergeThresholdRatio: number;
}

export const MAX_SHARD_COUNT = 4_096;
const DEFAULT_MAX_SHARDS = 256;

const FIELDS: readonly (keyof KeyspacePolicy)[] = [
  'maxShards',
  'minShards',
  'maxKeysPerShard',
  'maxBytesPerShard',
  'maxLoadPerShard',
  'loadPerQueryToMissingKey',
  'mergeThresholdRatio',
];

/** The policy of a keyspace that begins with `shardCount` shards, where `given` says nothing else. @throws KF_BAD_POLICY. */
export function newPolicy(given: Partial<KeyspacePolicy>, shardCount: number): KeyspacePolicy {
  return changedPolicy(
    {
      maxShards: Math.max(DEFAULT_MAX_SHARDS, shardCount),
      minShards: Math.min(shardCount, given.maxShards ?? shardCount),
      maxKeysPerShard: null,
      maxBytesPerShard: null,
      maxLoadPerShard: null,
      loadPerQueryToMissingKey: 0,
      mergeThresholdRatio: 0.5,
    },
    given,
  );
}

/** `policy` with what `change` says. @throws KF_BAD_POLICY, naming the field. */
export function changedPolicy(policy: KeyspacePolicy, change: Partial<KeyspacePolicy>): KeyspacePolicy {
  for (const name of Object.keys(change)) {
    if (!FIELDS.includes(name as keyof KeyspacePolicy)) throw bad(`a policy has no ${name}; it has ${FIELDS.join(', ')}`);
  }
  const given = Object.fromEntries(Object.entries(change).filter(([, value]) => value !== undefined));
  const changed: KeyspacePolicy = { ...policy, ...given };
  for (const name of ['maxShards', 'minShards'] as const) {
    const count = changed[name];
    if (!Number.isInteger(count) || count < 1 || count > MAX_SHARD_COUNT) {
      throw bad(`${name} is a whole number from 1 to ${MAX_SHARD_COUNT}, not ${count}`);
    }
  }
  if (changed.minShards > changed.maxShards) throw bad(`minShards ${changed.minShards} is more than maxShards ${changed.maxShards}`);
  for (const name of ['maxKeysPerShard', 'maxBytesPerShard', 'maxLoadPerShard'] as const) {
    const limit = changed[name];
    if (limit !== null && !(Number.isFinite(limit) && limit >= 1))
      throw bad(`${name} is a number from 1, or null for no limit, not ${limit}`);
  }
  const { loadPerQueryToMissingKey: load, mergeThresholdRatio: ratio } = changed;
  if (!(Number.isFinite(load) && load >= 0)) throw bad(`loadPerQueryToMissingKey is a number from 0, not ${load}`);
  if (!(ratio >= 0 && ratio < 1)) throw bad(`mergeThresholdRatio is a number from 0 to below 1, not ${ratio}`);
  return changed;
}

function bad(message: string): KeyfleetError {
  return new KeyfleetError('KF_BAD_POLICY', message);
}
