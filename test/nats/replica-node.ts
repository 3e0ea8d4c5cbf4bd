import type { NatsConnection } from '@nats-io/transport-node';
import { type SimAction, type SimQuery, type SimValue, simModule } from '../../sim/workload/sim-module.ts';
import { type Bytes, utf8 } from '../../src/base/bytes.ts';
import { KeyfleetError } from '../../src/base/errors.ts';
import { type JetStreamLog, jetStreamLog } from '../../src/nats/jetstream-log.ts';
import { natsTransport } from '../../src/nats/nats-transport.ts';
import { WatchedLog } from '../../src/nats/watched-log.ts';
import { GroupCommit } from '../../src/node/group-commit.ts';
import { SystemClock } from '../../src/node/node-clock.ts';
import { type ReadMode, ReplicaDriver } from '../../src/node/replica-driver.ts';
import { murmur3Position } from '../../src/partition/hash/murmur3-x86-128.ts';
import { stateKey } from '../../src/shard/key-layout.ts';
import type { RequestId } from '../../src/shard/request-id.ts';
import { ShardMachine } from '../../src/shard/shard-machine.ts';
import { decodeShardState, newShardState, type ShardState } from '../../src/shard/shard-state.ts';
import { type LmdbStorage, openStorage } from '../../src/storage/lmdb.ts';
import type { Transport } from '../../src/transport/transport.ts';
import type { NatsServers } from './nats-servers.ts';

const SHARD = 1;
const positionOf = (key: Bytes): number => murmur3Position(key);

/** One replica of one shard on real servers and a real disk: what a node of a cluster does for each of its shards. */
export class ReplicaNode {
  readonly name: string;
  readonly #connection: NatsConnection;
  readonly #log: JetStreamLog;
  readonly #watched: WatchedLog;
  readonly #transport: Transport;
  readonly #storage: LmdbStorage;
  readonly #commits: GroupCommit;
  readonly #driver: ReplicaDriver<SimValue, SimAction, string, SimQuery, string>;
  /** Why it watches its log no more. */
  ended: KeyfleetError | undefined;

  private constructor(parts: {
    readonly name: string;
    readonly rank: number;
    readonly connection: NatsConnection;
    readonly log: JetStreamLog;
    readonly transport: Transport;
    readonly storage: LmdbStorage;
  }) {
    const { name, rank, connection, log, transport, storage } = parts;
    this.name = name;
    this.#connection = connection;
    this.#log = log;
    this.#transport = transport;
    this.#storage = storage;
    const clock = new SystemClock();
    this.#commits = new GroupCommit(storage, clock);
    const stored = storage.get(stateKey(SHARD));
    const range = { from: 0, to: 0x1_0000_0000 };
    const state = stored ? decodeShardState(stored) : { ...newShardState({ id: SHARD, range, table: 4, leader: '' }), epoch: 0 };
    this.#watched = new WatchedLog(log, {
      fromSeq: state.applied + 1,
      onEnded: (why) => {
        this.ended = why;
      },
    });
    this.#driver = new ReplicaDriver({
      self: name,
      rank,
      log: this.#watched,
      storage,
      commits: this.#commits,
      clock,
      peers: {
        report: (leader, durableSeq) => transport.send(leader, 'report', utf8(String(durableSeq))),
        wantSnapshot: () => {
          this.ended = new KeyfleetError('KF_LOG_TRUNCATED', `${name} needs a snapshot`);
        },
      },
      machine: new ShardMachine({ storage, module: simModule, positionOf, state, maxValueBytes: 1 << 20 }),
      module: simModule,
      positionOf,
    });
    this.#watched.onGrew(() => this.#driver.logGrew());
  }

  static async start(options: {
    readonly servers: NatsServers;
    readonly stream: string;
    readonly name: string;
    readonly rank: number;
    readonly dir: string;
  }) {
    const { servers, stream, name, rank, dir } = options;
    const connection = await servers.connect();
    const log = await jetStreamLog({ connection, name: stream, replicas: 3 });
    const transport = natsTransport({ connection, cluster: stream, self: name });
    const node = new ReplicaNode({ name, rank, connection, log, transport, storage: await openStorage({ dir }) });
    await transport.serve(({ from, payload }) => {
      node.#driver.reported(from, Number(Buffer.from(payload).toString()));
      return new Uint8Array(0);
    });
    return node;
  }

  get leads(): boolean {
    return this.#driver.replica.leads;
  }

  get state(): Readonly<ShardState> {
    return this.#driver.replica.state;
  }

  get log(): JetStreamLog {
    return this.#log;
  }

  command(key: string, command: SimAction, many: boolean, request: RequestId): Promise<string> {
    return new Promise((settled, failed) => {
      const sink = { settled: (_: number, reply: string) => settled(reply), failed: (_: number, error: Error) => failed(error) };
      this.#driver.submit({ kind: many ? 'command-many' : 'command', key: utf8(key), command, request }, sink, 0);
    });
  }

  query(key: string, query: SimQuery, many: boolean, mode: ReadMode): Promise<string> {
    return new Promise((settled, failed) => {
      const sink = { settled: (_: number, answer: string) => settled(answer), failed: (_: number, error: Error) => failed(error) };
      if (many) this.#driver.askMany(utf8(key), query, sink, 0, mode);
      else this.#driver.ask(utf8(key), query, sink, 0, mode);
    });
  }

  resign(): void {
    this.#driver.resign();
  }

  /** Its connection breaks and does not come back; the process goes on and knows nothing of it. */
  async cutOff(): Promise<void> {
    await this.#connection.close();
  }

  async stop(): Promise<void> {
    this.#driver.stop(new KeyfleetError('KF_CLOSED', `${this.name} is stopped`));
    await this.#watched.close();
    await this.#transport.close();
    this.#commits.commit();
    this.#commits.stop();
    await this.#storage.close();
    await this.#connection.close();
  }
}
