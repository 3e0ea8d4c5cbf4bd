import type { Bytes } from '../../base/bytes.ts';
import { META_SHARD_ID, type MetaRecord } from '../../shard/meta/meta-records.ts';
import type { NodeClock } from '../node-clock.ts';
import type { MetaReplica } from './meta-replica.ts';
import { type ClusterReports, decodeJson, encodeJson, type SpreadReports } from './reports.ts';
import type { CallRouter, LocalShards } from './router.ts';

// What a node tells clients of the cluster: the records of the meta shard, who leads which shard, and what the leaders last reported of theirs.

export const MAP = 'map';

/** How far the meta shard had come: later generations of its log first, then its entries. */
export interface MapVersion {
  readonly generation: number;
  readonly applied: number;
}

/** The map that the client has already, if it has one. */
export interface MapRequest {
  readonly has?: MapVersion;
}

export interface MapAnswer {
  readonly version: MapVersion;
  /** Absent: the client has them, or newer ones. */
  readonly records?: readonly MetaRecord[];
  /** Of each shard of which this node knows one, the meta shard among them. */
  readonly leaders: readonly (readonly [shard: number, node: string, epoch: number])[];
  readonly reports: SpreadReports;
}

export interface MapSourceParts {
  readonly clock: NodeClock;
  readonly meta: MetaReplica;
  readonly host: LocalShards;
  readonly router: CallRouter;
  readonly reports: ClusterReports;
}

export class MapSource {
  readonly #parts: MapSourceParts;

  constructor(parts: MapSourceParts) {
    this.#parts = parts;
  }

  answer(payload: Bytes): Bytes {
    const { clock, meta, reports } = this.#parts;
    const { has } = decodeJson<MapRequest>(payload);
    const version = { generation: meta.shard.generation, applied: meta.shard.state?.applied ?? 0 };
    const { nodes } = reports.spread(clock.now().monoMs);
    const answer: MapAnswer = {
      version,
      ...(has && !isLater(version, has) ? {} : { records: meta.view.records }),
      leaders: this.#leaders(),
      reports: { nodes: nodes.map(({ node, shards, heardMsAgo }) => ({ node, shards: shards.filter(({ leads }) => leads), heardMsAgo })) },
    };
    return encodeJson(answer);
  }

  #leaders(): [number, string, number][] {
    const { meta, host, router } = this.#parts;
    const ids = [META_SHARD_ID, ...[...meta.view.keyspaces.values()].flatMap(({ shards }) => shards.map(({ id }) => id))];
    return ids.flatMap((id) => {
      const leader = router.leaderOf(id);
      if (leader === undefined) return [];
      return [[id, leader, Math.max(host.get(id)?.state?.epoch ?? 0, router.hints.of(id)?.epoch ?? 0)] as [number, string, number]];
    });
  }
}

export function isLater(one: MapVersion, other: MapVersion): boolean {
  return one.generation > other.generation || (one.generation === other.generation && one.applied > other.applied);
}
