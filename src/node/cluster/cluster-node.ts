import { isKeyfleetError, KeyfleetError } from '../../base/errors.ts';
import { META_SHARD_ID } from '../../shard/meta/meta-records.ts';
import type { NodeAddresses } from '../../shard/meta/node-record.ts';
import { DEFAULT_LIMITS, DEFAULT_TIMING } from '../../shard/replica/timing.ts';
import { DEFAULT_MAX_VALUE_BYTES } from '../../shard/shard-machine-options.ts';
import type { Handler } from '../../transport/transport.ts';
import { GroupCommit } from '../group-commit.ts';
import { SnapshotSource } from '../snapshot-transfer.ts';
import { CallServer } from './call-server.ts';
import { claimData } from './claim-data.ts';
import { type AccessParts, ClusterAccess } from './cluster-access.ts';
import { ClusterHooks } from './cluster-hooks.ts';
import { type ClusterNodeOptions, SINCE } from './cluster-options.ts';
import type { ViewSources } from './cluster-view.ts';
import { Controller } from './controller.ts';
import { HandOver } from './hand-over.ts';
import { Heartbeat } from './heartbeat.ts';
import type { HostedShard, ShardSurroundings } from './hosted-shard.ts';
import { joinCluster } from './joining.ts';
import { KeyListeners } from './key-listeners.ts';
import { KeyWatches } from './key-watches.ts';
import { KnownMembers } from './known-members.ts';
import { LargeAnswers, requestWhole } from './large-answers.ts';
import { LeaderWatch } from './leader-watch.ts';
import { MapSource } from './map-source.ts';
import { MetaClient } from './meta-client.ts';
import { MetaLogRecovery } from './meta-log-recovery.ts';
import { META_KEYSPACE, MetaReplica } from './meta-replica.ts';
import type { MetaView } from './meta-view.ts';
import { decodeSnapshotAnswer, encodeReport, encodeShard, encodeSnapshotRequest, REPORT, SNAPSHOT, URGE } from './node-messages.ts';
import { nodeService } from './node-service.ts';
import { RangeSource } from './range-transfer.ts';
import { RemovedShards } from './removed-shards.ts';
import { CallRouter } from './router.ts';
import { ServedKeyspaces } from './served-keyspaces.ts';
import { ShardDuties } from './shard-duties.ts';
import { ShardHost } from './shard-host.ts';
import { ShardSweeper } from './shard-sweeper.ts';
import { WorkForOthers } from './vigil.ts';

// A node of a cluster: replicas of some shards and of the meta shard, which says who has what; requests of clients for any shard, carried to whoever
// leads it. How a node finds out what to do, and what each death leaves behind: docs/protocol/cluster.md.
//
// It stands on ports alone (clock, storage, logs, transport), so that the simulator runs this very code.

const DAY_MS = 24 * 3_600_000;
const SNAPSHOT_TIMEOUT_MS = 5_000;

export class ClusterNode extends ClusterAccess {
  protected readonly access: AccessParts;
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
  readonly #maps: MapSource;
  readonly #controller: Controller;
  readonly #duties: ShardDuties;
  readonly #sweeper: ShardSweeper;
  readonly #handOver: HandOver;
  readonly #hooks: ClusterHooks;
  readonly #leaders: LeaderWatch;
  readonly #served: ServedKeyspaces;
  readonly #listeners = new KeyListeners();
  readonly #watches: KeyWatches;
  #addresses: NodeAddresses;
  readonly #timeoutMs: number;
  #isJoined = false;
  #isStopped = false;

  private constructor(options: ClusterNodeOptions) {
    const { nodeId, cluster, storage, clock, transport, logs, timing = {}, limits = {}, requestTimeoutMs = 10_000 } = options;
    super(nodeId, cluster);
    this.#options = options;
    this.#timeoutMs = requestTimeoutMs;
    this.#watches = new KeyWatches({ clock, transport, listeners: this.#listeners });
    this.#addresses = options.addresses ?? {};
    this.#served = new ServedKeyspaces(options.modules);
    this.#commits = new GroupCommit(storage, clock);
    this.#large = new LargeAnswers(clock, transport.maxPayloadBytes);
    const world: ShardSurroundings = {
      self: nodeId,
      storage,
      commits: this.#commits,
      clock,
      logs,
      timing,
      limits,
      maxValueBytes: options.maxValueBytes ?? DEFAULT_MAX_VALUE_BYTES,
      report: (to, report) => transport.send(to, REPORT, encodeReport(report)),
      urge: (to, shard) => transport.send(to, URGE, encodeShard(shard)),
      ranElsewhere: (shard, generation) => this.#heartbeat.reports.ran(shard, generation),
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
      served: this.#served,
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
    this.#router = new CallRouter({ self: nodeId, clock, transport, host: this.#host, map: this.#view });
    this.#server = new CallServer(clock, this.#router, this.#served, this.#view);
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
    this.#maps = new MapSource({ clock, meta: this.#meta, host: this.#host, router: this.#router, reports });
    const { keptEntries } = { ...DEFAULT_LIMITS, ...limits };
    this.#controller = new Controller({ ...parts, reports, logs, everyMs, keptEntries, downAfterMs, onError: this.#onError });
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
    this.access = {
      ...{ clock, transport, router: this.#router, client: this.#client, served: this.#served, requestTimeoutMs, ranges: this.#ranges },
      sources: () => this.#sources,
      within: (ms, isTrue) => this.#meta.within(ms, isTrue),
      maxKeyBytes: options.maxKeyBytes,
      giveHook: (name, hook) => this.#hooks.give(name, hook),
      hookOf: (name) => this.#hooks.of(name),
      onServed: () => this.#host.reconcile(),
      listen: (id, listener) => this.#listeners.listen(id, listener),
      watch: (...watch) => this.#watches.watch(...watch),
      onError: this.#onError,
    };
    this.#host.add(this.#meta.shard);
    this.#meta.recall();
  }

  /**
   * Opens the node whose data are in the storage, or a new one in an empty storage, and joins the cluster; the first makes it. Fulfilled when the
   * node has a copy of the meta shard and is known to it.
   * @throws KF_OTHER_CLUSTER when the data are of another node or cluster; KF_BAD_NODE, KF_NODE_INCOMPATIBLE; what the storage throws.
   */
  static async start(options: ClusterNodeOptions): Promise<ClusterNode> {
    await claimData(options.storage, options.nodeId, options.cluster);
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

  get #sources(): ViewSources {
    const { nodeId, cluster } = this;
    const { reports } = this.#heartbeat;
    return {
      ...{ nodeId, cluster, map: this.#view, metaLost: this.#metaLog.lost, host: this.#host, router: this.#router, reports },
      nowMs: this.#options.clock.now().monoMs,
    };
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
    this.mapChanged();
    this.#host.reconcile();
    this.#duties.kick();
    this.#controller.kick();
  }

  // Other nodes.

  #service(): Handler {
    return nodeService({
      nodeId: this.nodeId,
      calls: this.#server,
      work: new WorkForOthers(this.#options.clock),
      host: this.#host,
      heartbeat: this.#heartbeat,
      source: this.#source,
      ranges: this.#ranges,
      watches: this.#watches,
      large: this.#large,
      meta: this.#view,
      metaLog: this.#metaLog,
      maps: this.#maps,
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
