import { utf8 } from '../src/base/bytes.ts';
import { isKeyfleetError } from '../src/base/errors.ts';
import type { ReadMode } from '../src/node/replica-driver.ts';
import { Session } from '../src/node/session.ts';
import type { EntryCommand } from '../src/shard/entry.ts';
import { NotLeaderError } from '../src/shard/replica/not-leader-error.ts';
import type { ReplySink } from '../src/shard/reply-sink.ts';
import type { RequestId } from '../src/shard/request-id.ts';
import type { Scheduler } from './scheduler.ts';
import type { SimAction } from './workload/sim-module.ts';
import type { Assignment, SimQueryRequest, Workload } from './workload/workload.ts';

/** How clients reach the store. Answers come over the network, late, twice or never. */
export interface ClientPort {
  command(from: string, node: string, command: EntryCommand<SimAction>, mayDouble: boolean, sink: ReplySink<string>): void;
  query(from: string, node: string, request: SimQueryRequest, mode: ReadMode, sink: ReplySink<string>): void;
}

export interface ClientSurroundings {
  readonly scheduler: Scheduler;
  readonly workload: Workload;
  readonly nodeNames: readonly string[];
  /** Nodes that have answered somebody. */
  readonly known: Set<string>;
  readonly port: ClientPort;
  /** Requests are numbered by a session and sent again until they are answered; else one of unknown outcome is left alone for good. */
  readonly repeats: boolean;
  readonly thinkMs: number;
  /** How long it waits for an answer to a command. */
  readonly commandTimeoutMs: number;
  readonly queryTimeoutMs: number;
  /** It only reads, and trusts leases: it stays with a leader that no writer can reach any more. */
  readonly onlyReads: boolean;
  isOver(): boolean;
  onAnswered(): void;
  /** A promise to clients was broken. */
  fail(why: string): void;
}

/** Nothing was done: the same may be tried again. */
const NOTHING_DONE: readonly string[] = ['KF_NOT_LEADER', 'KF_SHARD_BUSY', 'KF_UNAVAILABLE'];
/** What else a client may be told: nobody knows. */
const UNKNOWN: readonly string[] = ['KF_OUTCOME_UNKNOWN', 'KF_STORAGE_FAILED', 'KF_CLOSED', 'KF_SESSION_EXPIRED'];

/** One who sends a request, waits for its answer, thinks, and sends the next. */
export class SimClient {
  readonly #name: string;
  readonly #world: ClientSurroundings;
  readonly #session: Session | undefined;
  #leader: string;

  constructor(name: string, world: ClientSurroundings) {
    this.#name = name;
    this.#world = world;
    this.#session = world.repeats
      ? new Session({ clientId: name }, () => 1_700_000_000_000 + Math.floor(world.scheduler.nowMs))
      : undefined;
    this.#leader = world.scheduler.chance.pick(world.nodeNames);
  }

  think(): void {
    const { scheduler, thinkMs, workload, onlyReads } = this.#world;
    scheduler.after(scheduler.chance.unit() * 2 * thinkMs, 'think', () => {
      if (this.#world.isOver()) return;
      const assignment = workload.next(this.#name, onlyReads);
      this.#attempt(assignment, assignment.request.kind === 'command' ? this.#session?.request() : undefined, false);
    });
  }

  /** `isOpen`: an earlier attempt may have had, or may yet have, an effect. */
  #attempt(assignment: Assignment, id: RequestId | undefined, isOpen: boolean): void {
    const { scheduler, port, nodeNames, known, onlyReads, commandTimeoutMs, queryTimeoutMs } = this.#world;
    const { request } = assignment;
    // Now and then it asks somebody else: one who led before, or does not know that it leads no more.
    const target = !onlyReads && scheduler.chance.below(5) === 0 ? scheduler.chance.pick(nodeNames) : this.#leader;
    let isSettled = false;
    const settle = (action: () => void): void => {
      if (isSettled) return;
      isSettled = true;
      timeout.action = undefined;
      action();
    };
    const timeout = scheduler.after(request.kind === 'query' ? queryTimeoutMs : commandTimeoutMs, 'client-timeout', () =>
      settle(() => {
        this.#leader = scheduler.chance.pick(nodeNames);
        this.#lost(assignment, id);
      }),
    );
    const sink: ReplySink<string> = {
      settled: (_token, text) =>
        settle(() => {
          this.#leader = target;
          known.add(target);
          assignment.answered(text);
          this.#world.onAnswered();
          if (id) this.#heard(assignment, id, text);
          this.think();
        }),
      failed: (_token, error) => settle(() => this.#refused(assignment, id, isOpen, error)),
    };
    if (request.kind === 'query') {
      const mode = !onlyReads && scheduler.chance.below(3) === 0 ? 'barrier' : 'lease';
      port.query(this.#name, target, request, mode, sink);
    } else {
      port.command(this.#name, target, commandOf(assignment, id), id !== undefined, sink);
    }
  }

  /** An answered request needs no session any more. It may all the same arrive once more: then it must get the same answer, or none. */
  #heard(assignment: Assignment, id: RequestId, text: string): void {
    const { scheduler, port, nodeNames, fail } = this.#world;
    this.#session?.close(id);
    if (scheduler.chance.below(8) > 0) return;
    const target = scheduler.chance.below(2) === 0 ? this.#leader : scheduler.chance.pick(nodeNames);
    scheduler.after(scheduler.chance.below(3_000), 'echo', () =>
      port.command(this.#name, target, commandOf(assignment, id), true, {
        settled: (_token, again) => {
          if (again !== text) fail(`${this.#name}'s request ${id.requestSeq} was answered "${text}", and "${again}" when it came again`);
        },
        failed: () => {},
      }),
    );
  }

  #refused(assignment: Assignment, id: RequestId | undefined, isOpen: boolean, error: Error): void {
    const { scheduler, nodeNames } = this.#world;
    this.#leader = (error instanceof NotLeaderError && error.leader) || scheduler.chance.pick(nodeNames);
    const code = isKeyfleetError(error) ? error.code : '';
    if (!NOTHING_DONE.includes(code)) {
      if (!UNKNOWN.includes(code)) this.#world.fail(`${this.#name} was told: ${error.stack}`);
      // To ask again for what is no longer remembered would say the same again.
      this.#lost(assignment, id, code !== 'KF_SESSION_EXPIRED');
      return;
    }
    if (this.#world.isOver()) {
      if (!isOpen) assignment.dropped();
      return;
    }
    scheduler.after(50 + scheduler.chance.below(200), 'again', () => this.#attempt(assignment, id, isOpen));
  }

  /** Nobody knows what became of the attempt. Without an id it cannot be tried again. */
  #lost(assignment: Assignment, id: RequestId | undefined, mayRepeat = true): void {
    const { scheduler, isOver } = this.#world;
    if (id && mayRepeat && !isOver()) {
      scheduler.after(scheduler.chance.below(500), 'again', () => this.#attempt(assignment, id, true));
      return;
    }
    if (assignment.request.kind === 'query') assignment.dropped();
    if (id) this.#session?.close(id);
    this.think();
  }
}

/**
 * One who reads without waiting for the answers to earlier reads, from nodes that answered somebody once: whoever leads no more and does not know
 * it meets a reader who has come after the writers have gone elsewhere.
 */
export class SimReader {
  readonly #name: string;
  readonly #world: ClientSurroundings;
  #sent = 0;
  #open = 0;

  constructor(name: string, world: ClientSurroundings) {
    this.#name = name;
    this.#world = world;
  }

  think(): void {
    const { scheduler, thinkMs, isOver } = this.#world;
    scheduler.after(scheduler.chance.unit() * 2 * thinkMs, 'read-on', () => {
      if (isOver()) return;
      if (this.#open < MAX_OPEN_READS) this.#read();
      this.think();
    });
  }

  #read(): void {
    const { scheduler, workload, port, nodeNames, known, queryTimeoutMs } = this.#world;
    const { chance } = scheduler;
    const assignment = workload.next(`${this.#name}.${++this.#sent}`, true);
    if (assignment.request.kind !== 'query') return;
    const target = chance.pick(known.size > 0 ? [...known] : nodeNames);
    this.#open++;
    let isSettled = false;
    const settle = (text: string | undefined): void => {
      if (isSettled) return;
      isSettled = true;
      timeout.action = undefined;
      this.#open--;
      if (text === undefined) assignment.dropped();
      else assignment.answered(text);
    };
    const timeout = scheduler.after(queryTimeoutMs, 'client-timeout', () => settle(undefined));
    port.query(this.#name, target, assignment.request, chance.below(2) === 0 ? 'barrier' : 'lease', {
      settled: (_token, text) => settle(text),
      failed: () => settle(undefined),
    });
  }
}

const MAX_OPEN_READS = 12;

function commandOf({ request }: Assignment, id: RequestId | undefined): EntryCommand<SimAction> {
  if (request.kind === 'query') throw new Error('a query is no command');
  return {
    kind: request.many ? 'command-many' : 'command',
    key: utf8(request.key),
    command: request.action,
    ...(id ? { request: id } : {}),
  };
}
