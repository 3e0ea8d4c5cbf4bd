/**
 * The placement of the Rust crate keyspace 1.0, for fleets that have keys placed by it: 65,536 shards, each on the nodes with the best
 * weighted rendezvous scores. A function, since it is for agreement: our own `Keyspace` is more even and moves less.
 *
 * The crate scores with a natural logarithm, so two nodes within a few units in the last place of each other could come out in another order on
 * an engine whose `Math.log` differs; none of the crate's own tables in the tests does.
 *
 * @see github.com/farazdagi/keyspace and farazdagi/hrw-hash, with rapidhash V3.
 */
import { KeyfleetError } from '../base/errors.ts';
import { rapidHash } from './hash/rapidhash.ts';
import type { KeyInput } from './hasher.ts';
import { checkNodes, noNodes, type PartitionNode, weightOf } from './node.ts';
import { checkReplicaCount } from './partitioner.ts';
import { hrwScore, rustStringHash } from './rendezvous-score.ts';

export const KEYSPACE_CRATE_SHARDS = 65_536;

const lanes = new Uint32Array(2);
const none = new Uint8Array(0);
/** `derive(Hash)` of a present `Option` starts with its number, an i64. */
const some = Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0);

/** The crate's shard of a key: the top 16 bits of its hash. */
export function keyspaceCrateShard(key: KeyInput): number {
  rustStringHash(key, none, lanes);
  return lanes[0]! >>> 16;
}

/**
 * For every shard the numbers (in `nodes`) of its replicas, `replicationFactor` of them, the primary first: shard s has entries
 * s × RF … s × RF + RF − 1. Capacities are the weights.
 *
 * Cost: 65,536 scores a node, about 10 ms each.
 *
 * @throws KF_NO_NODES when there are fewer nodes than replicas; KF_DUPLICATE_NODE; KF_BAD_WEIGHT; KF_BAD_REPLICA_COUNT.
 */
export function keyspaceCrateTable(nodes: readonly PartitionNode[], replicationFactor: number): Uint16Array {
  checkNodes(nodes);
  checkReplicaCount(replicationFactor);
  if (nodes.length < replicationFactor) throw noNodes(`a table of ${replicationFactor} replicas over ${nodes.length} nodes`);
  if (nodes.length > 65_535) throw new KeyfleetError('KF_TOO_MANY_NODES', `${nodes.length} nodes are more than a table holds, 65,535`);
  const total = nodes.reduce((sum, node) => sum + weightOf(node), 0);
  const hashed = nodes.map((node) => {
    rustStringHash(node.id, some, lanes);
    return { hi: lanes[0]!, lo: lanes[1]!, share: weightOf(node) / total };
  });
  const table = new Uint16Array(KEYSPACE_CRATE_SHARDS * replicationFactor);
  const shardBytes = new Uint8Array(2);
  const scores = new Float64Array(nodes.length);
  for (let shard = 0; shard < KEYSPACE_CRATE_SHARDS; shard++) {
    shardBytes[0] = shard;
    shardBytes[1] = shard >>> 8;
    rapidHash(shardBytes, 2, 0, 0, lanes);
    const shardHi = lanes[0]!;
    const shardLo = lanes[1]!;
    hashed.forEach((node, i) => {
      scores[i] = hrwScore(shardHi, shardLo, node.hi, node.lo, node.share);
    });
    for (let replica = 0; replica < replicationFactor; replica++) {
      let best = 0;
      for (let i = 1; i < scores.length; i++) if (scores[i]! > scores[best]!) best = i;
      table[shard * replicationFactor + replica] = best;
      scores[best] = Number.NEGATIVE_INFINITY;
    }
  }
  return table;
}
