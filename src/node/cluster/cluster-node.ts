import { isKeyfleetError, KeyfleetError } from '../../base/errors.ts';
import { MIB } from '../../base/units.ts';
import { type KeyspaceRecord, META_SHARD_ID } from '../../shard/meta/meta-records.ts';
import type { NodeAddresses } from '../../shard/meta/node-record.ts';
import type { KeyspaceReply } from '../../shard/meta-module.ts';
import type { KeyspacePolicy } from '../../shard/policy.ts';
import { positionScheme, shardStarts } from '../../shard/position-scheme.ts';
import { DEFAULT_TIMING } from '../../shard/replica/timing.ts';
import type { Handler } from '../../transport/transport.ts';
import { answerTeller } from '../answer-teller.ts';
import { GroupCommit } from '../group-commit.ts';
import { SnapshotSource } from '../snapshot-transfer.ts';
import { checkKeyspace, DEFAULT_SHARD_COUNT, type KeyspaceOptions } from '../store-node.ts';
import { CallServer } from './call-server.ts';
import { type AnyHook, ClusterHooks } from './cluster-hooks.ts';
import { ClusterKeyspace } from './cluster-keyspace.ts';
import { type ClusterNodeOptions, SINCE } from './cluster-options.ts';
import { type ClusterView, shardStatsOf, type ViewSources, viewOf } from './cluster-view.ts';
import { ClusterWorkflows } from './cluster-workflows.ts';
import { Controller } from './controller.ts';
import { HandOver } from './hand-over.ts';
import { Heartbeat } from './heartbeat.ts';
import type { AnyModule, HostedShard, ShardKeyspace, ShardSurroundings } from './hosted-shard.ts';
import { joinCluster } from './joining.ts';
import { KeyListeners } from './key-listeners.ts';
import { KeyWatches } from './key-watches.ts';
import { KnownMembers } from './known-members.ts';
import { LargeAnswers, requestWhole } from './large-answers.ts';
import { LeaderWatch } from './leader-watch.ts';
import { MetaClient } from './meta-client.ts';
import { MetaLogRecovery } from './meta-log-recovery.ts';
import { META_KEYSPACE, MetaReplica } from './meta-replica.ts';
import type { MetaView } from './meta-view.ts';
import { checkFormat } from './node-format.ts';
import { decodeSnapshotAnswer, encodeReport, encodeShard, encodeSnapshotRequest, REPORT, SNAPSHOT, URGE } from './node-messages.ts';
import { nodeService } from './node-service.ts';
import { RangeSource } from './range-transfer.ts';
import { RemovedShards } from './removed-shards.ts';
import { CallRouter } from './router.ts';
import { ShardDuties } from './shard-duties.ts';
import { ShardHost } from './shard-host.ts';
import { ShardSweeper } from './shard-sweeper.ts';

// A node of a cluster: replicas of some shards and of the meta shard, which says who has what; requests of clients for any shard, carried to whoever
// leads it. How a node finds out what to do, and what each death leaves behind: docs/protocol/cluster.md.
//
// It stands on ports alone (clock, storage, logs, transport), so that the simulator runs this very code.

const DAY_MS = 24 * 3_600_000;
const SNAPSHOT_TIMEOUT_MS = 5_000;

export class ClusterNode {
  readonly nodeId: string;
  readonly cluster: string;
  readonly #options: ClusterNodeOptions;
  readonly #commits: GroupCommit;
  readonly #meta: MetaReplica;
  readonly #metaLog: MetaLogRecovery;
  readonly #view: MetaView;
  readonly #host: ShardHost;
  readonly #router: CallRouter;
  readonly #client: MetaClient;
  readonly #server: CallServer;
  readonly #large: LargeAnswers;
  readonly #source: SnapshotSource;
  readonly #ranges: RangeSource;
  readonly #heartbeat: Heartbeat;
  readonly #controller: Controller;
  readonly #duties: ShardDuties;
  readonly #sweeper: ShardSweeper;
  readonly #handOver: HandOver;
  readonly #hooks: ClusterHooks;
  readonly #leaders: LeaderWatch;
  readonly #modules = new Map<string, AnyModule>();
  readonly #keyspaces = new Map<number, ClusterKeyspace<never, never, unknown, never, unknown>>();
  readonly #listeners = new KeyListeners();
  readonly #watches: KeyWatches;
  #addresses: NodeAddresses;
  readonly #timeoutMs: number;
  #isJoined = false;
  #isStopped = false;

  private constructor(options: ClusterNodeOptions) {
    const { nodeId, cluster, storage, clock, transport, logs, timing = {}, limits = {}, requestTimeoutMs = 10_000 } = options;
    this.nodeId = nodeId;
    this.cluster = cluster;
    this.#options = options;
    this.#timeoutMs = requestTimeoutMs;
    this.#watches = new KeyWatches({ clock, transport, listeners: this.#listeners });
    this.#addresses = options.addresses ?? {};
    for (const module of options.modules ?? []) this.#modules.set(module.name, module);
    this.#commits = new GroupCommit(storage, (callback) => clock.atTurnEnd(callback));
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
      report: (to, report) => transport.send(to, REPORT, encodeReport(report)),
      urge: (to, shard) => transport.send(to, URGE, encodeShard(shard)),
      askForSnapshot: (to, request) => {
        requestWhole(transport, to, SNAPSHOT, encodeSnapshotRequest(request), SNAPSHOT_TIMEOUT_MS)
          .then((answer) => {
            const decoded = decodeSnapshotAnswer(answer);
            if (decoded) this.#host.get(request.shard)?.snapshotAnswered(to, decoded);
          })
          // It is asked again.
          .catch((error: unknown) => this.#tolerate(error));
      },
      onGarbage: () => this.#sweeper.garbage.note(),
      onError: this.#onError,
    };
    this.#hooks = new ClusterHooks({
      storage,
      clock,
      shards: () => this.#host.all(),
      mayTellInherited: () => this.#view.speaks(SINCE.inheritedHooks),
      onError: this.#onError,
    });
    for (const [name, hook] of Object.entries(options.hooks ?? {})) this.#hooks.give(name, hook);
    const members = new KnownMembers({ self: nodeId, transport, logs, meta: () => this.#view, onError: this.#onError });
    this.#meta = new MetaReplica({
      world,
      peers: () => members.others(),
      onRegistered: (record) => this.#host.begin(record),
      onChanged: () => this.#metaChanged(),
      onLeaderChanged: () => this.#noteLeader(this.#meta.shard),
      mayMakeLog: () => members.mayBegin(),
      onLogLost: () => this.#metaLog.found(),
      onReplaced: (shard) => this.#host.add(shard),
    });
    const { acceptMetaLoss: acceptsLoss = false } = options;
    this.#metaLog = new MetaLogRecovery({ self: nodeId, clock, transport, logs, meta: this.#meta, acceptsLoss, onError: this.#onError });
    this.#view = this.#meta.view;
    const removed = new RemovedShards(storage, (shard) => this.#host.get(shard)?.keyspace.id);
    this.#host = new ShardHost({
      world,
      removed,
      meta: this.#view,
      moduleOf: (name) => this.#modules.get(name),
      events: {
        stepped: (shard, step, outcome) => {
          if (step.kind === 'split-mark' && outcome === 'done') clock.atTurnEnd(() => this.#host.reconcile());
          this.#router.kick(shard.id);
          this.#duties.kick();
        },
        ran: (...ran) => this.#hooks.ran(...ran),
        leaderChanged: (shard) => this.#noteLeader(shard),
        opened: (shard) => {
          this.#noteLeader(shard);
          this.#duties.kick();
        },
        caughtUp: () => this.#heartbeat.kick(),
        keyChanged: (keyspaceId, key) => this.#watches.changed(keyspaceId, key),
        logLost: () => this.#heartbeat.kick(),
      },
    });
    this.#router = new CallRouter({ self: nodeId, clock, transport, host: this.#host, meta: this.#view });
    this.#server = new CallServer(clock, this.#router, (id) => this.#shardKeyspace(id));
    this.#client = new MetaClient({ self: nodeId, clock, router: this.#router, keyspace: META_KEYSPACE, timeoutMs: requestTimeoutMs });
    this.#source = new SnapshotSource({
      storage,
      commits: this.#commits,
      clock,
      keyspaceIdOf: (shard) => this.#host.get(shard)?.keyspace.id,
    });
    this.#ranges = new RangeSource(storage, this.#commits, clock);
    const { heartbeatMs: everyMs = 500, downAfterMs = 5_000 } = options;
    const parts = { self: nodeId, clock, transport, meta: this.#view, host: this.#host, router: this.#router, client: this.#client };
    const onReport = (): void => {
      this.#router.learn(this.#heartbeat.reports);
      this.#controller.kick();
    };
    this.#heartbeat = new Heartbeat({ ...parts, everyMs, onReport });
    const { reports } = this.#heartbeat;
    this.#controller = new Controller({ ...parts, reports, logs, everyMs, downAfterMs, onError: this.#onError });
    this.#handOver = new HandOver(parts);
    const handOver = (shard: HostedShard, to: string): void => this.#handOver.give(shard, to);
    this.#duties = new ShardDuties({ ...parts, reports, handOver, onError: this.#onError });
    const { sessionRetentionMs = DAY_MS } = options;
    this.#sweeper = new ShardSweeper({
      storage,
      commits: this.#commits,
      clock,
      host: this.#host,
      removed,
      sessionRetentionMs,
      onError: this.#onError,
    });
    this.#leaders = new LeaderWatch({
      clock,
      host: this.#host,
      patienceMs: 2 * { ...DEFAULT_TIMING, ...timing }.leaseMs,
      onNews: this.#onError,
    });
    this.#host.add(this.#meta.shard);
    this.#meta.recall();
  }

  /**
   * Opens the node whose data are in the storage, or a new one in an empty storage, and joins the cluster; the first makes it. Fulfilled when the
   * node has a copy of the meta shard and is known to it.
   * @throws KF_OTHER_CLUSTER when the data are of another node or cluster; KF_BAD_NODE, KF_NODE_INCOMPATIBLE; what the storage throws.
   */
  static async start(options: ClusterNodeOptions): Promise<ClusterNode> {
    await checkFormat(options.storage, options.nodeId, options.cluster);
    const node = new ClusterNode(options);
    await options.transport.serve(node.#service());
    try {
      await node.#join();
      node.#heartbeat.start();
      node.#controller.start();
      node.#duties.start();
      node.#sweeper.start();
      node.#leaders.start();
      node.#heartbeat.kick();
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
   * @throws KF_BAD_KEYSPACE, KF_BAD_POLICY, KF_KEYSPACE_MISMATCH, KF_BAD_OPTION for a hook, KF_NO_NODES, KF_UNAVAILABLE, KF_OUTCOME_UNKNOWN: then it may be done again.
   */
  async registerKeyspace<V, C, R, Q, A>(name: string, options: KeyspaceOptions<V, C, R, Q, A>): Promise<ClusterKeyspace<V, C, R, Q, A>> {
    const { module, scheme = 'hash', shards: count = DEFAULT_SHARD_COUNT, policy = {}, hook } = options;
    checkKeyspace(name, count);
    if (hook) this.#hooks.give(name, hook as AnyHook);
    this.#modules.set(module.name, module as unknown as AnyModule);
    const starts = shardStarts(positionScheme(scheme), count);
    const { keyspace } = await this.#client.run<KeyspaceReply>({ kind: 'register', name, module: module.name, scheme, starts, policy });
    await this.#meta.until(this.#timeoutMs, () => this.#view.keyspaceOfId(keyspace.id) !== undefined);
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
    return [...this.#view.keyspaces.values()];
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
    const { clock, maxKeyBytes = 512 * MIB } = this.#options;
    const hook = this.#hooks.of(name);
    const made = new ClusterKeyspace<never, never, unknown, never, unknown>(keyspace, {
      clock,
      router: this.#router,
      maxKeyBytes,
      requestTimeoutMs: this.#timeoutMs,
      record: () => this.#view.keyspaceOfId(record.id),
      shardStats: () => {
        const current = this.#view.keyspaceOfId(record.id);
        return current ? shardStatsOf(current, this.#sources) : [];
      },
      clearTable: async () => (await this.#client.run<KeyspaceReply>({ kind: 'clear', name })).keyspace.table,
      ...(hook?.onQueryAnswered ? { onAnswer: answerTeller(name, hook, this.#onError) } : {}),
      listen: (listener) => this.#listeners.listen(record.id, listener),
      watch: (keys, place, listener) => this.#watches.watch(record.id, keys, place, listener),
      backups: {
        self: this.nodeId,
        clock,
        transport: this.#options.transport,
        router: this.#router,
        host: this.#host,
        meta: this.#view,
        source: this.#ranges,
      },
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
    return viewOf(this.#sources);
  }

  get #sources(): ViewSources {
    const { nodeId, cluster } = this;
    const { reports } = this.#heartbeat;
    return {
      ...{ nodeId, cluster, meta: this.#view, metaLost: this.#metaLog.lost, host: this.#host, router: this.#router, reports },
      nowMs: this.#options.clock.now().monoMs,
    };
  }

  /** The splits, merges and moves of a keyspace. @throws KF_NO_KEYSPACE. */
  workflows(name: string): ClusterWorkflows {
    const { policy, id } = this.#record(name);
    const keyspace = this.keyspace(name);
    const loadPerSecond = (shard: number): number => this.#heartbeat.reports.best(shard)?.loadPerSecond ?? 0;
    return new ClusterWorkflows({
      name,
      client: this.#client,
      record: () => this.#record(name),
      middleOf: (position) => {
        const shard = this.#router.shardAt(this.#shardKeyspace(id)!, position)!;
        return keyspace.middleOf(position, this.#view.keyspaceOfId(id)?.policy ?? policy, loadPerSecond(shard));
      },
      within: (ms, isTrue) => this.#meta.within(ms, isTrue),
      loadPerSecond,
    });
  }

  /** Has a node give away all it has; it serves meanwhile. @throws KF_UNKNOWN_NODE, KF_UNAVAILABLE. */
  async drain(id: string): Promise<void> {
    await this.#client.run({ kind: 'node-drain', id, drains: true });
  }

  /** Takes {@link drain} back. @throws KF_UNKNOWN_NODE, KF_UNAVAILABLE. */
  async undrain(id: string): Promise<void> {
    await this.#client.run({ kind: 'node-drain', id, drains: false });
  }

  /** A node goes that holds nothing, or is down and will not come back. @throws KF_UNKNOWN_NODE, KF_NODE_IN_USE, KF_UNAVAILABLE. */
  async remove(id: string): Promise<void> {
    await this.#client.run({ kind: 'node-leave', id });
  }

  /** A shard whose log is lost goes on with what can be reached of it: the rest is given up. @throws KF_NO_SHARD, KF_LOG_NOT_LOST, KF_UNAVAILABLE. */
  async acceptLoss(shard: number): Promise<void> {
    if (shard === META_SHARD_ID) return this.#metaLog.acceptLoss();
    const record = this.keyspaceRecords().find(({ shards }) => shards.some(({ id }) => id === shard));
    if (!record) throw new KeyfleetError('KF_NO_SHARD', `the cluster has no shard ${shard}`);
    await this.#client.run({ kind: 'change-map', name: record.name, change: { kind: 'accept-loss', shard } });
  }

  /**
   * Gives away all that this node has, and goes for good; it serves meanwhile. Fulfilled when it holds nothing; stop it then.
   * @throws KF_NODE_IN_USE when there is no other node that could take a shard; KF_UNAVAILABLE; then it drains on.
   */
  async leave(): Promise<void> {
    await this.drain(this.nodeId);
    const holds = (): boolean =>
      [...this.#view.keyspaces.values()].some(({ shards }) => shards.some(({ replicas }) => replicas?.includes(this.nodeId)));
    while (holds() && !this.#isStopped) {
      const others = this.#view.cluster.nodes.some(({ id, status }) => id !== this.nodeId && status === 'up');
      if (!others) throw new KeyfleetError('KF_NODE_IN_USE', `node ${this.nodeId} cannot leave: no other node is up`);
      await new Promise<void>((resolve) => void this.#options.clock.after(LEAVE_LOOK_MS, resolve));
    }
    await this.remove(this.nodeId);
  }

  /** How many replicas each shard is to have from now on. @throws KF_BAD_OPTION, KF_UNAVAILABLE. */
  async setReplication(replication: number): Promise<void> {
    await this.#client.run({ kind: 'set-replication', replication });
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
    this.#controller.stop();
    this.#duties.stop();
    this.#hooks.stop();
    this.#sweeper.stop();
    this.#leaders.stop();
    if (graceful) await this.#handOver.giveAll();
    this.#isStopped = true;
    this.#heartbeat.stop();
    this.#metaLog.stop();
    this.#watches.stop();
    this.#router.stop();
    await this.#host.stop();
    this.#source.stop();
    this.#ranges.stop();
    this.#commits.commit();
    this.#commits.stop();
    const { storage } = this.#options;
    await storage.whenDurable(storage.committed);
  }

  async #join(): Promise<void> {
    const { clock } = this.#options;
    await joinCluster({
      ...{ options: this.#options, clock, client: this.#client, meta: this.#meta, timeoutMs: this.#timeoutMs, onError: this.#onError },
      addresses: () => this.#addresses,
      isStopped: () => this.#isStopped,
    });
    this.#isJoined = true;
  }

  // The meta shard.

  #metaChanged(): void {
    if (this.#isStopped) return;
    for (const id of this.#keyspaces.keys()) if (!this.#view.keyspaceOfId(id)) this.#keyspaces.delete(id);
    this.#host.reconcile();
    this.#duties.kick();
    this.#controller.kick();
  }

  #record(name: string): KeyspaceRecord {
    const record = this.#view.keyspaces.get(name);
    if (!record) throw new KeyfleetError('KF_NO_KEYSPACE', `there is no keyspace ${name}`);
    return record;
  }

  #shardKeyspace(id: number): ShardKeyspace | undefined {
    if (id === 0) return META_KEYSPACE;
    const record = this.#view.keyspaceOfId(id);
    return record && this.#host.keyspaceOf(record);
  }

  // Other nodes.

  #service(): Handler {
    return nodeService({
      nodeId: this.nodeId,
      calls: this.#server,
      host: this.#host,
      heartbeat: this.#heartbeat,
      source: this.#source,
      ranges: this.#ranges,
      watches: this.#watches,
      large: this.#large,
      meta: this.#view,
      metaLog: this.#metaLog,
    });
  }

  #noteLeader(shard: HostedShard): void {
    const { state } = shard;
    if (!state) return;
    if (state.leader !== '' && state.leader !== this.nodeId) this.#router.hints.note(shard.id, state.leader, state.epoch);
    // Who leads is known once the entry that says so has been run to its end.
    this.#options.clock.atTurnEnd(() => {
      this.#router.kick(shard.id);
      this.#duties.kick();
      this.#hooks.kick();
      if (shard.id === META_SHARD_ID) this.#heartbeat.kick();
    });
  }

  readonly #onError = (error: Error): void => {
    this.#options.onBackgroundError?.(error);
  };

  #tolerate(error: unknown): void {
    if (!isKeyfleetError(error)) throw error;
    this.#onError(error);
  }
}

const LEAVE_LOOK_MS = 100;
