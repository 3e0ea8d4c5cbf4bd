import { fromUtf8, utf8 } from '../../base/bytes.ts';
import { KeyfleetError } from '../../base/errors.ts';
import { META_TABLE, stateKey, systemKey } from '../../shard/key-layout.ts';
import type { StoppedReplica } from '../../shard/meta/lost-log.ts';
import { type KeyspaceRecord, META_SHARD_ID } from '../../shard/meta/meta-records.ts';
import { metaModule } from '../../shard/meta-module.ts';
import { decodeShardState, newShardState } from '../../shard/shard-state.ts';
import { type AnyModule, HostedShard, type ShardKeyspace, type ShardSurroundings } from './hosted-shard.ts';
import { MapWaiters } from './map-waiters.ts';
import { MetaView } from './meta-view.ts';

export const META_KEYSPACE: ShardKeyspace = { id: 0, name: 'meta', module: metaModule as unknown as AnyModule, scheme: undefined };

export interface MetaReplicaOptions {
  readonly world: ShardSurroundings;
  /** Other nodes that may have it. */
  readonly peers: () => readonly string[];
  /** A keyspace has just been registered; the batch is open. */
  readonly onRegistered: (record: KeyspaceRecord) => void;
  /** It says something else than before. */
  readonly onChanged: () => void;
  readonly onLeaderChanged: () => void;
  /** There is none of its log, and this node has nothing of it: whether it may begin one. */
  readonly mayMakeLog: () => Promise<boolean>;
  readonly onLogLost: () => void;
  /** It goes on with another generation of its log, as this. */
  readonly onReplaced: (shard: HostedShard) => void;
}

/** What this node remembers of the meta shard's log, beside its state. */
interface LogNote {
  readonly generation: number;
  readonly log?: string;
  /** Another node may have been told where this one has stopped. */
  readonly hasStopped: boolean;
}

const NOTE = systemKey('l', new Uint8Array(0));

/** This node's replica of the meta shard, from which it knows what it is to have. Every node has one. */
export class MetaReplica {
  readonly view: MetaView;
  readonly #options: MetaReplicaOptions;
  #shard: HostedShard;
  readonly #known = new Set<number>();
  readonly #waiters: MapWaiters;
  #changeIsDue = false;

  constructor(options: MetaReplicaOptions) {
    this.#options = options;
    this.#waiters = new MapWaiters(options.world.clock);
    this.view = new MetaView(options.world.storage);
    const stored = options.world.storage.get(stateKey(META_SHARD_ID));
    const generation = stored ? decodeShardState(stored).logGeneration : 1;
    this.#shard = this.#hosted(generation);
  }

  /** What this node knows of its log from before, once the shard is at work. */
  recall(): void {
    const note = this.#note();
    if (note?.generation === this.#shard.generation) this.#shard.setLog(note.log, note.hasStopped);
  }

  /** Another one after each loss of its log. */
  get shard(): HostedShard {
    return this.#shard;
  }

  /** It stays where it is, whatever becomes of its log, also after a restart. */
  stopForGood(): Promise<StoppedReplica> {
    const { generation } = this.#shard;
    this.#write({ generation, hasStopped: true });
    return this.#shard.stopForGood();
  }

  /** A later generation of its log has begun. */
  goOnWith(generation: number): void {
    const { onReplaced, world } = this.#options;
    this.#shard.stop('its log has been replaced').catch(world.onError);
    this.#shard = this.#hosted(generation);
    onReplaced(this.#shard);
  }

  #note(): LogNote | undefined {
    const stored = this.#options.world.storage.get(NOTE);
    return stored && (JSON.parse(fromUtf8(stored)) as LogNote);
  }

  #write(note: LogNote): void {
    const { storage, commits } = this.#options.world;
    storage.put(NOTE, utf8(JSON.stringify(note)));
    commits.wrote();
  }

  /** Its log is known again by its id. */
  #noteLog(): void {
    const { generation, log, state } = this.#shard;
    const known = this.#note();
    if (!log?.id || (state?.applied ?? 0) === 0 || (known?.generation === generation && known.log === log.id)) return;
    this.#write({ generation, log: log.id, hasStopped: false });
  }

  #hosted(generation: number): HostedShard {
    const { world, peers, onLeaderChanged, mayMakeLog, onLogLost } = this.#options;
    const range = { from: 0, to: 0x1_0000_0000 };
    return new HostedShard(world, {
      id: META_SHARD_ID,
      generation,
      mayMakeLog,
      onLogLost,
      keyspace: META_KEYSPACE,
      rank: 0,
      peers,
      begin: { ...newShardState({ id: META_SHARD_ID, range, table: META_TABLE, leader: '' }), epoch: 0 },
      onRan: ({ commands }) => {
        if (commands.length > 0) this.#ran();
        if (commands.length > 0) this.#noteLog();
      },
      onOpened: () => {
        this.#noteLog();
        this.view.changed();
        for (const { id } of this.view.keyspaces.values()) this.#known.add(id);
        this.#changed();
        onLeaderChanged();
      },
      onLeaderChanged,
    });
  }

  /** Fulfilled when it has come so far. @throws KF_UNAVAILABLE when it has not in time. */
  async until(ms: number, isTrue: () => boolean): Promise<void> {
    if (await this.within(ms, isTrue)) return;
    throw new KeyfleetError('KF_UNAVAILABLE', 'this node does not hear of what the meta shard has run', { retryable: true });
  }

  /** Looks whenever it has run something; false when it did not come true in time. */
  within(ms: number, isTrue: () => boolean): Promise<boolean> {
    return this.#waiters.within(ms, isTrue);
  }

  /** An entry with commands has been run; its batch is open. */
  #ran(): void {
    this.view.changed();
    for (const record of this.view.keyspaces.values()) {
      if (this.#known.has(record.id)) continue;
      this.#known.add(record.id);
      this.#options.onRegistered(record);
    }
    this.#changed();
  }

  #changed(): void {
    if (this.#changeIsDue) return;
    this.#changeIsDue = true;
    this.#options.world.clock.atTurnEnd(() => {
      this.#changeIsDue = false;
      this.shard.setRank(this.#rank());
      this.#options.onChanged();
      this.#waiters.changed();
    });
  }

  /** Any member may lead it, in the order of their ids; before there are members, anybody. */
  #rank(): number {
    const members = this.view.cluster.nodes.filter(({ status }) => status !== 'left');
    if (members.length === 0) return 0;
    const index = members.findIndex(({ id }) => id === this.#options.world.self);
    return index < 0 ? Number.POSITIVE_INFINITY : index;
  }
}
