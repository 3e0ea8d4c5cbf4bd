import type { Faults } from './faults.ts';
import { showViolation } from './linearizability/show-violation.ts';
import type { Scheduler } from './scheduler.ts';
import { type MachineSurroundings, SimMachine } from './sim-machine.ts';
import { SimNetwork } from './sim-network.ts';
import type { SimulationResult } from './simulation-result.ts';
import type { Workload } from './workload/workload.ts';

// What all simulations share, whatever their processes are: machines and the net between them, faults that strike these, and what a run came to.

/** Faults that strike by themselves, one at a time, in any simulation. */
export const COMMON_STRIKES = ['crash', 'blackout', 'pause', 'partition', 'disk-full'] as const;
export type CommonStrike = (typeof COMMON_STRIKES)[number];

/** How hard a strike is. */
export interface StrikeShape {
  readonly forMs: number;
  /** A pause instead lasts so long. Default: `forMs`. */
  readonly pauseMs?: number;
  /** A crash comes within so many steps, in part of a step within so many deeds. */
  readonly crashSteps: number;
  readonly pauseSteps: number;
  /** Of a partition: 0: from all, 1: from machines and clients, 2: from the log alone, 3: from machines and the log. Default: any. */
  readonly cutFrom?: number;
}

/** A partition whose process talks to everybody and cannot reach the log. */
export const FROM_LOG = 2;

/** `Process`: what its machines run; `Heard`: what these have in common with the clients that have machines of their own. */
export class World<Process extends Heard, Heard = Process> {
  readonly scheduler: Scheduler;
  readonly faults: Faults;
  readonly network: SimNetwork<Heard>;
  readonly machines: SimMachine<Process>[] = [];
  /** Which hold nothing, and fail without a word. */
  readonly clientMachines: SimMachine<Heard>[] = [];
  readonly #onTold: ((line: string) => void) | undefined;
  #failure: string | undefined;
  /** Requests that clients had an answer to. */
  answered = 0;
  leaderships = 0;
  clientsAreOver = false;

  constructor(scheduler: Scheduler, faults: Faults, onTold?: (line: string) => void) {
    this.scheduler = scheduler;
    this.faults = faults;
    this.network = new SimNetwork(scheduler, faults);
    this.#onTold = onTold;
  }

  /** What was wrong first. */
  get failure(): string | undefined {
    return this.#failure;
  }

  readonly hasFailed = (): boolean => this.#failure !== undefined;

  readonly fail = (why: string): void => {
    this.#failure ??= `at ${this.#time}: ${why}`;
  };

  tell(line: string): void {
    this.#onTold?.(`${this.#time} ${line}`);
  }

  get #time(): string {
    return `${(this.scheduler.nowMs / 1_000).toFixed(3)} s`;
  }

  add(name: string, surroundings: Omit<MachineSurroundings<Process>, 'scheduler' | 'faults'>): SimMachine<Process> {
    const { scheduler, faults } = this;
    const machine = new SimMachine<Process>(name, { scheduler, faults, ...surroundings });
    this.machines.push(machine);
    this.network.add(machine);
    return machine;
  }

  addClient<Client extends Heard>(
    name: string,
    surroundings: Omit<MachineSurroundings<Client>, 'scheduler' | 'faults'>,
  ): SimMachine<Client> {
    const { scheduler, faults } = this;
    const machine = new SimMachine<Client>(name, { scheduler, faults, ...surroundings });
    this.clientMachines.push(machine);
    this.network.add(machine, false);
    return machine;
  }

  /** Whatever breaks in `phases` is a failure too. */
  async play(phases: () => Promise<void>): Promise<void> {
    try {
      await phases();
    } catch (error) {
      this.fail(`the code broke: ${error instanceof Error ? error.stack : error}`);
    }
  }

  /** Calls `strike` now and then, every `everyMs` on average, until all is healed. */
  strikeEvery(everyMs: number, label: string, strike: () => void): void {
    const { scheduler, faults } = this;
    scheduler.after(scheduler.chance.unit() * 2 * everyMs, label, () => {
      if (!faults.active) return;
      strike();
      this.strikeEvery(everyMs, label, strike);
    });
  }

  strike(kind: CommonStrike, machine: SimMachine<Heard>, shape: StrikeShape): void {
    const { chance } = this.scheduler;
    const { forMs, pauseMs = forMs, crashSteps, pauseSteps } = shape;
    this.faults.count(kind);
    switch (kind) {
      case 'crash': {
        const inStep = this.faults.enabled.has('death-in-step') && chance.below(2) === 0;
        machine.dieWithin(chance.below(crashSteps), () => this.#restart(machine, forMs), inStep ? 1 + chance.below(crashSteps) : undefined);
        break;
      }
      case 'blackout':
        this.blackout(forMs);
        break;
      case 'pause': {
        const looks = this.faults.enabled.has('pause-in-step') && chance.below(2) === 0 ? 1 + chance.below(3) : 0;
        const label = chance.pick(['request', 'turn-end', undefined]);
        machine.pauseWithin(1 + chance.below(pauseSteps), pauseMs, { label, looks });
        break;
      }
      case 'partition':
        this.#partition(machine, shape.cutFrom ?? chance.below(4), forMs);
        break;
      case 'disk-full':
        machine.setDiskFull(true);
        this.scheduler.after(forMs, 'fault-over', () => machine.setDiskFull(false));
    }
  }

  /** The power fails everywhere and comes back by and by. `whileDark`: what happens meanwhile. */
  blackout(forMs: number, whileDark: () => void = () => {}): void {
    for (const machine of this.machines) machine.dieWithin(0, () => {});
    this.scheduler.after(0.001, 'dark', () => {
      whileDark();
      for (const machine of this.machines) this.#restart(machine, this.scheduler.chance.unit() * forMs, 'light');
    });
  }

  /** Nothing goes wrong any more, and everybody is there. */
  heal(): void {
    this.faults.active = false;
    this.network.heal();
    for (const machine of [...this.machines, ...this.clientMachines]) {
      machine.heal();
      machine.start();
    }
  }

  /** Judges what clients were told, and says what the run came to. */
  result(of: Pick<SimulationResult, 'seed' | 'entries' | 'workflows'>, workload: Workload): SimulationResult {
    const { scheduler, faults, answered, leaderships } = this;
    let histories = 0;
    let undecided = 0;
    if (!this.hasFailed()) {
      for (const { of, parts, verdict } of workload.verdicts()) {
        histories += parts;
        if (verdict.kind === 'undecided') undecided++;
        if (verdict.kind === 'violation') this.fail(`${of}: ${showViolation(verdict)}`);
      }
    }
    scheduler.mark(`${answered} ${of.entries} ${this.#failure ?? 'good'}`);
    return {
      ...of,
      failure: this.#failure,
      simulatedMs: scheduler.nowMs,
      events: scheduler.eventCount,
      traceHash: scheduler.traceHash,
      requests: workload.count,
      answered,
      histories,
      undecided,
      leaderships,
      faults: faults.counts,
    };
  }

  #partition(machine: SimMachine<Heard>, from: number, forMs: number): void {
    if (from !== 1) machine.logIsCutOff = true;
    const mend = this.network.cut(machine.name, { machines: from !== FROM_LOG, clients: from < 2 });
    this.scheduler.after(forMs, 'fault-over', () => {
      machine.logIsCutOff = false;
      mend();
    });
  }

  #restart(machine: SimMachine<Heard>, ms: number, label = 'restart'): void {
    this.scheduler.after(ms, label, () => machine.start());
  }
}
