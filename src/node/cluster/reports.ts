import { type Bytes, fromUtf8, utf8 } from '../../base/bytes.ts';
import type { ShardStatus } from '../../shard/shard-state.ts';

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
  /** The log is gone: of the last entry that was run, in hexadecimal. */
  readonly lostAt?: string | undefined;
}

export interface NodeReport {
  readonly node: string;
  readonly shards: readonly ShardReport[];
}

/** What the leader of the meta shard tells: everybody's last report, and how long ago that was. */
export interface SpreadReports {
  readonly nodes: readonly (NodeReport & { readonly heardMsAgo: number })[];
}

export class ClusterReports {
  readonly #nodes = new Map<string, { readonly heardMs: number; readonly shards: ReadonlyMap<number, ShardReport> }>();

  take({ node, shards }: NodeReport, heardMs: number): void {
    this.#nodes.set(node, { heardMs, shards: new Map(shards.map((shard) => [shard.id, shard])) });
  }

  /** Takes what has been spread, but for what this node says itself. */
  takeAll({ nodes }: SpreadReports, self: string, nowMs: number): void {
    for (const { heardMsAgo, ...report } of nodes) if (report.node !== self) this.take(report, nowMs - heardMsAgo);
  }

  spread(nowMs: number): SpreadReports {
    return {
      nodes: [...this.#nodes].map(([node, { heardMs, shards }]) => ({ node, shards: [...shards.values()], heardMsAgo: nowMs - heardMs })),
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
