import type { Faults } from './faults.ts';
import type { Scheduler } from './scheduler.ts';
import type { SimMachine } from './sim-machine.ts';

// Messages between machines, and between them and clients: they take time, get lost, arrive twice, and not at all where the net is cut.

/** All clients together, where the net is cut between them and a machine. */
const CLIENTS = 'c';

export class SimNetwork<Process> {
  readonly #scheduler: Scheduler;
  readonly #faults: Faults;
  readonly #machines = new Map<string, SimMachine<Process>>();
  readonly #nodes: SimMachine<Process>[] = [];
  readonly #cut = new Set<string>();

  constructor(scheduler: Scheduler, faults: Faults) {
    this.#scheduler = scheduler;
    this.#faults = faults;
  }

  /** `isNode`: what is asked of anyone it may be asked. */
  add(machine: SimMachine<Process>, isNode = true): void {
    this.#machines.set(machine.name, machine);
    if (isNode) this.#nodes.push(machine);
  }

  /**
   * From a machine or a client to the process of machine `to`. `nobody`: none is running there, and no copy of the message will ever find one.
   */
  send(
    from: string,
    to: string,
    label: string,
    deliver: (process: Process) => void,
    mayDouble: boolean,
    nobody: () => void = () => {},
  ): void {
    const target = this.#machines.get(to);
    if (!target || this.#faults.strikes('message-lost', 40)) return;
    const copies = mayDouble && this.#faults.strikes('message-doubled', 40) ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) {
      this.#emit(from, label, this.delayMs() + copy * this.#scheduler.chance.below(2_000), () => {
        if (this.#isCut(from, to)) return;
        if (!target.isRunning && copies === 1) nobody();
        target.receive(label, () => {
          if (target.process) deliver(target.process);
        });
      });
    }
  }

  /** A node other than `name` whose process runs, if there is one, else any other. */
  anyoneBut(name: string): string {
    const others = this.#nodes.filter((machine) => machine.name !== name);
    const running = others.filter(({ isRunning }) => isRunning);
    return this.#scheduler.chance.pick(running.length > 0 ? running : others).name;
  }

  /** From a machine to a client. */
  answer(from: string, label: string, deliver: () => void): void {
    if (this.#faults.strikes('message-lost', 40)) return;
    this.#emit(from, label, this.delayMs(), () => {
      if (!this.#isCut(from, CLIENTS)) deliver();
    });
  }

  /** Between the machine and all others, or some, or clients. Returns the call that mends it. */
  cut(machine: string, whom: { readonly machines: boolean | readonly string[]; readonly clients: boolean }): () => void {
    const named = whom.machines === true ? [...this.#machines.keys()] : whom.machines || [];
    const others = named.filter((name) => name !== machine);
    const cuts = others.map((name) => `${machine} ${name}`);
    if (whom.clients) cuts.push(`${machine} ${CLIENTS}`);
    for (const one of cuts) this.#cut.add(one);
    return () => {
      for (const one of cuts) this.#cut.delete(one);
    };
  }

  heal(): void {
    this.#cut.clear();
  }

  delayMs(): number {
    return 0.1 + this.#scheduler.chance.unit();
  }

  #emit(from: string, label: string, delayMs: number, action: () => void): void {
    const machine = this.#machines.get(from);
    if (machine) machine.emit(label, delayMs, action);
    else this.#scheduler.after(delayMs, label, action);
  }

  #isCut(a: string, b: string): boolean {
    const machine = this.#machines.has(a) ? a : b;
    const other = machine === a ? b : a;
    const whom = this.#machines.has(other) ? other : CLIENTS;
    return this.#cut.has(`${machine} ${whom}`) || this.#cut.has(`${whom} ${machine}`);
  }
}
