import { toHex } from '../../src/base/bytes.ts';
import { isKeyfleetError } from '../../src/base/errors.ts';
import type { ClusterNode } from '../../src/node/cluster/cluster-node.ts';
import type { KeyspaceView, ShardView } from '../../src/node/cluster/cluster-view.ts';
import { stateKey } from '../../src/shard/key-layout.ts';
import { positionScheme } from '../../src/shard/position-scheme.ts';
import { SnapshotReader } from '../../src/shard/replica/snapshot.ts';
import { decodeShardState, type ShardState } from '../../src/shard/shard-state.ts';
import { countsRange, SlotCounts } from '../../src/shard/slot-counts.ts';
import { clientPort } from '../client-port.ts';
import { type FaultKind, Faults } from '../faults.ts';
import { showViolation } from '../linearizability/show-violation.ts';
import { Scheduler } from '../scheduler.ts';
import { SimClient } from '../sim-client.ts';
import { SimMachine } from '../sim-machine.ts';
import { SimNetwork } from '../sim-network.ts';
import type { SimulationOptions, SimulationResult } from '../simulation.ts';
import { Workload } from '../workload/workload.ts';
import { ClusterProcess, KEYSPACE } from './cluster-process.ts';
import { SimLogs } from './sim-shard-logs.ts';

// A run of a whole cluster: nodes as they ship, on simulated ports, with the meta shard, splits and merges by a policy and by hand, moves, drained nodes,
// and the faults that the seed chose. Phases and promises are those of ../simulation.ts; beyond them, in the end no workflow is under way, the shards
// cover all positions once, each has as many replicas as it is to have, and all of those hold the same bytes.

/** What can go wrong in a cluster: all but the loss of a log. */
const KINDS: readonly FaultKind[] = [
  'crash',
  'death-in-step',
  'blackout',
  'pause',
  'pause-in-step',
  'partition',
  'disk-full',
  'slow-disk',
  'slow-log',
  'append-lost',
  'append-answer-lost',
  'append-late',
  'append-doubled',
  'stale-read',
  'read-failed',
  'hint-lost',
  'message-lost',
  'message-doubled',
  'clock-rates',
  'truncation',
  'skipping-read',
];
const STRIKES = ['crash', 'blackout', 'pause', 'partition', 'disk-full'] as const;
type Strike = (typeof STRIKES)[number];

const HEALED_MS = 60_000;
const SETTLE_MS = 60_000;
const CALM_MS = 5_000;
const LOOK_MS = 500;
const POSITIONS = 0x1_0000_0000;
const SCHEME = positionScheme('redis');
/** How the keys of counts by slot begin. */
const COUNTS = toHex(countsRange(0).from).slice(0, 10);

export async function simulateCluster(options: SimulationOptions): Promise<SimulationResult> {
  return new ClusterSimulation(options).run();
}

class ClusterSimulation {
  readonly #seed: number;
  readonly #safetyMs: number;
  readonly #scheduler: Scheduler;
  readonly #faults: Faults;
  readonly #network: SimNetwork<ClusterProcess>;
  readonly #logs = new SimLogs();
  readonly #machines: SimMachine<ClusterProcess>[] = [];
  readonly #workload: Workload;
  /** By shard, generation and entry: what replicas had come to. */
  readonly #hashes = new Map<string, { readonly hash: string; readonly node: string }>();
  readonly #seenWorkflows = new Map<number, string>();
  readonly #onTold: ((line: string) => void) | undefined;
  #failure: string | undefined;
  #answered = 0;
  #leaderships = 0;
  #clientsAreOver = false;

  constructor({ seed, seconds, faults, tell }: SimulationOptions) {
    this.#onTold = tell;
    this.#seed = seed;
    this.#safetyMs = seconds * 1_000;
    this.#scheduler = new Scheduler(seed);
    const { chance } = this.#scheduler;
    const chosen = KINDS.filter(() => chance.below(2) === 0);
    this.#faults = new Faults(chance, faults ?? (chance.below(8) === 0 ? [] : chosen), false);
    this.#network = new SimNetwork(this.#scheduler, this.#faults);
    this.#workload = new Workload(chance, { keysOfAKind: 2 + chance.below(6), requestsOfAnAge: 60 + chance.below(200) });
  }

  async run(): Promise<SimulationResult> {
    this.#addMachines();
    for (const machine of this.#machines) {
      this.#scheduler.after(this.#scheduler.chance.below(200), 'start', () => machine.start());
    }
    this.#addClients();
    this.#planFaults();
    this.#planAdmin();
    this.#watch();
    try {
      await this.#phases();
    } catch (error) {
      this.#fail(`the code broke: ${error instanceof Error ? error.stack : error}`);
    }
    return this.#result();
  }

  #addMachines(): void {
    const { chance } = this.#scheduler;
    const count = 3 + chance.below(4);
    const hasTruncation = this.#faults.enabled.has('truncation');
    const surroundings = {
      scheduler: this.#scheduler,
      faults: this.#faults,
      logs: this.#logs,
      network: this.#network,
      options: {
        replication: 1 + chance.below(3),
        requestTimeoutMs: 1_000 + chance.below(8_000),
        timing: { reportMs: 500, ...(hasTruncation ? { lostMs: 1_500 + chance.below(3_000) } : {}) },
        limits: { keptEntries: hasTruncation ? chance.pick([0, chance.below(30)]) : 1_000_000 },
      },
      policy: { maxKeysPerShard: chance.pick([null, 5 + chance.below(40)]), maxShards: 12 },
      shards: 1 + chance.below(4),
      zoneOf: (node: string) => (count > 4 ? `z${Number(node.slice(1)) % 3}` : ''),
      onBackgroundError: (node: string, error: Error) => this.#tell(`${node}: ${error.message}`),
      fail: (why: string) => this.#fail(why),
    };
    for (let i = 1; i <= count; i++) {
      const machine = new SimMachine<ClusterProcess>(`n${i}`, {
        scheduler: this.#scheduler,
        faults: this.#faults,
        boot: (self) => new ClusterProcess(self, surroundings),
        died: () => {},
        stepped: () => this.#scheduler.promisesMoved(),
      });
      this.#machines.push(machine);
      this.#network.add(machine);
    }
  }

  #addClients(): void {
    const { chance } = this.#scheduler;
    const surroundings = {
      scheduler: this.#scheduler,
      workload: this.#workload,
      nodeNames: this.#machines.map(({ name }) => name),
      known: new Set<string>(),
      port: clientPort(this.#network),
      repeats: chance.below(3) > 0,
      thinkMs: 20 + chance.below(300),
      commandTimeoutMs: 500 + chance.below(10_000),
      queryTimeoutMs: 1_000 + chance.below(10_000),
      isOver: () => this.#clientsAreOver,
      onAnswered: () => this.#answered++,
      fail: (why: string) => this.#fail(why),
    };
    const count = 2 + chance.below(4);
    for (let i = 0; i < count; i++) new SimClient(`c${i + 1}`, { ...surroundings, onlyReads: i === 3 }).think();
  }

  async #phases(): Promise<void> {
    const failed = (): boolean => this.#failure !== undefined;
    await this.#scheduler.run(this.#safetyMs, failed);
    this.#heal();
    const endMs = this.#safetyMs + HEALED_MS;
    await this.#scheduler.run(endMs - CALM_MS, failed);
    const before = this.#answered;
    await this.#scheduler.run(endMs, failed);
    if (!failed() && this.#answered - before < 3) {
      this.#fail(`healed ${HEALED_MS - CALM_MS} ms ago, yet only ${this.#answered - before} answers in ${CALM_MS} ms`);
    }
    this.#clientsAreOver = true;
    const lastMs = endMs + SETTLE_MS;
    let open: string[] = ['nothing has been looked at'];
    for (let untilMs = endMs; untilMs < lastMs && open.length > 0 && !failed(); untilMs += 100) {
      await this.#scheduler.run(untilMs, failed);
      open = this.#notSettled();
    }
    this.#machines.forEach((machine) => {
      this.#tell(this.#show(machine));
    });
    for (const machine of this.#machines) this.#tell(this.#show(machine));
    if (!failed() && open.length > 0) this.#fail(`long after everything was healed: ${open.join('; ')}`);
  }

  #result(): SimulationResult {
    let histories = 0;
    let undecided = 0;
    if (this.#failure === undefined) {
      for (const { of, parts, verdict } of this.#workload.verdicts()) {
        histories += parts;
        if (verdict.kind === 'undecided') undecided++;
        if (verdict.kind === 'violation') this.#fail(`${of}: ${showViolation(verdict)}`);
      }
    }
    const workflows = new Map<string, number>();
    for (const kind of this.#seenWorkflows.values()) workflows.set(kind, (workflows.get(kind) ?? 0) + 1);
    const entries = [...this.#logs.all.values()].reduce((sum, { lastSeq }) => sum + lastSeq, 0);
    this.#scheduler.mark(`${this.#answered} ${entries} ${this.#failure ?? 'good'}`);
    return {
      seed: this.#seed,
      failure: this.#failure,
      simulatedMs: this.#scheduler.nowMs,
      events: this.#scheduler.eventCount,
      traceHash: this.#scheduler.traceHash,
      requests: this.#workload.count,
      answered: this.#answered,
      histories,
      undecided,
      entries,
      leaderships: this.#leaderships,
      faults: this.#faults.counts,
      workflows,
    };
  }

  #fail(why: string): void {
    this.#failure ??= `at ${(this.#scheduler.nowMs / 1_000).toFixed(3)} s: ${why}`;
  }

  #tell(line: string): void {
    this.#onTold?.(`${(this.#scheduler.nowMs / 1_000).toFixed(3)} ${line}`);
  }

  /** Where a node stands: of each log, as which entry its replica is, and who leads it. */
  #show(machine: SimMachine<ClusterProcess>): string {
    const shards = [...this.#logs.all].map(([name, { lastSeq }]) => {
      const state = stateOf(machine, Number(name.split('.')[0]));
      return state ? `${name} ${state.status} ${state.applied}/${lastSeq} epoch ${state.epoch} of ${state.leader}` : `${name} -`;
    });
    return `${machine.name} ${machine.process?.isReady ? 'ready' : 'not ready'}: ${shards.join('; ')}`;
  }

  // What always holds, and what holds in the end.

  /** Now and then: no two replicas of a shard have run different entries. */
  #watch(): void {
    this.#scheduler.after(LOOK_MS, 'look', () => {
      for (const machine of this.#machines) {
        const view = machine.process?.node?.view();
        for (const { workflows, shards } of view?.keyspaces ?? []) {
          for (const { op, kind } of workflows) this.#seenWorkflows.set(op, kind);
          for (const shard of shards) this.#compareHash(machine, shard.id, shard.generation);
        }
        this.#compareHash(machine, 0, 1);
      }
      this.#watch();
    });
  }

  #compareHash(machine: SimMachine<ClusterProcess>, shard: number, generation: number): void {
    const state = stateOf(machine, shard);
    if (!state) return;
    this.#leaderships = Math.max(this.#leaderships, state.epoch);
    const name = `${shard}.${generation} ${state.applied}`;
    const hash = toHex(state.hash);
    const known = this.#hashes.get(name);
    if (!known) this.#hashes.set(name, { hash, node: machine.name });
    else if (known.hash !== hash && state.status !== 'faulted') {
      this.#fail(`after entry ${state.applied} of shard ${shard} ${machine.name} has another past than ${known.node}`);
    }
  }

  /** What is not yet as it must be in the end. */
  #notSettled(): string[] {
    const wrong: string[] = [];
    const views = this.#machines.map(({ process }) => process?.node?.view());
    const metaSeqs = new Set(this.#machines.map((machine) => stateOf(machine, 0)?.applied));
    if (metaSeqs.size > 1) wrong.push(`replicas of the meta shard are at ${[...metaSeqs].join(', ')}`);
    const keyspace = views[0]?.keyspaces.find(({ name }) => name === KEYSPACE);
    if (!keyspace) return [...wrong, 'the keyspace is not there'];
    if (keyspace.workflows.length > 0) wrong.push(`under way: ${JSON.stringify(keyspace.workflows)}`);
    wrong.push(...this.#wrongMap(keyspace, views[0]!.replication));
    for (const shard of keyspace.shards) wrong.push(...this.#wrongShard(keyspace, shard));
    const wanted = new Set(['0.1', ...keyspace.shards.map(({ id, generation }) => `${id}.${generation}`)]);
    const tooMany = [...this.#logs.all.keys()].filter((name) => !wanted.has(name));
    if (tooMany.length > 0) wrong.push(`logs that nobody needs: ${tooMany.join(', ')}`);
    return wrong;
  }

  #wrongMap({ shards }: KeyspaceView, replication: number): string[] {
    const wrong: string[] = [];
    const sorted = [...shards].sort((a, b) => a.range.from - b.range.from);
    let at = 0;
    for (const { id, range, replicas } of sorted) {
      if (range.from !== at) wrong.push(`shard ${id} begins at ${range.from} where ${at} comes next`);
      at = range.to;
      const count = Math.min(replication, this.#machines.length);
      if (replicas.length !== count) wrong.push(`shard ${id} is on ${replicas.join(', ')}, not on ${count} nodes`);
    }
    if (at !== POSITIONS) wrong.push(`the shards end at ${at}`);
    return wrong;
  }

  #wrongShard(keyspace: KeyspaceView, { id, generation, replicas, range }: ShardView): string[] {
    const log = this.#logs.get(id, generation);
    if (!log) return [`shard ${id} has no log`];
    let first: string | undefined;
    for (const name of replicas) {
      const machine = this.#machines.find((one) => one.name === name)!;
      const state = stateOf(machine, id);
      if (state?.status !== 'serving') return [`shard ${id} is ${state?.status ?? 'nothing'} on ${name}`];
      if (state.applied !== log.lastSeq) return [`shard ${id} on ${name} is at entry ${state.applied} of ${log.lastSeq}`];
      if (state.range.from !== range.from || state.range.to !== range.to)
        return [`shard ${id} on ${name} has another range than the map says`];
      const content = contentOf(machine, id, keyspace.id);
      first ??= content;
      if (content !== first) {
        this.#fail(`${name} does not hold the same bytes of shard ${id} as ${replicas[0]}: ${differenceOf(content, first)}`);
        return [];
      }
    }
    return [];
  }

  // Faults that strike by themselves, and people who change the cluster.

  #planFaults(): void {
    const { chance } = this.#scheduler;
    const everyMs = 2_000 + chance.below(15_000);
    const kinds = STRIKES.filter((kind) => this.#faults.enabled.has(kind));
    if (kinds.length === 0) return;
    const next = (): void => {
      this.#scheduler.after(chance.unit() * 2 * everyMs, 'fault', () => {
        if (!this.#faults.active) return;
        this.#strike(chance.pick(kinds));
        next();
      });
    };
    next();
  }

  #strike(kind: Strike): void {
    const { chance } = this.#scheduler;
    const machine = chance.pick(this.#machines);
    if (!machine.isRunning) return;
    this.#faults.count(kind);
    const forMs = 100 + chance.below(chance.below(2) === 0 ? 1_000 : 12_000);
    const undo = (action: () => void): void => void this.#scheduler.after(forMs, 'fault-over', action);
    const restart = (one: SimMachine<ClusterProcess>, ms: number): void => void this.#scheduler.after(ms, 'restart', () => one.start());
    switch (kind) {
      case 'crash': {
        const inStep = this.#faults.enabled.has('death-in-step') && chance.below(2) === 0;
        machine.dieWithin(chance.below(30), () => restart(machine, forMs), inStep ? 1 + chance.below(30) : undefined);
        break;
      }
      case 'blackout':
        for (const one of this.#machines) one.dieWithin(0, () => restart(one, chance.unit() * forMs));
        break;
      case 'pause': {
        const looks = this.#faults.enabled.has('pause-in-step') && chance.below(2) === 0 ? 1 + chance.below(3) : 0;
        machine.pauseWithin(1 + chance.below(20), forMs, { label: chance.pick(['request', 'turn-end', undefined]), looks });
        break;
      }
      case 'partition': {
        const from = chance.below(4);
        if (from !== 1) machine.logIsCutOff = true;
        const mend = this.#network.cut(machine.name, { machines: from !== 2, clients: from < 2 });
        undo(() => {
          machine.logIsCutOff = false;
          mend();
        });
        break;
      }
      case 'disk-full':
        machine.setDiskFull(true);
        undo(() => machine.setDiskFull(false));
    }
  }

  #planAdmin(): void {
    const { chance } = this.#scheduler;
    const everyMs = 1_000 + chance.below(10_000);
    const next = (): void => {
      this.#scheduler.after(chance.unit() * 2 * everyMs, 'admin', () => {
        if (!this.#faults.active) return;
        const machine = chance.pick(this.#machines.filter(({ process }) => process?.isReady) ?? []);
        const node = machine?.process?.node;
        if (node) machine.receive('admin', () => this.#tolerate(this.#change(node)));
        next();
      });
    };
    next();
  }

  async #change(node: ClusterNode): Promise<void> {
    const { chance } = this.#scheduler;
    const keyspace = node.view().keyspaces.find(({ name }) => name === KEYSPACE);
    if (!keyspace) return;
    const shard = chance.pick(keyspace.shards);
    const target = chance.pick(this.#machines).name;
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
        await node.drain(target);
        this.#scheduler.after(chance.below(15_000), 'undrain', () => this.#undrain(target));
        break;
      default:
        if (keyspace.workflows.length > 0) await workflows.cancel(chance.pick(keyspace.workflows).op);
    }
  }

  /** Whoever was drained takes shards again: over and over until somebody has heard it. */
  #undrain(target: string): void {
    const { chance } = this.#scheduler;
    const machine = chance.pick(this.#machines);
    const node = machine.process?.node;
    const again = (): void => void this.#scheduler.after(1_000, 'undrain', () => this.#undrain(target));
    if (node) machine.receive('admin', () => this.#tolerate(node.undrain(target).catch(again)));
    // Nobody may have heard, if the process has died: once more does no harm.
    if (!node || this.#faults.active) again();
  }

  #tolerate(change: Promise<void>): void {
    change.catch((error: unknown) => {
      if (!isKeyfleetError(error)) this.#fail(`a change of the cluster broke: ${(error as Error).stack}`);
    });
  }

  #heal(): void {
    this.#faults.active = false;
    this.#network.heal();
    for (const machine of this.#machines) {
      machine.heal();
      machine.start();
    }
  }
}

function stateOf({ storage }: SimMachine<ClusterProcess>, shard: number): ShardState | undefined {
  const stored = storage.get(stateKey(shard));
  return stored && decodeShardState(stored);
}

/** All that a replica holds. */
function contentOf({ storage }: SimMachine<ClusterProcess>, shard: number, keyspaceId: number): string {
  const reader = new SnapshotReader(storage, shard, keyspaceId, 1 << 20);
  const pairs: string[] = [];
  for (let chunk = reader.next(); chunk; chunk = reader.next()) pairs.push(...pairsOf(chunk));
  // How counts by slot are stored depends on when they were read last; what they say does not.
  const { countsSince: since, ...state } = reader.state;
  const counts = SlotCounts.load(storage, { ...state, shift: SCHEME.slotShift, since });
  for (let slot = counts.firstSlot; slot < counts.endSlot; slot++) {
    const { keys, bytes } = counts.sum(slot, slot + 1);
    if (keys > 0) pairs.push(`slot ${slot} ${keys} ${bytes}`);
  }
  return pairs.filter((pair) => !pair.startsWith(COUNTS)).join('\n');
}

function pairsOf(chunk: Uint8Array): string[] {
  const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.length);
  const pairs: string[] = [];
  for (let at = 0; at < chunk.length; ) {
    const valueAt = at + 6 + view.getUint16(at);
    const end = valueAt + view.getUint32(at + 2);
    pairs.push(`${toHex(chunk.subarray(at + 6, valueAt))} ${toHex(chunk.subarray(valueAt, end))}`);
    at = end;
  }
  return pairs;
}

/** The first pair that only one of two replicas has. */
function differenceOf(one: string, other: string): string {
  const [left, right] = [one.split('\n'), other.split('\n')];
  const ofLeft = left.find((pair) => !right.includes(pair));
  const ofRight = right.find((pair) => !left.includes(pair));
  return `${ofLeft ?? 'nothing'} against ${ofRight ?? 'nothing'}`;
}
