import { KeyfleetError } from '../../base/errors.ts';
import { MIB } from '../../base/units.ts';
import type { KeyspaceRecord } from '../../shard/meta/meta-records.ts';
import type { KeyspaceReply } from '../../shard/meta-module.ts';
import type { KeyspacePolicy } from '../../shard/policy.ts';
import { positionScheme, shardStarts } from '../../shard/position-scheme.ts';
import type { Transport } from '../../transport/transport.ts';
import { answerTeller } from '../answer-teller.ts';
import { checkKeyspace } from '../check-keyspace.ts';
import { DEFAULT_SHARD_COUNT, type KeyspaceOptions } from '../keyspace-options.ts';
import type { NodeClock } from '../node-clock.ts';
import type { AnyHook } from './cluster-hooks.ts';
import { ClusterKeyspace, type KeyspaceSurroundings } from './cluster-keyspace.ts';
import { type ClusterView, shardStatsOf, type ViewSources, viewOf } from './cluster-view.ts';
import { ClusterWorkflows } from './cluster-workflows.ts';
import type { AnyModule } from './hosted-shard.ts';
import type { MetaClient } from './meta-client.ts';
import type { RangeSource } from './range-transfer.ts';
import type { CallRouter } from './router.ts';
import type { ServedKeyspaces } from './served-keyspaces.ts';

/** What the access to a cluster stands on. */
export interface AccessParts {
  readonly clock: NodeClock;
  readonly transport: Transport;
  readonly router: CallRouter;
  readonly client: MetaClient;
  readonly served: ServedKeyspaces;
  readonly sources: () => ViewSources;
  /** True when the map says so within the time. */
  readonly within: (ms: number, isTrue: () => boolean) => Promise<boolean>;
  readonly requestTimeoutMs: number;
  readonly maxKeyBytes?: number | undefined;
  /** Hooks of keyspaces whose shards are here. */
  readonly giveHook: (keyspace: string, hook: AnyHook) => void;
  readonly hookOf: (keyspace: string) => AnyHook | undefined;
  /** A keyspace has become known whose module was not known before. */
  readonly onServed: () => void;
  readonly listen: (keyspaceId: number, listener: Parameters<KeyspaceSurroundings['listen']>[0]) => () => void;
  readonly watch: (keyspaceId: number, ...rest: Parameters<KeyspaceSurroundings['watch']>) => Promise<() => void>;
  readonly ranges?: RangeSource;
  readonly onError: (error: Error) => void;
}

/** A cluster as its nodes and its clients see it: keyspaces wherever their shards are, the nodes, what is under way. */
export abstract class ClusterAccess {
  readonly nodeId: string;
  readonly cluster: string;
  readonly #keyspaces = new Map<number, ClusterKeyspace<never, never, unknown, never, unknown>>();

  constructor(nodeId: string, cluster: string) {
    this.nodeId = nodeId;
    this.cluster = cluster;
  }

  protected abstract readonly access: AccessParts;

  /**
   * Serves a keyspace, and makes it first if there is none of that name.
   * @throws KF_BAD_KEYSPACE, KF_BAD_MODULE, KF_BAD_POLICY, KF_KEYSPACE_MISMATCH, KF_BAD_OPTION for a hook, KF_NO_NODES, KF_UNAVAILABLE, KF_OUTCOME_UNKNOWN: then it may be done again.
   */
  async registerKeyspace<V, C, R, Q, A>(name: string, options: KeyspaceOptions<V, C, R, Q, A>): Promise<ClusterKeyspace<V, C, R, Q, A>> {
    const { module, scheme = 'hash', shards: count = DEFAULT_SHARD_COUNT, policy = {}, hook } = options;
    const { client, served, sources, within, requestTimeoutMs, giveHook, onServed } = this.access;
    checkKeyspace(name, { module, scheme, shards: count, hook });
    if (hook) giveHook(name, hook as AnyHook);
    served.give(module as unknown as AnyModule);
    const starts = shardStarts(positionScheme(scheme), count);
    const { keyspace } = await client.run<KeyspaceReply>({ kind: 'register', name, module: module.name, scheme, starts, policy });
    if (!(await within(requestTimeoutMs, () => sources().map.keyspaceOfId(keyspace.id) !== undefined)))
      throw new KeyfleetError('KF_UNAVAILABLE', `node ${this.nodeId} does not hear of what the meta shard has run`, { retryable: true });
    onServed();
    return this.keyspace(name) as unknown as ClusterKeyspace<V, C, R, Q, A>;
  }

  /** Takes a keyspace away with all its keys, for good. @throws KF_NO_KEYSPACE, KF_UNAVAILABLE. */
  async deregisterKeyspace(name: string): Promise<void> {
    await this.access.client.run({ kind: 'deregister', name });
  }

  /** @throws KF_NO_KEYSPACE. */
  getPolicy(name: string): KeyspacePolicy {
    return this.record(name).policy;
  }

  /** Changes what `change` says of the policy, and returns it whole. @throws KF_NO_KEYSPACE, KF_BAD_POLICY, KF_UNAVAILABLE. */
  async setPolicy(name: string, change: Partial<KeyspacePolicy>): Promise<KeyspacePolicy> {
    const { keyspace } = await this.access.client.run<KeyspaceReply>({ kind: 'set-policy', name, policy: change });
    return keyspace.policy;
  }

  /** All keyspaces that there are, by name, as far as this process has heard. */
  keyspaceRecords(): readonly KeyspaceRecord[] {
    return [...this.access.sources().map.keyspaces.values()];
  }

  /** @throws KF_NO_KEYSPACE; KF_MODULE_MISSING when this process does not have its value module. */
  keyspace(name: string): ClusterKeyspace<never, never, unknown, never, unknown> {
    const record = this.record(name);
    const known = this.#keyspaces.get(record.id);
    if (known) return known;
    const { clock, transport, router, client, served, sources, requestTimeoutMs, maxKeyBytes = 512 * MIB, ranges } = this.access;
    const { hookOf, listen, watch, onError } = this.access;
    const keyspace = served.of(record);
    if (!keyspace) {
      throw new KeyfleetError('KF_MODULE_MISSING', `keyspace ${name} has value module ${record.module}, which this node was not given`);
    }
    const hook = hookOf(name);
    const { host, map } = sources();
    const made = new ClusterKeyspace<never, never, unknown, never, unknown>(keyspace, {
      clock,
      router,
      maxKeyBytes,
      requestTimeoutMs,
      record: () => sources().map.keyspaceOfId(record.id),
      shardStats: () => {
        const now = sources();
        const current = now.map.keyspaceOfId(record.id);
        return current ? shardStatsOf(current, now) : [];
      },
      clearTable: async () => (await client.run<KeyspaceReply>({ kind: 'clear', name })).keyspace.table,
      ...(hook?.onQueryAnswered ? { onAnswer: answerTeller(name, hook, onError) } : {}),
      listen: (listener) => listen(record.id, listener),
      watch: (...watching) => watch(record.id, ...watching),
      backups: { self: this.nodeId, clock, transport, router, host, map, ...(ranges ? { source: ranges } : {}) },
    });
    this.#keyspaces.set(record.id, made);
    return made;
  }

  /** Those whose value module this process has. */
  keyspaces(): readonly ClusterKeyspace<never, never, unknown, never, unknown>[] {
    return this.keyspaceRecords()
      .filter((record) => this.access.served.of(record))
      .map(({ name }) => this.keyspace(name));
  }

  /** The cluster as far as this process knows it. Cheap: nobody is asked. */
  view(): ClusterView {
    return viewOf(this.access.sources());
  }

  /** The splits, merges and moves of a keyspace. @throws KF_NO_KEYSPACE. */
  workflows(name: string): ClusterWorkflows {
    const { client, router, served, sources, within } = this.access;
    const { policy, id } = this.record(name);
    const keyspace = this.keyspace(name);
    const loadPerSecond = (shard: number): number => sources().reports.best(shard)?.loadPerSecond ?? 0;
    return new ClusterWorkflows({
      name,
      client,
      record: () => this.record(name),
      middleOf: (position) => {
        const record = this.record(name);
        const shard = router.shardAt(served.of(record)!, position)!;
        return keyspace.middleOf(position, sources().map.keyspaceOfId(id)?.policy ?? policy, loadPerSecond(shard));
      },
      within,
      loadPerSecond,
    });
  }

  /** Has a node give away all it has; it serves meanwhile. @throws KF_UNKNOWN_NODE, KF_UNAVAILABLE. */
  async drain(id: string): Promise<void> {
    await this.access.client.run({ kind: 'node-drain', id, drains: true });
  }

  /** Takes {@link drain} back. @throws KF_UNKNOWN_NODE, KF_UNAVAILABLE. */
  async undrain(id: string): Promise<void> {
    await this.access.client.run({ kind: 'node-drain', id, drains: false });
  }

  /** A node goes that holds nothing, or is down and will not come back. @throws KF_UNKNOWN_NODE, KF_NODE_IN_USE, KF_UNAVAILABLE. */
  async remove(id: string): Promise<void> {
    await this.access.client.run({ kind: 'node-leave', id });
  }

  /** How many replicas each shard is to have from now on. @throws KF_BAD_OPTION, KF_UNAVAILABLE. */
  async setReplication(replication: number): Promise<void> {
    await this.access.client.run({ kind: 'set-replication', replication });
  }

  /** Another map has come. */
  protected mapChanged(): void {
    const { map } = this.access.sources();
    for (const id of this.#keyspaces.keys()) if (!map.keyspaceOfId(id)) this.#keyspaces.delete(id);
  }

  /** @throws KF_NO_KEYSPACE. */
  protected record(name: string): KeyspaceRecord {
    const record = this.access.sources().map.keyspaces.get(name);
    if (!record) throw new KeyfleetError('KF_NO_KEYSPACE', `there is no keyspace ${name}`);
    return record;
  }
}
