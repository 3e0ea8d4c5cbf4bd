import { isKeyfleetError } from '../../src/base/errors.ts';
import { Prng } from '../../src/base/prng.ts';
import type { ClusterNode } from '../../src/node/cluster/cluster-node.ts';
import { clientPort } from '../client-port.ts';
import { CLUSTER_FAULT_KINDS, type FaultKind, Faults } from '../faults.ts';
import { Scheduler } from '../scheduler.ts';
import { SimClient } from '../sim-client.ts';
import { digestEvery, type SimulationOptions } from '../simulation.ts';
import type { SimulationResult } from '../simulation-result.ts';
import { Workload } from '../workload/workload.ts';
import { COMMON_STRIKES, World } from '../world.ts';
import { portOf } from './client-process.ts';
import { KEYSPACE } from './keyspace-process.ts';
import { type ClusterSettings, type ClusterWorld, SimCluster } from './sim-cluster.ts';

// A run of a whole cluster, with the meta shard, splits and merges by a policy and by hand, moves, drained nodes, and the faults that the seed chose.
// Phases and promises are those of ../simulation.ts; what must hold beyond them: sim-cluster.ts.

const HEALED_MS = 60_000;
const SETTLE_MS = 60_000;
const CALM_MS = 5_000;
/** After so much of the healed time no command from before is on its way any more. */
const QUIET_MS = 15_000;
/** How often it is looked whether a merge is at the point where its right shard's log may go. */
const MERGE_LOOK_MS = 40;

/**
 * What a run can be after. `lost-logs`: the logs of shards go, and that of the meta shard. `workflows`: shards are split, merged and moved all the time, under
 * clients that repeat their requests.
 */
export const CLUSTER_HUNTS = ['lost-logs', 'workflows'] as const;
export type ClusterHunt = (typeof CLUSTER_HUNTS)[number];

export interface ClusterSimulationOptions extends Omit<SimulationOptions, 'hunt'> {
  /** Default: in one run in four logs go. */
  readonly hunt?: ClusterHunt | undefined;
}

export async function simulateCluster(options: ClusterSimulationOptions): Promise<SimulationResult> {
  return new ClusterSimulation(options).run();
}

class ClusterSimulation {
  readonly #seed: number;
  readonly #hunt: ClusterHunt | undefined;
  readonly #safetyMs: number;
  readonly #world: ClusterWorld;
  readonly #cluster: SimCluster;
  readonly #workload: Workload;
  #answeredByPrograms = 0;
  /** Nodes that were told to give away what they have. */
  readonly #drained = new Set<string>();

  constructor({ seed, seconds, hunt, faults, tell }: ClusterSimulationOptions) {
    this.#seed = seed;
    this.#hunt = hunt;
    this.#safetyMs = seconds * 1_000;
    const scheduler = new Scheduler(seed);
    const { chance } = scheduler;
    const chosen = CLUSTER_FAULT_KINDS.filter(() => chance.below(2) === 0);
    const hasFaults = chance.below(8) > 0;
    // By a chance of its own, so that all else of a run is as it is without.
    const losesLogs = hunt === 'lost-logs' || new Prng(seed ^ 0x10_57).below(4) === 0;
    const enabled: readonly FaultKind[] = faults ?? [...(hasFaults ? chosen : []), ...(losesLogs ? (['log-lost'] as const) : [])];
    this.#world = new World(scheduler, new Faults(chance, enabled, false), tell);
    this.#workload = new Workload(chance, { keysOfAKind: 2 + chance.below(6), requestsOfAnAge: 60 + chance.below(200) });
    const count = 3 + chance.below(4);
    this.#cluster = new SimCluster(this.#world, this.#settings(count));
    for (let i = 1; i <= count; i++) this.#cluster.add(`n${i}`);
  }

  async run(): Promise<SimulationResult> {
    const { scheduler, machines } = this.#world;
    for (const machine of machines) scheduler.after(scheduler.chance.below(200), 'start', () => machine.start());
    this.#addClients();
    this.#planFaults();
    this.#planProgramFaults();
    this.#planAdmin();
    this.#planLosses();
    this.#cluster.watch();
    await this.#world.play(() => this.#phases());
    this.#cluster.show();
    const { entries, workflows } = this.#cluster;
    return this.#world.result({ seed: this.#seed, entries, workflows }, this.#workload);
  }

  #settings(count: number): ClusterSettings {
    const { scheduler, faults } = this.#world;
    const { chance } = scheduler;
    const hasTruncation = faults.enabled.has('truncation');
    const replication = 1 + chance.below(3);
    return {
      options: {
        replication,
        requestTimeoutMs: 1_000 + chance.below(8_000),
        timing: { reportMs: 500, ...(hasTruncation ? { lostMs: 1_500 + chance.below(3_000) } : {}) },
        limits: {
          keptEntries: hasTruncation ? chance.pick([0, chance.below(30)]) : 1_000_000,
          digestEvery: digestEvery(this.#seed),
        },
      },
      policy: { maxKeysPerShard: chance.pick([null, 5 + chance.below(40)]), maxShards: 12 },
      shards: 1 + chance.below(4),
      zoneOf: (node: string) => (count > 4 ? `z${Number(node.slice(1)) % 3}` : ''),
    };
  }

  #addClients(): void {
    const { chance } = this.#world.scheduler;
    const surroundings = {
      scheduler: this.#world.scheduler,
      workload: this.#workload,
      nodeNames: this.#world.machines.map(({ name }) => name),
      known: new Set<string>(),
      port: clientPort(this.#world.network),
      repeats: chance.below(3) > 0 || this.#hunt === 'workflows',
      thinkMs: 20 + chance.below(300),
      commandTimeoutMs: 500 + chance.below(10_000),
      queryTimeoutMs: 1_000 + chance.below(10_000),
      isOver: () => this.#world.clientsAreOver,
      onAnswered: () => this.#world.answered++,
      fail: this.#world.fail,
    };
    const count = 2 + chance.below(4);
    for (let i = 0; i < count; i++) new SimClient(`c${i + 1}`, { ...surroundings, onlyReads: i === 3 }).think();
    // By a chance of its own, so that all else of a run is as it is without.
    const own = new Prng(this.#seed ^ 0xc1_1e);
    const programs = own.below(2) === 0 ? 0 : 1 + own.below(3);
    for (let i = 0; i < programs; i++) {
      const name = `p${i + 1}`;
      const machine = this.#cluster.addClient(name, 1_000 + own.below(8_000));
      this.#world.scheduler.after(own.below(2_000), 'start', () => machine.start());
      const onAnswered = (): void => {
        this.#world.answered++;
        this.#answeredByPrograms++;
      };
      const inside = { ...surroundings, nodeNames: [name], known: new Set<string>(), port: portOf(machine), onAnswered };
      for (const user of ['a', 'b']) new SimClient(`${name}${user}`, { ...inside, onlyReads: false }).think();
    }
  }

  async #phases(): Promise<void> {
    const { scheduler, hasFailed } = this.#world;
    await scheduler.run(this.#safetyMs, hasFailed);
    this.#world.heal();
    scheduler.after(QUIET_MS, 'undrain', () => {
      for (const node of this.#drained) this.#undrain(node);
    });
    const endMs = this.#safetyMs + HEALED_MS;
    await scheduler.run(endMs - CALM_MS, hasFailed);
    const [before, beforeByPrograms] = [this.#world.answered, this.#answeredByPrograms];
    await scheduler.run(endMs, hasFailed);
    const [count, byPrograms] = [this.#world.answered - before, this.#answeredByPrograms - beforeByPrograms];
    if (count < 3 || (byPrograms === 0 && this.#world.clientMachines.length > 0)) {
      const some = `only ${count} answers in ${CALM_MS} ms, ${byPrograms} of them by programs with the map`;
      this.#world.fail(`healed ${HEALED_MS - CALM_MS} ms ago, yet ${some}`);
    }
    this.#world.clientsAreOver = true;
    if (!hasFailed()) await this.#cluster.settle(SETTLE_MS);
  }

  // Faults that strike by themselves, and people who change the cluster.

  #planFaults(): void {
    const { faults, scheduler, machines } = this.#world;
    const { chance } = scheduler;
    const everyMs = 2_000 + chance.below(15_000);
    const kinds = COMMON_STRIKES.filter((kind) => faults.enabled.has(kind));
    if (kinds.length === 0) return;
    this.#world.strikeEvery(everyMs, 'fault', () => {
      const kind = chance.pick(kinds);
      const machine = chance.pick(machines);
      if (!machine.isRunning) return;
      const forMs = 100 + chance.below(chance.below(2) === 0 ? 1_000 : 12_000);
      this.#world.strike(kind, machine, { forMs, crashSteps: 30, pauseSteps: 20 });
    });
  }

  /** Programs that use the cluster end and begin anew, stand still, and hear nothing of some nodes or of all: their maps grow old. */
  #planProgramFaults(): void {
    const { faults, scheduler, network, machines, clientMachines } = this.#world;
    const { chance } = scheduler;
    const kinds = (['crash', 'pause', 'partition'] as const).filter((kind) => faults.enabled.has(kind));
    if (kinds.length === 0 || clientMachines.length === 0) return;
    this.#world.strikeEvery(2_000 + chance.below(15_000), 'fault', () => {
      const kind = chance.pick(kinds);
      const machine = chance.pick(clientMachines);
      if (!machine.isRunning) return;
      const forMs = 100 + chance.below(chance.below(2) === 0 ? 1_000 : 12_000);
      if (kind !== 'partition') {
        this.#world.strike(kind, machine, { forMs, crashSteps: 30, pauseSteps: 20 });
        return;
      }
      faults.count(kind);
      const nodes = machines.map(({ name }) => name);
      const mend = network.cut(machine.name, {
        machines: chance.below(2) === 0 || nodes.filter(() => chance.below(2) === 0),
        clients: false,
      });
      scheduler.after(forMs, 'fault-over', mend);
    });
  }

  #planLosses(): void {
    const { faults, scheduler } = this.#world;
    if (!faults.enabled.has('log-lost')) return;
    this.#world.strikeEvery(3_000 + scheduler.chance.below(15_000), 'log-lost', () => this.#cluster.losses.strike());
    // Short as that time is, it is to be met; by a chance of its own, too.
    if (this.#hunt !== 'lost-logs') return;
    const chance = new Prng(this.#seed ^ 0x3e_26e);
    this.#world.strikeEvery(MERGE_LOOK_MS, 'log-lost', () => this.#cluster.losses.strikeMerge(chance));
  }

  #planAdmin(): void {
    const { scheduler, machines } = this.#world;
    const { chance } = scheduler;
    const everyMs = 1_000 + chance.below(10_000);
    this.#world.strikeEvery(this.#hunt === 'workflows' ? everyMs / 10 : everyMs, 'admin', () => {
      const ready = machines.filter(({ process }) => process?.isReady);
      if (ready.length === 0) return;
      const machine = chance.pick(ready);
      const node = machine.process?.node;
      if (node) machine.receive('admin', () => this.#tolerate(this.#change(node)));
    });
  }

  async #change(node: ClusterNode): Promise<void> {
    const { chance } = this.#world.scheduler;
    const keyspace = node.view().keyspaces.find(({ name }) => name === KEYSPACE);
    if (!keyspace) return;
    const shard = chance.pick(keyspace.shards);
    const target = chance.pick(this.#world.machines).name;
    const workflows = node.workflows(KEYSPACE);
    switch (chance.below(7)) {
      case 0:
      case 1:
        await workflows.split(shard.id);
        break;
      case 2:
      case 3:
        await workflows.merge(shard.id);
        break;
      case 4:
        await workflows.move(shard.id, { add: target, ...(chance.below(2) === 0 ? { remove: chance.pick(shard.replicas) } : {}) });
        break;
      case 5:
        this.#drained.add(target);
        await node.drain(target);
        this.#world.scheduler.after(chance.below(15_000), 'undrain', () => this.#undrain(target));
        break;
      default:
        if (keyspace.workflows.length > 0) await workflows.cancel(chance.pick(keyspace.workflows).op);
    }
  }

  /** Whoever was drained takes shards again: over and over until somebody has heard it. */
  #undrain(target: string): void {
    const { scheduler, machines } = this.#world;
    const machine = scheduler.chance.pick(machines);
    const node = machine.process?.node;
    const again = (): void => void scheduler.after(1_000, 'undrain', () => this.#undrain(target));
    if (node) machine.receive('admin', () => this.#tolerate(node.undrain(target).catch(again)));
    else again();
  }

  #tolerate(change: Promise<void>): void {
    change.catch((error: unknown) => {
      if (!isKeyfleetError(error)) this.#world.fail(`a change of the cluster broke: ${(error as Error).stack}`);
    });
  }
}
