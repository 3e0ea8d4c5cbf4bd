import { isKeyfleetError } from '../../base/errors.ts';
import type { ShardLogs } from '../../log/shard-logs.ts';
import { basisOfLostLog, type LostLogVerdict } from '../../shard/meta/lost-log.ts';
import type { KeyspaceRecord } from '../../shard/meta/meta-records.ts';
import type { MapChange, MappedShard } from '../../shard/meta/shard-map.ts';
import type { ClusterMap } from './cluster-map.ts';
import { SINCE } from './cluster-options.ts';
import type { MetaClient } from './meta-client.ts';
import type { MetaView } from './meta-view.ts';
import type { ClusterReports } from './reports.ts';

// What the leader of the meta shard does about logs: it notes their ids, and brings the shards back whose logs are lost.
//
//   a replica finds its log gone ─► log-lost: all replicas stop for good, and say where ─► the old log is deleted, the next one made behind the
//   entry of who has come furthest ─► log-begun-anew: all go on with that one
//
// Each step is found anew from the map and the reports, so it does not matter who took the one before. Why nothing is lost: docs/protocol/log-generations.md.

export interface LogRecoveryOptions {
  readonly meta: MetaView;
  readonly client: MetaClient;
  readonly reports: ClusterReports;
  readonly logs: ShardLogs;
  readonly onError: (error: Error) => void;
}

export class LogRecovery {
  readonly #options: LogRecoveryOptions;

  constructor(options: LogRecoveryOptions) {
    this.#options = options;
  }

  /** Takes the steps that are due in one keyspace. @throws what the meta shard throws. */
  async advance(name: string): Promise<void> {
    const record = this.#options.meta.keyspaces.get(name);
    // A node of an earlier release would not know what it is told.
    if (!record || !this.#options.meta.speaks(SINCE.logGenerations)) return;
    await this.#noteIds(record);
    for (const shard of record.shards) {
      if (shard.lost) await this.#recover(name, shard);
      else if (this.#isFoundLost(shard)) await this.#say(name, { kind: 'log-lost', shard: shard.id, generation: shard.generation ?? 1 });
    }
  }

  #say(name: string, change: MapChange): Promise<unknown> {
    return this.#options.client.run({ kind: 'change-map', name, change });
  }

  /** From now on no replica makes them, and one that is made anew under the same name is known to be another. */
  async #noteIds({ name, shards }: KeyspaceRecord): Promise<void> {
    const { reports } = this.#options;
    const logs = shards.flatMap(({ id: shard, generation = 1, log: known, replicas, lost }) => {
      if (known !== undefined || !replicas || lost) return [];
      const best = reports.best(shard);
      return best?.log !== undefined && best.applied > 0 && best.generation === generation ? [{ shard, generation, log: best.log }] : [];
    });
    if (logs.length > 0) await this.#say(name, { kind: 'logs-begun', logs });
  }

  #isFoundLost({ id, generation = 1, replicas }: MappedShard): boolean {
    return replicas !== undefined && this.#options.reports.lostLogs(id).some(([, report]) => report.generation === generation);
  }

  async #recover(name: string, shard: MappedShard): Promise<void> {
    const { meta, reports, logs, onError } = this.#options;
    const verdict = lostLogVerdict(shard, meta, reports);
    if (verdict.kind !== 'basis') return;
    const { id, generation = 1 } = shard;
    const { basis } = verdict;
    try {
      // Should it be there after all, or be made by somebody who is late: nothing is appended to it any more.
      await logs.delete(id, generation);
      const log = await logs.make({ shard: id, generation: generation + 1, basis });
      await this.#say(name, { kind: 'log-begun-anew', shard: id, generation, log, ...basis });
    } catch (error) {
      // Without servers that answer. It is tried again, and other shards are not kept waiting.
      if (!isKeyfleetError(error)) throw error;
      onError(error);
    }
  }
}

/** What is known of how a lost log can go on. */
export function lostLogVerdict(shard: MappedShard, meta: ClusterMap, reports: ClusterReports): LostLogVerdict {
  const { id, generation = 1 } = shard;
  const said = new Map(
    reports.lostLogs(id).flatMap(([node, { stopped }]) => (stopped?.generation === generation ? [[node, stopped]] : [])),
  );
  const statusOf = (node: string): string => meta.cluster.nodes.find((one) => one.id === node)?.status ?? 'left';
  return basisOfLostLog(shard, {
    stopped: (node) => said.get(node),
    nodes: [...said.keys()].sort(),
    isLive: (node) => statusOf(node) === 'up' || statusOf(node) === 'draining',
    hasLeft: (node) => statusOf(node) === 'left',
  });
}
