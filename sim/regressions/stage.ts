import { utf8 } from '../../src/base/bytes.ts';
import type { ClusterNode } from '../../src/node/cluster/cluster-node.ts';
import type { ClusterNodeOptions } from '../../src/node/cluster/cluster-options.ts';
import type { KeyspaceView } from '../../src/node/cluster/cluster-view.ts';
import type { ShardState } from '../../src/shard/shard-state.ts';
import type { ClusterProcess } from '../cluster/cluster-process.ts';
import { KEYSPACE } from '../cluster/keyspace-process.ts';
import { type ClusterWorld, SimCluster, stateOf } from '../cluster/sim-cluster.ts';
import { Faults } from '../faults.ts';
import { Scheduler } from '../scheduler.ts';
import type { SimMachine } from '../sim-machine.ts';
import { simModule } from '../workload/sim-module.ts';
import { World } from '../world.ts';

// A simulated cluster on which a scenario is played: nothing goes wrong of itself, and what is to go wrong the scenario says, by what the cluster is
// doing rather than by a number drawn. So a scenario still means the same when the code around it has changed.

export interface StageOptions {
  readonly nodes: number;
  readonly replication: number;
  /** Of the one keyspace, to begin with. Default: 1. */
  readonly shards?: number;
  /** Entries that logs keep behind what all replicas have. Default: all of them. */
  readonly keptEntries?: number;
  readonly options?: Partial<ClusterNodeOptions>;
}

/** How long anything may take that is to happen. */
const PATIENCE_MS = 20_000;
const LOOK_MS = 2;

export class Stage {
  readonly world: ClusterWorld;
  readonly cluster: SimCluster;

  constructor({ nodes, replication, shards = 1, keptEntries = 1_000_000, options = {} }: StageOptions) {
    const scheduler = new Scheduler(1);
    this.world = new World(scheduler, new Faults(scheduler.chance, [], false));
    this.cluster = new SimCluster(this.world, {
      options: {
        replication,
        requestTimeoutMs: 2 * PATIENCE_MS,
        timing: { leaseMs: 1_000, renewMs: 300, reportMs: 200, lostMs: 500, requestTimeoutMs: 2 * PATIENCE_MS },
        limits: { keptEntries },
        ...options,
      },
      policy: { minShards: 1, mergeThresholdRatio: 0 },
      shards,
      zoneOf: () => '',
    });
    for (let i = 1; i <= nodes; i++) this.cluster.add(`n${i}`);
    this.cluster.watch();
  }

  /** Lets nodes begin, one after the other so that the first has the lowest number, and waits until they serve. Default: all of them. */
  async begin(names = this.world.machines.map(({ name }) => name)): Promise<void> {
    for (const name of names) {
      this.machine(name).start();
      await this.until(`${name} serves`, () => this.machine(name).process?.isReady === true);
    }
    await this.until('all shards are led', () => this.keyspace(names[0]!).shards.every(({ id }) => this.leaderOf(id) !== undefined));
  }

  machine(name: string): SimMachine<ClusterProcess> {
    return this.world.machines.find((machine) => machine.name === name)!;
  }

  node(name: string): ClusterNode {
    return this.machine(name).process!.node!;
  }

  /** As a node sees it. */
  keyspace(name: string, keyspace = KEYSPACE): KeyspaceView {
    return this.node(name)
      .view()
      .keyspaces.find((one) => one.name === keyspace)!;
  }

  /** Has a node register another keyspace, of so many shards. */
  register(name: string, keyspace: string, shards: number): void {
    const node = this.node(name);
    const policy = { minShards: 1, mergeThresholdRatio: 0 };
    this.machine(name).receive('admin', () => {
      node.registerKeyspace(keyspace, { module: simModule, scheme: 'redis', shards, policy }).catch(() => {});
    });
  }

  /** Where a shard is to be, as a node sees it. */
  replicasOf(shard: number, seenBy: string): readonly string[] {
    return this.keyspace(seenBy).shards.find(({ id }) => id === shard)?.replicas ?? [];
  }

  /** What a node's disk says of a shard. */
  stateOf(name: string, shard: number): ShardState | undefined {
    return stateOf(this.machine(name), shard);
  }

  /** The node that leads a shard by the newest claim, as far as its process lives. 0: the meta shard. */
  leaderOf(shard: number): string | undefined {
    let best: { readonly name: string; readonly epoch: number } | undefined;
    for (const { process, name } of this.world.machines) {
      const view = process?.node?.view();
      const leads = view?.keyspaces.some(({ shards }) => shards.some(({ id, here }) => id === shard && here?.leads));
      const epoch = this.stateOf(name, shard)?.epoch ?? 0;
      if ((leads || (shard === 0 && view?.metaLeader === name)) && epoch > (best?.epoch ?? 0)) best = { name, epoch };
    }
    return best?.name;
  }

  async pass(ms: number): Promise<void> {
    const { scheduler, hasFailed } = this.world;
    await scheduler.run(scheduler.nowMs + ms, hasFailed);
    this.#stopIfWrong();
  }

  /** Waits until it is so. @throws when that takes too long. */
  async until(what: string, isTrue: () => boolean, limitMs = PATIENCE_MS): Promise<void> {
    const { scheduler } = this.world;
    const lastMs = scheduler.nowMs + limitMs;
    while (!isTrue()) {
      if (scheduler.nowMs >= lastMs) throw new Error(`this never came: ${what}`);
      await this.pass(LOOK_MS);
    }
  }

  /** The process dies now, with what its disk has confirmed. */
  async crash(name: string): Promise<void> {
    this.machine(name).dieWithin(0, () => {});
    await this.until(`${name} is dead`, () => !this.machine(name).isRunning);
  }

  /** Adds 1 to a counter, at a node. The answer, when it comes: the sum, or a code. */
  add(name: string, key: string): { readonly answer: string | undefined } {
    const command = { kind: 'command', key: utf8(key), command: { kind: 'add', amount: 1 } } as const;
    return this.#ask(name, (process, sink) => process.submit(command, sink));
  }

  /** Adds 1, and waits for the answer. @throws when it is none. */
  async added(name: string, key: string): Promise<void> {
    const told = this.add(name, key);
    await this.until(`${key} is counted`, () => told.answer !== undefined);
    if (!/^\d+$/.test(told.answer!)) throw new Error(`counting ${key} was answered ${told.answer}`);
  }

  /** What a key holds, as a node answers. */
  async read(name: string, key: string): Promise<string> {
    const told = this.#ask(name, (process, sink) =>
      process.ask({ kind: 'query', key, many: false, query: { kind: 'read' } }, 'barrier', sink),
    );
    await this.until(`${key} is read`, () => told.answer !== undefined);
    return told.answer!;
  }

  /** The log of a shard is gone, with all that it had. */
  loseLog(shard: number, generation = 1): void {
    this.cluster.logs.delete(shard, generation);
  }

  /** Has a node begin a split, merge or move; how that ends is seen by what becomes of it. */
  change(name: string, begin: (workflows: ReturnType<ClusterNode['workflows']>) => Promise<unknown>): void {
    const node = this.node(name);
    this.machine(name).receive('admin', () => {
      begin(node.workflows(KEYSPACE)).catch(() => {});
    });
  }

  /** Everything works again: waits until all is as it must be in the end. @throws when that does not come, or something was wrong. */
  async settle(): Promise<void> {
    this.world.heal();
    await this.cluster.settle(PATIENCE_MS);
    this.#stopIfWrong();
  }

  #ask(
    name: string,
    ask: (
      process: ClusterProcess,
      sink: { settled: (token: number, text: string) => void; failed: (token: number, error: Error) => void },
    ) => void,
  ) {
    const told: { answer: string | undefined } = { answer: undefined };
    const machine = this.machine(name);
    machine.receive('request', () =>
      ask(machine.process!, {
        settled: (_token, text) => {
          told.answer = text;
        },
        failed: (_token, error) => {
          told.answer = 'code' in error ? String(error.code) : error.message;
        },
      }),
    );
    return told;
  }

  #stopIfWrong(): void {
    if (this.world.failure !== undefined) throw new Error(this.world.failure);
  }
}
