import type { Bytes } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import { murmur3Position } from '../partition/hash/murmur3-x86-128.ts';
import { redis_slot } from '../partition/redis-slot.ts';

/**
 * How a keyspace's keys fall. `hash`: by the default hash alone. `redis`: the Redis Cluster slot on top and the hash below, so that hash
 * tags keep keys together and a slot is a range.
 */
export type PositionSchemeName = 'hash' | 'redis';

export interface PositionScheme {
  readonly name: PositionSchemeName;
  position(key: Bytes): number;
  /** Keys of one group may share a command: what all positions of the group have in common. Undefined: as far as the shard goes. */
  readonly groupShift: number | undefined;
  /** The slot of a position p is `p >>> slotShift`. Shards begin where slots do. */
  readonly slotShift: number;
}

const SCHEMES: Readonly<Record<PositionSchemeName, PositionScheme>> = {
  hash: { name: 'hash', position: murmur3Position, groupShift: undefined, slotShift: 16 },
  redis: { name: 'redis', position: (key) => redis_slot.position(key), groupShift: 18, slotShift: 18 },
};

export function positionScheme(name: PositionSchemeName): PositionScheme {
  return SCHEMES[name];
}

/**
 * Where the shards of a new keyspace begin: at `starts`, or so many of nearly equal width. @throws KF_BAD_KEYSPACE unless the first is 0, each is behind
 * the one before, and all are where slots begin.
 */
export function shardStarts(scheme: PositionScheme, shards: number | readonly number[]): readonly number[] {
  if (typeof shards === 'number') return evenStarts(scheme, shards);
  const slotWidth = 2 ** scheme.slotShift;
  const wrong = shards.findIndex((start, index) => start % slotWidth !== 0 || (index === 0 ? start !== 0 : start <= shards[index - 1]!));
  if (shards.length > 0 && wrong < 0 && shards.at(-1)! < 0x1_0000_0000) return shards;
  throw new KeyfleetError('KF_BAD_KEYSPACE', `shards of scheme ${scheme.name} do not begin at ${shards[Math.max(0, wrong)]}`);
}

/** The first positions of `count` shards of nearly equal width, the first being 0. */
export function evenStarts(scheme: PositionScheme, count: number): number[] {
  const slotWidth = 2 ** scheme.slotShift;
  const slots = 0x1_0000_0000 / slotWidth;
  return Array.from({ length: count }, (_, index) => Math.floor((index * slots) / count) * slotWidth);
}
