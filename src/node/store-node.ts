import { randomUUID } from 'node:crypto';
import { fromUtf8, utf8 } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import { MIB } from '../base/units.ts';
import { type AnyLocalShard, LocalLog, type LocalShard } from '../log/local.ts';
import type { Entry } from '../shard/entry.ts';
import {
  garbageKey,
  hookCursorKey,
  hookOutboxRange,
  META_TABLE,
  sessionRange,
  stateKey,
  systemKey,
  TABLE_STEP,
  tableStart,
} from '../shard/key-layout.ts';
import { type KeyspaceRecord, META_SHARD_ID, type MetaRecord, mapOf } from '../shard/meta/meta-records.ts';
import { shardIdsOf } from '../shard/meta/shard-map.ts';
import type { WorkflowStep } from '../shard/meta/workflow-step.ts';
import { type KeyspaceCommand, type KeyspaceReply, type MetaCommand, type MetaReply, metaKeyOf, metaModule } from '../shard/meta-module.ts';
import type { KeyspacePolicy } from '../shard/policy.ts';
import { type PositionScheme, type PositionSchemeName, positionScheme, shardStarts } from '../shard/position-scheme.ts';
import { ShardMachine } from '../shard/shard-machine.ts';
import { DEFAULT_MAX_VALUE_BYTES, type ShardMachineOptions } from '../shard/shard-machine-options.ts';
import { COUNTS_UNKNOWN, decodeShardState, encodeShardState, newShardState, type ShardState } from '../shard/shard-state.ts';
import { countsRange, removeCounts, type SlotCounts } from '../shard/slot-counts.ts';
import { recountSlots } from '../shard/slot-recount.ts';
import type { ValueCodec, ValueModule } from '../shard/value-module.ts';
import type { Storage, StorageStats } from '../storage/storage.ts';
import { answerTeller } from './answer-teller.ts';
import { checkKeyspace } from './check-keyspace.ts';
import { checkedModule } from './checked-module.ts';
import type { AnyModule } from './cluster/hosted-shard.ts';
import { ForwardClock } from './forward-clock.ts';
import { HookRunner } from './hook-runner.ts';
import type { ShardStats } from './keyspace-handle.ts';
import { KeyspaceRuntime } from './keyspace-runtime.ts';
import { KeyspaceWorkflows } from './keyspace-workflows.ts';
import type { LeaderHook } from './leader-hook.ts';
import { RecordScanner } from './record-scan.ts';
import { ShardWorkflows } from './shard-workflows.ts';
import { type ServingHost, type StoreStats, statsOf } from './store-host.ts';
import { type AnyKeyspaceRuntime, Sweeper } from './sweeper.ts';

// A node: one storage, the meta shard, and the shards of the keyspaces that this process serves. Doors and the Store for users stand on it.

/** How the records lie in storage; a release reads its own and earlier ones. */
const FORMAT = 1;
const FORMAT_KEY = systemKey('f', new Uint8Array(0));

export const DEFAULT_SHARD_COUNT = 8;
const DAY_MS = 24 * 3_600_000;

export interface NodeLimits {
  /** Of a value as its module encodes it, and of a cell. Default: 512 MiB and 1 KiB. */
  readonly maxValueBytes?: number;
  /** Default: 512 MiB. */
  readonly maxKeyBytes?: number;
  /** How long what a client's requests came to is kept after its last request, in milliseconds from 1,000. Default: 24 hours. */
  readonly sessionRetentionMs?: number;
  /** For debugging: runs every command and query twice and compares. Slow. Those that differ fail with KF_MODULE_IMPURE. Default: false. */
  readonly checkModules?: boolean;
}

export interface NodeOptions extends NodeLimits {
  /** The node closes it when it closes. */
  readonly storage: Storage;
  /** Milliseconds since 1970. Default: the system's clock, by way of {@link ForwardClock}. */
  readonly now?: () => number;
  /** Told what the node's own work in the background met, such as a full disk. */
  readonly onBackgroundError?: (error: Error) => void;
  /** For tests that die between two steps of a split or of a merge: see {@link ShardWorkflows}. Default: all are taken. */
  readonly mayTakeStep?: (step: WorkflowStep) => boolean;
  /** How often it looks what to split and merge; 0: only when asked. Default: 100. */
  readonly workflowEveryMs?: number;
}

export interface KeyspaceOptions<Value, Command, Reply, Query, Answer> {
  readonly module: ValueModule<Value, Command, Reply, Query, Answer>;
  /** Default: `hash`. */
  readonly scheme?: PositionSchemeName;
  /** How many shards a new keyspace gets, or where they begin; one that exists keeps its own. Default: 8. */
  readonly shards?: number | readonly number[];
  /** Told of commits and answers, see {@link LeaderHook}. Not recorded with the keyspace: give it each time. */
  readonly hook?: LeaderHook<Command, Query, Answer>;
  /** When the shards of a new keyspace are split and merged; one that exists keeps its own, see {@link StoreNode.setPolicy}. */
  readonly policy?: Partial<KeyspacePolicy>;
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

export interface NodeStats extends StoreStats {
  /** Why writes are refused for now; undefined: they are taken. */
  readonly refusal: string | undefined;
  /** Keys removed because they had expired, since the start. */
  readonly expiredCount: number;
  readonly storage: StorageStats;
}

export type { ShardStats } from './keyspace-handle.ts';

export class StoreNode implements ServingHost {
  readonly nodeId: string;
  readonly cluster = undefined;
  readonly storage: Storage;
  readonly #log: LocalLog;
  readonly #meta: LocalShard<MetaRecord, MetaCommand, MetaReply, null, KeyspaceRecord | undefined>;
  readonly #keyspaces = new Map<string, AnyKeyspaceRuntime>();
  /** Keyspaces that are on their way to the disk. */
  readonly #beingMade = new Set<string>();
  /** By keyspace. */
  readonly #hooks = new Map<number, HookRunner<never>>();
  readonly #sweeper: Sweeper;
  readonly #workflows: ShardWorkflows;
  /** The node's clock: milliseconds since 1970. */
  readonly now: () => number;
  readonly #limits: Required<Pick<NodeLimits, 'maxValueBytes' | 'maxKeyBytes'>>;
  readonly #checkModules: boolean;
  readonly #onBackgroundError: (error: Error) => void;
  #closing: Promise<void> | undefined;

  private constructor(options: NodeOptions, nodeId: string) {
    const { storage, now = new ForwardClock().now, onBackgroundError = () => {} } = options;
    const { maxValueBytes = DEFAULT_MAX_VALUE_BYTES, maxKeyBytes = 512 * MIB, sessionRetentionMs = DAY_MS } = options;
    if (!(sessionRetentionMs >= 1_000)) {
      throw new KeyfleetError('KF_BAD_OPTION', `sessionRetentionMs is a number from 1000, not ${sessionRetentionMs}`);
    }
    this.nodeId = nodeId;
    this.#onBackgroundError = onBackgroundError;
    this.storage = storage;
    this.now = now;
    this.#limits = { maxValueBytes, maxKeyBytes };
    this.#checkModules = options.checkModules ?? false;
    this.#log = new LocalLog({ storage, now });
    this.#sweeper = new Sweeper({
      storage,
      log: this.#log,
      keyspaces: () => this.#keyspaces.values(),
      now,
      sessionRetentionMs,
      onError: onBackgroundError,
    });
    const stored = storage.get(stateKey(META_SHARD_ID));
    const state = stored
      ? decodeShardState(stored)
      : newShardState({ id: META_SHARD_ID, range: { from: 0, to: 0x1_0000_0000 }, table: META_TABLE, leader: nodeId });
    this.#meta = this.#shard(state, metaModule);
    this.#workflows = new ShardWorkflows({
      storage,
      log: this.#log,
      keyspaces: () => this.#keyspaces.values(),
      now,
      record: (name) => this.#keyspaceRecord(name),
      runMeta: (command) => this.#runMeta(command),
      open: (keyspace, { id, counts }) => this.#openShard(keyspace.name, id, keyspace.module, keyspace.scheme, keyspace.id, counts),
      onGarbage: () => this.#sweeper.noteGarbage(),
      everyMs: options.workflowEveryMs ?? 100,
      ...(options.mayTakeStep ? { mayTake: options.mayTakeStep } : {}),
      onError: onBackgroundError,
    });
  }

  /**
   * Opens the node whose data are in `storage`, or a new one in an empty storage.
   * @throws KF_FORMAT_TOO_NEW when a later release wrote it; KF_OTHER_CLUSTER when they are a cluster's; what the storage throws.
   */
  static async open(options: NodeOptions): Promise<StoreNode> {
    const { storage } = options;
    const stored = storage.get(FORMAT_KEY);
    const { format, nodeId, cluster } = stored
      ? (JSON.parse(fromUtf8(stored)) as { format: number; nodeId: string; cluster?: string })
      : { format: FORMAT, nodeId: randomUUID(), cluster: undefined };
    if (cluster !== undefined) {
      const why = `the data are those of node ${nodeId} of cluster ${cluster}, and change with it only: keyfleet serve --cluster, or openCluster`;
      throw new KeyfleetError('KF_OTHER_CLUSTER', why);
    }
    if (format > FORMAT) {
      throw new KeyfleetError('KF_FORMAT_TOO_NEW', `the data are of format ${format}; this release of Keyfleet reads up to ${FORMAT}`);
    }
    if (!stored) {
      storage.put(FORMAT_KEY, utf8(JSON.stringify({ format, nodeId })));
      await storage.whenDurable(storage.commit());
    }
    const node = new StoreNode(options, nodeId);
    node.#sweeper.start();
    node.#workflows.start();
    return node;
  }

  /**
   * Serves a keyspace, and makes it first if there is none of that name.
   * @throws KF_KEYSPACE_EXISTS when this node serves it already; KF_BAD_KEYSPACE, KF_BAD_MODULE, KF_BAD_OPTION for a hook, KF_BAD_POLICY, KF_KEYSPACE_MISMATCH, or what the storage throws.
   */
  async registerKeyspace<V, C, R, Q, A>(name: string, options: KeyspaceOptions<V, C, R, Q, A>): Promise<KeyspaceRuntime<V, C, R, Q, A>> {
    const { scheme: schemeName = 'hash', shards: count = DEFAULT_SHARD_COUNT, policy = {}, hook } = options;
    checkKeyspace(name, { module: options.module, scheme: schemeName, shards: count, hook });
    const module = this.#checkModules ? checkedModule(options.module) : options.module;
    const scheme = positionScheme(schemeName);
    const starts = shardStarts(scheme, count);
    const { keyspace, changed } = this.#runMeta({ kind: 'register', name, module: module.name, scheme: schemeName, starts, policy });
    if (!changed && (this.#keyspaces.has(name) || this.#beingMade.has(name))) {
      throw new KeyfleetError('KF_KEYSPACE_EXISTS', `keyspace ${name} is registered, and served by this store already`);
    }
    if (changed) {
      this.#log.atomically((batch) => {
        for (const { id, range } of keyspace.shards) {
          batch.put(stateKey(id), encodeShardState(newShardState({ id, range, table: keyspace.table, leader: this.nodeId })));
        }
      });
      this.#beingMade.add(name);
      await this.#log.flush().finally(() => this.#beingMade.delete(name));
    }
    const runner = hook && this.#newHook(keyspace, hook, module);
    if (runner) this.#hooks.set(keyspace.id, runner as unknown as HookRunner<never>);
    const runtime = new KeyspaceRuntime<V, C, R, Q, A>({
      name,
      id: keyspace.id,
      log: this.#log,
      storage: this.storage,
      module,
      scheme,
      shards: shardIdsOf(mapOf(keyspace))
        // The child of a split that has only been announced is not there yet.
        .filter((id) => this.storage.has(stateKey(id)) || keyspace.shards.some((shard) => shard.id === id))
        .map((id) => this.#openShard(name, id, module, scheme, keyspace.id)),
      maxKeyBytes: this.#limits.maxKeyBytes,
      now: this.now,
      clear: () => this.#clear(name),
      ...(hook?.onQueryAnswered ? { onAnswer: answerTeller(name, hook, this.#onBackgroundError) } : {}),
    });
    this.#keyspaces.set(name, runtime as unknown as AnyKeyspaceRuntime);
    runner?.kick();
    return runtime;
  }

  /**
   * Takes a keyspace away with all its keys, for good. The space is reclaimed in the background. Resolves when durable.
   * @throws KF_NO_KEYSPACE; KF_DISK_FULL and the like, and the keyspace is served on.
   */
  async deregisterKeyspace(name: string): Promise<void> {
    const runtime = this.#keyspaces.get(name);
    this.#keyspaceRecord(name);
    runtime?.refuse(new KeyfleetError('KF_NO_KEYSPACE', `there is no keyspace ${name} any more`));
    this.#keyspaces.delete(name);
    try {
      // So that no entry of its shards is open any more, to be closed after they are gone.
      await this.#log.flush();
      // One batch: either the keyspace is there with all that is its own, or all of that is garbage, which the sweeper goes on removing after a crash.
      const { keyspace } = this.#runMeta({ kind: 'deregister', name });
      this.#log.atomically((batch) => {
        for (const id of shardIdsOf(mapOf(keyspace))) {
          batch.delete(stateKey(id));
          const counts = countsRange(id);
          batch.put(garbageKey(counts.from), counts.to);
          batch.delete(hookCursorKey(id));
        }
        this.#leaveTable(batch, keyspace.table);
        const sessions = sessionRange(keyspace.id, { from: 0, to: 0x1_0000_0000 });
        batch.put(garbageKey(sessions.from), sessions.to);
        const untold = hookOutboxRange(keyspace.id);
        batch.put(garbageKey(untold.from), untold.to);
      });
      await this.#log.flush();
      this.#hooks.get(keyspace.id)?.stop();
      this.#hooks.delete(keyspace.id);
    } catch (error) {
      if (runtime && this.#meta.machine.query(utf8(name), 0, null, this.now())) {
        runtime.serveAgain();
        this.#keyspaces.set(name, runtime);
      }
      throw error;
    }
  }

  /** @throws KF_NO_KEYSPACE. */
  getPolicy(name: string): KeyspacePolicy {
    return this.#keyspaceRecord(name).policy;
  }

  /** Changes what `change` says of the policy, and returns it whole. Resolves when durable. @throws KF_NO_KEYSPACE, KF_BAD_POLICY. */
  async setPolicy(name: string, change: Partial<KeyspacePolicy>): Promise<KeyspacePolicy> {
    const { keyspace } = this.#runMeta({ kind: 'set-policy', name, policy: change });
    await this.#log.flush();
    return keyspace.policy;
  }

  /** All keyspaces that there are, served or not, by name. */
  keyspaceRecords(): readonly KeyspaceRecord[] {
    const scanner = new RecordScanner(this.storage, metaModule.codec);
    const { records } = scanner.page({ table: META_TABLE, cursor: 0, limit: Number.POSITIVE_INFINITY, nowMs: 0 });
    const found = records.flatMap(({ value }) => (value.kind === 'keyspace' ? [value] : []));
    return found.sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  #keyspaceRecord(name: string): KeyspaceRecord {
    const record = this.#meta.machine.query(utf8(name), 0, null, this.now());
    if (!record) throw new KeyfleetError('KF_NO_KEYSPACE', `there is no keyspace ${name}`);
    return record;
  }

  /** The splits and merges of a keyspace, which follow its policy by themselves, and those asked for by hand. @throws KF_NO_KEYSPACE. */
  workflows(name: string): KeyspaceWorkflows {
    const keyspace = this.#keyspaces.get(name);
    if (!keyspace) throw new KeyfleetError('KF_NO_KEYSPACE', `there is no keyspace ${name} served here`);
    return new KeyspaceWorkflows(keyspace, this.#workflows, () => mapOf(this.#keyspaceRecord(name)).workflows);
  }

  /** Looks at once at what to split and merge, and takes all steps that can be taken, instead of at the next look. */
  lookAtShards(): Promise<void> {
    return this.#workflows.look();
  }

  moduleNamed(name: string): AnyModule | undefined {
    return this.keyspaces().find(({ module }) => module.name === name)?.module as AnyModule | undefined;
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
      keyspaces: statsOf(this.keyspaces()),
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
    for (const hook of this.#hooks.values()) hook.stop();
    this.#workflows.stop();
    for (const keyspace of this.#keyspaces.values()) keyspace.refuse(new KeyfleetError('KF_CLOSED', 'the store is closed'));
    try {
      await this.#log.close();
    } finally {
      await this.storage.close();
    }
  }

  async #clear(name: string): Promise<void> {
    const runtime = this.#keyspaces.get(name);
    if (runtime) this.#workflows.finishNow(runtime);
    const { keyspace, oldTable } = this.#runMeta({ kind: 'clear', name });
    this.#log.atomically((batch) => {
      for (const shard of runtime?.shards ?? []) {
        this.#log.inEntry(shard, (machine) => machine.clear(keyspace.table));
      }
      if (oldTable !== undefined) this.#leaveTable(batch, oldTable);
    });
    await this.#log.flush();
  }

  #newHook<C, Q, A>(
    keyspace: KeyspaceRecord,
    hook: LeaderHook<C, Q, A>,
    { commandCodec }: { readonly commandCodec: ValueCodec<C> },
  ): HookRunner<C> {
    const { storage } = this;
    const shardOf = (id: number) => this.#keyspaces.get(keyspace.name)?.table.member(id) as AnyLocalShard | undefined;
    const onError = this.#onBackgroundError;
    return new HookRunner<C>({ keyspace, hook, commandCodec, storage, log: this.#log, shardOf, onError });
  }

  #leaveTable(batch: Storage, table: number): void {
    batch.put(garbageKey(tableStart(table)), tableStart(table + TABLE_STEP));
    this.#sweeper.noteGarbage();
  }

  #runMeta(command: KeyspaceCommand): KeyspaceReply {
    return this.#log.inEntry(this.#meta, (machine) => machine.runMany(metaKeyOf(command), command)) as KeyspaceReply;
  }

  #openShard<V, C, R, Q, A>(
    keyspace: string,
    id: number,
    module: ValueModule<V, C, R, Q, A>,
    scheme: PositionScheme,
    keyspaceId: number,
    counts?: SlotCounts,
  ): LocalShard<V, C, R, Q, A> {
    const state = this.storage.get(stateKey(id));
    if (!state) throw new KeyfleetError('KF_DATA_DAMAGED', `the state of shard ${id} of keyspace ${keyspace} is missing`);
    const table = (): AnyKeyspaceRuntime['table'] | undefined => this.#keyspaces.get(keyspace)?.table;
    return this.#shard(this.#withCounts(decodeShardState(state), scheme), module, scheme, keyspaceId, {
      counts,
      countsOf: (shard) => table()?.member(shard)?.machine.counts,
    });
  }

  #shard<V, C, R, Q, A>(
    state: ShardState,
    module: ValueModule<V, C, R, Q, A>,
    scheme?: PositionScheme,
    keyspaceId = 0,
    known: Pick<ShardMachineOptions<V, C, R, Q, A>, 'counts' | 'countsOf'> = {},
  ): LocalShard<V, C, R, Q, A> {
    const { storage } = this;
    // The limit is for users' values: the map of a keyspace's shards is none.
    const maxValueBytes = state.id === META_SHARD_ID ? Number.POSITIVE_INFINITY : this.#limits.maxValueBytes;
    const hook = this.#hooks.get(keyspaceId) as unknown as HookRunner<C> | undefined;
    const machine = new ShardMachine({
      ...(hook ? { onEntry: (entry: Entry<C>, seq: number, changed: readonly boolean[]) => hook.take(state.id, entry, seq, changed) } : {}),
      storage,
      module,
      positionOf: scheme?.position ?? (() => 0),
      state,
      maxValueBytes,
      keyspaceId,
      ...(scheme ? { slotShift: scheme.slotShift } : {}),
      ...known,
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
      removeCounts(batch, state.id);
      counts.writeAll(batch, state.id, state.applied);
      batch.put(stateKey(state.id), encodeShardState(counted));
    });
    return counted;
  }
}
