import type { Hasher } from '../hasher.ts';
import type { Placement } from '../keyspace.ts';
import { KEYSPACE_CRATE_SHARDS, keyspaceCrateShard, keyspaceCrateTable } from '../keyspace-crate.ts';
import { compareIds, type PartitionNode } from '../node.ts';
import { invalidTable } from './slot-table.ts';

/**
 * The placement of the Rust crate `keyspace`, for a {@link Keyspace} that must agree with it: give it as `placement` together with
 * {@link keyspaceCrateHasher} as `hasher`. Weights are capacities; the rule is not asked, as the crate's default asks none.
 *
 * For new clusters `sticky` and `fair` are far more even and quicker to build.
 *
 * @throws KF_TABLE_INVALID when the keyspace does not have 65,536 slots; KF_NO_NODES when there are fewer nodes than replicas.
 */
export const keyspaceCratePlacement: Placement<PartitionNode> = {
  name: 'keyspace-crate',
  place(nodes, { slotCount, replicaCount }) {
    if (slotCount !== KEYSPACE_CRATE_SHARDS) throw invalidTable(`the crate has ${KEYSPACE_CRATE_SHARDS} shards, not ${slotCount}`);
    const sorted = [...nodes].sort(compareIds);
    return { slotCount, replicaCount, nodeIds: sorted.map((node) => node.id), cells: keyspaceCrateTable(sorted, replicaCount) };
  },
};

/** Puts every key at the start of the shard that the crate puts it in. */
export const keyspaceCrateHasher: Hasher = {
  name: 'keyspace-crate',
  digestBytes: 4,
  digest(key) {
    const shard = keyspaceCrateShard(key);
    return Uint8Array.of(shard >>> 8, shard & 0xff, 0, 0);
  },
  lanes(key, _seed, out) {
    out[0] = keyspaceCrateShard(key) << 16;
    out[1] = 0;
  },
  position: (key) => (keyspaceCrateShard(key) << 16) >>> 0,
};
