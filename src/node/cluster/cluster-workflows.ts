import { KeyfleetError } from '../../base/errors.ts';
import { type KeyspaceRecord, mapOf } from '../../shard/meta/meta-records.ts';
import type { MapChange, Workflow } from '../../shard/meta/shard-map.ts';
import type { KeyspaceReply } from '../../shard/meta-module.ts';
import type { BegunWorkflow } from '../keyspace-workflows.ts';
import type { MetaClient } from './meta-client.ts';

/** So long whoever begins a workflow waits for its end. */
const PATIENCE_MS = 3_000;

export interface ClusterWorkflowsOptions {
  readonly name: string;
  readonly client: MetaClient;
  /** @throws KF_NO_KEYSPACE. */
  readonly record: () => KeyspaceRecord;
  /** Asks the leader of the shard that has a position where to cut it. */
  readonly middleOf: (position: number) => Promise<number | undefined>;
  /** True when it is so within the time. */
  readonly within: (ms: number, isTrue: () => boolean) => Promise<boolean>;
  readonly loadPerSecond: (shard: number) => number;
}

/** The splits, merges and moves of one keyspace, from any node. */
export class ClusterWorkflows {
  readonly #options: ClusterWorkflowsOptions;

  constructor(options: ClusterWorkflowsOptions) {
    this.#options = options;
  }

  /** Those under way. */
  running(): readonly Workflow[] {
    return mapOf(this.#options.record()).workflows;
  }

  /**
   * Cuts a shard at position `at`, the first of a slot inside it; without: in halves. For an hour no policy merges what was cut by hand.
   * @throws KF_NO_SHARD, KF_SHARD_BUSY, KF_BAD_SPLIT_POINT, KF_UNAVAILABLE.
   */
  async split(shard: number, at?: number): Promise<BegunWorkflow> {
    const middle = at ?? (await this.#middleOf(shard));
    return this.#begin({ kind: 'split', shard, at: middle, isByHand: true });
  }

  /** Has a shard take over its right neighbour, which is first brought to the same nodes. @throws as {@link split}. */
  merge(shard: number): Promise<BegunWorkflow> {
    return this.#begin({ kind: 'merge', shard });
  }

  /** Brings a shard to node `add`, and takes it from node `remove`. @throws KF_NO_SHARD, KF_SHARD_BUSY, KF_BAD_MOVE, KF_UNKNOWN_NODE, KF_UNAVAILABLE. */
  move(shard: number, change: { readonly add?: string; readonly remove?: string }): Promise<BegunWorkflow> {
    return this.#begin({ kind: 'move', shard, ...change, isByHand: true });
  }

  /** Undoes what has not been decided yet; what has is done to its end. @throws KF_NO_WORKFLOW, KF_UNAVAILABLE. */
  async cancel(op: number): Promise<BegunWorkflow> {
    if (!this.running().some((one) => one.op === op)) throw new KeyfleetError('KF_NO_WORKFLOW', `no workflow ${op} is under way`);
    return this.#begin({ kind: 'cancel', op });
  }

  /** Work of a shard lately, in units of one small command, a second, as its leader last reported. */
  loadPerSecond(id: number): number {
    return this.#options.loadPerSecond(id);
  }

  async #middleOf(shard: number): Promise<number> {
    const mapped = this.#options.record().shards.find(({ id }) => id === shard);
    if (!mapped) throw new KeyfleetError('KF_NO_SHARD', `keyspace ${this.#options.name} has no shard ${shard}`);
    const at = await this.#options.middleOf(mapped.range.from);
    if (at === undefined) throw new KeyfleetError('KF_BAD_SPLIT_POINT', `shard ${shard} is one slot, and cannot be cut`);
    return at;
  }

  async #begin(change: MapChange): Promise<BegunWorkflow> {
    const { name, client, within } = this.#options;
    const { keyspace } = await client.run<KeyspaceReply>({ kind: 'change-map', name, change });
    const begun = mapOf(keyspace).workflows;
    const op = 'op' in change ? change.op : begun.reduce((latest, one) => Math.max(latest, one.op), 0);
    if (!begun.some((one) => one.op === op)) return { op, isOver: true };
    const isSeen = (): boolean => this.running().some((one) => one.op === op);
    await within(PATIENCE_MS, isSeen);
    const isOver = await within(PATIENCE_MS, () => !this.running().some((one) => one.op === op && one.kind !== 'retire'));
    return { op, isOver };
  }
}
