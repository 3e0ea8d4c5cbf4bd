import { type Bytes, toHex } from '../../base/bytes.ts';
import { isKeyfleetError, KeyfleetError } from '../../base/errors.ts';
import { LostLog } from '../../log/lost-log.ts';
import type { ClusterLog, ShardLogs } from '../../log/shard-logs.ts';
import type { ControlCommand, ControlOutcome } from '../../shard/control-command.ts';
import type { Entry } from '../../shard/entry.ts';
import { stateKey } from '../../shard/key-layout.ts';
import type { StoppedReplica } from '../../shard/meta/lost-log.ts';
import type { Applied } from '../../shard/outcome.ts';
import type { PositionScheme } from '../../shard/position-scheme.ts';
import { NotLeaderError } from '../../shard/replica/not-leader-error.ts';
import { DEFAULT_LIMITS, type ReplicaLimits, type ReplicaTiming } from '../../shard/replica/timing.ts';
import { ShardMachine } from '../../shard/shard-machine.ts';
import { decodeShardState, encodeShardState, type PositionRange, type ShardState } from '../../shard/shard-state.ts';
import type { SlotCounts } from '../../shard/slot-counts.ts';
import type { ValueModule } from '../../shard/value-module.ts';
import type { Storage } from '../../storage/storage.ts';
import type { GroupCommit } from '../group-commit.ts';
import type { NodeClock } from '../node-clock.ts';
import { RecordScanner } from '../record-scan.ts';
import { ReplicaDriver } from '../replica-driver.ts';
import { type SnapshotAnswer, SnapshotFetch, type SnapshotRequest } from '../snapshot-transfer.ts';
import type { SeqReport } from './node-messages.ts';

// One shard on this node: finds what the storage has of it, opens its log, and feeds a replica with it; brings the data from another node when there
// are none here, or when the log has forgotten what comes next. When its log is lost, it stops where it is and says so: docs/protocol/log-generations.md.

export type AnyModule = ValueModule<unknown, unknown, unknown, unknown, unknown>;
export type AnyDriver = ReplicaDriver<unknown, unknown, unknown, unknown, unknown>;
export type AnyMachine = ShardMachine<unknown, unknown, unknown, unknown, unknown>;

/** What a shard is a part of. */
export interface ShardKeyspace {
  readonly id: number;
  readonly name: string;
  readonly module: AnyModule;
  /** Undefined: every key is at position 0. */
  readonly scheme: PositionScheme | undefined;
}

/** What all shards of a node share. */
export interface ShardSurroundings {
  readonly self: string;
  readonly storage: Storage;
  readonly commits: GroupCommit;
  readonly clock: NodeClock;
  readonly logs: ShardLogs;
  readonly timing: Partial<ReplicaTiming>;
  readonly limits: Partial<ReplicaLimits>;
  readonly maxValueBytes: number;
  /** Tells a node how far this one has come with a shard that it leads. */
  readonly report: (to: string, report: SeqReport) => void;
  /** Asks a node to say at once how far its storage is with a shard, for a while. */
  readonly urge: (to: string, shard: number) => void;
  readonly askForSnapshot: (to: string, request: SnapshotRequest) => void;
  /** The last entry of a generation of a shard's log that any node is known to have run; none: 0. */
  readonly ranElsewhere: (shard: number, generation: number) => number;
  readonly onGarbage: () => void;
  readonly onError: (error: Error) => void;
}

export interface HostedShardOptions {
  readonly id: number;
  readonly generation: number;
  readonly keyspace: ShardKeyspace;
  readonly rank: number;
  /** The other nodes that may have its data. */
  readonly peers: () => readonly string[];
  /**
   * Another shard here still changes what lies in its range, or in that which its data elsewhere have: they are not to be brought before that has
   * caught up.
   */
  readonly isBlocked?: (range?: PositionRange) => boolean;
  /** Where a shard begins that has never been here; undefined: from another node's data only. */
  readonly begin: ShardState | undefined;
  /** Of a shard that was cut from one here just now: its counts by slot, which are at hand. */
  readonly counts?: SlotCounts | undefined;
  /** Likewise of another shard here. */
  readonly countsOf?: (shard: number) => SlotCounts | undefined;
  readonly onStepped?: (step: ControlCommand, outcome: ControlOutcome) => void;
  readonly onLeaderChanged?: () => void;
  /** It has read its log to the end for the first time. */
  readonly onCaughtUp?: () => void;
  /** Whether its log may be made when there is none, beyond what the shard itself knows. Default: yes. */
  readonly mayMakeLog?: () => Promise<boolean>;
  readonly onWaitsFor?: (shard: number, seq: number) => void;
  /** Told of each entry that has been run with effect, inside the batch of its effects. */
  readonly onRan?: (entry: Entry<unknown>, seq: number, applied: Applied<unknown> & { readonly kind: 'applied' }) => void;
  /** It has what it needs, from the storage or from another node, and reads its log from now on. */
  readonly onOpened?: () => void;
  /** It has gone on in another table than `table`, inside the batch of that. */
  readonly onCleared?: (table: number, range: PositionRange) => void;
  readonly onChange?: (key: Bytes | undefined) => void;
  /** It has found out that its log is lost, or has stopped since the meta shard says so. */
  readonly onLogLost?: () => void;
}

/** What a replica says of a log that is lost. */
export interface LostLogReport {
  readonly shard: number;
  readonly generation: number;
  /** Once the meta shard has said that it is lost, and all that the replica has is on its disk. */
  readonly stopped?: StoppedReplica;
}

/** What stands around a command in an entry: headers of the log's own, the leader's name, hashes, lengths. */
const ENTRY_OVERHEAD_BYTES = 1_024;
const FIRST_RETRY_MS = 100;
const LONGEST_RETRY_MS = 2_000;
/** A log that is not found is looked for so often again, before it is called lost. */
const CONFIRMATIONS = 3;
const CONFIRM_MS = 400;

export class HostedShard {
  readonly id: number;
  readonly generation: number;
  readonly keyspace: ShardKeyspace;
  readonly #world: ShardSurroundings;
  readonly #options: HostedShardOptions;
  readonly scanner: RecordScanner<unknown>;
  #rank: number;
  #driver: AnyDriver | undefined;
  #machine: AnyMachine | undefined;
  #log: ClusterLog | undefined;
  #fetch: SnapshotFetch | undefined;
  /** Of the snapshot that is being brought. */
  #broughtSeq = 0;
  #retryMs = FIRST_RETRY_MS;
  #cancelRetry: () => void = () => {};
  #isStopped = false;
  /** The id of its log, if somebody has said so. */
  #logId: string | undefined;
  /** Its log was not found: it has stopped. Whether it led by a lease until then. */
  #sealed: { readonly ledByLease: boolean; readonly hasForgotten?: true } | undefined;
  #isCalledLost = false;
  #stopping: Promise<StoppedReplica> | undefined;
  #lostReport: LostLogReport | undefined;

  constructor(world: ShardSurroundings, options: HostedShardOptions) {
    this.#world = world;
    this.#options = options;
    this.id = options.id;
    this.generation = options.generation;
    this.keyspace = options.keyspace;
    this.#rank = options.rank;
    this.scanner = new RecordScanner(world.storage, options.keyspace.module.codec);
  }

  start(): void {
    if (this.#isCalledLost) return;
    const state = this.#stored() ?? this.#options.begin;
    if (state === undefined || state.status === 'faulted') this.#bring();
    else this.#open();
  }

  /** What the meta shard says of its log: its id, if that is known, and whether it is lost. */
  setLog(id: string | undefined, isLost: boolean): void {
    this.#logId = id;
    if (this.#log && !this.#sealed && id !== undefined && this.#log.id !== id) this.#foundLost(true);
    if (isLost) this.stopForGood().catch(this.#world.onError);
  }

  /** Where it is: what it has stored, durable or not. */
  position(): StoppedReplica {
    const { applied: seq = 0, hash, logGeneration = 1, status } = this.#stored() ?? {};
    const at = hash && status !== 'faulted' ? { at: { generation: logGeneration, seq, hash: toHex(hash) } } : {};
    return { shard: this.id, generation: this.generation, ledByLease: false, ...this.#sealed, ...at };
  }

  /**
   * Its log is lost: what this replica has is all that it will ever have of it. Fulfilled when that is durable.
   * @throws what the storage throws.
   */
  stopForGood(): Promise<StoppedReplica> {
    this.#stopping ??= this.#stopForGood();
    return this.#stopping;
  }

  /** Undefined: nothing is known against its log. */
  get lostReport(): LostLogReport | undefined {
    return this.#lostReport;
  }

  /** Undefined until it has its data and its log. */
  get driver(): AnyDriver | undefined {
    return this.#driver;
  }

  get machine(): AnyMachine | undefined {
    return this.#machine;
  }

  /** Undefined until it has its data. */
  get state(): Readonly<ShardState> | undefined {
    return this.#machine?.state;
  }

  get leads(): boolean {
    return this.#driver?.replica.leads ?? false;
  }

  /** The time, by this node's clock. */
  get wallMs(): number {
    return this.#world.clock.now().wallMs;
  }

  get isBringingData(): boolean {
    return this.#fetch !== undefined;
  }

  get log(): ClusterLog | undefined {
    return this.#log;
  }

  setRank(rank: number): void {
    this.#rank = rank;
    this.#driver?.replica.setRank(rank);
  }

  /** Its data are to come from another node: it cannot go on from its own. */
  bringAnew(): void {
    this.#world.clock.atTurnEnd(() => this.#bring());
  }

  /** A chunk has come from another node. */
  snapshotAnswered(from: string, answer: SnapshotAnswer): void {
    if (!this.#fetch) return;
    if (answer.state) this.#broughtSeq = decodeShardState(answer.state).applied;
    // The log is to keep what comes behind it until it is here.
    for (const peer of this.#options.peers()) this.#world.report(peer, { shard: this.id, seq: this.#broughtSeq, isDurable: false });
    this.#fetch.answered(from, answer);
  }

  /** Stops; whoever waits is told that nothing was done, or that nobody knows. Its data stay. */
  async stop(why = 'it is no longer on this node'): Promise<void> {
    this.#isStopped = true;
    this.#cancelRetry();
    this.#fetch?.stop();
    this.#fetch = undefined;
    await this.#close(why);
  }

  async #close(why: string): Promise<void> {
    this.#driver?.stop(new NotLeaderError(this.id, undefined, why));
    this.#driver = undefined;
    this.#machine = undefined;
    const log = this.#log;
    this.#log = undefined;
    await log?.close();
  }

  #stored(): ShardState | undefined {
    const stored = this.#world.storage.get(stateKey(this.id));
    return stored && decodeShardState(stored);
  }

  #open(): void {
    this.#openLog().catch((error: unknown) => {
      if (this.#isStopped) return;
      if (!isKeyfleetError(error)) throw error;
      this.#world.onError(error);
      if (error.code === 'KF_LOG_LOST') {
        this.#foundLost(false);
        return;
      }
      this.#cancelRetry = this.#world.clock.after(this.#retryMs, () => this.#open());
      this.#retryMs = Math.min(2 * this.#retryMs, LONGEST_RETRY_MS);
    });
  }

  async #openLog(): Promise<void> {
    const { applied = 0, logGeneration = 1 } = this.#stored() ?? this.#options.begin ?? {};
    if (logGeneration > this.generation)
      throw new KeyfleetError('KF_UNAVAILABLE', `shard ${this.id}: this node has not heard of its log yet`);
    // An empty one in the place of one that had entries would be a beginning without what was acknowledged.
    const isNew = applied === 0 && this.generation === 1 && logGeneration === 1 && this.#logId === undefined;
    const create = isNew && ((await this.#options.mayMakeLog?.()) ?? true);
    const log = await this.#world.logs.open({ shard: this.id, generation: this.generation, create, fromSeq: applied + 1 });
    if (this.#isStopped || this.#isCalledLost) {
      await log.close();
      return;
    }
    if (this.#logId !== undefined && log.id !== this.#logId) {
      await log.close();
      throw new KeyfleetError('KF_LOG_LOST', `shard ${this.id}: another log has the place of its own`);
    }
    const state = this.#stateBehind(log);
    if (state) this.#serve(log, state);
    else {
      await log.close();
      this.#bring();
    }
  }

  /** The state to go on from with this log; undefined: what is here does not lead there. */
  #stateBehind({ basis }: ClusterLog): ShardState | undefined {
    const { storage, commits } = this.#world;
    let state = this.#stored() ?? this.#options.begin!;
    if (state.logGeneration !== this.generation) {
      const isBasis = basis !== undefined && state.applied === basis.seq && toHex(state.hash) === basis.hash;
      if (!isBasis) return undefined;
      state = { ...state, logGeneration: this.generation };
    }
    storage.put(stateKey(this.id), encodeShardState(state));
    commits.wrote();
    return state;
  }

  #serve(log: ClusterLog, state: ShardState): void {
    const { self, storage, commits, clock, timing, limits, maxValueBytes, onGarbage } = this.#world;
    const { id: keyspaceId, module, scheme } = this.keyspace;
    const { onRan, onStepped, onChange, counts, countsOf } = this.#options;
    const positionOf = scheme ? (key: Bytes): number => scheme.position(key) : (): number => 0;
    let { table } = state;
    const machine = new ShardMachine({
      storage,
      module,
      positionOf,
      state,
      maxValueBytes,
      keyspaceId,
      onGarbage,
      ...(scheme ? { slotShift: scheme.slotShift } : {}),
      ...(counts && state.applied === 0 ? { counts } : {}),
      ...(countsOf ? { countsOf } : {}),
    });
    machine.onChange = onChange;
    this.#machine = machine;
    this.#log = log;
    const room = log.maxEntryBytes - ENTRY_OVERHEAD_BYTES;
    this.#driver = new ReplicaDriver({
      self,
      rank: this.#rank,
      log,
      storage,
      commits,
      clock,
      machine,
      module,
      positionOf,
      timing,
      limits: { ...limits, maxEntryBytes: Math.min(room, limits.maxEntryBytes ?? DEFAULT_LIMITS.maxEntryBytes), maxCommandBytes: room },
      peers: {
        report: (leader, seq, vote) => this.#world.report(leader, { shard: this.id, seq, isDurable: true, vote }),
        differs: this.#world.onError,
        urge: () => {
          for (const peer of this.#options.peers()) this.#world.urge(peer, this.id);
        },
        wantSnapshot: () => clock.atTurnEnd(() => this.#bring()),
        ran: (entry, seq, applied) => {
          const { control } = applied;
          const [first] = entry.commands;
          if (control && first?.kind === 'control') onStepped?.(first.control, control);
          if (machine.state.table !== table) {
            this.#options.onCleared?.(table, machine.state.range);
            table = machine.state.table;
          }
          onRan?.(entry, seq, applied);
        },
        caughtUp: () => clock.atTurnEnd(() => this.#options.onCaughtUp?.()),
        waitsFor: (shard, seq) => this.#options.onWaitsFor?.(shard, seq),
        leaderChanged: () => this.#options.onLeaderChanged?.(),
        ranElsewhere: () => this.#world.ranElsewhere(this.id, this.generation),
        logLost: (hasForgotten) => this.#foundLost(hasForgotten, hasForgotten),
      },
    });
    log.onGrew(() => this.#driver?.logGrew());
    this.#retryMs = FIRST_RETRY_MS;
    this.#options.onOpened?.();
  }

  /** Its log was not found, or is certainly not what it was: it stops at once, and makes sure before it says so. */
  #foundLost(isCertain: boolean, hasForgotten = false): void {
    if (this.#sealed || this.#isStopped) return;
    this.#seal(hasForgotten);
    if (isCertain) this.#callLost();
    else this.#makeSure(CONFIRMATIONS);
  }

  #seal(hasForgotten = false): void {
    this.#sealed ??= { ledByLease: this.#driver?.seal() ?? false, ...(hasForgotten ? { hasForgotten } : {}) };
    const stored = this.#stored();
    // Local reads go on.
    if (this.#driver || !stored || stored.status === 'faulted') return;
    this.#serve(new LostLog(), stored);
    (this.#driver as AnyDriver | undefined)?.seal();
  }

  #makeSure(left: number): void {
    this.#cancelRetry = this.#world.clock.after(CONFIRM_MS, () => {
      this.#isThere().then(
        (isThere) => {
          if (this.#isStopped || this.#isCalledLost) return;
          if (!isThere) {
            if (left > 1) this.#makeSure(left - 1);
            else this.#callLost();
            return;
          }
          this.#sealed = undefined;
          this.#close('its log is there after all').catch(this.#world.onError);
          this.#open();
        },
        (error: unknown) => {
          if (!isKeyfleetError(error)) throw error;
          // Nobody knows.
          if (!this.#isStopped && !this.#isCalledLost) this.#makeSure(left);
        },
      );
    });
  }

  async #isThere(): Promise<boolean> {
    try {
      const log = await this.#world.logs.open({ shard: this.id, generation: this.generation, create: false, fromSeq: 1 });
      await log.close();
      return this.#logId === undefined || log.id === this.#logId;
    } catch (error) {
      if (isKeyfleetError(error) && error.code === 'KF_LOG_LOST') return false;
      throw error;
    }
  }

  #callLost(): void {
    this.#lostReport ??= { shard: this.id, generation: this.generation };
    this.#options.onLogLost?.();
  }

  async #stopForGood(): Promise<StoppedReplica> {
    const { commits, storage } = this.#world;
    this.#isCalledLost = true;
    this.#cancelRetry();
    this.#fetch?.stop();
    this.#fetch = undefined;
    this.#seal();
    const stopped = this.position();
    // What is reported here, the news that the log is lost included, must not be forgotten by a crash.
    commits.commit();
    await storage.whenDurable(storage.committed);
    this.#lostReport = { shard: this.id, generation: this.generation, stopped };
    this.#options.onLogLost?.();
    return stopped;
  }

  /** Takes the data from another node, and goes on from there. */
  #bring(): void {
    if (this.#isStopped || this.#fetch || this.#isCalledLost) return;
    const { storage, commits, clock, askForSnapshot } = this.#world;
    this.#close('its data come from another replica').catch((error: Error) => this.#world.onError(error));
    const { peers } = this.#options;
    const stored = this.#stored();
    if (peers().length === 0 || this.#options.isBlocked?.()) {
      this.#cancelRetry = clock.after(FIRST_RETRY_MS, () => this.#bring());
      return;
    }
    this.#fetch = new SnapshotFetch({
      shard: this.id,
      keyspaceId: this.keyspace.id,
      storage,
      commits,
      clock,
      peers,
      send: askForSnapshot,
      onBegin: ({ range }) => !this.#options.isBlocked?.(range),
      generation: this.generation,
      ...(stored && stored.status !== 'faulted' && stored.logGeneration === this.generation ? { beyond: stored.applied } : {}),
      onDone: () => {
        this.#fetch = undefined;
        // Who says that it has the shard must have it for good.
        commits.commit();
        storage.whenDurable(storage.committed).then(() => {
          if (!this.#isStopped) this.#open();
        }, this.#world.onError);
      },
    });
  }
}
