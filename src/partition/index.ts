/**
 * keyfleet: which node owns this key, which replicas hold it, what must move when the nodes change.
 * Pure: no dependency, no clock, no I/O; runs in Node and in browsers.
 */
export { isKeyfleetError, KeyfleetError } from '../base/errors.ts';
export { murmur3_x86_128 } from './hash/murmur3-x86-128.ts';
export { HashRing, type HashRingOptions } from './hash-ring.ts';
export type { Hasher, KeyInput } from './hasher.ts';
export type { PartitionNode } from './node.ts';
export * from './placement/plan.ts';
export type { DiffOptions } from './placement/plan-diff.ts';
export { diffTables } from './placement/plan-diff.ts';
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
export { REDIS_SLOT_COUNT, redis_slot, redisSlot, sameRedisSlot } from './redis-slot.ts';
export type { VirtualNodeName } from './ring-build.ts';
export type { RingChange, RingMove } from './ring-change.ts';
export type { RingView, VirtualNode } from './ring-view.ts';
