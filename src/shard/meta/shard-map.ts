import { KeyfleetError } from '../../base/errors.ts';
import type { PositionRange } from '../shard-state.ts';

// The shards of a keyspace as the meta shard has them, and the splits and merges that are under way. A shard takes part in one at a time; any
// number go on side by side. The map changes when a workflow is done, not when it is begun: until then it says what was.

export interface MappedShard {
  readonly id: number;
  readonly range: PositionRange;
  /** It was split or merged just now, and is left alone until then. Milliseconds since 1970. */
  readonly restUntilMs?: number;
  /** It was cut by hand, and no policy merges it until then. */
  readonly keptUntilMs?: number;
}

export type Workflow =
  | {
      readonly kind: 'split';
      /** Never given twice. */
      readonly op: number;
      readonly sinceMs: number;
      readonly parent: number;
      readonly at: number;
      readonly child: number;
      readonly isByHand?: true;
      /** It is to be undone, if that is still possible. */
      readonly isCancelling?: true;
    }
  | {
      readonly kind: 'merge';
      readonly op: number;
      readonly sinceMs: number;
      readonly left: number;
      readonly right: number;
      readonly isCancelling?: true;
    }
  /** What is left of a merge: a shard that was taken over, to be put away. */
  | { readonly kind: 'retire'; readonly op: number; readonly sinceMs: number; readonly shard: number };

export interface ShardMap {
  /** In order of position; together they cover it all. */
  readonly shards: readonly MappedShard[];
  readonly workflows: readonly Workflow[];
}

/** What may be done to a map. The last five are said by whoever carries a workflow out, and have no effect when it is gone. */
export type MapChange =
  | { readonly kind: 'split'; readonly shard: number; readonly at: number; readonly isByHand?: true }
  /** With its right neighbour. */
  | { readonly kind: 'merge'; readonly shard: number }
  | { readonly kind: 'cancel'; readonly op: number }
  | { readonly kind: 'split-done'; readonly op: number }
  | { readonly kind: 'merge-done'; readonly op: number }
  | { readonly kind: 'cancelled'; readonly op: number }
  | { readonly kind: 'retired'; readonly op: number };

export interface MapContext {
  readonly nowMs: number;
  /** The slot of a position p is `p >>> slotShift`; shards begin where slots do. */
  readonly slotShift: number;
  readonly newOp: () => number;
  readonly newShardId: () => number;
}

/** How long a shard is left alone after it was split or merged. */
export const REST_MS = 1_000;
/** How long a policy lets shards be that were cut by hand. */
export const KEPT_MS = 3_600_000;

/**
 * The map after `change`; the same one when it has no effect.
 * @throws KF_NO_SHARD, KF_SHARD_BUSY, KF_BAD_SPLIT_POINT; for `split` and `merge` only.
 */
export function changedMap(map: ShardMap, change: MapChange, context: MapContext): ShardMap {
  switch (change.kind) {
    case 'split': {
      const parent = idleShard(map, change.shard);
      const { from, to } = parent.range;
      if (!(change.at > from && change.at < to) || change.at % 2 ** context.slotShift !== 0) {
        throw new KeyfleetError(
          'KF_BAD_SPLIT_POINT',
          `shard ${parent.id} of [${from}, ${to}) cannot be cut at ${change.at}: that must be the first position of a slot inside it, a multiple of ${2 ** context.slotShift}`,
        );
      }
      const { newOp, newShardId, nowMs } = context;
      const byHand = change.isByHand ? { isByHand: true as const } : {};
      return begun(map, { kind: 'split', op: newOp(), sinceMs: nowMs, parent: parent.id, at: change.at, child: newShardId(), ...byHand });
    }
    case 'merge': {
      const left = idleShard(map, change.shard);
      const right = map.shards[map.shards.indexOf(left) + 1];
      if (!right) throw new KeyfleetError('KF_NO_SHARD', `shard ${left.id} is the last: it has no right neighbour to merge with`);
      idleShard(map, right.id);
      return begun(map, { kind: 'merge', op: context.newOp(), sinceMs: context.nowMs, left: left.id, right: right.id });
    }
    case 'cancel':
      return {
        ...map,
        workflows: map.workflows.map((one) => (one.op === change.op && one.kind !== 'retire' ? { ...one, isCancelling: true } : one)),
      };
    case 'cancelled':
    case 'retired':
      return { ...map, workflows: map.workflows.filter(({ op }) => op !== change.op) };
    case 'split-done': {
      const workflow = map.workflows.find(({ op }) => op === change.op);
      if (workflow?.kind !== 'split') return map;
      const rest = {
        restUntilMs: context.nowMs + REST_MS,
        ...(workflow.isByHand ? { keptUntilMs: context.nowMs + KEPT_MS } : {}),
      };
      return {
        shards: map.shards.flatMap((shard) => {
          if (shard.id !== workflow.parent) return [shard];
          const { from, to } = shard.range;
          return [
            { ...shard, range: { from, to: workflow.at }, ...rest },
            { id: workflow.child, range: { from: workflow.at, to }, ...rest },
          ];
        }),
        workflows: map.workflows.filter((one) => one !== workflow),
      };
    }
    case 'merge-done': {
      const workflow = map.workflows.find(({ op }) => op === change.op);
      if (workflow?.kind !== 'merge') return map;
      const { op, sinceMs, left, right } = workflow;
      const end = map.shards.find(({ id }) => id === right)!.range.to;
      const restUntilMs = context.nowMs + REST_MS;
      return {
        shards: map.shards.flatMap((shard) => {
          if (shard.id === right) return [];
          return [shard.id === left ? { id: left, range: { from: shard.range.from, to: end }, restUntilMs } : shard];
        }),
        workflows: map.workflows.map((one) => (one === workflow ? { kind: 'retire', op, sinceMs, shard: right } : one)),
      };
    }
  }
}

/** The shards of a map, those included that a workflow is making or putting away. */
export function shardIdsOf({ shards, workflows }: ShardMap): number[] {
  const more = workflows.flatMap((one) => (one.kind === 'split' ? [one.child] : one.kind === 'retire' ? [one.shard] : []));
  return [...shards.map(({ id }) => id), ...more];
}

/** The shards that take part in a workflow. */
export function busyShards({ workflows }: ShardMap): ReadonlySet<number> {
  return new Set(workflows.flatMap((one) => (one.kind === 'split' ? [one.parent] : one.kind === 'merge' ? [one.left, one.right] : [])));
}

function begun(map: ShardMap, workflow: Workflow): ShardMap {
  return { ...map, workflows: [...map.workflows, workflow] };
}

/** @throws KF_NO_SHARD, KF_SHARD_BUSY. */
function idleShard(map: ShardMap, id: number): MappedShard {
  const shard = map.shards.find((one) => one.id === id);
  if (!shard)
    throw new KeyfleetError('KF_NO_SHARD', `the keyspace has no shard ${id}; it has ${map.shards.map((one) => one.id).join(', ')}`);
  if (busyShards(map).has(id)) throw new KeyfleetError('KF_SHARD_BUSY', `shard ${id} is being split or merged`, { retryable: true });
  return shard;
}
