import type { Workflow } from '../shard/meta/shard-map.ts';
import type { ClusterReport } from './cluster-admin.ts';
import type { HttpKeyspace, HttpStore } from './http-store.ts';

/** What `/v1/status` answers and `keyfleet status` shows. */
export interface StatusReport {
  readonly version: string;
  readonly uptimeMs: number;
  readonly durability: string;
  /** Null while writes are taken; else why they are refused for now. */
  readonly refusal: { readonly code: string; readonly message: string } | null;
  readonly storage: Readonly<Record<string, unknown>>;
  readonly keyspaces: readonly KeyspaceReport[];
  /** Null on one machine. */
  readonly cluster: ClusterReport | null;
  /** By door: connections open, requests answered, … */
  readonly doors: Readonly<Record<string, Readonly<Record<string, number>>>>;
}

export interface KeyspaceReport {
  readonly name: string;
  readonly keyCount: number;
  readonly sizeBytes: number;
  readonly expiringCount: number;
  /** The greatest shard over the average one: 1 is perfect. 0 when the keyspace is empty. */
  readonly balance: { readonly keysPeakToAverage: number; readonly bytesPeakToAverage: number };
  readonly shards: readonly {
    readonly id: string;
    readonly from: number;
    readonly to: number;
    readonly keyCount: number;
    readonly sizeBytes: number;
    /** Work of this process for it since the start, in units of one small command. */
    readonly load: number;
    /** Work lately, in units of one small command; of a cluster as the shard's leader last reported. */
    readonly loadPerSecond: number;
    /** Of a cluster: null while nobody leads it, as far as is known. */
    readonly leader?: string | null;
    readonly replicas?: readonly string[];
  }[];
  /** Splits and merges under way. */
  readonly workflows: readonly Workflow[];
  /** It is being restored from a backup, or was until its restore died, and answers nobody. */
  readonly isLoading: boolean;
}

export function keyspaceReport(store: HttpStore, keyspace: HttpKeyspace): KeyspaceReport {
  const admin = store.shardAdmin(keyspace.name)?.report();
  const loads = new Map(admin?.shards.map(({ id, loadPerSecond }) => [String(id), loadPerSecond]));
  const shards = keyspace.shards().map(({ id, from, to, keyCount, sizeBytes, load, leader, replicas }) => ({
    ...{ id, from, to, keyCount, sizeBytes, load, loadPerSecond: loads.get(id) ?? 0 },
    ...(replicas && { leader: leader ?? null, replicas }),
  }));
  return {
    name: keyspace.name,
    keyCount: keyspace.keyCount,
    sizeBytes: keyspace.sizeBytes,
    expiringCount: keyspace.expiringCount,
    balance: {
      keysPeakToAverage: peakToAverage(shards.map(({ keyCount }) => keyCount)),
      bytesPeakToAverage: peakToAverage(shards.map(({ sizeBytes }) => sizeBytes)),
    },
    shards,
    workflows: admin?.workflows ?? [],
    isLoading: admin?.shards.some(({ status }) => status === 'loading') ?? false,
  };
}

export function statusReport(
  store: HttpStore,
  { version, uptimeMs, doors }: { readonly version: string; readonly uptimeMs: number; readonly doors: StatusReport['doors'] },
): StatusReport {
  const refusal = store.refusal as (Error & { readonly code?: string }) | undefined;
  return {
    version,
    uptimeMs,
    durability: store.durability,
    refusal: refusal ? { code: refusal.code ?? 'KF_STORAGE_FAILED', message: refusal.message } : null,
    storage: { ...store.storageStats() },
    keyspaces: store.keyspaceNames().map((name) => keyspaceReport(store, store.keyspace(name)!)),
    cluster: store.cluster?.report() ?? null,
    doors,
  };
}

/** 0 for nothing at all. */
export function peakToAverage(amounts: readonly number[]): number {
  let sum = 0;
  let peak = 0;
  for (const amount of amounts) {
    sum += amount;
    peak = Math.max(peak, amount);
  }
  return sum === 0 ? 0 : Math.round((peak / (sum / amounts.length)) * 1_000) / 1_000;
}
