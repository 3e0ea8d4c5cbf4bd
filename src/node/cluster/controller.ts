import { isKeyfleetError } from '../../base/errors.ts';
import type { ShardLogs } from '../../log/shard-logs.ts';
import { decide, type ShardSize } from '../../shard/meta/decide.ts';
import { type KeyspaceRecord, META_SHARD_ID, mapOf } from '../../shard/meta/meta-records.ts';
import { nextMoves, sameMovesUntilMs } from '../../shard/meta/next-moves.ts';
import type { MapChange, MappedShard } from '../../shard/meta/shard-map.ts';
import { type ClusterSight, leavesNobodyCurrent, nextStep } from '../../shard/meta/workflow-step.ts';
import type { MetaCommand } from '../../shard/meta-module.ts';
import type { NodeClock } from '../node-clock.ts';
import { LogRecovery } from './log-recovery.ts';
import type { MetaClient } from './meta-client.ts';
import type { MetaView } from './meta-view.ts';
import type { ClusterReports } from './reports.ts';
import type { CallRouter } from './router.ts';

// What the leader of the meta shard does for all, from what nodes report: it notes who is there, begins moves, splits and merges, and says when those
// steps are done that depend on what several nodes have. It decides nothing by itself: each is a command, judged anew when it is run, and who leads
// the meta shard no more finds his commands refused.

/** Logs that are deleted in one go. */
const DELETED_AT_A_TIME = 16;

export interface ControllerOptions {
  readonly self: string;
  readonly clock: NodeClock;
  readonly meta: MetaView;
  readonly client: MetaClient;
  readonly router: CallRouter;
  readonly reports: ClusterReports;
  readonly logs: ShardLogs;
  readonly everyMs: number;
  /** What logs keep behind what all replicas have. */
  readonly keptEntries: number;
  /** A node that was not heard of for so long is down. */
  readonly downAfterMs: number;
  readonly onError: (error: Error) => void;
}

export class Controller {
  readonly #options: ControllerOptions;
  readonly #logRecovery: LogRecovery;
  #cancel: () => void = () => {};
  /** Since when this node leads the meta shard. */
  #sinceMs: number | undefined;
  /** Of these records: there is nothing to move until then. */
  #placed: { readonly records: MetaView['records']; readonly untilMs: number } | undefined;
  #isLooking = false;
  #lookAgain = false;
  #isStopped = false;

  constructor(options: ControllerOptions) {
    this.#options = options;
    this.#logRecovery = new LogRecovery(options);
  }

  start(): void {
    this.#cancel = this.#options.clock.after(this.#options.everyMs, () => {
      this.kick();
      if (!this.#isStopped) this.start();
    });
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancel();
  }

  /** Looks at once: something has changed. */
  kick(): void {
    const { router, clock, onError } = this.#options;
    if (this.#isStopped || !router.leadsHere(META_SHARD_ID)) {
      this.#sinceMs = undefined;
      return;
    }
    this.#sinceMs ??= clock.now().monoMs;
    this.#lookAgain = true;
    if (this.#isLooking) return;
    this.#isLooking = true;
    this.#lookAll()
      .catch((error: unknown) => {
        if (!isKeyfleetError(error)) throw error;
        onError(error);
      })
      .finally(() => {
        this.#isLooking = false;
      });
  }

  async #lookAll(): Promise<void> {
    while (this.#lookAgain && !this.#isStopped && this.#options.router.leadsHere(META_SHARD_ID)) {
      this.#lookAgain = false;
      for (const command of this.#nodeNews()) await this.#options.client.run(command);
      for (const name of [...this.#options.meta.keyspaces.keys()]) await this.#logRecovery.advance(name);
      for (const record of [...this.#options.meta.keyspaces.values()]) await this.#advance(record);
      await this.#place();
      await this.#deleteLogs();
    }
  }

  /** Who is heard of, and who is not any more. */
  #nodeNews(): MetaCommand[] {
    const { self, clock, meta, reports, downAfterMs } = this.#options;
    const nowMs = clock.now().monoMs;
    const news: MetaCommand[] = [];
    for (const { id, status } of meta.cluster.nodes) {
      if (status === 'left') continue;
      // Whoever leads just now has heard of nobody yet.
      const heardMs = id === self ? nowMs : Math.max(reports.heardMs(id) ?? Number.NEGATIVE_INFINITY, this.#sinceMs ?? nowMs);
      if (status !== 'down' && nowMs - heardMs > downAfterMs) news.push({ kind: 'node-status', id, status: 'down' });
      const isHeard = id === self || nowMs - (reports.heardMs(id) ?? Number.NEGATIVE_INFINITY) < downAfterMs / 2;
      if (status === 'down' && isHeard) news.push({ kind: 'node-status', id, status: 'up' });
    }
    return news;
  }

  async #advance({ name }: KeyspaceRecord): Promise<void> {
    const { meta, client, clock } = this.#options;
    const present = (): KeyspaceRecord | undefined => meta.keyspaces.get(name);
    for (const workflow of mapOf(present()!).workflows) {
      const step = nextStep(workflow, () => undefined, this.#sight());
      if (step && step.kind !== 'append') await client.run({ kind: 'change-map', name, change: step.change });
    }
    const record = present();
    if (!record) return;
    const sizes = this.#sizesOf(record);
    if (decide({ map: mapOf(record), policy: record.policy, sizes, nowMs: clock.now().wallMs }).length > 0) {
      await client.run({ kind: 'decide', name, sizes });
    }
  }

  /** Only of shards whose leaders have spoken: the others are left alone. */
  #sizesOf({ shards }: KeyspaceRecord): ShardSize[] {
    return shards.flatMap(({ id }) => {
      const report = this.#options.reports.best(id);
      if (!report?.leads) return [];
      const { keyCount, sizeBytes, loadPerSecond, cutAt } = report;
      return [{ id, keyCount, sizeBytes, loadPerSecond, cutAt: cutAt ?? undefined }];
    });
  }

  async #place(): Promise<void> {
    const { meta, client, clock } = this.#options;
    const { records } = meta;
    const nowMs = clock.now().wallMs;
    // Nodes report many times a second, and what they report is no part of it.
    if (this.#placed?.records === records && nowMs < this.#placed.untilMs) return;
    const { nodes, replication } = meta.cluster;
    const present = { maps: [...meta.keyspaces.values()].map(mapOf), nodes, replication, nowMs };
    const changes = nextMoves(present);
    if (changes.every((some) => some.length === 0)) {
      this.#placed = { records, untilMs: sameMovesUntilMs(present) };
      return;
    }
    const sight = this.#sight();
    const hasLeft = (node: string | undefined): boolean => nodes.every(({ id, status }) => id !== node || status === 'left');
    const isFine = (change: MapChange): boolean =>
      !leavesNobodyCurrent(change, sight) || (change.kind === 'move' && hasLeft(change.remove));
    if (changes.every((some) => some.every(isFine))) {
      await client.run({ kind: 'place' });
      return;
    }
    // Of what is to be done, that which loses nothing; the rest waits until those that stay have been brought what they lack.
    for (const [index, name] of [...meta.keyspaces.keys()].entries()) {
      for (const change of changes[index]!) if (isFine(change)) await client.run({ kind: 'change-map', name, change });
    }
  }

  async #deleteLogs(): Promise<void> {
    const { meta, client, logs } = this.#options;
    const old = meta.cluster.oldLogs.slice(0, DELETED_AT_A_TIME);
    if (old.length === 0) return;
    for (const { shard, generation } of old) await logs.delete(shard, generation);
    await client.run({ kind: 'logs-deleted', logs: old });
  }

  #sight(): ClusterSight {
    const { meta, reports, keptEntries } = this.#options;
    const shardOf = (shard: number): MappedShard | undefined => {
      for (const { shards } of meta.keyspaces.values()) {
        const found = shards.find(({ id }) => id === shard);
        if (found) return found;
      }
      return undefined;
    };
    return {
      neededSeq: (shard) => Math.max((reports.best(shard)?.durableSeq ?? 0) - keptEntries, shardOf(shard)?.basis?.seq ?? 0),
      report: (shard, node) => reports.of(shard, node),
      isLive: (node) => meta.cluster.nodes.some(({ id, status }) => id === node && (status === 'up' || status === 'draining')),
      replicas: (shard) => shardOf(shard)?.replicas ?? [],
    };
  }
}
