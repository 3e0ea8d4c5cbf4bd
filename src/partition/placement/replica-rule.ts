import { KeyfleetError } from '../../base/errors.ts';
import type { PartitionNode } from '../node.ts';

/**
 * Which sets of nodes may hold one slot together. All replicas of a slot are on different nodes whatever the rule says.
 *
 * A node without a zone is in the unnamed zone, one without a rack in its zone's unnamed rack.
 */
export interface ReplicaRule<N extends PartitionNode = PartitionNode> {
  /** Said in errors and by `explain`. */
  readonly name: string;
  /** Most replicas of a slot in one zone. `spread`: the least number that leaves room for all replicas. Absent: any. */
  readonly perZone?: number | 'spread';
  /** Most replicas of a slot in one rack; `spread`: the least number that leaves room for what the zone must hold. Absent: any. */
  readonly perRack?: number | 'spread';
  /**
   * A rule of one's own, beside the limits above: may `candidate` join the replicas `chosen` so far? Pure; and a node once refused
   * stays refused when more are chosen, so that the order of choosing does not matter. In a finished slot every replica is
   * admitted beside all the others.
   */
  admits?(candidate: N, chosen: readonly N[]): boolean;
}

/** The default: as few replicas of a slot per zone as there is room for, and as few per rack within the zone. */
export function spreadOut(): ReplicaRule {
  return { name: 'spreadOut', perZone: 'spread', perRack: 'spread' };
}

/** Any different nodes; zones and racks are ignored. */
export function anyNodes(): ReplicaRule {
  return { name: 'anyNodes' };
}

/** All replicas of a slot in different zones; refused when there are fewer zones than replicas. */
export function distinctZones(): ReplicaRule {
  return { name: 'distinctZones', perZone: 1, perRack: 'spread' };
}

/** At most `most` replicas of a slot in one zone. */
export function atMostPerZone(most: number): ReplicaRule {
  checkLimit(most, 'replicas per zone');
  return { name: `atMostPerZone(${most})`, perZone: most, perRack: 'spread' };
}

/** Zones as {@link spreadOut}, and never two replicas of a slot in one rack. */
export function distinctRacksWithinZones(): ReplicaRule {
  return { name: 'distinctRacksWithinZones', perZone: 'spread', perRack: 1 };
}

/** A rule of one's own: see {@link ReplicaRule.admits}. */
export function customRule<N extends PartitionNode>(
  name: string,
  admits: (candidate: N, chosen: readonly N[]) => boolean,
  limits: Pick<ReplicaRule, 'perZone' | 'perRack'> = {},
): ReplicaRule<N> {
  return { name, admits, ...limits };
}

export function checkLimit(limit: number, what: string): void {
  if (!Number.isInteger(limit) || limit < 1)
    throw new KeyfleetError('KF_BAD_REPLICA_RULE', `the number of ${what} is a whole number from 1, not ${limit}`);
}
