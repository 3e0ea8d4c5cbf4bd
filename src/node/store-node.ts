import { randomUUID } from 'node:crypto';
import { utf8 } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import { MIB } from '../base/units.ts';
import { type AnyLocalShard, LocalLog } from '../log/local.ts';
import {
  garbageKey,
  hookCursorKey,
  hookOutboxRange,
  META_TABLE,
  sessionRange,
  stateKey,
  TABLE_STEP,
  tableStart,
} from '../shard/key-layout.ts';
import { type KeyspaceRecord, mapOf } from '../shard/meta/meta-records.ts';
import { shardIdsOf } from '../shard/meta/shard-map.ts';
import type { WorkflowStep } from '../shard/meta/workflow-step.ts';
import { type KeyspaceCommand, type KeyspaceReply, metaKeyOf, metaModule } from '../shard/meta-module.ts';
import type { KeyspacePolicy } from '../shard/policy.ts';
import { positionScheme, shardStarts } from '../shard/position-scheme.ts';
import { DEFAULT_MAX_VALUE_BYTES } from '../shard/shard-machine-options.ts';
import { encodeShardState, newShardState } from '../shard/shard-state.ts';
import { countsRange } from '../shard/slot-counts.ts';
import type { ValueCodec } from '../shard/value-module.ts';
import type { Storage } from '../storage/storage.ts';
import { answerTeller } from './answer-teller.ts';
import { checkKeyspace } from './check-keyspace.ts';
import { checkedModule } from './checked-module.ts';
import type { AnyModule } from './cluster/hosted-shard.ts';
import { readDataOwner, writeDataOwner } from './data-owner.ts';
import { ForwardClock } from './forward-clock.ts';
import { HookRunner } from './hook-runner.ts';
import { DEFAULT_SHARD_COUNT, type KeyspaceOptions } from './keyspace-options.ts';
import { type AnyKeyspaceRuntime, KeyspaceRuntime } from './keyspace-runtime.ts';
import { KeyspaceWorkflows } from './keyspace-workflows.ts';
import type { LeaderHook } from './leader-hook.ts';
import { RecordScanner } from './record-scan.ts';
import { ShardWorkflows } from './shard-workflows.ts';
import type { ServingHost } from './store-host.ts';
import { type NodeStats, statsOf } from './store-stats.ts';
import { type MetaShard, StoredShards } from './stored-shards.ts';
import { Sweeper } from './sweeper.ts';

// A node: one storage, the meta shard, and the shards of the keyspaces that this process serves. Doors and the Store for users stand on it.

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

export class StoreNode implements ServingHost {
  readonly nodeId: string;
  readonly cluster = undefined;
  readonly storage: Storage;
  readonly #log: LocalLog;
  readonly #shards: StoredShards;
  readonly #meta: MetaShard;
  readonly #keyspaces = new Map<string, AnyKeyspaceRuntime>();
  /** Keyspaces that are on their way to the disk. */
  readonly #beingMade = new Set<string>();
  /** By keyspace. */
  readonly #hooks = new Map<number, HookRunner<never>>();
  readonly #sweeper: Sweeper;
  readonly #workflows: ShardWorkflows;
  /** The node's clock: milliseconds since 1970. */
  readonly now: () => number;
  readonly #maxKeyBytes: number;
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
    this.#maxKeyBytes = maxKeyBytes;
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
    this.#shards = new StoredShards({
      storage,
      log: this.#log,
      maxValueBytes,
      hookOf: (keyspaceId) => this.#hooks.get(keyspaceId),
      countsOf: (keyspace, shard) => this.#keyspaces.get(keyspace)?.table.member(shard)?.machine.counts,
      onGarbage: () => this.#sweeper.noteGarbage(),
    });
    this.#meta = this.#shards.openMeta(nodeId);
    this.#workflows = new ShardWorkflows({
      storage,
      log: this.#log,
      keyspaces: () => this.#keyspaces.values(),
      now,
      record: (name) => this.#keyspaceRecord(name),
      runMeta: (command) => this.#runMeta(command),
      open: ({ name: keyspace, id: keyspaceId, module, scheme }, { id, counts }) =>
        this.#shards.open({ id, keyspace, keyspaceId, module, scheme, counts }),
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
    const owner = readDataOwner(storage);
    if (owner?.cluster !== undefined) {
      const why = `the data are those of node ${owner.nodeId} of cluster ${owner.cluster}, and change with it only: keyfleet serve --cluster, or openCluster`;
      throw new KeyfleetError('KF_OTHER_CLUSTER', why);
    }
    const nodeId = owner?.nodeId ?? randomUUID();
    if (!owner) await writeDataOwner(storage, { nodeId });
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
        .map((id) => this.#shards.open({ id, keyspace: name, keyspaceId: keyspace.id, module, scheme })),
      maxKeyBytes: this.#maxKeyBytes,
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
}
