import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { BodyBudget } from './body-parser.ts';
import type { ClusterAdmin, ClusterReport } from './cluster-admin.ts';
import type { HttpStore } from './http-store.ts';
import { keyspaceReport, type StatusReport } from './status.ts';

/** What `/metrics` answers (Prometheus text): process, HTTP, storage, keyspaces and shards, and the numbers that other doors give. */
export class Metrics {
  readonly registry = new Registry();
  readonly #requests: Counter<'method' | 'route' | 'status'>;
  readonly #seconds: Histogram<'route'>;

  constructor(options: {
    readonly store: HttpStore;
    readonly version: string;
    readonly budget: BodyBudget;
    readonly doors: () => StatusReport['doors'];
  }) {
    const { store, version, budget, doors } = options;
    const registers = [this.registry];
    collectDefaultMetrics({ register: this.registry });
    this.#requests = new Counter({
      name: 'keyfleet_http_requests_total',
      help: 'HTTP requests answered',
      labelNames: ['method', 'route', 'status'],
      registers,
    });
    this.#seconds = new Histogram({
      name: 'keyfleet_http_request_seconds',
      help: 'Time from the head of an HTTP request to the end of its answer',
      labelNames: ['route'],
      buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5],
      registers,
    });
    const gauge = (name: string, help: string, value: () => number): void => {
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(value());
        },
      });
    };
    new Gauge({ name: 'keyfleet_build_info', help: 'Always 1', labelNames: ['version', 'durability'], registers }).set(
      { version, durability: store.durability },
      1,
    );
    gauge(
      'keyfleet_http_body_bytes',
      'Bytes of request bodies, and of values on their way to clients, held in memory',
      () => budget.heldBytes,
    );
    gauge('keyfleet_writes_refused', '1 while writes are refused (disk full, storage failed)', () => (store.refusal ? 1 : 0));
    gauge('keyfleet_storage_disk_bytes', 'Bytes on disk', () => store.storageStats().diskBytes);
    gauge('keyfleet_storage_journal_bytes', 'Bytes of the journal on disk', () => store.storageStats().journalBytes);
    gauge('keyfleet_storage_memtable_bytes', 'Bytes not yet in the tree', () => store.storageStats().memtableBytes);
    gauge('keyfleet_storage_memtable_entries', 'Entries not yet in the tree', () => store.storageStats().memtableEntries);
    gauge('keyfleet_storage_syncs_total', 'Journal syncs since the start', () => store.storageStats().syncCount);
    gauge('keyfleet_storage_sync_seconds_total', 'Time spent in journal syncs since the start', () => store.storageStats().syncSeconds);
    gauge('keyfleet_storage_flushes_total', 'Flushes of the memtable since the start', () => store.storageStats().flushCount);
    this.#keyspaces(store);
    if (store.cluster) this.#cluster(store.cluster);
    new Gauge({
      name: 'keyfleet_door',
      help: 'Numbers of each door: connections open, commands answered, …',
      labelNames: ['door', 'what'],
      registers,
      collect() {
        for (const [door, numbers] of Object.entries(doors())) {
          for (const [what, value] of Object.entries(numbers)) this.set({ door, what }, value);
        }
      },
    });
  }

  #keyspaces(store: HttpStore): void {
    const registers = [this.registry];
    const each = (
      name: string,
      help: string,
      set: (gauge: Gauge<string>, report: ReturnType<typeof keyspaceReport>) => void,
      labelNames = ['keyspace'],
    ): void => {
      new Gauge({
        name,
        help,
        labelNames,
        registers,
        collect() {
          this.reset();
          for (const keyspace of store.keyspaceNames()) set(this, keyspaceReport(store, store.keyspace(keyspace)!));
        },
      });
    };
    each('keyfleet_keys', 'Keys', (gauge, { name, keyCount }) => gauge.set({ keyspace: name }, keyCount));
    each('keyfleet_bytes', 'Bytes of keys and values', (gauge, { name, sizeBytes }) => gauge.set({ keyspace: name }, sizeBytes));
    each('keyfleet_expiring_keys', 'Keys with an expiry', (gauge, { name, expiringCount }) => gauge.set({ keyspace: name }, expiringCount));
    each('keyfleet_balance_ratio', 'Keys of the greatest shard over the average', (gauge, { name, balance }) =>
      gauge.set({ keyspace: name }, balance.keysPeakToAverage),
    );
    const perShard = (amount: 'keyCount' | 'sizeBytes' | 'load') => (gauge: Gauge<string>, report: ReturnType<typeof keyspaceReport>) => {
      for (const shard of report.shards) gauge.set({ keyspace: report.name, shard: shard.id }, shard[amount]);
    };
    each('keyfleet_shard_keys', 'Keys of a shard', perShard('keyCount'), ['keyspace', 'shard']);
    each('keyfleet_shard_bytes', 'Bytes of a shard', perShard('sizeBytes'), ['keyspace', 'shard']);
    each('keyfleet_shard_load_total', 'Work of a shard since the start, in small commands', perShard('load'), ['keyspace', 'shard']);
  }

  #cluster(cluster: ClusterAdmin): void {
    const registers = [this.registry];
    const each = (
      name: string,
      help: string,
      labelNames: readonly string[],
      set: (gauge: Gauge<string>, report: ClusterReport) => void,
    ): void => {
      new Gauge({
        name,
        help,
        labelNames: [...labelNames],
        registers,
        collect() {
          this.reset();
          set(this, cluster.report());
        },
      });
    };
    each('keyfleet_node_status', '1 for the status that each node has', ['node', 'status'], (gauge, { nodes }) => {
      for (const { id, status } of nodes) gauge.set({ node: id, status }, 1);
    });
    each('keyfleet_node_shards', 'Shards that a node leads, and that it has', ['node', 'role'], (gauge, { nodes }) => {
      for (const { id, leads, replicas } of nodes) {
        gauge.set({ node: id, role: 'leader' }, leads);
        gauge.set({ node: id, role: 'replica' }, replicas);
      }
    });
    each('keyfleet_shard_leader', '1 for the node that leads a shard', ['keyspace', 'shard', 'node'], (gauge, { keyspaces }) => {
      for (const { name, shards } of keyspaces)
        for (const { id, leader } of shards) if (leader !== null) gauge.set({ keyspace: name, shard: id, node: leader }, 1);
    });
    each('keyfleet_shards_without_leader', 'Shards that nobody leads', ['keyspace'], (gauge, { keyspaces }) => {
      for (const { name, shards } of keyspaces) gauge.set({ keyspace: name }, shards.filter(({ leader }) => leader === null).length);
    });
    each('keyfleet_shards_with_lost_log', 'Shards whose log is lost and has not begun anew', ['keyspace'], (gauge, { keyspaces }) => {
      for (const { name, shards } of keyspaces) gauge.set({ keyspace: name }, shards.filter(({ lost }) => lost !== null).length);
    });
    each(
      'keyfleet_shards_under_replicated',
      'Shards with fewer copies on nodes that are up than they are to have',
      ['keyspace'],
      (gauge, report) => {
        const up = new Set(report.nodes.filter(({ status }) => status === 'up' || status === 'draining').map(({ id }) => id));
        const wanted = Math.min(report.replication, report.nodes.length);
        for (const { name, shards } of report.keyspaces)
          gauge.set({ keyspace: name }, shards.filter(({ replicas }) => replicas.filter((id) => up.has(id)).length < wanted).length);
      },
    );
    each(
      'keyfleet_replica_lag_entries',
      'Entries that the disk of a replica is behind its leader',
      ['keyspace', 'shard', 'node'],
      (gauge, report) => {
        for (const { name, shards } of report.keyspaces)
          for (const { id, lag } of shards)
            for (const [node, entries] of Object.entries(lag)) gauge.set({ keyspace: name, shard: id, node }, entries);
      },
    );
    each('keyfleet_workflows', 'Splits, merges and moves under way', ['keyspace', 'kind'], (gauge, { keyspaces }) => {
      for (const { name, workflows } of keyspaces) for (const { kind } of workflows) gauge.inc({ keyspace: name, kind });
    });
  }

  answered(request: { readonly method: string; readonly route: string; readonly status: number; readonly seconds: number }): void {
    this.#requests.inc({ method: request.method, route: request.route, status: request.status });
    this.#seconds.observe({ route: request.route }, request.seconds);
  }
}
