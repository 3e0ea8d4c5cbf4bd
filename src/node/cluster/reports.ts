import { type Bytes, fromUtf8, utf8 } from '../../base/bytes.ts';
import type { ShardStatus } from '../../shard/shard-state.ts';
import type { LostLogReport } from './hosted-shard.ts';

// What nodes say of their replicas, a few times a second: to the leader of the meta shard, who decides by it, and who tells all others in his answers.

/** What a node says of its copy of a shard. */
export interface ShardReport {
  readonly id: number;
  readonly generation: number;
  readonly epoch: number;
  readonly leads: boolean;
  /** It has read the log to its end since it has the shard. */
  readonly isCaughtUp: boolean;
  /** The workflow for which it is being brought the shard, if it is. */
  readonly joins?: number | undefined;
  readonly status: ShardStatus;
  readonly applied: number;
  readonly durableSeq: number;
  readonly keyCount: number;
  readonly sizeBytes: number;
  readonly expiringCount: number;
  /** Of who leads it: in units of one small command, a second. */
  readonly loadPerSecond: number;
  /** Of who leads it: where to cut it, if that may be wanted. */
  readonly cutAt?: number | undefined;
  /** The id of its log. */
  readonly log?: string | undefined;
}

export interface NodeReport {
  readonly node: string;
  readonly shards: readonly ShardReport[];
  /** Logs that it has found lost, or has stopped at. Absent: none. */
  readonly lostLogs?: readonly LostLogReport[];
}

/** What the leader of the meta shard tells: everybody's last report, and how long ago that was. */
export interface SpreadReports {
  readonly nodes: readonly (NodeReport & { readonly heardMsAgo: number })[];
}

interface Heard {
  readonly heardMs: number;
  readonly shards: ReadonlyMap<number, ShardReport>;
  readonly lostLogs: readonly LostLogReport[];
}

export class ClusterReports {
  readonly #nodes = new Map<string, Heard>();

  take({ node, shards, lostLogs = [] }: NodeReport, heardMs: number): void {
    this.#nodes.set(node, { heardMs, shards: new Map(shards.map((shard) => [shard.id, shard])), lostLogs });
  }

  /** Takes what has been spread, but for what this node says itself. */
  takeAll({ nodes }: SpreadReports, self: string, nowMs: number): void {
    for (const { heardMsAgo, ...report } of nodes) if (report.node !== self) this.take(report, nowMs - heardMsAgo);
  }

  spread(nowMs: number): SpreadReports {
    return {
      nodes: [...this.#nodes].map(([node, { heardMs, shards, lostLogs }]) => ({
        node,
        shards: [...shards.values()],
        ...(lostLogs.length > 0 ? { lostLogs } : {}),
        heardMsAgo: nowMs - heardMs,
      })),
    };
  }

  /** When a node was last heard of, by the clock of this one. */
  heardMs(node: string): number | undefined {
    return this.#nodes.get(node)?.heardMs;
  }

  of(shard: number, node: string): ShardReport | undefined {
    return this.#nodes.get(node)?.shards.get(shard);
  }

  /** All that is known of a shard, by node. */
  *ofShard(shard: number): IterableIterator<readonly [node: string, report: ShardReport]> {
    for (const [node, { shards }] of this.#nodes) {
      const report = shards.get(shard);
      if (report) yield [node, report];
    }
  }

  /** All that is known of a shard's log being lost, by node. */
  lostLogs(shard: number): (readonly [node: string, report: LostLogReport])[] {
    return [...this.#nodes].flatMap(([node, { lostLogs }]) => {
      const report = lostLogs.find((one) => one.shard === shard);
      return report ? [[node, report] as const] : [];
    });
  }

  /** The last entry that a node has said it has run; none: 0. */
  ran(shard: number, ofGeneration: number): number {
    let furthest = 0;
    for (const [, { generation, applied }] of this.ofShard(shard)) if (generation === ofGeneration) furthest = Math.max(furthest, applied);
    return furthest;
  }

  /** What the leader of a shard has said of it, or whoever has come furthest. */
  best(shard: number): ShardReport | undefined {
    let best: ShardReport | undefined;
    for (const [, report] of this.ofShard(shard)) {
      if (!best || Number(report.leads) - Number(best.leads) > 0) best = report;
      else if (report.leads === best.leads && (report.epoch > best.epoch || (report.epoch === best.epoch && report.applied > best.applied)))
        best = report;
    }
    return best;
  }

  forget(node: string): void {
    this.#nodes.delete(node);
  }
}

export function encodeJson(value: unknown): Bytes {
  return utf8(JSON.stringify(value));
}

export function decodeJson<T>(bytes: Bytes): T {
  return JSON.parse(fromUtf8(bytes)) as T;
}
