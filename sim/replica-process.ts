import { type Bytes, utf8 } from '../src/base/bytes.ts';
import { KeyfleetError } from '../src/base/errors.ts';
import { GroupCommit } from '../src/node/group-commit.ts';
import { type ReadMode, ReplicaDriver } from '../src/node/replica-driver.ts';
import { type SnapshotAnswer, SnapshotFetch, SnapshotSource } from '../src/node/snapshot-transfer.ts';
import { murmur3Position } from '../src/partition/hash/murmur3-x86-128.ts';
import type { EntryCommand } from '../src/shard/entry.ts';
import { stateKey } from '../src/shard/key-layout.ts';
import type { ReplicaLimits, ReplicaTiming } from '../src/shard/replica/timing.ts';
import type { ReplySink } from '../src/shard/reply-sink.ts';
import { ShardMachine } from '../src/shard/shard-machine.ts';
import { decodeShardState, newShardState } from '../src/shard/shard-state.ts';
import type { MemoryStorage } from '../src/storage/memory.ts';
import type { Faults } from './faults.ts';
import type { Scheduler } from './scheduler.ts';
import { LogLink, type SimLog } from './sim-log.ts';
import type { SimMachine } from './sim-machine.ts';
import type { SimNetwork } from './sim-network.ts';
import { type SimAction, type SimQuery, type SimValue, simModule } from './workload/sim-module.ts';
import type { SimQueryRequest } from './workload/workload.ts';

export type SimDriver = ReplicaDriver<SimValue, SimAction, string, SimQuery, string>;

/** What a process needs of the world around it. */
export interface ReplicaSurroundings {
  readonly scheduler: Scheduler;
  readonly faults: Faults;
  readonly log: SimLog;
  readonly network: SimNetwork<ReplicaProcess>;
  readonly timing: Partial<ReplicaTiming>;
  readonly limits: Partial<ReplicaLimits>;
  /** All of them, by rank. */
  readonly nodeNames: readonly string[];
  /** How much of a snapshot goes into one message. */
  readonly chunkBytes: number;
  /** A piece of a snapshot has arrived, and is about to be taken. */
  onChunk(machine: SimMachine<ReplicaProcess>): void;
  /** A replica has been brought from another. */
  onSnapshot(): void;
  /** A replica has something else than most: nothing that is simulated may lead to that. */
  onDiffers(why: string): void;
}

const SHARD = 1;
const WHOLE = { from: 0, to: 0x1_0000_0000 };
const TABLE = 4;
const KEYSPACE = 0;

const positionOf = (key: Bytes): number => murmur3Position(key);

/** The process of a node that has a replica of the one shard: its driver, or whatever brings its data from another node. */
export class ReplicaProcess {
  readonly #machine: SimMachine<ReplicaProcess>;
  readonly #world: ReplicaSurroundings;
  readonly #storage: MemoryStorage;
  readonly #commits: GroupCommit;
  readonly #source: SnapshotSource;
  #driver: SimDriver | undefined;
  #fetch: SnapshotFetch | undefined;

  constructor(machine: SimMachine<ReplicaProcess>, world: ReplicaSurroundings) {
    this.#machine = machine;
    this.#world = world;
    this.#storage = machine.storage;
    const { clock } = machine;
    this.#commits = new GroupCommit(this.#storage, clock);
    this.#source = new SnapshotSource({
      storage: this.#storage,
      commits: this.#commits,
      clock,
      keyspaceIdOf: () => KEYSPACE,
      chunkBytes: world.chunkBytes,
    });
    this.#open();
  }

  /** Undefined while its data are fetched. */
  get driver(): SimDriver | undefined {
    return this.#driver;
  }

  /** All that it has run is on its disk. */
  get isDurable(): boolean {
    const replica = this.#driver?.replica;
    return replica !== undefined && replica.durableSeq === replica.state.applied;
  }

  /** A client's command. */
  submit(command: EntryCommand<SimAction>, sink: ReplySink<string>): void {
    if (this.#driver) this.#driver.submit(command, sink, 0);
    else sink.failed(0, notHere());
  }

  /** A client's query. */
  ask({ key: name, query, many }: SimQueryRequest, mode: ReadMode, { settled, failed }: ReplySink<string>): void {
    const key = utf8(name);
    const sink: ReplySink<string> = {
      settled: (token, text) => {
        // Commands that are told are on a disk; what a read shows of others, only the log has, and may lose with all that is in it.
        if (!this.#world.faults.enabled.has('log-lost') || this.isDurable) settled(token, text);
        else failed(token, new KeyfleetError('KF_OUTCOME_UNKNOWN', 'it may show what no disk has'));
      },
      failed,
    };
    if (!this.#driver) failed(0, notHere());
    else if (many) this.#driver.askMany(key, query, sink, 0, mode);
    else this.#driver.ask(key, query, sink, 0, mode);
  }

  /** The process is no more. */
  died(): void {
    this.#commits.stop();
  }

  #open(): void {
    const { log, scheduler, faults, network, timing, limits, nodeNames, onDiffers } = this.#world;
    const machine = this.#machine;
    const { clock, name } = machine;
    const stored = this.#storage.get(stateKey(SHARD));
    const state = stored ? decodeShardState(stored) : { ...newShardState({ id: SHARD, range: WHOLE, table: TABLE, leader: '' }), epoch: 0 };
    if (state.status === 'faulted') {
      this.#bring();
      return;
    }
    this.#driver = new ReplicaDriver({
      self: name,
      rank: nodeNames.indexOf(name),
      log: new LogLink({ log, scheduler, faults, machine }),
      storage: this.#storage,
      commits: this.#commits,
      clock,
      peers: {
        report: (leader, durableSeq, vote) =>
          network.send(name, leader, 'report', (peer) => peer.#driver?.reported(name, durableSeq, vote), true),
        differs: ({ message }) => onDiffers(`${name}: ${message}`),
        wantSnapshot: () => clock.atTurnEnd(() => this.#bring()),
      },
      machine: new ShardMachine({ storage: this.#storage, module: simModule, positionOf, state, maxValueBytes: 1 << 20 }),
      module: simModule,
      positionOf,
      timing,
      limits,
    });
  }

  #take(from: string, answer: SnapshotAnswer): void {
    if (!this.#fetch) return;
    this.#world.onChunk(this.#machine);
    this.#fetch.answered(from, answer);
  }

  /** Takes the shard's data from another node, and then serves it. */
  #bring(): void {
    const had = this.#driver?.replica.state;
    this.#driver?.stop(new KeyfleetError('KF_NOT_LEADER', 'its data come from another replica'));
    this.#driver = undefined;
    const { network, nodeNames, onSnapshot } = this.#world;
    const { name, clock } = this.#machine;
    this.#fetch = new SnapshotFetch({
      shard: SHARD,
      keyspaceId: KEYSPACE,
      storage: this.#storage,
      commits: this.#commits,
      clock,
      peers: () => nodeNames.filter((one) => one !== name),
      ...(had?.status === 'serving' ? { beyond: had.applied } : {}),
      send: (to, request) =>
        network.send(
          name,
          to,
          'snapshot-request',
          (peer) => {
            const answer = peer.#source.answer(name, request);
            if (answer) network.send(to, name, 'snapshot-chunk', (asker) => asker.#take(to, answer), true);
          },
          true,
        ),
      onDone: () => {
        onSnapshot();
        this.#fetch = undefined;
        this.#open();
      },
    });
  }
}

function notHere(): KeyfleetError {
  return new KeyfleetError('KF_NOT_LEADER', 'its data come from another replica');
}
