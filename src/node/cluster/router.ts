import { isKeyfleetError, KeyfleetError } from '../../base/errors.ts';
import type { Hosted } from '../../shard/meta/hosting.ts';
import { META_SHARD_ID } from '../../shard/meta/meta-records.ts';
import { NotLeaderError } from '../../shard/replica/not-leader-error.ts';
import type { Transport } from '../../transport/transport.ts';
import type { NodeClock } from '../node-clock.ts';
import { Call, type CallOptions } from './call.ts';
import type { ClusterMap } from './cluster-map.ts';
import { Forwarder } from './forwarder.ts';
import type { HostedShard, ShardKeyspace } from './hosted-shard.ts';
import { beliefsOf, logTroubleOf } from './leader-watch.ts';
import type { ClusterReports } from './reports.ts';
import { LeaderHints, mappedShardAt } from './routes.ts';

// Brings each request to the leader of its shard, wherever that is, and tries again for as long as nothing was done, or doing it twice is doing it
// once. What a node believes of others are hints: whoever is asked says no when he does not lead.

/** Nothing was done. */
const NOT_DONE = new Set([
  'KF_NOT_LEADER',
  'KF_SHARD_MOVED',
  'KF_NODE_UNREACHABLE',
  'KF_BUSY',
  'KF_SHARD_BUSY',
  'KF_SHARD_FAULTED',
  'KF_MODULE_MISSING',
]);
/** Those that say it all by themselves. */
const AS_THEY_ARE = new Set(['KF_CLOSED', 'KF_MODULE_MISSING']);
/** It may have been done. */
const UNKNOWN = new Set(['KF_NODE_SILENT', 'KF_OUTCOME_UNKNOWN', 'KF_INTERNAL']);
const FIRST_PAUSE_MS = 10;
const LONGEST_PAUSE_MS = 100;

/** The shards that are in this process. */
export interface LocalShards {
  get(id: number): HostedShard | undefined;
  roleOf(id: number): Hosted | undefined;
}

/** Of who is a client alone. */
export const NO_SHARDS: LocalShards = { get: () => undefined, roleOf: () => undefined };

export interface CallRouterOptions {
  readonly self: string;
  readonly clock: NodeClock;
  readonly transport: Transport;
  readonly host: LocalShards;
  readonly map: ClusterMap;
  /** Somebody was asked in vain, or nobody is known who could be: what is believed of the cluster may be old. */
  readonly onAstray?: () => void;
}

export class CallRouter {
  readonly hints: LeaderHints;
  readonly #self: string;
  readonly #clock: NodeClock;
  readonly #host: LocalShards;
  readonly #map: ClusterMap;
  readonly #onAstray: () => void;
  readonly #forwarder: Forwarder;
  /** By shard: those that wait for somebody to lead it. */
  readonly #waiting = new Map<number, { calls: Call[]; readonly cancel: () => void }>();
  #isStopped = false;

  constructor({ self, clock, transport, host, map, onAstray = () => {} }: CallRouterOptions) {
    this.#self = self;
    this.#clock = clock;
    this.#host = host;
    this.#map = map;
    this.#onAstray = onAstray;
    this.hints = new LeaderHints(self, (shard) => this.kick(shard));
    this.#forwarder = new Forwarder({
      clock,
      transport,
      leaderOf: (shard) => this.leaderOf(shard),
      onLeader: (shard, leader) => this.hints.note(shard, leader),
    });
  }

  /** Carries a request out, here or elsewhere. */
  send(options: CallOptions): void {
    this.#attempt(new Call(options, this.#onFailed));
  }

  /**
   * Runs a request of another node on a shard that this one leads, or answers from its own copy when it asks for that; else it is
   * refused with KF_NOT_LEADER, and nothing was done. Returns the shard.
   */
  runHere(options: CallOptions, onFailed: (call: Call, error: Error) => void): number {
    const call = new Call(options, onFailed);
    const shard = this.shardAt(call.keyspace, call.position);
    if (shard === undefined) {
      call.failed(0, new NotLeaderError(-1, undefined, `keyspace ${call.keyspace.name} is not known here`));
      return -1;
    }
    const hosted = this.#host.get(shard);
    if (hosted?.driver && (hosted.leads || this.#answersLocally(call, hosted))) call.runOn(hosted);
    else call.failed(0, new NotLeaderError(shard, this.leaderOf(shard), `node ${this.#self} does not lead it`));
    return shard;
  }

  leadsHere(shard: number): boolean {
    return this.#host.get(shard)?.leads ?? false;
  }

  /** This node has a replica of it that runs its log. */
  isHere(shard: number): boolean {
    return this.#host.get(shard)?.driver !== undefined;
  }

  /** Who leads a shard, as far as this node knows. */
  leaderOf(shard: number): string | undefined {
    if (this.leadsHere(shard)) return this.#self;
    // What was forgotten because it did not answer still leads, as long as a replica of our own knows of nobody else.
    const leader = this.hints.of(shard)?.leader || this.#host.get(shard)?.state?.leader;
    return leader === '' || leader === this.#self ? undefined : leader;
  }

  /** Nodes have said what they lead: news of the shards of which no replica here tells. */
  learn(reports: ClusterReports): void {
    for (const { shards } of this.#map.keyspaces.values()) {
      for (const { id } of shards) {
        if (this.#host.get(id)?.driver) continue;
        for (const [node, report] of reports.ofShard(id)) if (report.leads) this.hints.note(id, node, report.epoch);
      }
    }
  }

  /** The shard that has a position: as the map says, and beyond it the shards that are here, which know of splits and merges before the map does. */
  shardAt(keyspace: ShardKeyspace, position: number): number | undefined {
    if (keyspace.id === 0) return META_SHARD_ID;
    const record = this.#map.keyspaceOfId(keyspace.id);
    if (!record) return undefined;
    let { id } = mappedShardAt(record, position);
    for (let hops = 0; hops < 8; hops++) {
      const state = this.#host.get(id)?.state;
      if (!state) return id;
      const isInside = position >= state.range.from && position < state.range.to;
      const peer = this.#host.get(state.peer)?.state;
      const peerHasIt = peer !== undefined && position >= peer.range.from && position < peer.range.to;
      const isGone = state.phase === 'frozen' || state.phase === 'retired';
      if (!peerHasIt || !(isGone || (state.phase === 'marked' && !isInside))) return id;
      id = state.peer;
    }
    return id;
  }

  /** Something has changed for a shard: those that wait for it try again at once. */
  kick(shard: number): void {
    const waiting = this.#waiting.get(shard);
    if (!waiting) return;
    this.#waiting.delete(shard);
    waiting.cancel();
    this.#clock.atTurnEnd(() => {
      for (const call of waiting.calls) this.#attempt(call);
    });
  }

  /** Takes nothing more; whoever still waits is told. */
  stop(): void {
    this.#isStopped = true;
    for (const { calls, cancel } of this.#waiting.values()) {
      cancel();
      for (const call of calls) this.#end(call, stopping());
    }
    this.#waiting.clear();
  }

  #attempt(call: Call): void {
    const shard = this.shardAt(call.keyspace, call.position);
    if (shard === undefined) {
      call.giveUp(new KeyfleetError('KF_NO_KEYSPACE', `there is no keyspace ${call.keyspace.name}`));
      return;
    }
    if (this.#isStopped) {
      this.#end(call, stopping());
      return;
    }
    call.shard = shard;
    const hosted = this.#host.get(shard);
    if (hosted?.driver && (hosted.leads || this.#answersLocally(call, hosted))) {
      call.asked = this.#self;
      call.runOn(hosted);
      return;
    }
    const target = this.#targetOf(call, hosted);
    call.asked = target ?? '';
    if (target !== undefined) {
      this.#forwarder.send(target, call);
      return;
    }
    this.#onAstray();
    this.#later(call);
  }

  /** Whom to ask: the leader; while none is known here, one replica after the other. */
  #targetOf(call: Call, hosted: HostedShard | undefined): string | undefined {
    const leader = this.leaderOf(call.shard);
    if (leader !== undefined && leader !== call.asked) return leader;
    if (leader !== undefined && call.attempts === 0) return leader;
    // A replica of our own hears of a new leader as soon as there is one.
    if (hosted?.driver || call.shard === META_SHARD_ID) return leader;
    const { replicas = [] } = mappedShardAt(this.#map.keyspaceOfId(call.keyspace.id)!, call.position);
    const others = replicas.filter((node) => node !== this.#self);
    return others.length === 0 ? leader : others[call.attempts % others.length];
  }

  #answersLocally(call: Call, hosted: HostedShard): boolean {
    return call.isQuery && call.read === 'local' && this.#host.roleOf(hosted.id)?.as !== 'joining';
  }

  readonly #onFailed = (call: Call, error: Error): void => {
    if (!isKeyfleetError(error)) {
      call.giveUp(error);
      return;
    }
    const isClosed = error.code === 'KF_CLOSED';
    if (NOT_DONE.has(error.code) || (isClosed && call.asked === this.#self)) {
      const said = error instanceof NotLeaderError ? error : undefined;
      if (said?.leader !== undefined && said.leader !== this.#self) this.hints.note(said.shard, said.leader);
      else if (call.asked !== this.#self && error.code !== 'KF_BUSY') this.hints.forget(call.shard, call.asked);
      this.#again(call, error);
    } else if (UNKNOWN.has(error.code) || isClosed) {
      if (!call.isRepeatable) {
        call.giveUp(error.code === 'KF_OUTCOME_UNKNOWN' ? error : unknown(error));
        return;
      }
      call.isDoubtful = !call.isQuery;
      this.hints.forget(call.shard, call.asked);
      this.#again(call, error);
    } else {
      call.giveUp(error);
    }
  };

  #again(call: Call, error: KeyfleetError): void {
    call.attempts++;
    this.#onAstray();
    if (this.#isStopped || this.#clock.now().monoMs >= call.lastTryMs) {
      this.#end(call, error);
      return;
    }
    const leader = this.leaderOf(call.shard);
    const isNews = leader !== undefined && leader !== call.asked && call.attempts < 4;
    if (isNews) this.#clock.atTurnEnd(() => this.#attempt(call));
    else this.#later(call);
  }

  /** Tries again after a while, or when somebody is known to lead. */
  #later(call: Call): void {
    if (this.#clock.now().monoMs >= call.lastTryMs) {
      this.#end(call, new NotLeaderError(call.shard, undefined, 'nobody is known to lead it'));
      return;
    }
    const waiting = this.#waiting.get(call.shard);
    if (waiting) {
      waiting.calls.push(call);
      return;
    }
    call.attempts++;
    const pauseMs = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(call.attempts, 6));
    const { shard } = call;
    this.#waiting.set(shard, { calls: [call], cancel: this.#clock.after(pauseMs, () => this.kick(shard)) });
  }

  #end(call: Call, last: KeyfleetError): void {
    if (call.isDoubtful) {
      call.giveUp(unknown(last));
      return;
    }
    const hosted = this.#host.get(call.shard);
    const here = hosted ? `; node ${this.#self} ${beliefsOf(hosted)}` : '';
    const trouble = (hosted && logTroubleOf(hosted)) ?? last.message;
    const why = `nobody answered for shard ${call.shard} of keyspace ${call.keyspace.name} in time: ${trouble}${here}`;
    call.giveUp(AS_THEY_ARE.has(last.code) ? last : new KeyfleetError('KF_UNAVAILABLE', why, { cause: last, retryable: true }));
  }
}

function unknown(cause: KeyfleetError): KeyfleetError {
  return new KeyfleetError('KF_OUTCOME_UNKNOWN', `the command may or may not have an effect: ${cause.message}`, { cause });
}

function stopping(): KeyfleetError {
  return new KeyfleetError('KF_CLOSED', 'this node is stopping');
}
