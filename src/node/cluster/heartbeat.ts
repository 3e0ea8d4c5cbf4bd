import type { Bytes } from '../../base/bytes.ts';
import { isKeyfleetError, KeyfleetError } from '../../base/errors.ts';
import { META_SHARD_ID } from '../../shard/meta/meta-records.ts';
import type { Transport } from '../../transport/transport.ts';
import { LoadMeter } from '../load-meter.ts';
import type { NodeClock } from '../node-clock.ts';
import { sizeOfShard } from '../shard-cut.ts';
import type { HostedShard, LostLogReport } from './hosted-shard.ts';
import { requestWhole } from './large-answers.ts';
import type { MetaView } from './meta-view.ts';
import { ClusterReports, decodeJson, encodeJson, type NodeReport, type ShardReport, type SpreadReports } from './reports.ts';
import type { CallRouter } from './router.ts';
import type { ShardHost } from './shard-host.ts';

export const HEARTBEAT = 'heartbeat';

export interface HeartbeatOptions {
  readonly self: string;
  readonly clock: NodeClock;
  readonly transport: Transport;
  readonly meta: MetaView;
  readonly host: ShardHost;
  readonly router: CallRouter;
  readonly everyMs: number;
  /** Something has become known. */
  readonly onReport: () => void;
}

/** Tells the leader of the meta shard what this node has, and keeps what is known of all. */
export class Heartbeat {
  readonly reports = new ClusterReports();
  readonly #options: HeartbeatOptions;
  readonly #loads: LoadMeter;
  #cancel: () => void = () => {};
  #isBeating = false;
  #beatAgain = false;
  #isStopped = false;

  constructor(options: HeartbeatOptions) {
    this.#options = options;
    this.#loads = new LoadMeter(() => options.clock.now().wallMs);
  }

  start(): void {
    this.#isStopped = false;
    this.#arm();
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancel();
  }

  /** Tells at once what there is to tell: somebody waits for it. */
  kick(): void {
    if (this.#isStopped) return;
    if (this.#isBeating) {
      this.#beatAgain = true;
      return;
    }
    this.#beat().catch((error: unknown) => {
      if (!isKeyfleetError(error)) throw error;
    });
  }

  /** Another node's report has come: the answer is what is known of all. @throws KF_NOT_LEADER when this node does not lead the meta shard. */
  heard(payload: Bytes): Bytes {
    const { router, clock, self, onReport } = this.#options;
    if (!router.leadsHere(META_SHARD_ID)) {
      throw new KeyfleetError('KF_NOT_LEADER', `node ${self} does not lead the meta shard`, { retryable: true });
    }
    const { monoMs } = clock.now();
    this.reports.take(decodeJson<NodeReport>(payload), monoMs);
    onReport();
    return encodeJson(this.reports.spread(monoMs));
  }

  /** Work of a shard lately, in units of one small command, a second. */
  loadPerSecond(shard: HostedShard): number {
    return shard.machine ? this.#loads.perSecond(shard.machine) : 0;
  }

  #arm(): void {
    this.#cancel = this.#options.clock.after(this.#options.everyMs, () => {
      this.kick();
      if (!this.#isStopped) this.#arm();
    });
  }

  async #beat(): Promise<void> {
    const { self, clock, transport, router, onReport, everyMs } = this.#options;
    this.#isBeating = true;
    try {
      do {
        this.#beatAgain = false;
        const report = this.#report();
        this.reports.take(report, clock.now().monoMs);
        const leader = router.leaderOf(META_SHARD_ID);
        if (leader !== undefined && leader !== self) {
          const answer = await requestWhole(transport, leader, HEARTBEAT, encodeJson(report), 4 * everyMs);
          this.reports.takeAll(decodeJson<SpreadReports>(answer), self, clock.now().monoMs);
        }
        onReport();
      } while (this.#beatAgain && !this.#isStopped);
    } finally {
      this.#isBeating = false;
    }
  }

  #report(): NodeReport {
    const { self, host } = this.#options;
    const shards: ShardReport[] = [];
    const lostLogs: LostLogReport[] = [];
    for (const shard of host.all()) {
      if (shard.lostReport && shard.id !== META_SHARD_ID) lostLogs.push(shard.lostReport);
      const report = shard.id === META_SHARD_ID ? undefined : this.#reportOf(shard);
      if (report) shards.push(report);
    }
    return { node: self, shards, ...(lostLogs.length > 0 ? { lostLogs } : {}) };
  }

  #reportOf(shard: HostedShard): ShardReport | undefined {
    const { driver, machine, generation, leads } = shard;
    if (!driver || !machine) return undefined;
    const { id, epoch, status, applied, keyCount, sizeBytes, expiringCount } = machine.state;
    const { durableSeq, hasCaughtUp: isCaughtUp } = driver.replica;
    const joins = this.#options.host.roleOf(id)?.joins;
    const log = shard.lostReport ? undefined : shard.log?.id;
    const common = {
      id,
      generation,
      epoch,
      leads,
      isCaughtUp,
      joins,
      status,
      applied,
      durableSeq,
      keyCount,
      sizeBytes,
      expiringCount,
      log,
    };
    const record = this.#options.meta.keyspaceOfId(shard.keyspace.id);
    if (!leads || !record) return { ...common, loadPerSecond: 0 };
    machine.loadPerQueryToMissingKey = record.policy.loadPerQueryToMissingKey;
    this.#loads.look(machine);
    const loadPerSecond = this.#loads.perSecond(machine);
    const { cutAt } = sizeOfShard(machine, record.policy, loadPerSecond, record.shards.length < record.policy.minShards);
    return { ...common, loadPerSecond, cutAt };
  }
}
