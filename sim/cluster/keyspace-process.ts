import { utf8 } from '../../src/base/bytes.ts';
import { isKeyfleetError, KeyfleetError } from '../../src/base/errors.ts';
import type { ClusterAccess } from '../../src/node/cluster/cluster-access.ts';
import type { ClusterKeyspace } from '../../src/node/cluster/cluster-keyspace.ts';
import type { ReadMode } from '../../src/node/replica-driver.ts';
import type { EntryCommand } from '../../src/shard/entry.ts';
import type { KeyspacePolicy } from '../../src/shard/policy.ts';
import type { ReplySink } from '../../src/shard/reply-sink.ts';
import type { Serving } from '../client-port.ts';
import type { Faults } from '../faults.ts';
import type { SimMachine } from '../sim-machine.ts';
import type { SimNetwork } from '../sim-network.ts';
import { type SimAction, type SimQuery, type SimValue, simModule } from '../workload/sim-module.ts';
import type { SimQueryRequest } from '../workload/workload.ts';
import type { LogLosses } from './log-losses.ts';
import { SimTransport } from './sim-transport.ts';

export const KEYSPACE = 'sim';

export interface ProcessSurroundings {
  readonly faults: Faults;
  readonly losses: LogLosses;
  readonly network: SimNetwork<KeyspaceProcess>;
  readonly policy: Partial<KeyspacePolicy>;
  readonly shards: number;
  /** The process's own work met this. */
  onBackgroundError(machine: string, error: Error): void;
  /** Something broke that never may. */
  fail(why: string): void;
}

const RETRY_MS = 500;

/** A process that has come to a cluster, as a node or as a client, and answers requests by its keyspace. */
export abstract class KeyspaceProcess implements Serving {
  readonly transport: SimTransport;
  protected readonly machine: SimMachine<KeyspaceProcess>;
  readonly #world: ProcessSurroundings;
  #keyspace: ClusterKeyspace<SimValue, SimAction, string, SimQuery, string> | undefined;

  constructor(machine: SimMachine<KeyspaceProcess>, world: ProcessSurroundings) {
    this.machine = machine;
    this.#world = world;
    this.transport = new SimTransport(machine, world.network);
    // A process begins with a step of its own.
    machine.later('boot', 0, () => this.#begin());
  }

  /** Comes to the cluster. What it throws and is no KeyfleetError is a fault. */
  protected abstract open(): Promise<ClusterAccess>;

  get isReady(): boolean {
    return this.#keyspace !== undefined;
  }

  submit(command: EntryCommand<SimAction>, sink: ReplySink<string>): void {
    if (command.kind !== 'command' && command.kind !== 'command-many') throw new Error(`clients send no ${command.kind}`);
    const { key, command: action, request } = command;
    if (!this.#keyspace) sink.failed(0, notReady());
    else if (action.kind === 'transfer') this.#keyspace.submitMany([utf8(action.from), utf8(action.to)], action, sink, 0, request);
    else this.#keyspace.submit(key, action, sink, 0, request);
  }

  ask({ key, query }: SimQueryRequest, mode: ReadMode, asker: ReplySink<string>): void {
    const { losses, faults } = this.#world;
    const sink = faults.enabled.has('log-lost') ? losses.onceOnDisks(asker) : asker;
    if (!this.#keyspace) sink.failed(0, notReady());
    else if (query.kind === 'audit') this.#keyspace.askMany(query.keys.map(utf8), query, sink, 0, { read: mode });
    else this.#keyspace.ask(utf8(key), query, sink, 0, { read: mode });
  }

  /** Tries again for as long as that may help. */
  protected async again<Result>(attempt: () => Promise<Result>): Promise<Result> {
    for (;;) {
      try {
        return await attempt();
      } catch (error) {
        if (!isKeyfleetError(error)) throw error;
        this.met(error);
        await new Promise<void>((resolve) => this.machine.clock.after(RETRY_MS, resolve));
      }
    }
  }

  /** Its work in the background met this. */
  protected met(error: Error): void {
    const { name } = this.machine;
    if (!isKeyfleetError(error)) this.#world.fail(`${name}: ${error.stack}`);
    this.#world.onBackgroundError(name, error);
  }

  #begin(): void {
    this.#join().catch((error: unknown) => this.#world.fail(`${this.machine.name} does not start: ${(error as Error).stack}`));
  }

  async #join(): Promise<void> {
    const { shards, policy } = this.#world;
    const access = await this.open();
    this.#keyspace = await this.again(() => access.registerKeyspace(KEYSPACE, { module: simModule, scheme: 'redis', shards, policy }));
  }
}

function notReady(): KeyfleetError {
  return new KeyfleetError('KF_UNAVAILABLE', 'this process is still starting', { retryable: true });
}
