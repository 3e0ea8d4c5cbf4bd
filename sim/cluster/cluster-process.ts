import { utf8 } from '../../src/base/bytes.ts';
import { isKeyfleetError, KeyfleetError } from '../../src/base/errors.ts';
import type { ClusterKeyspace } from '../../src/node/cluster/cluster-keyspace.ts';
import { ClusterNode } from '../../src/node/cluster/cluster-node.ts';
import type { ClusterNodeOptions } from '../../src/node/cluster/cluster-options.ts';
import type { ReadMode } from '../../src/node/replica-driver.ts';
import type { EntryCommand } from '../../src/shard/entry.ts';
import type { KeyspacePolicy } from '../../src/shard/policy.ts';
import type { ReplySink } from '../../src/shard/reply-sink.ts';
import type { SimMachine } from '../sim-machine.ts';
import type { SimNetwork } from '../sim-network.ts';
import { type SimAction, type SimQuery, type SimValue, simModule } from '../workload/sim-module.ts';
import type { SimQueryRequest } from '../workload/workload.ts';
import type { LogLosses } from './log-losses.ts';
import { type SimLogs, SimShardLogs } from './sim-shard-logs.ts';
import { SimTransport } from './sim-transport.ts';

export const KEYSPACE = 'sim';

export interface ClusterSurroundings extends Pick<ConstructorParameters<typeof SimShardLogs>[0], 'scheduler' | 'faults'> {
  readonly logs: SimLogs;
  readonly losses: LogLosses;
  readonly network: SimNetwork<ClusterProcess>;
  readonly options: Partial<ClusterNodeOptions>;
  readonly policy: Partial<KeyspacePolicy>;
  readonly shards: number;
  readonly zoneOf: (node: string) => string;
  /** The node's own work met this. */
  onBackgroundError(node: string, error: Error): void;
  /** Something broke that never may. */
  fail(why: string): void;
}

const RETRY_MS = 500;

/** The process of a node of a cluster: the node that ships, on simulated ports. */
export class ClusterProcess {
  readonly transport: SimTransport;
  readonly #machine: SimMachine<ClusterProcess>;
  readonly #world: ClusterSurroundings;
  #node: ClusterNode | undefined;
  #keyspace: ClusterKeyspace<SimValue, SimAction, string, SimQuery, string> | undefined;

  constructor(machine: SimMachine<ClusterProcess>, world: ClusterSurroundings) {
    this.#machine = machine;
    this.#world = world;
    this.transport = new SimTransport(machine, world.network);
    // A process begins with a step of its own.
    machine.later('boot', 0, () => this.#begin());
  }

  /** Undefined until it has joined. */
  get node(): ClusterNode | undefined {
    return this.#node;
  }

  get isReady(): boolean {
    return this.#keyspace !== undefined;
  }

  /** A client's command. */
  submit(command: EntryCommand<SimAction>, sink: ReplySink<string>): void {
    if (command.kind !== 'command' && command.kind !== 'command-many') throw new Error(`clients send no ${command.kind}`);
    const { key, command: action, request } = command;
    if (!this.#keyspace) sink.failed(0, notReady());
    else if (action.kind === 'transfer') this.#keyspace.submitMany([utf8(action.from), utf8(action.to)], action, sink, 0, request);
    else this.#keyspace.submit(key, action, sink, 0, request);
  }

  /** A client's query. */
  ask({ key, query }: SimQueryRequest, mode: ReadMode, asker: ReplySink<string>): void {
    const { losses, faults } = this.#world;
    const sink = faults.enabled.has('log-lost') ? losses.onceOnDisks(asker) : asker;
    if (!this.#keyspace) sink.failed(0, notReady());
    else if (query.kind === 'audit') this.#keyspace.askMany(query.keys.map(utf8), query, sink, 0, { read: mode });
    else this.#keyspace.ask(utf8(key), query, sink, 0, { read: mode });
  }

  #begin(): void {
    this.#join().catch((error: unknown) => this.#world.fail(`${this.#machine.name} does not start: ${(error as Error).stack}`));
  }

  async #join(): Promise<void> {
    const { logs, scheduler, faults, options, policy, shards, zoneOf, onBackgroundError } = this.#world;
    const machine = this.#machine;
    this.#node = await ClusterNode.start({
      ...options,
      nodeId: machine.name,
      cluster: 'sim',
      storage: machine.storage,
      clock: machine.clock,
      transport: this.transport,
      logs: new SimShardLogs({ logs, scheduler, faults, machine }),
      modules: [simModule as never],
      zone: zoneOf(machine.name),
      onBackgroundError: (error) => {
        if (!isKeyfleetError(error)) this.#world.fail(`${machine.name}: ${error.stack}`);
        onBackgroundError(machine.name, error);
      },
    });
    for (;;) {
      try {
        this.#keyspace = await this.#node.registerKeyspace(KEYSPACE, { module: simModule, scheme: 'redis', shards, policy });
        return;
      } catch (error) {
        if (!isKeyfleetError(error)) throw error;
        onBackgroundError(machine.name, error);
        await new Promise<void>((resolve) => machine.clock.after(RETRY_MS, resolve));
      }
    }
  }
}

function notReady(): KeyfleetError {
  return new KeyfleetError('KF_UNAVAILABLE', 'this node is still starting', { retryable: true });
}
