import { KeyfleetError } from '../src/base/errors.ts';
import type { NodeClock } from '../src/node/node-clock.ts';
import type { Instant } from '../src/shard/replica/host.ts';
import { MemoryStorage } from '../src/storage/memory.ts';
import type { Faults } from './faults.ts';
import type { Scheduler, SimEvent } from './scheduler.ts';

// A machine with a clock, a disk and at most one process, which stands still, dies and comes back. What the process does, it does in steps: one for
// each thing that reaches it. A step takes no time, unless a pause falls into it: then everything that the step has not yet done comes that much later,
// and the clock, when the step reads it again, says so. A death in a step leaves done what had been done, and nothing else.

export interface MachineSurroundings<Process> {
  readonly scheduler: Scheduler;
  readonly faults: Faults;
  /** A process begins, with what the disk has. */
  boot(machine: SimMachine<Process>): Process;
  /** The process is no more. */
  died(process: Process): void;
  /** The process has made a step, though not yet what it awaits. */
  stepped(machine: SimMachine<Process>): void;
}

interface Pausing {
  steps: number;
  readonly forMs: number;
  readonly label: string | undefined;
  /** Where in the step: before so many looks at the clock; 0: behind it. */
  readonly looks: number;
}

const WALL_START_MS = 1_700_000_000_000;

export class SimMachine<Process> {
  readonly name: string;
  readonly clock: NodeClock;
  /** How much faster than the world's its clock runs. */
  readonly clockRate: number;
  readonly #world: MachineSurroundings<Process>;
  readonly #clockStartMs: number;
  #process: Process | undefined;
  #life = 0;
  #storage: MemoryStorage;
  #pausedUntilMs = 0;
  #pausing: Pausing | undefined;
  /** Looks at the clock before the pause that falls into this step. */
  #looksToPause = 0;
  #pauseMs = 0;
  #stepAtMs = -1;
  #lagMs = 0;
  /** The process dies within so many steps … */
  #stepsToLive = Number.POSITIVE_INFINITY;
  /** … or when it has done so many things to the world. */
  #deedsToLive = Number.POSITIVE_INFINITY;
  /** Dead already, though the step goes on: the last batch that it gave to the disk. */
  #lastCommit: number | undefined;
  #onDeath: () => void = () => {};
  logIsCutOff = false;

  constructor(name: string, world: MachineSurroundings<Process>) {
    this.name = name;
    this.#world = world;
    const { chance } = world.scheduler;
    const hasOwnRate = world.faults.enabled.has('clock-rates');
    if (hasOwnRate) world.faults.count('clock-rates');
    this.clockRate = hasOwnRate ? chance.pick([0.9, 1.1, 0.9 + chance.unit() * 0.2]) : 1;
    this.#clockStartMs = chance.below(1_000_000);
    this.clock = this.#newClock();
    this.#storage = new MemoryStorage(this.#diskOptions());
  }

  get process(): Process | undefined {
    return this.#process;
  }

  get isRunning(): boolean {
    return this.#process !== undefined;
  }

  get storage(): MemoryStorage {
    return this.#storage;
  }

  start(): void {
    if (!this.#process) this.#process = this.#world.boot(this);
  }

  /** Something has just reached the machine, by an event of the world: the process, if there is one, deals with it in a step, or when it runs again. */
  receive(label: string, action: () => void): void {
    if (this.#process) this.#step(label, action);
  }

  /** Counts the processes that it has had. */
  get life(): number {
    return this.#life;
  }

  /** Calls `action` in a step of its own after `delayMs` of the world's time, in the process of that life or never. */
  later(label: string, delayMs: number, action: () => void, life = this.#life): SimEvent {
    return this.#world.scheduler.after(delayMs + this.#lag, label, () => {
      if (this.#life === life && this.#process) this.#step(label, action);
    });
  }

  /** The process does something to the world that happens `delayMs` later, whatever becomes of the process then. */
  emit(label: string, delayMs: number, action: () => void): void {
    if (this.#lastCommit !== undefined) return;
    this.#world.scheduler.after(delayMs + this.#lag, label, action);
    if (--this.#deedsToLive > 0) return;
    this.#world.faults.count('death-in-step');
    this.#lastCommit = this.#storage.committed;
    this.#dieSoon();
  }

  /** The process stands still for a while, from within the next `steps` that it makes, or those of them that are `label`. */
  pauseWithin(steps: number, forMs: number, options: { readonly label?: string | undefined; readonly looks?: number } = {}): void {
    const { label, looks = 0 } = options;
    this.#pausing = { steps, forMs, label, looks };
  }

  /** The process dies within the next `steps` that it makes, or in one of them. */
  dieWithin(steps: number, onDeath: () => void, deeds = Number.POSITIVE_INFINITY): void {
    if (!this.#process) return;
    this.#stepsToLive = steps;
    this.#deedsToLive = deeds;
    this.#onDeath = onDeath;
    if (steps === 0) this.#dieSoon();
  }

  /** The disk takes no more, or takes it again. */
  setDiskFull(isFull: boolean): void {
    this.#storage.refuse(isFull ? new KeyfleetError('KF_DISK_FULL', 'the simulated disk is full') : undefined);
  }

  /** Ends the pause, and what is wrong with disk and net. */
  heal(): void {
    this.#pausedUntilMs = 0;
    this.#pausing = undefined;
    this.#looksToPause = 0;
    this.#stepsToLive = Number.POSITIVE_INFINITY;
    this.#deedsToLive = Number.POSITIVE_INFINITY;
    this.logIsCutOff = false;
    this.setDiskFull(false);
  }

  /** By how much what the present step does comes later. */
  get #lag(): number {
    return this.#stepAtMs === this.#world.scheduler.nowMs ? this.#lagMs : 0;
  }

  #step(label: string, action: () => void): void {
    const { scheduler } = this.#world;
    if (scheduler.nowMs < this.#pausedUntilMs) {
      const life = this.#life;
      scheduler.after(this.#pausedUntilMs - scheduler.nowMs, label, () => {
        if (this.#life === life && this.#process) this.#step(label, action);
      });
      return;
    }
    this.#stepAtMs = scheduler.nowMs;
    this.#lagMs = 0;
    const pausing = this.#pausing;
    const isDue = pausing !== undefined && (pausing.label ?? label) === label && --pausing.steps <= 0;
    if (isDue) {
      this.#pausing = undefined;
      this.#looksToPause = pausing.looks;
      this.#pauseMs = pausing.forMs;
    }
    action();
    this.#world.stepped(this);
    if (isDue && pausing.looks === 0) this.#pausedUntilMs = scheduler.nowMs + pausing.forMs;
    // Not before the promises that this settled have had their turn: they are part of it.
    if (--this.#stepsToLive === 0) this.#dieSoon();
  }

  #newClock(): NodeClock {
    return {
      now: (): Instant => {
        const { scheduler, faults } = this.#world;
        if (this.#looksToPause > 0 && --this.#looksToPause === 0) {
          faults.count('pause-in-step');
          this.#stepAtMs = scheduler.nowMs;
          this.#lagMs = this.#pauseMs;
          this.#pausedUntilMs = scheduler.nowMs + this.#pauseMs;
        }
        const elapsedMs = (scheduler.nowMs + this.#lag) * this.clockRate;
        return { monoMs: this.#clockStartMs + elapsedMs, wallMs: WALL_START_MS + elapsedMs };
      },
      after: (ms, callback) => {
        let isOff = false;
        const event = this.later('timer', ms / this.clockRate, () => {
          if (!isOff) callback();
        });
        return () => {
          isOff = true;
          event.action = undefined;
        };
      },
      atTurnEnd: (callback) => {
        this.later('turn-end', 0, callback);
      },
    };
  }

  #diskOptions() {
    const life = this.#life;
    return {
      holdDurability: true,
      onCommit: (number: number): void => {
        const { scheduler, faults } = this.#world;
        const slow = faults.strikes('slow-disk', 15) ? scheduler.chance.below(400) : 0;
        this.emit('synced', 0.3 + scheduler.chance.unit() + slow, () => {
          if (this.#life === life && this.#process) this.#step('durable', () => this.#storage.release(number));
        });
      },
    };
  }

  #dieSoon(): void {
    const life = this.#life;
    this.#world.scheduler.after(0, 'death', () => {
      if (this.#life === life && this.#process) this.#die(this.#process);
    });
  }

  #die(process: Process): void {
    const { durable, committed } = this.#storage;
    const { chance } = this.#world.scheduler;
    // Of what was handed to the disk and not yet confirmed, any beginning may have survived, or nothing.
    const survived = durable + (chance.below(2) === 0 ? 0 : chance.below((this.#lastCommit ?? committed) - durable + 1));
    this.#stepsToLive = Number.POSITIVE_INFINITY;
    this.#deedsToLive = Number.POSITIVE_INFINITY;
    this.#lastCommit = undefined;
    this.#looksToPause = 0;
    this.#life++;
    this.#process = undefined;
    this.#world.died(process);
    this.#storage = this.#storage.crash(this.#diskOptions(), survived);
    this.#onDeath();
  }
}
