import { randomUUID } from 'node:crypto';
import { fromUtf8, utf8 } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import { MIB } from '../base/units.ts';
import { LocalLog, type LocalShard } from '../log/local.ts';
import { garbageKey, META_TABLE, sessionRange, stateKey, systemKey, TABLE_STEP, tableStart } from '../shard/key-layout.ts';
import { META_SHARD_ID, type MetaCommand, type MetaRecord, type MetaReply, metaModule } from '../shard/meta-module.ts';
import { evenStarts, type PositionScheme, type PositionSchemeName, positionScheme } from '../shard/position-scheme.ts';
import { ShardMachine } from '../shard/shard-machine.ts';
import { COUNTS_UNKNOWN, decodeShardState, encodeShardState, newShardState, type ShardState } from '../shard/shard-state.ts';
import { removeCounts } from '../shard/slot-counts.ts';
import { recountSlots } from '../shard/slot-recount.ts';
import type { ValueModule } from '../shard/value-module.ts';
import type { Storage, StorageStats } from '../storage/storage.ts';
import { KeyspaceRuntime } from './keyspace-runtime.ts';
import { type AnyKeyspaceRuntime, Sweeper } from './sweeper.ts';

// A node: one storage, the meta shard, and the shards of the keyspaces that this process serves. Doors and the Store for users stand on it.

/** How the records lie in storage; a release reads its own and earlier ones. */
const FORMAT = 1;
const FORMAT_KEY = systemKey('f', new Uint8Array(0));

export const DEFAULT_SHARD_COUNT = 8;
const MAX_SHARD_COUNT = 4096;

export interface NodeLimits {
  /** Of a value as its module encodes it, and of a cell. Default: 512 MiB. */
  readonly maxValueBytes?: number;
  /** Default: 512 MiB. */
  readonly maxKeyBytes?: number;
}

export interface NodeOptions extends NodeLimits {
  /** The node closes it when it closes. */
  readonly storage: Storage;
  /** Milliseconds since 1970. Default: the system's clock. */
  readonly now?: () => number;
  /** Told what the node's own work in the background met, such as a full disk. */
  readonly onBackgroundError?: (error: Error) => void;
}

export interface KeyspaceOptions<Value, Command, Reply, Query, Answer> {
  readonly module: ValueModule<Value, Command, Reply, Query, Answer>;
  /** Default: `hash`. */
  readonly scheme?: PositionSchemeName;
  /** How many shards a new keyspace gets; one that exists keeps its own. Default: 8. */
  readonly shards?: number;
}

export interface ShardStats {
  readonly id: number;
  readonly from: number;
  readonly to: number;
  readonly keyCount: number;
  readonly sizeBytes: number;
  readonly expiringCount: number;
  /** The number of its last entry. */
  readonly applied: number;
  /** Work done since the start, in units of one small command. */
  readonly load: number;
}

export interface KeyspaceStats {
  readonly name: string;
  readonly module: string;
  readonly scheme: PositionSchemeName;
  readonly keyCount: number;
  readonly sizeBytes: number;
  readonly expiringCount: number;
  readonly shards: readonly ShardStats[];
}

export interface NodeStats {
  readonly nodeId: string;
  /** Why writes are refused for now; undefined: they are taken. */
  readonly refusal: string | undefined;
  /** Keys removed because they had expired, since the start. */
  readonly expiredCount: number;
  readonly keyspaces: readonly KeyspaceStats[];
  readonly storage: StorageStats;
}

export class StoreNode {
  readonly nodeId: string;
  readonly storage: Storage;
  readonly #log: LocalLog;
  readonly #meta: LocalShard<MetaRecord, MetaCommand, MetaReply, never, never>;
  readonly #keyspaces = new Map<string, AnyKeyspaceRuntime>();
  readonly #sweeper: Sweeper;
  readonly #now: () => number;
  readonly #limits: Required<NodeLimits>;
  #closing: Promise<void> | undefined;

  private constructor(options: NodeOptions, nodeId: string) {
    const { storage, now = Date.now, maxValueBytes = 512 * MIB, maxKeyBytes = 512 * MIB, onBackgroundError = () => {} } = options;
    this.nodeId = nodeId;
    this.storage = storage;
    this.#now = now;
    this.#limits = { maxValueBytes, maxKeyBytes };
    this.#log = new LocalLog({ storage, now });
    this.#sweeper = new Sweeper({
      storage,
      log: this.#log,
      keyspaces: () => this.#keyspaces.values(),
      now,
      onError: onBackgroundError,
    });
    const stored = storage.get(stateKey(META_SHARD_ID));
    const state = stored
      ? decodeShardState(stored)
      : newShardState({ id: META_SHARD_ID, range: { from: 0, to: 0x1_0000_0000 }, table: META_TABLE, leader: nodeId });
    this.#meta = this.#shard(state, metaModule);
  }

  /**
   * Opens the node whose data are in `storage`, or a new one in an empty storage.
   * @throws KF_FORMAT_TOO_NEW when a later release wrote it; what the storage throws.
   */
  static async open(options: NodeOptions): Promise<StoreNode> {
    const { storage } = options;
    const stored = storage.get(FORMAT_KEY);
    const { format, nodeId } = stored
      ? (JSON.parse(fromUtf8(stored)) as { format: number; nodeId: string })
      : { format: FORMAT, nodeId: randomUUID() };
    if (format > FORMAT) {
      throw new KeyfleetError('KF_FORMAT_TOO_NEW', `the data are of format ${format}; this release of Keyfleet reads up to ${FORMAT}`);
    }
    if (!stored) {
      storage.put(FORMAT_KEY, utf8(JSON.stringify({ format, nodeId })));
      await storage.whenDurable(storage.commit());
    }
    const node = new StoreNode(options, nodeId);
    node.#sweeper.start();
    return node;
  }

  /**
   * Serves a keyspace, and makes it first if there is none of that name. Registering what is served already gives the same handle.
   * @throws KF_BAD_KEYSPACE, KF_KEYSPACE_MISMATCH, or what the storage throws.
   */
  async registerKeyspace<V, C, R, Q, A>(name: string, options: KeyspaceOptions<V, C, R, Q, A>): Promise<KeyspaceRuntime<V, C, R, Q, A>> {
    const { module, scheme: schemeName = 'hash', shards: count = DEFAULT_SHARD_COUNT } = options;
    checkKeyspace(name, count);
    const scheme = positionScheme(schemeName);
    const served = this.#keyspaces.get(name);
    const starts = evenStarts(scheme, count);
    const { keyspace, changed } = this.#runMeta({ kind: 'register', name, module: module.name, scheme: schemeName, starts });
    if (changed) {
      this.#log.atomically((batch) => {
        for (const { id, range } of keyspace.shards) {
          batch.put(stateKey(id), encodeShardState(newShardState({ id, range, table: keyspace.table, leader: this.nodeId })));
        }
      });
      await this.#log.flush();
    }
    // The meta shard has made sure that the module is the same one.
    const known = this.#keyspaces.get(name) ?? served;
    if (known) return known as unknown as KeyspaceRuntime<V, C, R, Q, A>;
    const runtime = new KeyspaceRuntime<V, C, R, Q, A>({
      name,
      log: this.#log,
      storage: this.storage,
      module,
      scheme,
      shards: keyspace.shards.map(({ id }) => {
        const state = this.storage.get(stateKey(id));
        if (!state) throw new KeyfleetError('KF_DATA_DAMAGED', `the state of shard ${id} of keyspace ${name} is missing`);
        return this.#shard(this.#withCounts(decodeShardState(state), scheme), module, scheme, keyspace.id);
      }),
      maxKeyBytes: this.#limits.maxKeyBytes,
      now: this.#now,
      clear: () => this.#clear(name),
    });
    this.#keyspaces.set(name, runtime as unknown as AnyKeyspaceRuntime);
    return runtime;
  }

  /**
   * Takes a keyspace away with all its keys, for good. The space is reclaimed in the background. Resolves when durable.
   * @throws KF_NO_KEYSPACE when this node does not serve it.
   */
  async deregisterKeyspace(name: string): Promise<void> {
    const runtime = this.#keyspaces.get(name);
    if (!runtime) throw new KeyfleetError('KF_NO_KEYSPACE', `there is no keyspace ${name}`);
    runtime.refuse(new KeyfleetError('KF_NO_KEYSPACE', `there is no keyspace ${name} any more`));
    this.#keyspaces.delete(name);
    // So that no entry of its shards is open any more, to be closed after they are gone.
    await this.#log.flush();
    const { keyspace } = this.#runMeta({ kind: 'deregister', name });
    this.#log.atomically((batch) => {
      for (const { id } of keyspace.shards) {
        batch.delete(stateKey(id));
        removeCounts(batch, id);
      }
      this.#leaveTable(batch, keyspace.table);
      const sessions = sessionRange(keyspace.id, { from: 0, to: 0x1_0000_0000 });
      batch.put(garbageKey(sessions.from), sessions.to);
    });
    await this.#log.flush();
  }

  /** The keyspaces that this node serves. */
  keyspaces(): readonly AnyKeyspaceRuntime[] {
    return [...this.#keyspaces.values()];
  }

  /** Resolves when everything done so far is durable. @throws KF_DISK_FULL, KF_STORAGE_FAILED. */
  flush(): Promise<void> {
    return this.#log.flush();
  }

  stats(): NodeStats {
    return {
      nodeId: this.nodeId,
      refusal: this.storage.refusal?.message,
      expiredCount: this.#sweeper.expiredCount,
      keyspaces: this.keyspaces().map((keyspace) => ({
        name: keyspace.name,
        module: keyspace.module.name,
        scheme: keyspace.scheme.name,
        keyCount: keyspace.keyCount,
        sizeBytes: keyspace.sizeBytes,
        expiringCount: keyspace.expiringCount,
        shards: keyspace.shards.map(({ machine }) => {
          const { id, range, keyCount, sizeBytes, expiringCount, applied } = machine.state;
          return { id, from: range.from, to: range.to, keyCount, sizeBytes, expiringCount, applied, load: machine.load };
        }),
      })),
      storage: this.storage.stats(),
    };
  }

  /** Removes what is due now instead of at the next look; true when there is more to remove. */
  sweep(): boolean {
    return this.#sweeper.sweep();
  }

  /** Makes everything durable and closes the storage; requests are refused with KF_CLOSED from now on. Twice is once. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#sweeper.stop();
    for (const keyspace of this.#keyspaces.values()) keyspace.refuse(new KeyfleetError('KF_CLOSED', 'the store is closed'));
    try {
      await this.#log.close();
    } finally {
      await this.storage.close();
    }
  }

  async #clear(name: string): Promise<void> {
    const { keyspace, oldTable } = this.#runMeta({ kind: 'clear', name });
    this.#log.atomically((batch) => {
      for (const shard of this.#keyspaces.get(name)?.shards ?? []) {
        this.#log.inEntry(shard, (machine) => machine.clear(keyspace.table));
      }
      if (oldTable !== undefined) this.#leaveTable(batch, oldTable);
    });
    await this.#log.flush();
  }

  #leaveTable(batch: Storage, table: number): void {
    batch.put(garbageKey(tableStart(table)), tableStart(table + TABLE_STEP));
    this.#sweeper.noteGarbage();
  }

  #runMeta(command: MetaCommand): MetaReply {
    return this.#log.inEntry(this.#meta, (machine) => machine.runMany(utf8(command.name), command));
  }

  #shard<V, C, R, Q, A>(
    state: ShardState,
    module: ValueModule<V, C, R, Q, A>,
    scheme?: PositionScheme,
    keyspaceId = 0,
  ): LocalShard<V, C, R, Q, A> {
    const { storage } = this;
    // The limit is for users' values: the map of a keyspace's shards is none.
    const maxValueBytes = state.id === META_SHARD_ID ? Number.POSITIVE_INFINITY : this.#limits.maxValueBytes;
    const machine = new ShardMachine({
      storage,
      module,
      positionOf: scheme?.position ?? (() => 0),
      state,
      maxValueBytes,
      keyspaceId,
      ...(scheme ? { slotShift: scheme.slotShift } : {}),
      onGarbage: () => this.#sweeper.noteGarbage(),
    });
    return { machine, lastWrite: 0 };
  }

  /** A shard written by a release that kept no counts by slot has them from now on. */
  #withCounts(state: ShardState, scheme: PositionScheme): ShardState {
    if (state.countsSince !== COUNTS_UNKNOWN) return state;
    const counts = recountSlots(this.storage, { ...state, shift: scheme.slotShift });
    const counted = { ...state, countsSince: state.applied };
    this.#log.inBatch((batch) => {
      counts.writeAll(batch, state.id, state.applied);
      batch.put(stateKey(state.id), encodeShardState(counted));
    });
    return counted;
  }
}

function checkKeyspace(name: string, shards: number): void {
  if (!/^[A-Za-z0-9._-]{1,64}$/.test(name)) {
    throw new KeyfleetError('KF_BAD_KEYSPACE', `a keyspace name has 1 to 64 of A-Z a-z 0-9 . _ -, not ${JSON.stringify(name)}`);
  }
  if (!Number.isInteger(shards) || shards < 1 || shards > MAX_SHARD_COUNT) {
    throw new KeyfleetError('KF_BAD_KEYSPACE', `keyspace ${name}: shards is a whole number from 1 to ${MAX_SHARD_COUNT}, not ${shards}`);
  }
}
