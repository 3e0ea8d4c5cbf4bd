/**
 * The CRC-32 rings of two Go libraries, for agreement with caches that are placed by them. CRC-32 of names that differ in a digit gives points
 * in regular patterns, so these rings are less even than their number of points suggests; for a new ring take `HashRing`.
 *
 * @see golang/groupcache consistenthash; stathat/consistent (as of its 20 replicas, named number first).
 */
import { crc32 } from './hash/crc32.ts';
import type { KeyInput } from './hasher.ts';
import { checkNodes, noNodes, type PartitionNode } from './node.ts';
import { checkReplicaCount, type Partitioner } from './partitioner.ts';
import { PointRing } from './point-ring.ts';

/** groupcache's ring: a key belongs to the first point at or after its CRC-32. `pointsPerNode` is the library's `replicas`. */
export function groupcacheRing<N extends PartitionNode>(nodes: readonly N[], pointsPerNode: number): Partitioner<N> {
  return new CrcRing(nodes, pointsPerNode, 0);
}

/** stathat's ring: a key belongs to the first point after its CRC-32. `pointsPerNode` is the library's `NumberOfReplicas`. */
export function stathatRing<N extends PartitionNode>(nodes: readonly N[], pointsPerNode = 20): Partitioner<N> {
  return new CrcRing(nodes, pointsPerNode, 1);
}

class CrcRing<N extends PartitionNode> implements Partitioner<N> {
  readonly nodes: readonly N[];
  readonly #ring: PointRing;
  readonly #skip: 0 | 1;

  constructor(nodes: readonly N[], pointsPerNode: number, skip: 0 | 1) {
    checkNodes(nodes);
    this.nodes = nodes;
    this.#skip = skip;
    // A later point replaces an earlier one at its place, as in the libraries' maps.
    const owners = new Map<number, number>();
    nodes.forEach((node, owner) => {
      for (let i = 0; i < pointsPerNode; i++) owners.set(crc32.position(`${i}${node.id}`), owner);
    });
    this.#ring = new PointRing(Array.from(owners, ([at, owner]) => ({ at, owner })));
  }

  owner(key: KeyInput): N {
    return this.replicas(key, 1)[0]!;
  }

  replicas(key: KeyInput, count: number, out: N[] = []): N[] {
    checkReplicaCount(count);
    if (this.nodes.length === 0) throw noNodes('a ring');
    out.length = 0;
    const hash = crc32.position(key) + this.#skip;
    this.#ring.visitOwners(hash > 0xffff_ffff ? 0 : hash, (owner) => out.push(this.nodes[owner]!) < count);
    return out;
  }
}
