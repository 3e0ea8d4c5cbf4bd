import { type Bytes, equalBytes, toHex } from '../src/base/bytes.ts';
import { stateKey } from '../src/shard/key-layout.ts';
import { DEFAULT_LIMITS } from '../src/shard/replica/timing.ts';
import { decodeShardState, type ShardState } from '../src/shard/shard-state.ts';
import { clientPort } from './client-port.ts';
import { type FaultKind, Faults } from './faults.ts';
import { ReplicaProcess } from './replica-process.ts';
import { Scheduler } from './scheduler.ts';
import { type ClientSurroundings, SimClient, SimReader } from './sim-client.ts';
import { SimLog } from './sim-log.ts';
import type { SimMachine } from './sim-machine.ts';
import type { SimulationResult } from './simulation-result.ts';
import { Workload } from './workload/workload.ts';
import { COMMON_STRIKES, FROM_LOG, World } from './world.ts';

// One run: some nodes, one shard on all of them, clients, and the faults that the seed chose. First a while in which anything may go wrong and nothing
// may be wrong (safety); then everything is healed, and within bounded time all must work again and all replicas be equal (liveness).

export interface SimulationOptions {
  readonly seed: number;
  /** Of simulated time, the healed end not counted. */
  readonly seconds: number;
  /** Instead of what the seed would choose. */
  readonly hunt?: Hunt | undefined;
  readonly faults?: readonly FaultKind[] | undefined;
  /** Hears what goes on, of runs of a cluster. */
  readonly tell?: ((line: string) => void) | undefined;
}

/**
 * What a run is after. `stale-reads`: short troubles of the leader, impatient writers, patient readers, few keys. `lost-appends`: a log of which nobody
 * knows what it took, and clients that do not repeat. `snapshots`: replicas that are away for longer than the log waits. `disasters`: all
 * processes die at once, and the log may be lost with them. `nothing`: whatever comes.
 */
export const HUNTS = ['nothing', 'stale-reads', 'lost-appends', 'snapshots', 'disasters'] as const;
export type Hunt = (typeof HUNTS)[number];

const HUNTED_WITH: Readonly<Record<Hunt, readonly FaultKind[] | undefined>> = {
  nothing: undefined,
  'stale-reads': ['partition', 'pause', 'pause-in-step', 'resign', 'slow-log', 'append-answer-lost', 'clock-rates', 'hint-lost'],
  'lost-appends': [
    'append-lost',
    'append-answer-lost',
    'append-late',
    'append-doubled',
    'slow-log',
    'crash',
    'death-in-step',
    'stale-read',
  ],
  snapshots: ['truncation', 'skipping-read', 'crash', 'partition', 'disk-full', 'message-lost', 'message-doubled', 'slow-disk'],
  disasters: ['blackout', 'log-lost', 'crash', 'death-in-step', 'slow-disk', 'truncation', 'message-lost', 'sessions-expired'],
};
/** Faults that strike by themselves, one at a time. */
const STRIKES = [...COMMON_STRIKES, 'resign', 'sessions-expired'] as const;
type Strike = (typeof STRIKES)[number];

const SHARD = 1;
const HEALED_MS = 25_000;
/** After clients have stopped, for the replicas to become equal. */
const SETTLE_MS = 15_000;
/** In the last so much of the healed time everything must work. */
const CALM_MS = 5_000;

/** Entries between two marks at which replicas compare what they have: in every other run so few that all of it is compared again and again. */
export function digestEvery(seed: number): number {
  return seed % 2 === 0 ? 30 : DEFAULT_LIMITS.digestEvery;
}

export async function simulate(options: SimulationOptions): Promise<SimulationResult> {
  return new Simulation(options).run();
}

class Simulation {
  readonly #seed: number;
  readonly #safetyMs: number;
  readonly #world: World<ReplicaProcess>;
  readonly #log = new SimLog();
  readonly #workload: Workload;
  readonly #hashes = new Map<number, { readonly hash: Bytes; readonly node: string }>();
  readonly #lastApplied = new Map<string, number>();
  readonly #hunt: Hunt;

  constructor(options: SimulationOptions) {
    this.#seed = options.seed;
    this.#safetyMs = options.seconds * 1_000;
    const scheduler = new Scheduler(options.seed);
    const { chance } = scheduler;
    const chosen = chance.pick(HUNTS);
    this.#hunt = options.hunt ?? chosen;
    const faults = new Faults(chance, options.faults ?? HUNTED_WITH[this.#hunt], !['nothing', 'stale-reads'].includes(this.#hunt));
    this.#world = new World(scheduler, faults, options.tell);
    this.#workload = new Workload(
      chance,
      this.#huntsStaleReads ? { keysOfAKind: 1, requestsOfAnAge: 600 } : { keysOfAKind: 1 + chance.below(3), requestsOfAnAge: 120 },
    );
  }

  get #huntsStaleReads(): boolean {
    return this.#hunt === 'stale-reads';
  }

  async run(): Promise<SimulationResult> {
    this.#addMachines();
    this.#log.onAppended(() => this.#hint());
    this.#log.onTruncated = () => this.#powerMayFail(60);
    for (const machine of this.#world.machines) machine.start();
    this.#addClients();
    this.#planFaults();
    await this.#world.play(() => this.#phases());
    return this.#world.result({ seed: this.#seed, entries: this.#log.lastSeq }, this.#workload);
  }

  #addMachines(): void {
    const { scheduler, faults, network } = this.#world;
    const { chance } = scheduler;
    const keptEntries = faults.enabled.has('truncation') ? chance.pick([0, chance.below(20)]) : 1_000_000;
    const nodeNames = Array.from({ length: chance.below(4) === 0 ? 5 : 3 }, (_, index) => `n${index + 1}`);
    const surroundings = {
      scheduler,
      faults,
      log: this.#log,
      network,
      timing: { tickMs: 250, reportMs: 500, lostMs: 1_500 + chance.below(3_000) },
      limits: { keptEntries, digestEvery: digestEvery(this.#seed) },
      nodeNames,
      chunkBytes: 100 + chance.below(2_000),
      onChunk: (machine: SimMachine<ReplicaProcess>) => {
        if (!faults.strikes('crash', 60)) return;
        machine.dieWithin(chance.below(4), () => scheduler.after(chance.below(300), 'restart', () => machine.start()));
      },
      onSnapshot: () => faults.count('truncation'),
      onDiffers: this.#world.fail,
    };
    for (const name of nodeNames) {
      this.#world.add(name, {
        boot: (self) => new ReplicaProcess(self, surroundings),
        died: (process) => process.died(),
        stepped: ({ process }) => {
          if (process?.driver) this.#ran(name, process.driver.replica.state);
        },
      });
    }
  }

  #addClients(): void {
    const { chance } = this.#world.scheduler;
    const hunts = this.#huntsStaleReads;
    const isBusy = ['stale-reads', 'lost-appends', 'disasters'].includes(this.#hunt);
    const surroundings: Omit<ClientSurroundings, 'onlyReads'> = {
      scheduler: this.#world.scheduler,
      workload: this.#workload,
      nodeNames: this.#world.machines.map(({ name }) => name),
      known: new Set(),
      port: clientPort(this.#world.network, () => this.#powerMayFail(800)),
      repeats: chance.below(2) === 0 && this.#hunt !== 'lost-appends',
      thinkMs: isBusy ? 20 + chance.below(60) : 30 + chance.below(300),
      commandTimeoutMs: hunts ? 150 + chance.below(500) : 500 + chance.below(5_000),
      queryTimeoutMs: hunts ? 20_000 : 1_000 + chance.below(15_000),
      isOver: () => this.#world.clientsAreOver,
      onAnswered: () => this.#world.answered++,
      fail: this.#world.fail,
    };
    const clientCount = isBusy ? 4 : 2 + chance.below(4);
    for (let i = 0; i < clientCount; i++) {
      const onlyReads = i % 2 === 1 && hunts;
      new SimClient(`c${i + 1}`, { ...surroundings, onlyReads }).think();
    }
    if (hunts) new SimReader('r1', { ...surroundings, onlyReads: true, thinkMs: 60 + chance.below(200) }).think();
  }

  async #phases(): Promise<void> {
    const failed = this.#world.hasFailed;
    await this.#world.scheduler.run(this.#safetyMs, failed);
    this.#world.heal();
    const endMs = this.#safetyMs + HEALED_MS;
    await this.#world.scheduler.run(endMs - CALM_MS, failed);
    const answeredBefore = this.#world.answered;
    await this.#world.scheduler.run(endMs, failed);
    if (!failed() && this.#world.answered - answeredBefore < 5) {
      this.#world.fail(`healed ${HEALED_MS - CALM_MS} ms ago, yet only ${this.#world.answered - answeredBefore} answers in ${CALM_MS} ms`);
    }
    this.#world.clientsAreOver = true;
    // The leader goes on renewing, so its last entry may be on its way to the others at any one moment.
    const areLevel = (): boolean => this.#world.machines.every((machine) => appliedOf(machine) === this.#log.lastSeq);
    await this.#world.scheduler.run(endMs + SETTLE_MS / 2, failed);
    await this.#world.scheduler.run(endMs + SETTLE_MS, () => failed() || areLevel());
    if (!failed()) this.#compareReplicas();
  }

  // What always holds.

  /** A replica may have run entries: no two may have run different ones. */
  #ran(node: string, state: Readonly<ShardState>): void {
    if (state.status === 'faulted') this.#world.fail(`${node} met an entry ${state.applied + 1} that does not follow from its past`);
    if (this.#lastApplied.get(node) === state.applied) return;
    this.#lastApplied.set(node, state.applied);
    this.#world.leaderships = Math.max(this.#world.leaderships, state.epoch);
    const { hash } = state;
    const known = this.#hashes.get(state.applied);
    if (!known) this.#hashes.set(state.applied, { hash, node });
    else if (!equalBytes(known.hash, hash)) this.#world.fail(`after entry ${state.applied} ${node} has another past than ${known.node}`);
  }

  /** When all is quiet, all replicas have run all entries and hold the same bytes. */
  #compareReplicas(): void {
    let first: { readonly node: string; readonly dump: string } | undefined;
    for (const machine of this.#world.machines) {
      const { name, storage } = machine;
      if (appliedOf(machine) !== this.#log.lastSeq) {
        this.#world.fail(`${name} is at entry ${appliedOf(machine)} of ${this.#log.lastSeq}, long after everything was healed`);
        return;
      }
      const dump = [...storage.scan({ from: Uint8Array.of(0) })].map(({ key, value }) => `${toHex(key)} ${toHex(value)}`).join('\n');
      first ??= { node: name, dump };
      if (first.dump !== dump) this.#world.fail(`${name} does not hold the same bytes as ${first.node}`);
    }
  }

  #hint(): void {
    for (const machine of this.#world.machines) {
      if (this.#world.faults.strikes('hint-lost', 5)) continue;
      this.#world.scheduler.after(this.#world.network.delayMs(), 'hint', () => {
        if (!machine.logIsCutOff) machine.receive('grew', () => machine.process?.driver?.logGrew());
      });
    }
  }

  // Faults that strike by themselves.

  #planFaults(): void {
    const { faults, scheduler } = this.#world;
    const { chance } = scheduler;
    const everyMs = this.#huntsStaleReads ? 4_000 : 1_000 + chance.below(10_000);
    const kinds = STRIKES.filter((kind) => faults.enabled.has(kind));
    if (kinds.length === 0) return;
    this.#world.strikeEvery(everyMs, 'fault', () => {
      this.#strike(this.#huntsStaleReads && chance.below(2) === 0 ? 'pause' : chance.pick(kinds));
    });
  }

  #strike(kind: Strike): void {
    const { machines, faults, scheduler } = this.#world;
    const { chance } = scheduler;
    // The leader is where it hurts.
    const leading = machines.filter(({ process }) => process?.driver?.replica.leads);
    const machine = chance.pick(leading.length > 0 && (this.#huntsStaleReads || chance.below(2) === 0) ? leading : machines);
    if (!machine.isRunning) return;
    const forMs =
      this.#huntsStaleReads || this.#hunt === 'snapshots'
        ? 4_000 + chance.below(4_000)
        : 100 + chance.below(chance.below(2) === 0 ? 1_000 : 12_000);
    switch (kind) {
      case 'resign':
        faults.count(kind);
        machine.receive('resign', () => machine.process?.driver?.resign());
        break;
      case 'sessions-expired': {
        faults.count(kind);
        const beforeMs = Math.floor(machine.clock.now().wallMs) - chance.below(20_000);
        const sink = { settled: () => {}, failed: () => {} };
        machine.receive('expire', () => machine.process?.submit({ kind: 'expire-sessions', beforeMs }, sink));
        break;
      }
      default: {
        const hard = this.#huntsStaleReads ? { pauseMs: forMs + 4_000, cutFrom: FROM_LOG } : {};
        this.#world.strike(kind, machine, { forMs, crashSteps: 12, pauseSteps: 6, ...hard });
      }
    }
  }

  /** Just now, when it does the most harm. When the power comes back, the log may have lost all that it had. */
  #powerMayFail(oneIn: number): void {
    const { faults } = this.#world;
    if (faults.strikes('log-lost', oneIn)) this.#world.blackout(1_000, () => this.#loseLog());
    else if (faults.strikes('blackout', oneIn)) this.#world.blackout(1_000);
  }

  /** A new log begins behind the last entry that any disk knows. Whoever has less takes its data from there. */
  #loseLog(): void {
    let upto = -1;
    for (const { storage } of this.#world.machines) {
      const stored = storage.get(stateKey(SHARD));
      const state = stored && decodeShardState(stored);
      if (state && state.status !== 'faulted') upto = Math.max(upto, state.applied);
    }
    if (upto < 0) return;
    this.#log.restart(upto);
    this.#lastApplied.clear();
    for (const seq of [...this.#hashes.keys()]) if (seq > upto) this.#hashes.delete(seq);
  }
}

function appliedOf({ process }: SimMachine<ReplicaProcess>): number | undefined {
  return process?.driver?.replica.state.applied;
}
