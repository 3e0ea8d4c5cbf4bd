import { KeyfleetError } from '../../base/errors.ts';
import type { PositionRange } from '../shard-state.ts';

// The shards of a keyspace as the meta shard has them, and the splits, merges and moves that are under way. A shard takes part in one at a time; any
// number go on side by side. The map changes when a workflow is done, not when it is begun: until then it says what was. On one machine no shard has
// replicas, and there are no moves.

export interface MappedShard {
  readonly id: number;
  readonly range: PositionRange;
  /** It was split or merged just now, and is left alone until then. Milliseconds since 1970. */
  readonly restUntilMs?: number;
  /** It was cut by hand, and no policy merges it until then. */
  readonly keptUntilMs?: number;
  /** The nodes that hold it, the one that is to lead it first. Absent on one machine. */
  readonly replicas?: readonly string[];
  /** Of its log; absent: 1. */
  readonly generation?: number;
  /** The entry behind which the log of this generation begins; absent: the shard's first. */
  readonly basis?: LogBasis;
  /** The id of its log, by which one that was made anew under the same name is known. Absent: nobody has said yet that it has entries. */
  readonly log?: string;
  /** Its log is lost: nobody leads it, until the next generation of the log begins. */
  readonly lost?: LostLog;
}

/** Of a shard whose log is lost. */
export interface LostLog {
  readonly sinceMs: number;
  /** Somebody has said that it is to go on with what the replicas have that can be reached. */
  readonly acceptsLoss?: true;
}

/** What the most advanced replica had run when a log was lost. */
export interface LogBasis {
  readonly seq: number;
  /** Of that entry, in hexadecimal. */
  readonly hash: string;
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
      /** The nodes of the left shard that are being brought the right one first. */
      readonly gathers?: readonly string[];
      readonly isCancelling?: true;
    }
  /** What is left of a merge: a shard that was taken over, to be put away. */
  | {
      readonly kind: 'retire';
      readonly op: number;
      readonly sinceMs: number;
      readonly shard: number;
      /** In a cluster: the replicas of the left shard then, and its entry behind which they need this one no more. */
      readonly left?: number;
      readonly leftSeq?: number;
      readonly replicas?: readonly string[];
      /** Of its log; absent: 1. */
      readonly generation?: number;
    }
  | Move;

/** A node is being brought a shard; then it is one of the shard's replicas, and another is no more. */
export interface Move {
  readonly kind: 'move';
  readonly op: number;
  readonly sinceMs: number;
  readonly shard: number;
  readonly add: string;
  readonly remove?: string;
  /** Who is to lead the shard then; absent: as before, or the next in line for who is removed. */
  readonly first?: string;
  readonly isByHand?: true;
}

export interface ShardMap {
  /** In order of position; together they cover it all. */
  readonly shards: readonly MappedShard[];
  readonly workflows: readonly Workflow[];
}

/** What may be done to a map. The last six are said by whoever carries a workflow out, and have no effect when it is gone. */
export type MapChange =
  | { readonly kind: 'split'; readonly shard: number; readonly at: number; readonly isByHand?: true }
  /** With its right neighbour. */
  | { readonly kind: 'merge'; readonly shard: number }
  /** Brings a shard to node `add`, if any, and then takes it from node `remove`, if any; without `add` that is at once. */
  | MoveChange
  /** One of its replicas is to lead a shard. */
  | { readonly kind: 'prefer'; readonly shard: number; readonly node: string }
  /** These logs have entries, and these ids. No effect on one whose id is known. */
  | { readonly kind: 'logs-begun'; readonly logs: readonly (LogId & { readonly generation: number })[] }
  /** The log of generation `generation` is lost. No effect when the generation is another by now. */
  | { readonly kind: 'log-lost'; readonly shard: number; readonly generation: number }
  /** A shard whose log is lost is to go on with what there is: what only replicas have that cannot be reached is given up. */
  | { readonly kind: 'accept-loss'; readonly shard: number }
  /** The next log of a shard whose log `generation` is lost has been made: it begins behind this entry. No effect as above. */
  | ({ readonly kind: 'log-begun-anew'; readonly generation: number } & LogId & LogBasis)
  /** Undoes what has not been decided. */
  | { readonly kind: 'cancel'; readonly op: number }
  | { readonly kind: 'split-done'; readonly op: number }
  /** The nodes that hold the right shard of a merge from now on: those of the left one that are there. */
  | { readonly kind: 'gathered'; readonly op: number; readonly nodes: readonly string[] }
  /** `leftSeq`: an entry of the left shard at or behind the one that took the right one over. */
  | { readonly kind: 'merge-done'; readonly op: number; readonly leftSeq?: number }
  | { readonly kind: 'move-done'; readonly op: number }
  | { readonly kind: 'cancelled'; readonly op: number }
  | { readonly kind: 'retired'; readonly op: number };

export interface LogId {
  readonly shard: number;
  /** Of its log. */
  readonly log: string;
}

export interface MoveChange {
  readonly kind: 'move';
  readonly shard: number;
  readonly add?: string;
  readonly remove?: string;
  readonly first?: string;
  readonly isByHand?: true;
}

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
 * The map after `change`; the same one when it has no effect. Which nodes there are, a map does not know.
 * @throws KF_NO_SHARD, KF_SHARD_BUSY, KF_BAD_SPLIT_POINT, KF_BAD_MOVE, KF_LOG_NOT_LOST; the first for those that name a shard.
 */
export function changedMap(map: ShardMap, change: MapChange, context: MapContext): ShardMap {
  switch (change.kind) {
    case 'split': {
      const parent = idleShard(map, change.shard);
      const { from, to } = parent.range;
      if (!(change.at > from && change.at < to) || change.at % 2 ** context.slotShift !== 0) {
        throw new KeyfleetError(
          'KF_BAD_SPLIT_POINT',
          `shard ${parent.id} of [${hex(from)}, ${hex(to)}) cannot be cut at ${hex(change.at)}: that must be the first position of a slot inside it, a multiple of ${hex(2 ** context.slotShift)}`,
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
      const missing = (left.replicas ?? []).filter((node) => !right.replicas?.includes(node));
      const extra = (right.replicas ?? []).some((node) => !left.replicas?.includes(node));
      const gathers = missing.length > 0 || extra ? { gathers: missing } : {};
      return begun(map, { kind: 'merge', op: context.newOp(), sinceMs: context.nowMs, left: left.id, right: right.id, ...gathers });
    }
    case 'move':
      return beginMove(map, change, context);
    case 'prefer':
      return withReplicas(map, change.shard, (replicas) => preferring(replicas, change.node));
    case 'logs-begun':
      return withBegunLogs(map, change.logs);
    case 'log-lost': {
      const shard = mappedShard(map, change.shard);
      if (shard.lost || change.generation !== (shard.generation ?? 1)) return map;
      return withShard(map, { ...shard, lost: { sinceMs: context.nowMs } });
    }
    case 'accept-loss': {
      const shard = mappedShard(map, change.shard);
      if (!shard.lost) throw new KeyfleetError('KF_LOG_NOT_LOST', `the log of shard ${shard.id} is not lost`);
      return shard.lost.acceptsLoss ? map : withShard(map, { ...shard, lost: { ...shard.lost, acceptsLoss: true } });
    }
    case 'log-begun-anew': {
      const { shard: id, generation, log, seq, hash } = change;
      const { lost, ...shard } = mappedShard(map, id);
      if (!lost || generation !== (shard.generation ?? 1)) return map;
      return withShard(map, { ...shard, generation: generation + 1, log, basis: { seq, hash } });
    }
    case 'cancel': {
      const workflow = map.workflows.find(({ op }) => op === change.op);
      if (!workflow || workflow.kind === 'retire') return map;
      // As long as no shard's log says anything of it, to forget it is all.
      if (workflow.kind === 'move' || (workflow.kind === 'merge' && workflow.gathers)) return over(map, workflow.op);
      if (workflow.isCancelling) return map;
      return { ...map, workflows: map.workflows.map((one) => (one === workflow ? { ...workflow, isCancelling: true } : one)) };
    }
    case 'cancelled':
    case 'retired':
      return over(map, change.op);
    case 'gathered': {
      const workflow = map.workflows.find(({ op }) => op === change.op);
      if (workflow?.kind !== 'merge' || !workflow.gathers || change.nodes.length === 0) return map;
      const { gathers: _, ...merge } = workflow;
      const gathered = withReplicas(map, workflow.right, () => change.nodes);
      return { ...gathered, workflows: map.workflows.map((one) => (one === workflow ? merge : one)) };
    }
    case 'move-done': {
      const workflow = map.workflows.find(({ op }) => op === change.op);
      if (workflow?.kind !== 'move') return map;
      const { shard, add, remove, first } = workflow;
      return over(
        withReplicas(map, shard, (replicas) => {
          const left = [...replicas.filter((node) => node !== remove), add];
          return first === undefined ? left : preferring(left, first);
        }),
        workflow.op,
      );
    }
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
            { id: workflow.child, range: { from: workflow.at, to }, ...rest, ...(shard.replicas ? { replicas: shard.replicas } : {}) },
          ];
        }),
        workflows: map.workflows.filter((one) => one !== workflow),
      };
    }
    case 'merge-done': {
      const workflow = map.workflows.find(({ op }) => op === change.op);
      if (workflow?.kind !== 'merge') return map;
      const { op, sinceMs, left: leftId, right } = workflow;
      const left = mappedShard(map, leftId);
      const { range, generation } = mappedShard(map, right);
      const { restUntilMs: _, keptUntilMs: __, ...kept } = left;
      const merged: MappedShard = { ...kept, range: { from: left.range.from, to: range.to }, restUntilMs: context.nowMs + REST_MS };
      const { replicas } = left;
      const needed = replicas ? { left: leftId, leftSeq: change.leftSeq ?? 0, replicas, ...(generation ? { generation } : {}) } : {};
      return {
        shards: map.shards.flatMap((shard) => (shard.id === right ? [] : [shard === left ? merged : shard])),
        workflows: map.workflows.map((one) => (one === workflow ? { kind: 'retire', op, sinceMs, shard: right, ...needed } : one)),
      };
    }
  }
}

/** The shards of a map, those included that a workflow is making or putting away. */
export function shardIdsOf({ shards, workflows }: ShardMap): number[] {
  const more = workflows.flatMap((one) => (one.kind === 'split' ? [one.child] : one.kind === 'retire' ? [one.shard] : []));
  return [...shards.map(({ id }) => id), ...more];
}

/** The shards that take part in a workflow, and those whose logs are lost. */
export function busyShards({ shards, workflows }: ShardMap): ReadonlySet<number> {
  const busy = new Set(
    workflows.flatMap((one) => {
      if (one.kind === 'split') return [one.parent];
      if (one.kind === 'merge') return [one.left, one.right];
      return one.kind === 'move' ? [one.shard] : [];
    }),
  );
  for (const { id, lost } of shards) if (lost) busy.add(id);
  return busy;
}

function begun(map: ShardMap, workflow: Workflow): ShardMap {
  return { ...map, workflows: [...map.workflows, workflow] };
}

function over(map: ShardMap, op: number): ShardMap {
  return map.workflows.some((one) => one.op === op) ? { ...map, workflows: map.workflows.filter((one) => one.op !== op) } : map;
}

/** @throws KF_NO_SHARD, KF_SHARD_BUSY, KF_BAD_MOVE. */
function beginMove(map: ShardMap, change: MoveChange, { newOp, nowMs }: MapContext): ShardMap {
  const { shard: id, add, remove, first, isByHand } = change;
  const { replicas = [] } = idleShard(map, id);
  const bad = (why: string): KeyfleetError => new KeyfleetError('KF_BAD_MOVE', `shard ${id}: ${why}; it is on ${replicas.join(', ')}`);
  if (replicas.length === 0) throw new KeyfleetError('KF_BAD_MOVE', `shard ${id} has no replicas: it is on one machine`);
  if (add !== undefined && replicas.includes(add)) throw bad(`node ${add} has it already`);
  if (remove !== undefined && !replicas.includes(remove)) throw bad(`node ${remove} does not have it`);
  if (first !== undefined && first !== add && (first === remove || !replicas.includes(first))) {
    throw bad(`node ${first} cannot lead it, since it will not have it`);
  }
  if (add !== undefined) {
    const more = {
      ...(remove === undefined ? {} : { remove }),
      ...(first === undefined ? {} : { first }),
      ...(isByHand ? { isByHand } : {}),
    };
    return begun(map, { kind: 'move', op: newOp(), sinceMs: nowMs, shard: id, add, ...more });
  }
  if (remove === undefined) throw bad('a move adds a node, removes one, or both');
  if (replicas.length === 1) throw bad(`node ${remove} is the only one that has it`);
  return withReplicas(map, id, () => {
    const left = replicas.filter((node) => node !== remove);
    return first === undefined ? left : preferring(left, first);
  });
}

/** The same map when they are as before. */
function withReplicas(map: ShardMap, id: number, change: (replicas: readonly string[]) => readonly string[]): ShardMap {
  const shard = mappedShard(map, id);
  const { replicas: before = [] } = shard;
  const replicas = change(before);
  if (replicas.length === before.length && replicas.every((node, at) => node === before[at])) return map;
  return { ...map, shards: map.shards.map((one) => (one === shard ? { ...shard, replicas } : one)) };
}

function withShard(map: ShardMap, shard: MappedShard): ShardMap {
  return { ...map, shards: map.shards.map((one) => (one.id === shard.id ? shard : one)) };
}

function withBegunLogs(map: ShardMap, logs: (MapChange & { kind: 'logs-begun' })['logs']): ShardMap {
  const begun = (shard: MappedShard): MappedShard => {
    const { id, generation = 1, log, lost } = shard;
    const told = log === undefined && !lost && logs.find((one) => one.shard === id && one.generation === generation);
    return told ? { ...shard, log: told.log } : shard;
  };
  const shards = map.shards.map(begun);
  return shards.some((one, at) => one !== map.shards[at]) ? { ...map, shards } : map;
}

/** The same order, but for who is first. */
function preferring(replicas: readonly string[], node: string): readonly string[] {
  return replicas.includes(node) ? [node, ...replicas.filter((one) => one !== node)] : replicas;
}

/** @throws KF_NO_SHARD. */
function mappedShard(map: ShardMap, id: number): MappedShard {
  const shard = map.shards.find((one) => one.id === id);
  if (!shard)
    throw new KeyfleetError('KF_NO_SHARD', `the keyspace has no shard ${id}; it has ${map.shards.map((one) => one.id).join(', ')}`);
  return shard;
}

/** @throws KF_NO_SHARD, KF_SHARD_BUSY. */
function idleShard(map: ShardMap, id: number): MappedShard {
  const shard = mappedShard(map, id);
  if (shard.lost) throw new KeyfleetError('KF_SHARD_BUSY', `shard ${id}: its log is lost, and has not begun anew`, { retryable: true });
  if (busyShards(map).has(id)) throw new KeyfleetError('KF_SHARD_BUSY', `shard ${id} is being split, merged or moved`, { retryable: true });
  return shard;
}

function hex(position: number): string {
  return `0x${position.toString(16)}`;
}
