import type { PositionRange } from '../shard-state.ts';
import type { MappedShard, ShardMap } from './shard-map.ts';

// What a node is to have of a keyspace, as the map says it: the one question that each node asks of it, whenever it has changed.

/**
 * `member`: one of the shard's replicas; may lead it. `child`: a member's copy that it makes itself, of the parent's, when it runs the mark that
 * cuts it; never to be fetched before. `joining`: is being brought the shard, and may not lead it. `leaving`: a shard that was taken over, and is
 * needed until this node has run that itself.
 */
export type HostedAs = 'member' | 'child' | 'joining' | 'leaving';

export interface Hosted {
  readonly shard: number;
  readonly as: HostedAs;
  readonly replicas: readonly string[];
  /** Of its log. */
  readonly generation: number;
  /** The id of its log, once somebody has said so. */
  readonly log?: string;
  /** Its log is lost: this node is to stop where it is, and to say where. */
  readonly isLost?: boolean;
  /** Of one that is joining: the workflow that brings it. */
  readonly joins?: number;
  /** Its positions, as long as it is as it was registered and nobody has said that it has entries: whoever has nothing of it begins it empty. */
  readonly begins?: PositionRange;
}

/**
 * The shards that node `id` is to have. What it has beyond these it may remove, if the number of the shard is below the `nextShardId` of the same
 * state of the meta shard: a younger shard may be one of which the meta shard's replica here has not yet heard.
 */
export function hostedBy(map: ShardMap, id: string): Hosted[] {
  const hosted: Hosted[] = [];
  const shards = new Map(map.shards.map((shard) => [shard.id, shard]));
  for (const shard of map.shards) if (shard.replicas?.includes(id)) hosted.push({ ...mapped(shard), ...begins(shard), as: 'member' });
  for (const workflow of map.workflows) {
    switch (workflow.kind) {
      case 'split': {
        const { replicas = [] } = shards.get(workflow.parent)!;
        if (replicas.includes(id)) hosted.push({ shard: workflow.child, as: 'child', replicas, generation: 1 });
        break;
      }
      case 'merge': {
        if (workflow.gathers?.includes(id)) hosted.push({ ...mapped(shards.get(workflow.right)!), as: 'joining', joins: workflow.op });
        break;
      }
      case 'retire': {
        const { shard, replicas = [], generation = 1 } = workflow;
        if (replicas.includes(id)) hosted.push({ shard, as: 'leaving', replicas, generation });
        break;
      }
      case 'move': {
        if (workflow.add === id) hosted.push({ ...mapped(shards.get(workflow.shard)!), as: 'joining', joins: workflow.op });
      }
    }
  }
  return hosted;
}

function mapped({ id: shard, replicas = [], generation = 1, log, lost }: MappedShard): Omit<Hosted, 'as'> {
  return { shard, replicas, generation, ...(log === undefined ? {} : { log }), ...(lost ? { isLost: true } : {}) };
}

function begins({ range, generation, log, lost, restUntilMs }: MappedShard): Pick<Hosted, 'begins'> {
  const isUntouched = log === undefined && generation === undefined && !lost && restUntilMs === undefined;
  return isUntouched ? { begins: range } : {};
}

/** The logs that a map needs. */
export function logsOf(map: ShardMap): LogName[] {
  const logs: LogName[] = [];
  for (const { id: shard, replicas, generation = 1 } of map.shards) if (replicas) logs.push({ shard, generation });
  for (const workflow of map.workflows) {
    if (workflow.kind === 'split' && map.shards.some(({ id, replicas }) => id === workflow.parent && replicas)) {
      logs.push({ shard: workflow.child, generation: 1 });
    }
    if (workflow.kind === 'retire' && workflow.replicas) logs.push({ shard: workflow.shard, generation: workflow.generation ?? 1 });
  }
  return logs;
}

export interface LogName {
  readonly shard: number;
  readonly generation: number;
}
