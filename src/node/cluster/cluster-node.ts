import { type Bytes, equalBytes, fromUtf8, utf8 } from '../../base/bytes.ts';
import { isKeyfleetError, KeyfleetError } from '../../base/errors.ts';
import { MIB } from '../../base/units.ts';
import { META_TABLE, stateKey, systemKey } from '../../shard/key-layout.ts';
import type { ClusterReply } from '../../shard/meta/cluster-command.ts';
import { type KeyspaceRecord, META_SHARD_ID } from '../../shard/meta/meta-records.ts';
import type { JoiningNode, NodeAddresses } from '../../shard/meta/node-record.ts';
import { type KeyspaceReply, metaModule } from '../../shard/meta-module.ts';
import type { KeyspacePolicy } from '../../shard/policy.ts';
import { evenStarts, positionScheme } from '../../shard/position-scheme.ts';
import { newShardState } from '../../shard/shard-state.ts';
import type { Request } from '../../transport/transport.ts';
import { GroupCommit } from '../group-commit.ts';
import { SnapshotSource } from '../snapshot-transfer.ts';
import { checkKeyspace, DEFAULT_SHARD_COUNT, type KeyspaceOptions } from '../store-node.ts';
import { CallServer } from './call-server.ts';
import { ClusterKeyspace } from './cluster-keyspace.ts';
import { type ClusterNodeOptions, PROTOCOL } from './cluster-options.ts';
import { type ClusterView, shardStatsOf, viewOf } from './cluster-view.ts';
import { CALLS } from './forwarder.ts';
import { type AnyModule, HostedShard, type ShardKeyspace, type ShardSurroundings } from './hosted-shard.ts';
import { LargeAnswers, requestWhole } from './large-answers.ts';
import { MetaClient } from './meta-client.ts';
import { MetaView } from './meta-view.ts';
import {
  CLAIM,
  decodeReport,
  decodeShard,
  decodeSnapshotAnswer,
  decodeSnapshotRequest,
  encodeReport,
  encodeShard,
  encodeSnapshotAnswer,
  encodeSnapshotRequest,
  REPORT,
  SNAPSHOT,
} from './node-messages.ts';
import { CallRouter } from './router.ts';
import { ShardHost } from './shard-host.ts';

// A node of a cluster: replicas of some shards and of the meta shard, which says who has what; requests of clients for any shard, carried to whoever
// leads it. How a node finds out what to do, and what each death leaves behind: docs/protocol/cluster.md.
//
// It stands on ports alone (clock, storage, logs, transport), so that the simulator runs this very code.

export const META_KEYSPACE: ShardKeyspace = { id: 0, name: 'meta', module: metaModule as unknown as AnyModule, scheme: undefined };

const FORMAT_KEY = systemKey('f', new Uint8Array(0));
const FORMAT = 1;
const SNAPSHOT_TIMEOUT_MS = 5_000;
const JOIN_RETRY_MS = 500;
const RESIGN_LIMIT_MS = 2_000;
const RESIGN_LOOK_MS = 5;

export class ClusterNode {
  readonly nodeId: string;
  readonly cluster: string;
  readonly #options: ClusterNodeOptions;
  readonly #commits: GroupCommit;
  readonly #meta: MetaView;
  readonly #host: ShardHost;
  readonly #router: CallRouter;
  readonly #client: MetaClient;
  readonly #server: CallServer;
  readonly #large: LargeAnswers;
  readonly #source: SnapshotSource;
  readonly #modules = new Map<string, AnyModule>();
  readonly #keyspaces = new Map<number, ClusterKeyspace<never, never, unknown, never, unknown>>();
  readonly #listeners = new Map<number, Set<(key: Bytes | undefined) => void>>();
  readonly #begun = new Set<number>();
  readonly #onMetaChanged = new Set<() => void>();
  #addresses: NodeAddresses;
  #metaChangeIsDue = false;
  #isJoined = false;
  #isStopped = false;

  private constructor(options: ClusterNodeOptions) {
    const { nodeId, cluster, storage, clock, transport, logs, timing = {}, limits = {}, requestTimeoutMs = 10_000 } = options;
    this.nodeId = nodeId;
    this.cluster = cluster;
    this.#options = options;
    this.#addresses = options.addresses ?? {};
    for (const module of options.modules ?? []) this.#modules.set(module.name, module);
    this.#commits = new GroupCommit(storage, (callback) => clock.atTurnEnd(callback));
    this.#meta = new MetaView(storage);
    this.#large = new LargeAnswers(clock, transport.maxPayloadBytes);
    const world: ShardSurroundings = {
      self: nodeId,
      storage,
      commits: this.#commits,
      clock,
      logs,
      timing,
      limits,
      maxValueBytes: options.maxValueBytes ?? 512 * MIB,
      report: (leader, shard, durableSeq) => transport.send(leader, REPORT, encodeReport({ shard, durableSeq })),
      askForSnapshot: (to, request) => {
        requestWhole(transport, to, SNAPSHOT, encodeSnapshotRequest(request), SNAPSHOT_TIMEOUT_MS)
          .then((answer) => {
            const decoded = decodeSnapshotAnswer(answer);
            if (decoded) this.#host.get(request.shard)?.snapshotAnswered(to, decoded);
          })
          // It is asked again.
          .catch((error: unknown) => this.#tolerate(error));
      },
      onGarbage: () => {},
      onError: this.#onError,
    };
    this.#host = new ShardHost({
      world,
      meta: this.#meta,
      moduleOf: (name) => this.#modules.get(name),
      events: {
        stepped: (shard, step, outcome) => {
          if (step.kind === 'split-mark' && outcome === 'done') clock.atTurnEnd(() => this.#host.reconcile());
          this.#router.kick(shard.id);
        },
        leaderChanged: (shard) => this.#noteLeader(shard),
        opened: (shard) => this.#noteLeader(shard),
        keyChanged: (keyspaceId, key) => {
          for (const listener of this.#listeners.get(keyspaceId) ?? []) listener(key);
        },
        logLost: () => {},
      },
    });
    this.#router = new CallRouter({ self: nodeId, clock, transport, host: this.#host, meta: this.#meta });
    this.#server = new CallServer(clock, this.#router, (id) => this.#shardKeyspace(id));
    this.#client = new MetaClient({ self: nodeId, clock, router: this.#router, keyspace: META_KEYSPACE, timeoutMs: requestTimeoutMs });
    this.#source = new SnapshotSource({
      storage,
      commits: this.#commits,
      clock,
      keyspaceIdOf: (shard) => this.#host.get(shard)?.keyspace.id ?? 0,
    });
    this.#host.add(this.#metaShard(world));
  }

  /**
   * Opens the node whose data are in the storage, or a new one in an empty storage, and joins the cluster; the first makes it. Fulfilled when the
   * node has a copy of the meta shard and is known to it.
   * @throws KF_OTHER_CLUSTER when the data are of another node or cluster; KF_BAD_NODE, KF_NODE_INCOMPATIBLE; what the storage throws.
   */
  static async start(options: ClusterNodeOptions): Promise<ClusterNode> {
    await checkFormat(options);
    const node = new ClusterNode(options);
    await options.transport.serve((request) => node.#serve(request));
    try {
      await node.#join();
    } catch (error) {
      await node.stop({ graceful: false });
      throw error;
    }
    return node;
  }

  /** It can take requests: it has joined, and somebody leads the meta shard. */
  get isReady(): boolean {
    return this.#isJoined && !this.#isStopped && this.#router.leaderOf(META_SHARD_ID) !== undefined;
  }

  /**
   * Serves a keyspace, and makes it first if there is none of that name.
   * @throws KF_BAD_KEYSPACE, KF_BAD_POLICY, KF_KEYSPACE_MISMATCH, KF_NO_NODES, KF_UNAVAILABLE, KF_OUTCOME_UNKNOWN: then it may be done again.
   */
  async registerKeyspace<V, C, R, Q, A>(name: string, options: KeyspaceOptions<V, C, R, Q, A>): Promise<ClusterKeyspace<V, C, R, Q, A>> {
    const { module, scheme = 'hash', shards: count = DEFAULT_SHARD_COUNT, policy = {} } = options;
    checkKeyspace(name, count);
    this.#modules.set(module.name, module as unknown as AnyModule);
    const starts = evenStarts(positionScheme(scheme), count);
    const { keyspace } = await this.#client.run<KeyspaceReply>({ kind: 'register', name, module: module.name, scheme, starts, policy });
    await this.#until(() => this.#meta.keyspaceOfId(keyspace.id) !== undefined);
    this.#host.reconcile();
    return this.keyspace(name) as unknown as ClusterKeyspace<V, C, R, Q, A>;
  }

  /** Takes a keyspace away with all its keys, for good. @throws KF_NO_KEYSPACE, KF_UNAVAILABLE. */
  async deregisterKeyspace(name: string): Promise<void> {
    await this.#client.run({ kind: 'deregister', name });
  }

  /** @throws KF_NO_KEYSPACE. */
  getPolicy(name: string): KeyspacePolicy {
    return this.#record(name).policy;
  }

  /** Changes what `change` says of the policy, and returns it whole. @throws KF_NO_KEYSPACE, KF_BAD_POLICY, KF_UNAVAILABLE. */
  async setPolicy(name: string, change: Partial<KeyspacePolicy>): Promise<KeyspacePolicy> {
    const { keyspace } = await this.#client.run<KeyspaceReply>({ kind: 'set-policy', name, policy: change });
    return keyspace.policy;
  }

  /** All keyspaces that there are, by name, as far as this node has heard. */
  keyspaceRecords(): readonly KeyspaceRecord[] {
    return [...this.#meta.keyspaces.values()];
  }

  /** @throws KF_NO_KEYSPACE; KF_MODULE_MISSING when this node does not have its value module. */
  keyspace(name: string): ClusterKeyspace<never, never, unknown, never, unknown> {
    const record = this.#record(name);
    const known = this.#keyspaces.get(record.id);
    if (known) return known;
    const keyspace = this.#host.keyspaceOf(record);
    if (!keyspace) {
      throw new KeyfleetError('KF_MODULE_MISSING', `keyspace ${name} has value module ${record.module}, which this node was not given`);
    }
    const { clock, maxKeyBytes = 512 * MIB, requestTimeoutMs = 10_000 } = this.#options;
    const made = new ClusterKeyspace<never, never, unknown, never, unknown>(keyspace, {
      clock,
      router: this.#router,
      maxKeyBytes,
      requestTimeoutMs,
      record: () => this.#meta.keyspaceOfId(record.id),
      shardStats: () => {
        const current = this.#meta.keyspaceOfId(record.id);
        return current ? shardStatsOf(current, this.#host, this.#router) : [];
      },
      clearTable: async () => (await this.#client.run<KeyspaceReply>({ kind: 'clear', name })).keyspace.table,
      listen: (listener) => this.#listen(record.id, listener),
      watch: (keys, listener) => this.#watch(keyspace, keys, listener),
    });
    this.#keyspaces.set(record.id, made);
    return made;
  }

  /** Those whose value module this node has. */
  keyspaces(): readonly ClusterKeyspace<never, never, unknown, never, unknown>[] {
    return this.keyspaceRecords()
      .filter((record) => this.#host.keyspaceOf(record))
      .map(({ name }) => this.keyspace(name));
  }

  /** The cluster as far as this node knows it. Cheap: nobody is asked. */
  view(): ClusterView {
    return viewOf({ nodeId: this.nodeId, cluster: this.cluster, meta: this.#meta, host: this.#host, router: this.#router });
  }

  /** Where its doors are from now on. @throws KF_UNAVAILABLE. */
  async setAddresses(addresses: NodeAddresses): Promise<void> {
    this.#addresses = addresses;
    await this.#client.run({ kind: 'node-set', id: this.nodeId, addresses });
  }

  /**
   * Serves nobody any more. `graceful` (the default): hands over what it leads first, so that others go on at once and no request of another node
   * has an unknown outcome. Then everything is durable; storage and transport are the caller's to close.
   */
  async stop({ graceful = true }: { readonly graceful?: boolean } = {}): Promise<void> {
    if (this.#isStopped) return;
    if (graceful) await this.#handOver();
    this.#isStopped = true;
    this.#router.stop();
    await this.#host.stop();
    this.#source.stop();
    this.#commits.commit();
    this.#commits.stop();
    const { storage } = this.#options;
    await storage.whenDurable(storage.committed);
  }

  // Joining.

  #metaShard(world: ShardSurroundings): HostedShard {
    const range = { from: 0, to: 0x1_0000_0000 };
    const begin = { ...newShardState({ id: META_SHARD_ID, range, table: META_TABLE, leader: '' }), epoch: 0 };
    const shard: HostedShard = new HostedShard(world, {
      id: META_SHARD_ID,
      generation: 1,
      keyspace: META_KEYSPACE,
      rank: 0,
      peers: () => this.#meta.cluster.nodes.flatMap(({ id, status }) => (id === this.nodeId || status === 'left' ? [] : [id])),
      begin,
      onRan: ({ commands }) => {
        if (commands.length > 0) this.#metaRan();
      },
      onOpened: () => {
        this.#meta.changed();
        for (const { id } of this.#meta.keyspaces.values()) this.#begun.add(id);
        this.#noteLeader(shard);
        this.#metaChanged();
      },
      onLeaderChanged: () => this.#noteLeader(shard),
    });
    return shard;
  }

  async #join(): Promise<void> {
    const { release = '', zone, weight, replication } = this.#options;
    while (true) {
      try {
        const node: JoiningNode = {
          id: this.nodeId,
          release,
          protocol: PROTOCOL,
          addresses: this.#addresses,
          ...(zone === undefined ? {} : { zone }),
          ...(weight === undefined ? {} : { weight }),
        };
        const { cluster } = await this.#client.run<ClusterReply>({ kind: 'node-join', node });
        const isFirst = cluster.nodes.length === 1;
        if (isFirst && replication !== undefined && cluster.keyspaces.length === 0) {
          await this.#client.run({ kind: 'set-replication', replication });
        }
        await this.#until(() => this.#meta.cluster.nodes.some(({ id }) => id === this.nodeId));
        this.#isJoined = true;
        return;
      } catch (error) {
        if (!isKeyfleetError(error) || !(error.retryable || error.code === 'KF_OUTCOME_UNKNOWN') || this.#isStopped) throw error;
        this.#onError(error);
        await this.#pause(JOIN_RETRY_MS);
      }
    }
  }

  // The meta shard.

  /** An entry of the meta shard has been run; its batch is open. */
  #metaRan(): void {
    this.#meta.changed();
    for (const record of this.#meta.keyspaces.values()) {
      if (this.#begun.has(record.id)) continue;
      this.#begun.add(record.id);
      this.#host.begin(record);
    }
    this.#metaChanged();
  }

  #metaChanged(): void {
    if (this.#metaChangeIsDue) return;
    this.#metaChangeIsDue = true;
    this.#options.clock.atTurnEnd(() => {
      this.#metaChangeIsDue = false;
      if (this.#isStopped) return;
      this.#host.get(META_SHARD_ID)?.setRank(this.#metaRank());
      for (const id of this.#keyspaces.keys()) if (!this.#meta.keyspaceOfId(id)) this.#keyspaces.delete(id);
      this.#host.reconcile();
      for (const listener of [...this.#onMetaChanged]) listener();
    });
  }

  /** Any member may lead the meta shard, in the order of their ids; before there are members, anybody. */
  #metaRank(): number {
    const members = this.#meta.cluster.nodes.filter(({ status }) => status !== 'left');
    if (members.length === 0) return 0;
    const index = members.findIndex(({ id }) => id === this.nodeId);
    return index < 0 ? Number.POSITIVE_INFINITY : index;
  }

  /** Fulfilled when the meta shard's replica here has come so far. */
  #until(isTrue: () => boolean): Promise<void> {
    if (isTrue()) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const end = (settle: () => void): void => {
        cancel();
        this.#onMetaChanged.delete(look);
        settle();
      };
      const look = (): void => {
        if (isTrue()) end(resolve);
      };
      const late = new KeyfleetError('KF_UNAVAILABLE', 'this node does not hear of what the meta shard has run', { retryable: true });
      const cancel = this.#options.clock.after(this.#options.requestTimeoutMs ?? 10_000, () => end(() => reject(late)));
      this.#onMetaChanged.add(look);
    });
  }

  #record(name: string): KeyspaceRecord {
    const record = this.#meta.keyspaces.get(name);
    if (!record) throw new KeyfleetError('KF_NO_KEYSPACE', `there is no keyspace ${name}`);
    return record;
  }

  #shardKeyspace(id: number): ShardKeyspace | undefined {
    if (id === 0) return META_KEYSPACE;
    const record = this.#meta.keyspaceOfId(id);
    return record && this.#host.keyspaceOf(record);
  }

  // Other nodes.

  async #serve({ from, method, payload }: Request): Promise<Bytes> {
    switch (method) {
      case CALLS:
        return this.#large.wrap(await this.#server.serve(payload));
      case REPORT: {
        const { shard, durableSeq } = decodeReport(payload);
        this.#host.get(shard)?.driver?.reported(from, durableSeq);
        return NOTHING;
      }
      case SNAPSHOT:
        return this.#large.wrap(encodeSnapshotAnswer(this.#source.answer(from, decodeSnapshotRequest(payload))));
      case CLAIM:
        this.#host.get(decodeShard(payload))?.driver?.claimSoon();
        return NOTHING;
      default: {
        const piece = this.#large.piece(method, payload);
        if (piece) return piece;
        throw new KeyfleetError('KF_NODE_INCOMPATIBLE', `node ${this.nodeId} knows no ${method}`);
      }
    }
  }

  #noteLeader(shard: HostedShard): void {
    const { state } = shard;
    if (!state) return;
    if (state.leader !== '' && state.leader !== this.nodeId) this.#router.hints.note(shard.id, state.leader, state.epoch);
    this.#router.kick(shard.id);
  }

  /** Hands over all that it leads, each to the replica that is to lead next. */
  async #handOver(): Promise<void> {
    const { clock, transport } = this.#options;
    const led = [...this.#host.all()].filter((shard) => shard.leads);
    for (const shard of led) {
      shard.driver?.resign();
      const replicas = shard.id === META_SHARD_ID ? this.#meta.cluster.nodes.map(({ id }) => id) : this.#host.roleOf(shard.id)?.replicas;
      const isUp = (id: string): boolean =>
        this.#meta.cluster.nodes.some((node) => node.id === id && node.status !== 'down' && node.status !== 'left');
      const next = replicas?.find((id) => id !== this.nodeId && isUp(id));
      if (next !== undefined) transport.send(next, CLAIM, encodeShard(shard.id));
    }
    const endMs = clock.now().monoMs + RESIGN_LIMIT_MS;
    while (led.some((shard) => shard.leads) && clock.now().monoMs < endMs) await this.#pause(RESIGN_LOOK_MS);
  }

  #listen(keyspaceId: number, listener: (key: Bytes | undefined) => void): () => void {
    const heard = (key: Bytes | undefined): void => listener(key);
    const all = this.#listeners.get(keyspaceId) ?? new Set();
    this.#listeners.set(keyspaceId, all.add(heard));
    return () => all.delete(heard);
  }

  /** Where the shard is here, its replica tells; of other shards it is to be asked now and then. */
  async #watch(keyspace: ShardKeyspace, keys: readonly Bytes[], listener: () => void): Promise<() => void> {
    const stop = this.#listen(keyspace.id, (key) => {
      if (key === undefined || keys.some((one) => equalBytes(one, key))) listener();
    });
    let cancel = (): void => {};
    const look = (): void => {
      listener();
      cancel = this.#options.clock.after(WATCH_MS, look);
    };
    cancel = this.#options.clock.after(WATCH_MS, look);
    return () => {
      stop();
      cancel();
    };
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => this.#options.clock.after(ms, resolve));
  }

  readonly #onError = (error: Error): void => {
    this.#options.onBackgroundError?.(error);
  };

  #tolerate(error: unknown): void {
    if (!isKeyfleetError(error)) throw error;
    this.#onError(error);
  }
}

const NOTHING: Bytes = new Uint8Array(0);
const WATCH_MS = 50;

/** @throws KF_OTHER_CLUSTER, KF_FORMAT_TOO_NEW. */
async function checkFormat({ storage, nodeId, cluster }: ClusterNodeOptions): Promise<void> {
  const stored = storage.get(FORMAT_KEY);
  if (stored) {
    const found = JSON.parse(fromUtf8(stored)) as { format: number; nodeId: string; cluster?: string };
    if (found.format > FORMAT) {
      throw new KeyfleetError(
        'KF_FORMAT_TOO_NEW',
        `the data are of format ${found.format}; this release of Keyfleet reads up to ${FORMAT}`,
      );
    }
    if (found.cluster === cluster && found.nodeId === nodeId) return;
    const whose = found.cluster === undefined ? 'a store on one machine' : `node ${found.nodeId} of cluster ${found.cluster}`;
    throw new KeyfleetError('KF_OTHER_CLUSTER', `the data are those of ${whose}, not of node ${nodeId} of cluster ${cluster}`);
  }
  if (storage.has(stateKey(META_SHARD_ID))) throw new KeyfleetError('KF_OTHER_CLUSTER', 'the data are those of a store on one machine');
  storage.put(FORMAT_KEY, utf8(JSON.stringify({ format: FORMAT, nodeId, cluster })));
  await storage.whenDurable(storage.commit());
}
