import type { Bytes } from '../src/base/bytes.ts';
import { KeyfleetError } from '../src/base/errors.ts';
import { GroupCommit } from '../src/node/group-commit.ts';
import type { NodeClock } from '../src/node/node-clock.ts';
import { type ReadMode, ReplicaDriver } from '../src/node/replica-driver.ts';
import { SnapshotFetch, SnapshotSource } from '../src/node/snapshot-transfer.ts';
import { murmur3Position } from '../src/partition/hash/murmur3-x86-128.ts';
import { stateKey } from '../src/shard/key-layout.ts';
import type { Instant } from '../src/shard/replica/host.ts';
import type { ReplicaTiming } from '../src/shard/replica/timing.ts';
import type { ReplySink } from '../src/shard/reply-sink.ts';
import { ShardMachine } from '../src/shard/shard-machine.ts';
import { decodeShardState, newShardState, type ShardState } from '../src/shard/shard-state.ts';
import { MemoryStorage } from '../src/storage/memory.ts';
import type { Faults } from './faults.ts';
import type { Scheduler } from './scheduler.ts';
import { LogLink, type SimLog } from './sim-log.ts';
import { type SimCommand, type SimQuery, type SimValue, simModule } from './workload/sim-module.ts';
import type { SimRequest } from './workload/workload.ts';

export type SimDriver = ReplicaDriver<SimValue, SimCommand, string, SimQuery, string>;

/** What a node needs of the world around it. */
export interface SimSurroundings {
  readonly scheduler: Scheduler;
  readonly faults: Faults;
  /** By shard id. */
  readonly logs: ReadonlyMap<number, SimLog>;
  /** Sends to another node, whose `receive` it calls if the network lets it. */
  send(from: string, to: string, label: string, deliver: (node: SimNode) => void): void;
  /** A replica has run an entry. */
  ran(node: string, state: Readonly<ShardState>): void;
  readonly timing: Partial<ReplicaTiming>;
  readonly keptEntries: number;
  readonly nodeNames: readonly string[];
  /** A replica has been brought from another. */
  onSnapshot(): void;
}

const WHOLE = { from: 0, to: 0x1_0000_0000 };
const TABLE = 4;
const KEYSPACE = 0;

export const positionOf = (key: Bytes): number => murmur3Position(key);

/** A machine with a clock, a disk and at most one process, which dies and comes back. */
export class SimNode {
  readonly name: string;
  readonly rank: number;
  readonly #world: SimSurroundings;
  /** How much faster than the world's its clock runs. */
  readonly clockRate: number;
  readonly #clockStartMs: number;
  /** Counts processes: what one has under way, no other hears of. */
  #life = 0;
  #running = false;
  #pausedUntilMs = 0;
  #storage = new MemoryStorage();
  #commits: GroupCommit | undefined;
  #drivers = new Map<number, SimDriver>();
  #source: SnapshotSource | undefined;
  #fetches = new Map<number, SnapshotFetch>();
  /** The process dies within so many events of its own. */
  #eventsToLive = Number.POSITIVE_INFINITY;
  #onDeath: () => void = () => {};
  #pausing: { events: number; readonly forMs: number; readonly label: string | undefined } | undefined;
  logIsCutOff = false;
  diskDelayMs = 0;

  constructor(name: string, rank: number, world: SimSurroundings) {
    this.name = name;
    this.rank = rank;
    this.#world = world;
    const { chance } = world.scheduler;
    const hasOwnRate = world.faults.enabled.has('clock-rates');
    if (hasOwnRate) world.faults.count('clock-rates');
    this.clockRate = hasOwnRate ? chance.pick([0.9, 1.1, 0.9 + chance.unit() * 0.2]) : 1;
    this.#clockStartMs = chance.below(1_000_000);
  }

  get isRunning(): boolean {
    return this.#running;
  }

  get drivers(): ReadonlyMap<number, SimDriver> {
    return this.#drivers;
  }

  get storage(): MemoryStorage {
    return this.#storage;
  }

  start(): void {
    this.#running = true;
    const clock = this.#clock();
    this.#commits = new GroupCommit(this.#storage, clock.atTurnEnd);
    this.#source = new SnapshotSource({ storage: this.#storage, commits: this.#commits, clock, keyspaceIdOf: () => KEYSPACE });
    for (const [shard, log] of this.#world.logs) this.#startReplica(shard, log, clock);
  }

  /** Takes the shard's data from another node, and then serves it. */
  #fetch(shard: number, log: SimLog, clock: NodeClock): void {
    this.#drivers.get(shard)?.stop(new KeyfleetError('KF_NOT_LEADER', 'its data come from another replica'));
    this.#drivers.delete(shard);
    const { send, nodeNames, onSnapshot } = this.#world;
    const fetch = new SnapshotFetch({
      shard,
      keyspaceId: KEYSPACE,
      storage: this.#storage,
      commits: this.#commits!,
      clock,
      peers: nodeNames.filter((name) => name !== this.name),
      send: (to, request) =>
        send(this.name, to, 'snapshot-request', (peer) => {
          const answer = peer.#source?.answer(this.name, request);
          if (answer) send(to, this.name, 'snapshot-chunk', (node) => node.#fetches.get(shard)?.answered(to, answer));
        }),
      onDone: () => {
        onSnapshot();
        this.#fetches.delete(shard);
        this.#startReplica(shard, log, clock);
      },
    });
    this.#fetches.set(shard, fetch);
  }

  #startReplica(shard: number, log: SimLog, clock: NodeClock): void {
    const { scheduler, faults } = this.#world;
    const stored = this.#storage.get(stateKey(shard));
    const state = stored ? decodeShardState(stored) : { ...newShardState({ id: shard, range: WHOLE, table: TABLE, leader: '' }), epoch: 0 };
    if (state.status === 'faulted') {
      this.#fetch(shard, log, clock);
      return;
    }
    const machine = new ShardMachine({ storage: this.#storage, module: simModule, positionOf, state, maxValueBytes: 1 << 20 });
    const life = this.#life;
    const link = new LogLink({
      log,
      scheduler,
      faults,
      isConnected: () => !this.logIsCutOff,
      deliver: (label, delayMs, action) => this.#later(label, delayMs, action, life),
    });
    this.#drivers.set(
      shard,
      new ReplicaDriver({
        self: this.name,
        rank: this.rank,
        log: link,
        storage: this.#storage,
        commits: this.#commits!,
        clock,
        peers: {
          report: (leader, durableSeq) =>
            this.#world.send(this.name, leader, 'report', (node) => node.drivers.get(shard)?.reported(this.name, durableSeq)),
          wantSnapshot: () => clock.atTurnEnd(() => this.#fetch(shard, log, clock)),
        },
        machine,
        module: simModule,
        positionOf,
        timing: this.#world.timing,
        limits: { keptEntries: this.#world.keptEntries },
      }),
    );
  }

  /** A message has come: the process, if there is one, deals with it when it runs again. */
  receive(label: string, action: () => void): void {
    this.#later(label, 0, action);
  }

  /** A client's request. */
  serve(shard: number, request: SimRequest, command: SimCommand | undefined, key: Bytes, mode: ReadMode, sink: ReplySink<string>): void {
    const driver = this.#drivers.get(shard);
    if (!driver) {
      sink.failed(0, new KeyfleetError('KF_NOT_LEADER', 'no such shard here'));
    } else if (request.kind === 'command') {
      driver.submit({ kind: request.many ? 'command-many' : 'command', key, command: command! }, sink, 0);
    } else if (request.many) {
      driver.askMany(key, request.query, sink, 0, mode);
    } else {
      driver.ask(key, request.query, sink, 0, mode);
    }
  }

  /** The process stands still for a while, from within the next `events` things that it does, or those of them that are `label`. */
  pauseWithin(events: number, forMs: number, label?: string): void {
    if (events === 0) this.#pausedUntilMs = Math.max(this.#pausedUntilMs, this.#world.scheduler.nowMs + forMs);
    else this.#pausing = { events, forMs, label };
  }

  /** The process dies within the next `events` things that it does. */
  dieWithin(events: number, onDeath: () => void): void {
    if (!this.#running) return;
    this.#eventsToLive = events;
    this.#onDeath = onDeath;
    if (events === 0) this.#dieNext();
  }

  /** The disk takes no more, or takes it again. */
  setDiskFull(isFull: boolean): void {
    this.#storage.refuse(isFull ? new KeyfleetError('KF_DISK_FULL', 'the simulated disk is full') : undefined);
  }

  /** Ends the pause, and what is wrong with disk and net. */
  heal(): void {
    this.#pausedUntilMs = 0;
    this.#pausing = undefined;
    this.#eventsToLive = Number.POSITIVE_INFINITY;
    this.logIsCutOff = false;
    this.diskDelayMs = 0;
    this.setDiskFull(false);
  }

  #die(): void {
    const { chance } = this.#world.scheduler;
    this.#eventsToLive = Number.POSITIVE_INFINITY;
    this.#life++;
    this.#running = false;
    this.#drivers = new Map();
    this.#fetches = new Map();
    this.#source = undefined;
    this.#commits?.stop();
    // Of what was handed to the disk and not yet confirmed, any beginning may have survived.
    const { durable, committed } = this.#storage;
    const survived = durable + chance.below(committed - durable + 1);
    const life = this.#life;
    this.#storage = this.#storage.crash({ holdDurability: true, onCommit: (number) => this.#toDisk(number, life) }, survived);
    this.#onDeath();
  }

  /** A fresh disk, for the first start. */
  format(): void {
    const life = this.#life;
    this.#storage = new MemoryStorage({ holdDurability: true, onCommit: (number) => this.#toDisk(number, life) });
  }

  #toDisk(number: number, life: number): void {
    const { scheduler, faults } = this.#world;
    const slow = faults.strikes('slow-disk', 15) ? scheduler.chance.below(400) : 0;
    scheduler.after(0.3 + scheduler.chance.unit() + this.diskDelayMs + slow, 'synced', () => {
      if (this.#life === life && this.#running) this.#run('durable', () => this.#storage.release(number));
    });
  }

  /** Calls `action` after `delayMs` of the world's time, in this process or never. */
  #later(label: string, delayMs: number, action: () => void, life = this.#life): void {
    this.#world.scheduler.after(delayMs, label, () => {
      if (this.#life === life && this.#running) this.#run(label, action);
    });
  }

  /** Does `action` now, or when the pause is over; and dies, if its time has come. */
  #run(label: string, action: () => void): void {
    const { scheduler } = this.#world;
    if (scheduler.nowMs < this.#pausedUntilMs) {
      this.#later(label, this.#pausedUntilMs - scheduler.nowMs, action);
      return;
    }
    action();
    for (const { replica } of this.#drivers.values()) this.#world.ran(this.name, replica.state);
    if (this.#pausing && (this.#pausing.label ?? label) === label && --this.#pausing.events === 0) {
      this.pauseWithin(0, this.#pausing.forMs);
      this.#pausing = undefined;
    }
    // Not before the promises that this settled have had their turn: they are part of it.
    if (--this.#eventsToLive === 0) this.#dieNext();
  }

  #dieNext(): void {
    const life = this.#life;
    this.#world.scheduler.after(0, 'death', () => {
      if (this.#life === life && this.#running) this.#die();
    });
  }

  #clock(): NodeClock {
    const { scheduler } = this.#world;
    return {
      now: (): Instant => {
        const elapsedMs = scheduler.nowMs * this.clockRate;
        return { monoMs: this.#clockStartMs + elapsedMs, wallMs: 1_700_000_000_000 + elapsedMs };
      },
      after: (ms, callback) => {
        let isOff = false;
        this.#later('timer', ms / this.clockRate, () => {
          if (!isOff) callback();
        });
        return () => {
          isOff = true;
        };
      },
      atTurnEnd: (callback) => this.#later('turn-end', 0, callback),
    };
  }
}
