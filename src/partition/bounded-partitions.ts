import { KeyfleetError } from '../base/errors.ts';
import { murmur3_x86_128 } from './hash/murmur3-x86-128.ts';
import type { Hasher } from './hasher.ts';
import { checkNodes, noNodes, type PartitionNode } from './node.ts';

export interface BoundedPartitionsOptions {
  /** A few hundred, a prime by custom; 271 when absent. */
  readonly partitionCount?: number;
  /** Points of a node on the ring; 20 when absent. */
  readonly pointsPerNode?: number;
  /** How far above the average a node may hold partitions, at least 1; 1.25 when absent. */
  readonly factor?: number;
  /** 64 bits of it are used; `murmur3_x86_128` when absent. */
  readonly hasher?: Hasher;
}

/**
 * The owner of each of a fixed number of partitions, by a ring with bounded loads, as buraksezer/consistent 1.0 (Go) computes it.
 *
 * Promise: no node owns more than ceil(factor × partitions / nodes) of them. The result is computed from the set of nodes alone, so a node more or
 * less moves some partitions between others. Weights are not asked. For agreement with that library; else `Keyspace` places exactly and moves less.
 *
 * @returns For partition i the node at index i.
 * @throws KF_NO_NODES; KF_DUPLICATE_NODE; KF_BAD_OPTION.
 */
export function boundedPartitions<N extends PartitionNode>(nodes: readonly N[], options: BoundedPartitionsOptions = {}): N[] {
  const { partitionCount = 271, pointsPerNode = 20, factor = 1.25, hasher = murmur3_x86_128 } = options;
  checkNodes(nodes);
  if (nodes.length === 0) throw noNodes('a table of partitions');
  for (const [name, value, least] of [
    ['partitionCount', partitionCount, 1],
    ['pointsPerNode', pointsPerNode, 1],
  ] as const)
    if (!Number.isInteger(value) || value < least)
      throw new KeyfleetError('KF_BAD_OPTION', `${name} is ${value}; a whole number from ${least} is needed`);
  if (!(factor >= 1) || !Number.isFinite(factor))
    throw new KeyfleetError('KF_BAD_OPTION', `the factor of bounded loads is ${factor}; it is a number from 1`);
  const lanes = new Uint32Array(2);
  const hash = (key: string | Uint8Array): bigint => {
    hasher.lanes(key, 0, lanes);
    return (BigInt(lanes[0]!) << 32n) | BigInt(lanes[1]!);
  };
  const owners = new Map<bigint, N>();
  for (const node of nodes) for (let i = 0; i < pointsPerNode; i++) owners.set(hash(`${i}:${node.id}`), node);
  const points = [...owners.keys()].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  const most = Math.ceil((partitionCount / nodes.length) * factor);
  const held = new Map<N, number>();
  const bytes = new Uint8Array(8);
  return Array.from({ length: partitionCount }, (_, partition) => {
    new DataView(bytes.buffer).setUint32(0, partition, true);
    const at = hash(bytes);
    let index = points.findIndex((point) => point >= at);
    if (index < 0) index = 0;
    // Together the nodes may hold at least all partitions, so one with room comes before the circle closes.
    for (;;) {
      const node = owners.get(points[index]!)!;
      const count = held.get(node) ?? 0;
      if (count + 1 <= most) {
        held.set(node, count + 1);
        return node;
      }
      index = (index + 1) % points.length;
    }
  });
}
