import { KeyfleetError } from '../../base/errors.ts';
import { META_TABLE } from '../../shard/key-layout.ts';
import { type KeyspaceRecord, META_SHARD_ID } from '../../shard/meta/meta-records.ts';
import { metaModule } from '../../shard/meta-module.ts';
import { newShardState } from '../../shard/shard-state.ts';
import { type AnyModule, HostedShard, type ShardKeyspace, type ShardSurroundings } from './hosted-shard.ts';
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
}

/** This node's replica of the meta shard, from which it knows what it is to have. Every node has one. */
export class MetaReplica {
  readonly view: MetaView;
  readonly shard: HostedShard;
  readonly #options: MetaReplicaOptions;
  readonly #known = new Set<number>();
  readonly #listeners = new Set<() => void>();
  #changeIsDue = false;

  constructor(options: MetaReplicaOptions) {
    const { world, peers, onLeaderChanged } = options;
    this.#options = options;
    this.view = new MetaView(world.storage);
    const range = { from: 0, to: 0x1_0000_0000 };
    this.shard = new HostedShard(world, {
      id: META_SHARD_ID,
      generation: 1,
      keyspace: META_KEYSPACE,
      rank: 0,
      peers,
      begin: { ...newShardState({ id: META_SHARD_ID, range, table: META_TABLE, leader: '' }), epoch: 0 },
      onRan: ({ commands }) => {
        if (commands.length > 0) this.#ran();
      },
      onOpened: () => {
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
    if (isTrue()) return Promise.resolve(true);
    return new Promise((resolve) => {
      const end = (outcome: boolean): void => {
        cancel();
        this.#listeners.delete(look);
        resolve(outcome);
      };
      const look = (): void => {
        if (isTrue()) end(true);
      };
      const cancel = this.#options.world.clock.after(ms, () => end(false));
      this.#listeners.add(look);
    });
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
      for (const listener of [...this.#listeners]) listener();
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
