/**
 * keyfleet: which node owns this key, which replicas hold it, what must move when the nodes change.
 * Pure: no dependency, no clock, no I/O; runs in Node and in browsers.
 */
export { isKeyfleetError, KeyfleetError } from '../base/errors.ts';
export { type AnchorDraw, AnchorHash } from './anchor-hash.ts';
export { BoundedLoad, type BoundedLoadOptions } from './bounded-load.ts';
export { type BoundedPartitionsOptions, boundedPartitions } from './bounded-partitions.ts';
export { groupcacheRing, stathatRing } from './go-rings.ts';
export { crc16, crc32, crc32c } from './hash/crc32.ts';
export { fnv1_32, fnv1_64, fnv1a_32, fnv1a_64 } from './hash/fnv.ts';
export type { HashOptions } from './hash/hasher-names.ts';
export { HASHKIT_NAMES, type HashkitName, hashkit } from './hash/hashkit.ts';
export { hsieh, lookup3, one_at_a_time } from './hash/jenkins.ts';
export { md5 } from './hash/md5.ts';
export { murmur2, murmur3_x64_128, murmur3_x86_32 } from './hash/murmur.ts';
export { murmur3_x86_128 } from './hash/murmur3-x86-128.ts';
export { hasherNamed, hashHex, OWN_HASHERS } from './hash/own-hashers.ts';
export { rapidhash } from './hash/rapidhash.ts';
export { siphash24, siphash24With } from './hash/siphash.ts';
export { xxh3_64, xxh3_128 } from './hash/xxh3.ts';
export { xxh32, xxh64 } from './hash/xxhash.ts';
export { HashRing, type HashRingOptions } from './hash-ring.ts';
export type { Hasher, KeyInput } from './hasher.ts';
export { JumpBackAnchorHash } from './jump-back-anchor-hash.ts';
export { JumpBackHash, jumpBackHash } from './jump-back-hash.ts';
export { JumpHash, jumpHash } from './jump-hash.ts';
export { Ketama } from './ketama.ts';
export type { HashRingCompat, KetamaDialect, KetamaOptions } from './ketama-dialect.ts';
export { type Interval, Keyspace, type KeyspaceChange, type KeyspaceOptions, type Placement, type PlacementSettings } from './keyspace.ts';
export { KEYSPACE_CRATE_SHARDS, keyspaceCrateShard, keyspaceCrateTable } from './keyspace-crate.ts';
export { Maglev, type MaglevOptions } from './maglev.ts';
export { goMaglevTable, type KatranEndpoint, katranTable } from './maglev-table.ts';
export { Modulo, type ModuloOptions } from './modulo.ts';
export { MultiProbe, type MultiProbeOptions } from './multi-probe.ts';
export type { PartitionNode } from './node.ts';
export type { BucketChange } from './numbered.ts';
export type { MutablePartitioner, NodeChange, Partitioner } from './partitioner.ts';
export { type Balance, balanceOf, type KeyLoad, type KeySimulation, type NodeBalance, type Simulation } from './placement/balance.ts';
export { keyspaceCrateHasher, keyspaceCratePlacement } from './placement/crate-placement.ts';
export type { Explanation, RankedNode } from './placement/explain.ts';
export { type FairOptions, fair } from './placement/fair.ts';
export type { KeyspaceJson } from './placement/keyspace-json.ts';
export * from './placement/plan.ts';
export type { DiffOptions } from './placement/plan-diff.ts';
export { diffTables } from './placement/plan-diff.ts';
export {
  anyNodes,
  atMostPerZone,
  customRule,
  distinctRacksWithinZones,
  distinctZones,
  type ReplicaRule,
  spreadOut,
} from './placement/replica-rule.ts';
export {
  heldCounts,
  type PositionRange,
  primaryCounts,
  type SlotTable,
  sampleTable,
  slotOfPosition,
  slotStart,
  tableChecksum,
} from './placement/slot-table.ts';
export { type StickyOptions, type StickyTable, sticky } from './placement/sticky.ts';
export { type KeyRange, type OrderedKey, type RangeChange, RangePartitioner, type RangePartitionerOptions } from './range-partitioner.ts';
export { REDIS_SLOT_COUNT, redis_slot, redisSlot, sameRedisSlot } from './redis-slot.ts';
export { type OwnedSlots, RedisSlots, type SlotChange, type SlotMove, type SlotRange } from './redis-slots.ts';
export { Rendezvous, type RendezvousOptions } from './rendezvous.ts';
export { rendezvousPlacement } from './rendezvous-placement.ts';
export type { RendezvousCompat } from './rendezvous-score.ts';
export { lanesName, lfchringName, type VirtualNodeName } from './ring-build.ts';
export type { RingChange, RingMove } from './ring-change.ts';
export type { RingView, VirtualNode } from './ring-view.ts';
export { SharedRing, type SharedRingHandle, type SharedRingOptions } from './shared-ring.ts';
export type { SharedRingReader } from './shared-ring-reader.ts';
