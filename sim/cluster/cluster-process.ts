import { ClusterNode } from '../../src/node/cluster/cluster-node.ts';
import type { ClusterNodeOptions } from '../../src/node/cluster/cluster-options.ts';
import type { SimMachine } from '../sim-machine.ts';
import { simModule } from '../workload/sim-module.ts';
import { KeyspaceProcess, type ProcessSurroundings } from './keyspace-process.ts';
import { type SimLogs, SimShardLogs } from './sim-shard-logs.ts';

export interface ClusterSurroundings extends ProcessSurroundings, Pick<ConstructorParameters<typeof SimShardLogs>[0], 'scheduler'> {
  readonly logs: SimLogs;
  readonly options: Partial<ClusterNodeOptions>;
  readonly zoneOf: (node: string) => string;
}

/** The process of a node of a cluster: the node that ships, on simulated ports. */
export class ClusterProcess extends KeyspaceProcess {
  readonly #surroundings: ClusterSurroundings;
  #node: ClusterNode | undefined;

  constructor(machine: SimMachine<ClusterProcess>, surroundings: ClusterSurroundings) {
    super(machine, surroundings);
    this.#surroundings = surroundings;
  }

  /** Undefined until it has joined. */
  get node(): ClusterNode | undefined {
    return this.#node;
  }

  protected async open(): Promise<ClusterNode> {
    const { logs, scheduler, faults, options, zoneOf } = this.#surroundings;
    const { machine, transport } = this;
    this.#node = await ClusterNode.start({
      ...options,
      nodeId: machine.name,
      cluster: 'sim',
      storage: machine.storage,
      clock: machine.clock,
      transport,
      logs: new SimShardLogs({ logs, scheduler, faults, machine }),
      modules: [simModule as never],
      zone: zoneOf(machine.name),
      onBackgroundError: (error) => this.met(error),
    });
    return this.#node;
  }
}
