import { KeyfleetError } from '../base/errors.ts';
import type { Workflow } from '../shard/meta/shard-map.ts';
import type { AnyKeyspaceRuntime } from './keyspace-runtime.ts';
import type { ShardWorkflows } from './shard-workflows.ts';

/** What became of a split or merge that was asked for. */
export interface BegunWorkflow {
  /** Its number, never given twice. */
  readonly op: number;
  /** Done, or cancelled; else it goes on in the background. */
  readonly isOver: boolean;
}

/** The splits and merges of one keyspace. */
export class KeyspaceWorkflows {
  readonly #keyspace: AnyKeyspaceRuntime;
  readonly #workflows: ShardWorkflows;
  readonly #running: () => readonly Workflow[];

  constructor(keyspace: AnyKeyspaceRuntime, workflows: ShardWorkflows, running: () => readonly Workflow[]) {
    this.#keyspace = keyspace;
    this.#workflows = workflows;
    this.#running = running;
  }

  /** Those under way. */
  running(): readonly Workflow[] {
    return this.#running();
  }

  /**
   * Cuts a shard at position `at`, the first of a slot inside it; without: in halves. Moves no data. Resolves when durable. For an hour no policy
   * merges what was cut by hand.
   * @throws KF_NO_SHARD, KF_SHARD_BUSY, KF_BAD_SPLIT_POINT; KF_DISK_FULL and the like, and it may go on when there is room.
   */
  async split(shard: number, at?: number): Promise<BegunWorkflow> {
    const middle = at ?? this.#workflows.middleOf(this.#keyspace, shard);
    return this.#workflows.begin(this.#keyspace, { kind: 'split', shard, at: middle, isByHand: true });
  }

  /** Has a shard take over its right neighbour. Moves no data. Resolves when durable. @throws KF_NO_SHARD, KF_SHARD_BUSY; as {@link split}. */
  merge(shard: number): Promise<BegunWorkflow> {
    return this.#workflows.begin(this.#keyspace, { kind: 'merge', shard });
  }

  /** Undoes what has not been decided yet; what has is done to its end. @throws KF_NO_WORKFLOW. */
  async cancel(op: number): Promise<BegunWorkflow> {
    if (!this.#running().some((one) => one.op === op)) throw new KeyfleetError('KF_NO_WORKFLOW', `no workflow ${op} is under way`);
    return this.#workflows.begin(this.#keyspace, { kind: 'cancel', op });
  }

  /** Work of a shard lately, in units of one small command, a second. */
  loadPerSecond(id: number): number {
    const shard = this.#keyspace.table.member(id);
    return shard ? this.#workflows.loadPerSecond(shard) : 0;
  }
}
