import { utf8 } from '../src/base/bytes.ts';
import { isKeyfleetError } from '../src/base/errors.ts';
import { NotLeaderError } from '../src/shard/replica/not-leader-error.ts';
import type { Scheduler } from './scheduler.ts';
import type { SimNode } from './sim-node.ts';
import type { SimRequestId } from './workload/sim-module.ts';
import type { Assignment, Workload } from './workload/workload.ts';

export interface ClientSurroundings {
  readonly scheduler: Scheduler;
  readonly workload: Workload;
  readonly nodeNames: readonly string[];
  readonly shard: number;
  /** Requests carry ids and are sent again until they are answered; else one of unknown outcome is left alone for good. */
  readonly repeats: boolean;
  readonly thinkMs: number;
  /** How long it waits for an answer to a command. */
  readonly commandTimeoutMs: number;
  readonly queryTimeoutMs: number;
  /** It only reads, and trusts leases: it stays with a leader that no writer can reach any more. */
  readonly onlyReads: boolean;
  send(from: string, to: string, label: string, deliver: (node: SimNode) => void, mayDouble: boolean): void;
  /** The way back. */
  answer(from: string, label: string, deliver: () => void): void;
  isOver(): boolean;
  onAnswered(): void;
}

/** One who sends a request, waits for its answer, thinks, and sends the next. */
export class SimClient {
  readonly #name: string;
  readonly #world: ClientSurroundings;
  #leader: string;
  #requestNumber = 0;

  constructor(name: string, world: ClientSurroundings) {
    this.#name = name;
    this.#world = world;
    this.#leader = world.scheduler.chance.pick(world.nodeNames);
  }

  think(): void {
    const { scheduler, thinkMs } = this.#world;
    scheduler.after(scheduler.chance.unit() * 2 * thinkMs, 'think', () => {
      if (this.#world.isOver()) return;
      const assignment = this.#world.workload.next(this.#name, this.#world.onlyReads);
      const id: SimRequestId = { client: this.#name, number: ++this.#requestNumber };
      this.#attempt(assignment, id, false);
    });
  }

  /** `isOpen`: an earlier attempt may have had, or may yet have, an effect. */
  #attempt(assignment: Assignment, id: SimRequestId, isOpen: boolean): void {
    const { scheduler, repeats, shard, onlyReads, commandTimeoutMs, queryTimeoutMs } = this.#world;
    const { request } = assignment;
    // Now and then it asks somebody else: one who led before, or does not know that it leads no more.
    const target = !onlyReads && scheduler.chance.below(5) === 0 ? scheduler.chance.pick(this.#world.nodeNames) : this.#leader;
    let isSettled = false;
    const settle = (action: () => void): void => {
      if (isSettled) return;
      isSettled = true;
      action();
    };
    const isQuery = request.kind === 'query';
    const command = isQuery ? undefined : { action: request.action, request: repeats ? id : undefined };
    const mode = !onlyReads && scheduler.chance.below(3) === 0 ? 'barrier' : 'lease';
    const sink = {
      settled: (_token: number, text: string) =>
        this.#world.answer(target, 'reply', () =>
          settle(() => {
            this.#leader = target;
            assignment.answered(text);
            this.#world.onAnswered();
            this.think();
          }),
        ),
      failed: (_token: number, error: Error) =>
        this.#world.answer(target, 'refusal', () => settle(() => this.#refused(assignment, id, isOpen, error))),
    };
    this.#world.send(
      this.#name,
      target,
      'request',
      (node) => node.serve(shard, request, command, utf8(request.key), mode, sink),
      isQuery || repeats,
    );
    scheduler.after(isQuery ? queryTimeoutMs : commandTimeoutMs, 'client-timeout', () =>
      settle(() => {
        this.#leader = scheduler.chance.pick(this.#world.nodeNames);
        this.#lost(assignment, id);
      }),
    );
  }

  #refused(assignment: Assignment, id: SimRequestId, isOpen: boolean, error: Error): void {
    const { scheduler, nodeNames } = this.#world;
    this.#leader = (error instanceof NotLeaderError && error.leader) || scheduler.chance.pick(nodeNames);
    const unknown = !isKeyfleetError(error) || error.code === 'KF_OUTCOME_UNKNOWN' || error.code === 'KF_STORAGE_FAILED';
    if (unknown) {
      this.#lost(assignment, id);
      return;
    }
    if (this.#world.isOver()) {
      if (!isOpen) assignment.dropped();
      return;
    }
    scheduler.after(50 + scheduler.chance.below(200), 'again', () => this.#attempt(assignment, id, isOpen));
  }

  /** Nobody knows what became of the attempt. */
  #lost(assignment: Assignment, id: SimRequestId): void {
    const { scheduler, repeats } = this.#world;
    if (assignment.request.kind === 'query') {
      assignment.dropped();
      this.think();
    } else if (repeats && !this.#world.isOver()) {
      scheduler.after(scheduler.chance.below(500), 'again', () => this.#attempt(assignment, id, true));
    } else {
      this.think();
    }
  }
}
