import type { Bytes } from '../../base/bytes.ts';
import type { ControlCommand, ControlOutcome } from '../../shard/control-command.ts';
import { stateKey } from '../../shard/key-layout.ts';
import { type Hosted, hostedBy } from '../../shard/meta/hosting.ts';
import { type KeyspaceRecord, META_SHARD_ID, mapOf } from '../../shard/meta/meta-records.ts';
import { encodeShardState, newShardState, type PositionRange, type ShardState } from '../../shard/shard-state.ts';
import type { SlotCounts } from '../../shard/slot-counts.ts';
import { HostedShard, type HostedShardOptions, type ShardKeyspace, type ShardSurroundings } from './hosted-shard.ts';
import type { MetaView } from './meta-view.ts';
import type { RemovedShards } from './removed-shards.ts';
import type { ServedKeyspaces } from './served-keyspaces.ts';

// The shards on this node: those that the meta shard's replica here says it is to have. Whenever that changes, some are opened and some closed.

export interface HostEvents {
  readonly stepped: (shard: HostedShard, step: ControlCommand, outcome: ControlOutcome) => void;
  /** An entry has been run with effect; the batch of its effects is open. */
  readonly ran: (shard: HostedShard, ...entry: Parameters<NonNullable<HostedShardOptions['onRan']>>) => void;
  readonly leaderChanged: (shard: HostedShard) => void;
  readonly opened: (shard: HostedShard) => void;
  readonly caughtUp: (shard: HostedShard) => void;
  readonly keyChanged: (keyspaceId: number, key: Bytes | undefined) => void;
  readonly logLost: (shard: HostedShard) => void;
}

/** Who is being brought a shard does not lead it. */
const NEVER_FIRST = Number.POSITIVE_INFINITY;
const GO_ON_MS = 20;

export class ShardHost {
  readonly #world: ShardSurroundings;
  readonly #meta: MetaView;
  readonly #removed: RemovedShards;
  readonly #served: ServedKeyspaces;
  readonly #events: HostEvents;
  readonly #shards = new Map<number, HostedShard>();
  readonly #roles = new Map<number, Hosted>();
  /** The counts of shards that were cut from one here, until they are opened. */
  readonly #born = new Map<number, SlotCounts>();
  #isStopped = false;

  constructor(options: {
    readonly world: ShardSurroundings;
    readonly meta: MetaView;
    readonly removed: RemovedShards;
    /** What this node has no module of it cannot have. */
    readonly served: ServedKeyspaces;
    readonly events: HostEvents;
  }) {
    this.#world = options.world;
    this.#meta = options.meta;
    this.#removed = options.removed;
    this.#served = options.served;
    this.#events = options.events;
  }

  /** Adds the shard that is not of a keyspace. */
  add(shard: HostedShard): void {
    this.#shards.set(shard.id, shard);
    shard.start();
  }

  get(id: number): HostedShard | undefined {
    return this.#shards.get(id);
  }

  /** As what the node has a shard. */
  roleOf(id: number): Hosted | undefined {
    return this.#roles.get(id);
  }

  all(): Iterable<HostedShard> {
    return this.#shards.values();
  }

  /** A keyspace has just been registered, in the batch that is open: its shards begin empty, here and on all their nodes alike. */
  begin(record: KeyspaceRecord): void {
    for (const { id, range, replicas } of record.shards) {
      if (!replicas?.includes(this.#world.self) || this.#world.storage.has(stateKey(id))) continue;
      this.#world.storage.put(stateKey(id), encodeShardState(beginningOf(id, range, record.id)));
    }
  }

  /** Opens and closes shards until the node has what it is to have, and gives what it is to have no more to be removed. */
  reconcile(): void {
    // While the meta shard's replica is brought from elsewhere, nothing can be read of it.
    if (this.#isStopped || !this.#shards.get(META_SHARD_ID)?.driver) return;
    const wanted = new Set<number>([META_SHARD_ID]);
    for (const record of this.#meta.keyspaces.values()) {
      const keyspace = this.#served.of(record);
      for (const hosted of hostedBy(mapOf(record), this.#world.self)) {
        wanted.add(hosted.shard);
        this.#roles.set(hosted.shard, hosted);
        if (keyspace) this.#host(keyspace, hosted);
      }
    }
    const isOver = (id: number): boolean => !wanted.has(id) && id < this.#meta.nextShardId;
    for (const [id, shard] of [...this.#shards]) if (isOver(id)) shard.stop().catch(this.#world.onError);
    for (const state of [...this.#removed.stored()]) {
      if (!isOver(state.id)) continue;
      this.#removed.left(state, this.#shards.get(state.id)?.keyspace.id ?? 0);
      this.#world.commits.wrote();
    }
    for (const id of [...this.#shards.keys()]) {
      if (!isOver(id)) continue;
      this.#shards.delete(id);
      this.#roles.delete(id);
    }
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    const shards = [...this.#shards.values()];
    this.#shards.clear();
    await Promise.all(shards.map((shard) => shard.stop('this node is stopping')));
  }

  #host(keyspace: ShardKeyspace, { shard: id, as, replicas, generation, log, isLost = false, begins }: Hosted): void {
    const { self, storage } = this.#world;
    const rank = as === 'joining' ? NEVER_FIRST : Math.max(0, replicas.indexOf(self));
    const known = this.#shards.get(id);
    if (known?.generation === generation) {
      known.setRank(rank);
      known.setLog(log, isLost);
      return;
    }
    // A child is born by its parent here, and one that was taken over is not brought again.
    if ((as === 'child' || as === 'leaving') && !storage.has(stateKey(id))) return;
    known?.stop('its log has been replaced').catch(this.#world.onError);
    const shard: HostedShard = new HostedShard(this.#world, {
      id,
      generation,
      keyspace,
      rank,
      peers: () => (this.#roles.get(id)?.replicas ?? replicas).filter((node) => node !== self),
      isBlocked: (range) => this.#isOverlapped(keyspace.id, id, range),
      // When the meta shard's replica here was brought from another node, this one has not run the registration.
      begin: begins && beginningOf(id, begins, keyspace.id),
      counts: this.#born.get(id),
      countsOf: (other) => this.#shards.get(other)?.machine?.counts,
      onStepped: (step, outcome) => {
        const born = shard.machine?.born;
        if (step.kind === 'split-mark' && born) this.#born.set(step.child, born.counts);
        this.#events.stepped(shard, step, outcome);
      },
      onRan: (...entry) => this.#events.ran(shard, ...entry),
      onLeaderChanged: () => this.#events.leaderChanged(shard),
      onWaitsFor: (other) => this.#waits(shard, other),
      onCaughtUp: () => this.#events.caughtUp(shard),
      onOpened: () => this.#events.opened(shard),
      onCleared: (table, range) => this.#removed.cleared(id, keyspace.id, table, range),
      onChange: (key) => this.#events.keyChanged(keyspace.id, key),
      onLogLost: () => this.#events.logLost(shard),
    });
    this.#shards.set(id, shard);
    this.#born.delete(id);
    shard.setLog(log, isLost);
    shard.start();
  }

  /**
   * A shard that lags behind runs entries for keys that have gone to another one since, and a parent before its mark would cut its child anew. So
   * nothing is brought over a range that another shard here still has, unless that is frozen and changes no more. `range`: of what comes; default:
   * as the map has it.
   */
  #isOverlapped(keyspaceId: number, id: number, range = this.#rangeOf(keyspaceId, id)): boolean {
    if (!range) return false;
    for (const state of [...this.#removed.stored()]) {
      if (state.id === id || this.#shards.get(state.id)?.keyspace.id !== keyspaceId) continue;
      const isDone = state.status === 'frozen' || state.status === 'retired' || state.status === 'faulted';
      if (isDone || state.range.from >= range.to || state.range.to <= range.from) continue;
      if (!this.#giveUp(state.id)) return true;
    }
    return false;
  }

  #rangeOf(keyspaceId: number, id: number): PositionRange | undefined {
    return this.#meta.keyspaceOfId(keyspaceId)?.shards.find((one) => one.id === id)?.range;
  }

  /**
   * A shard was taken over, and cannot come to where it was: nobody who has run the merge can give its data any more, or its log is lost, and none
   * comes after it. Its data are in those of its left neighbour, which must be brought whole. False: it is not so.
   */
  #giveUp(id: number): boolean {
    const shard = this.#shards.get(id);
    const canGoOn = shard?.machine !== undefined && shard.lostReport === undefined;
    if (canGoOn || (this.#roles.get(id)?.as ?? 'leaving') !== 'leaving') return false;
    shard?.stop('it was taken over').catch(this.#world.onError);
    this.#shards.delete(id);
    this.#removed.givenUp(id);
    this.#world.commits.wrote();
    return true;
  }

  /** What another shard here must run first is run as fast as its log can be read. When it is not here any more, it is in the data of other nodes. */
  #waits(shard: HostedShard, other: number): void {
    if (this.#giveUp(other)) {
      shard.bringAnew();
      return;
    }
    this.#shards.get(other)?.driver?.logGrew();
    this.#world.clock.after(GO_ON_MS, () => shard.driver?.goOn());
  }
}

/** Of a shard as it was registered; the keyspace has the number of its first table. */
function beginningOf(id: number, range: PositionRange, keyspaceId: number): ShardState {
  return { ...newShardState({ id, range, table: keyspaceId, leader: '' }), epoch: 0 };
}
