import { type Bytes, equalBytes, toHex } from '../src/base/bytes.ts';
import { stateKey } from '../src/shard/key-layout.ts';
import { decodeShardState, type ShardState } from '../src/shard/shard-state.ts';
import { clientPort } from './client-port.ts';
import { type FaultKind, Faults } from './faults.ts';
import { showViolation } from './linearizability/show-violation.ts';
import { ReplicaProcess } from './replica-process.ts';
import { Scheduler } from './scheduler.ts';
import { type ClientSurroundings, SimClient, SimReader } from './sim-client.ts';
import { SimLog } from './sim-log.ts';
import { SimMachine } from './sim-machine.ts';
import { SimNetwork } from './sim-network.ts';
import { Workload } from './workload/workload.ts';

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

export interface SimulationResult {
  readonly seed: number;
  /** What was wrong; undefined: nothing. */
  readonly failure: string | undefined;
  readonly simulatedMs: number;
  readonly events: number;
  readonly traceHash: string;
  readonly requests: number;
  readonly answered: number;
  /** Keys whose histories were judged, and those that were too hard to judge. */
  readonly histories: number;
  readonly undecided: number;
  readonly entries: number;
  readonly leaderships: number;
  /** Splits, merges and moves that were seen under way. Only of runs of a cluster. */
  readonly workflows?: ReadonlyMap<string, number>;
  readonly faults: ReadonlyMap<FaultKind, number>;
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
const STRIKES = ['crash', 'blackout', 'pause', 'partition', 'disk-full', 'resign', 'sessions-expired'] as const;
type Strike = (typeof STRIKES)[number];

const SHARD = 1;
const HEALED_MS = 25_000;
/** After clients have stopped, for the replicas to become equal. */
const SETTLE_MS = 15_000;
/** In the last so much of the healed time everything must work. */
const CALM_MS = 5_000;

export async function simulate(options: SimulationOptions): Promise<SimulationResult> {
  return new Simulation(options).run();
}

class Simulation {
  readonly #seed: number;
  readonly #safetyMs: number;
  readonly #scheduler: Scheduler;
  readonly #faults: Faults;
  readonly #log = new SimLog();
  readonly #network: SimNetwork<ReplicaProcess>;
  readonly #machines: SimMachine<ReplicaProcess>[] = [];
  readonly #workload: Workload;
  readonly #hashes = new Map<number, { readonly hash: Bytes; readonly node: string }>();
  readonly #lastApplied = new Map<string, number>();
  readonly #hunt: Hunt;
  #failure: string | undefined;
  #answered = 0;
  #leaderships = 0;
  #clientsAreOver = false;

  constructor(options: SimulationOptions) {
    this.#seed = options.seed;
    this.#safetyMs = options.seconds * 1_000;
    this.#scheduler = new Scheduler(options.seed);
    const { chance } = this.#scheduler;
    const chosen = chance.pick(HUNTS);
    this.#hunt = options.hunt ?? chosen;
    this.#faults = new Faults(chance, options.faults ?? HUNTED_WITH[this.#hunt], !['nothing', 'stale-reads'].includes(this.#hunt));
    this.#network = new SimNetwork(this.#scheduler, this.#faults);
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
    for (const machine of this.#machines) machine.start();
    this.#addClients();
    this.#planFaults();
    try {
      await this.#phases();
    } catch (error) {
      this.#fail(`the code broke: ${error instanceof Error ? error.stack : error}`);
    }
    return this.#result();
  }

  #addMachines(): void {
    const { chance } = this.#scheduler;
    const keptEntries = this.#faults.enabled.has('truncation') ? chance.pick([0, chance.below(20)]) : 1_000_000;
    const nodeNames = Array.from({ length: chance.below(4) === 0 ? 5 : 3 }, (_, index) => `n${index + 1}`);
    const surroundings = {
      scheduler: this.#scheduler,
      faults: this.#faults,
      log: this.#log,
      network: this.#network,
      timing: { tickMs: 250, reportMs: 500, lostMs: 1_500 + chance.below(3_000) },
      keptEntries,
      nodeNames,
      chunkBytes: 100 + chance.below(2_000),
      onChunk: (machine: SimMachine<ReplicaProcess>) => {
        if (this.#faults.strikes('crash', 60)) machine.dieWithin(chance.below(4), () => this.#restartIn(machine, chance.below(300)));
      },
      onSnapshot: () => this.#faults.count('truncation'),
    };
    for (const name of nodeNames) {
      const machine = new SimMachine<ReplicaProcess>(name, {
        scheduler: this.#scheduler,
        faults: this.#faults,
        boot: (self) => new ReplicaProcess(self, surroundings),
        died: (process) => process.died(),
        stepped: ({ process }) => {
          if (process?.driver) this.#ran(name, process.driver.replica.state);
        },
      });
      this.#machines.push(machine);
      this.#network.add(machine);
    }
  }

  #addClients(): void {
    const { chance } = this.#scheduler;
    const hunts = this.#huntsStaleReads;
    const isBusy = ['stale-reads', 'lost-appends', 'disasters'].includes(this.#hunt);
    const surroundings: Omit<ClientSurroundings, 'onlyReads'> = {
      scheduler: this.#scheduler,
      workload: this.#workload,
      nodeNames: this.#machines.map(({ name }) => name),
      known: new Set(),
      port: clientPort(this.#network, () => this.#powerMayFail(800)),
      repeats: chance.below(2) === 0 && this.#hunt !== 'lost-appends',
      thinkMs: isBusy ? 20 + chance.below(60) : 30 + chance.below(300),
      commandTimeoutMs: hunts ? 150 + chance.below(500) : 500 + chance.below(5_000),
      queryTimeoutMs: hunts ? 20_000 : 1_000 + chance.below(15_000),
      isOver: () => this.#clientsAreOver,
      onAnswered: () => this.#answered++,
      fail: (why) => this.#fail(why),
    };
    const clientCount = isBusy ? 4 : 2 + chance.below(4);
    for (let i = 0; i < clientCount; i++) {
      const onlyReads = i % 2 === 1 && hunts;
      new SimClient(`c${i + 1}`, { ...surroundings, onlyReads }).think();
    }
    if (hunts) new SimReader('r1', { ...surroundings, onlyReads: true, thinkMs: 60 + chance.below(200) }).think();
  }

  async #phases(): Promise<void> {
    const failed = (): boolean => this.#failure !== undefined;
    await this.#scheduler.run(this.#safetyMs, failed);
    this.#heal();
    const endMs = this.#safetyMs + HEALED_MS;
    await this.#scheduler.run(endMs - CALM_MS, failed);
    const answeredBefore = this.#answered;
    await this.#scheduler.run(endMs, failed);
    if (!failed() && this.#answered - answeredBefore < 5) {
      this.#fail(`healed ${HEALED_MS - CALM_MS} ms ago, yet only ${this.#answered - answeredBefore} answers in ${CALM_MS} ms`);
    }
    this.#clientsAreOver = true;
    // The leader goes on renewing, so its last entry may be on its way to the others at any one moment.
    const areLevel = (): boolean => this.#machines.every((machine) => appliedOf(machine) === this.#log.lastSeq);
    await this.#scheduler.run(endMs + SETTLE_MS / 2, failed);
    await this.#scheduler.run(endMs + SETTLE_MS, () => failed() || areLevel());
    if (!failed()) this.#compareReplicas();
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
    this.#scheduler.mark(`${this.#answered} ${this.#log.lastSeq} ${this.#failure ?? 'good'}`);
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
      entries: this.#log.lastSeq,
      leaderships: this.#leaderships,
      faults: this.#faults.counts,
    };
  }

  #fail(why: string): void {
    this.#failure ??= `at ${(this.#scheduler.nowMs / 1_000).toFixed(3)} s: ${why}`;
  }

  // What always holds.

  /** A replica may have run entries: no two may have run different ones. */
  #ran(node: string, state: Readonly<ShardState>): void {
    if (state.status === 'faulted') this.#fail(`${node} met an entry ${state.applied + 1} that does not follow from its past`);
    if (this.#lastApplied.get(node) === state.applied) return;
    this.#lastApplied.set(node, state.applied);
    this.#leaderships = Math.max(this.#leaderships, state.epoch);
    const { hash } = state;
    const known = this.#hashes.get(state.applied);
    if (!known) this.#hashes.set(state.applied, { hash, node });
    else if (!equalBytes(known.hash, hash)) this.#fail(`after entry ${state.applied} ${node} has another past than ${known.node}`);
  }

  /** When all is quiet, all replicas have run all entries and hold the same bytes. */
  #compareReplicas(): void {
    let first: { readonly node: string; readonly dump: string } | undefined;
    for (const machine of this.#machines) {
      const { name, storage } = machine;
      if (appliedOf(machine) !== this.#log.lastSeq) {
        this.#fail(`${name} is at entry ${appliedOf(machine)} of ${this.#log.lastSeq}, long after everything was healed`);
        return;
      }
      const dump = [...storage.scan({ from: Uint8Array.of(0) })].map(({ key, value }) => `${toHex(key)} ${toHex(value)}`).join('\n');
      first ??= { node: name, dump };
      if (first.dump !== dump) this.#fail(`${name} does not hold the same bytes as ${first.node}`);
    }
  }

  #hint(): void {
    for (const machine of this.#machines) {
      if (this.#faults.strikes('hint-lost', 5)) continue;
      this.#scheduler.after(this.#network.delayMs(), 'hint', () => {
        if (!machine.logIsCutOff) machine.receive('grew', () => machine.process?.driver?.logGrew());
      });
    }
  }

  // Faults that strike by themselves.

  #planFaults(): void {
    const { chance } = this.#scheduler;
    const everyMs = this.#huntsStaleReads ? 4_000 : 1_000 + chance.below(10_000);
    const kinds = STRIKES.filter((kind) => this.#faults.enabled.has(kind));
    if (kinds.length === 0) return;
    const next = (): void => {
      this.#scheduler.after(chance.unit() * 2 * everyMs, 'fault', () => {
        if (!this.#faults.active) return;
        this.#strike(this.#huntsStaleReads && chance.below(2) === 0 ? 'pause' : chance.pick(kinds));
        next();
      });
    };
    next();
  }

  #strike(kind: Strike): void {
    const { chance } = this.#scheduler;
    // The leader is where it hurts.
    const leading = this.#machines.filter(({ process }) => process?.driver?.replica.leads);
    const machine = chance.pick(leading.length > 0 && (this.#huntsStaleReads || chance.below(2) === 0) ? leading : this.#machines);
    if (!machine.isRunning) return;
    if (kind !== 'partition') this.#faults.count(kind);
    const forMs =
      this.#huntsStaleReads || this.#hunt === 'snapshots'
        ? 4_000 + chance.below(4_000)
        : 100 + chance.below(chance.below(2) === 0 ? 1_000 : 12_000);
    const undo = (action: () => void): void => void this.#scheduler.after(forMs, 'fault-over', action);
    switch (kind) {
      case 'crash': {
        const inStep = this.#faults.enabled.has('death-in-step') && chance.below(2) === 0;
        machine.dieWithin(chance.below(12), () => this.#restartIn(machine, forMs), inStep ? 1 + chance.below(12) : undefined);
        break;
      }
      case 'blackout':
        this.#blackout(forMs, false);
        break;
      case 'pause': {
        const looks = this.#faults.enabled.has('pause-in-step') && chance.below(2) === 0 ? 1 + chance.below(3) : 0;
        const label = chance.pick(['request', 'turn-end', undefined]);
        machine.pauseWithin(1 + chance.below(6), this.#huntsStaleReads ? forMs + 4_000 : forMs, { label, looks });
        break;
      }
      case 'partition':
        this.#partition(machine, undo);
        break;
      case 'disk-full':
        machine.setDiskFull(true);
        undo(() => machine.setDiskFull(false));
        break;
      case 'resign':
        machine.receive('resign', () => machine.process?.driver?.resign());
        break;
      case 'sessions-expired': {
        const beforeMs = Math.floor(machine.clock.now().wallMs) - chance.below(20_000);
        const sink = { settled: () => {}, failed: () => {} };
        machine.receive('expire', () => machine.process?.submit({ kind: 'expire-sessions', beforeMs }, sink));
      }
    }
  }

  #partition(machine: SimMachine<ReplicaProcess>, undo: (action: () => void) => void): void {
    const { chance } = this.#scheduler;
    this.#faults.count('partition');
    const from = this.#huntsStaleReads ? 2 : chance.below(4);
    if (from !== 1) machine.logIsCutOff = true;
    const mend = this.#network.cut(machine.name, { machines: from !== 2, clients: from < 2 });
    undo(() => {
      machine.logIsCutOff = false;
      mend();
    });
  }

  #restartIn(machine: SimMachine<ReplicaProcess>, ms: number): void {
    this.#scheduler.after(ms, 'restart', () => machine.start());
  }

  /** Just now, when it does the most harm. */
  #powerMayFail(oneIn: number): void {
    if (this.#faults.strikes('log-lost', oneIn)) this.#blackout(1_000, true);
    else if (this.#faults.strikes('blackout', oneIn)) this.#blackout(1_000, false);
  }

  /** The power fails everywhere; when it comes back, the log may have lost all that it had. */
  #blackout(forMs: number, losesLog: boolean): void {
    for (const machine of this.#machines) machine.dieWithin(0, () => {});
    this.#scheduler.after(0.001, 'dark', () => {
      if (losesLog) this.#loseLog();
      for (const machine of this.#machines) {
        this.#scheduler.after(this.#scheduler.chance.unit() * forMs, 'light', () => machine.start());
      }
    });
  }

  /** A new log begins behind the last entry that any disk knows. Whoever has less takes its data from there. */
  #loseLog(): void {
    let upto = -1;
    for (const { storage } of this.#machines) {
      const stored = storage.get(stateKey(SHARD));
      const state = stored && decodeShardState(stored);
      if (state && state.status !== 'faulted') upto = Math.max(upto, state.applied);
    }
    if (upto < 0) return;
    this.#log.restart(upto);
    this.#lastApplied.clear();
    for (const seq of [...this.#hashes.keys()]) if (seq > upto) this.#hashes.delete(seq);
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

function appliedOf({ process }: SimMachine<ReplicaProcess>): number | undefined {
  return process?.driver?.replica.state.applied;
}
