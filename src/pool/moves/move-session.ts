/**
 * The mover's work at the two servers of one move: the token is taken, what a mover before had begun is done again, the walk runs, and when a server is lost all of that begins
 * anew. What is decided when stands in ./move-engine.ts.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Bytes } from '../../base/bytes.ts';
import { isKeyfleetError, KeyfleetError } from '../../base/errors.ts';
import { returningId } from '../guarded-commands.ts';
import type { PoolMap } from '../pool-map.ts';
import { FENCE_KEY, FENCE_SCRIPT, FENCED_SCRIPT } from './guard-scripts.ts';
import { type ForgetOptions, forgetAll, forgetMoved, type PutDone } from './move-forget.ts';
import { Journal } from './move-journal.ts';
import { ServerLink, textOf } from './move-link.ts';
import type { MoveEngineOptions } from './move-options.ts';
import type { MovePace } from './move-pace.ts';
import { movingIn } from './move-plan.ts';
import type { JournalView, MoveRecord, PlannedMove } from './move-records.ts';
import { evaluate } from './move-script.ts';
import { KeyWalk, type WalkLimits } from './move-walk.ts';
import { info } from './server-info.ts';

/** Ends a walk because somebody wished it. */
export class Interrupted extends Error {}

export interface SessionPorts {
  readonly options: MoveEngineOptions;
  readonly view: JournalView;
  readonly pace: MovePace;
  /** Writes a record to the moves' journal. */
  append(record: MoveRecord): Promise<void>;
  limits(): WalkLimits;
  onMoved(keys: number, bytes: number): void;
  /** Waits while paused; rejects with {@link Interrupted} to end the walk. */
  gate(back: boolean): Promise<void>;
  /** A server was lost: whoever waits at the gate is to look again. */
  onLost(): void;
}

const FIRST_WAIT_MS = 50;
const MOST_WAIT_MS = 2_000;
const TEND_EVERY_MS = 300;

export class MoveSessions {
  readonly #ports: SessionPorts;
  #walker: KeyWalk | undefined;
  #lost: KeyfleetError | undefined;
  #trouble: KeyfleetError | undefined;
  #closed = false;

  constructor(ports: SessionPorts) {
    this.#ports = ports;
  }

  /** The walk that runs now. */
  get walker(): KeyWalk | undefined {
    return this.#walker;
  }

  /** What it tries again after. */
  get trouble(): KeyfleetError | undefined {
    return this.#trouble;
  }

  close(): void {
    this.#closed = true;
  }

  /** @throws Interrupted once closed; KF_POOL_SERVER_LOST when the source is another process than it was. */
  check(): void {
    if (this.#closed) throw new Interrupted();
    if (this.#lost) throw this.#lost;
  }

  /**
   * Takes a new token on the target and then on the source, redoes what was busy, opens the move and does `work`; all again when a server was lost meanwhile. Answers
   * 'cancel' when that was wished before the work was done.
   */
  async run(map: PoolMap, move: PlannedMove, back: boolean, work: (walk: KeyWalk) => Promise<void>): Promise<'done' | 'cancel'> {
    const { options, pace } = this.#ports;
    const id = back ? returningId(move.id) : move.id;
    for (let waitMs = FIRST_WAIT_MS; ; waitMs = Math.min(MOST_WAIT_MS, waitMs * 2)) {
      if (this.#closed) throw new Interrupted();
      const [from, to] = [this.link(map, back ? move.to : move.from), this.link(map, back ? move.from : move.to)];
      const { journal: putDone, records } = await Journal.open<PutDone>(`${options.journalPath}.${id}`);
      let tending: NodeJS.Timeout | undefined;
      let walk: KeyWalk | undefined;
      try {
        const token = await this.fence([to, from]);
        const moving = movingIn(map, map.slotsOfMove(move.id));
        const mine = new KeyWalk({
          moveId: id,
          token,
          from,
          targetOf: (key) => (moving(key) ? to : undefined),
          limits: () => this.#ports.limits(),
          pace,
          putDone,
          gate: () => this.#ports.gate(back),
          onMoved: (keys, bytes) => this.#ports.onMoved(keys, bytes),
        });
        walk = mine;
        await this.#reconcile(id, { from, to, token, isMoving: moving }, records);
        // What was begun is finished even while paused or cancelled.
        await mine.redo();
        await mine.open();
        options.onEvent?.({ kind: 'step', move: move.id, step: back ? 'opened backwards' : 'opened' });
        this.#walker = mine;
        this.#trouble = undefined;
        tending = setInterval(() => void this.#tend(mine), TEND_EVERY_MS).unref();
        await work(mine);
        return 'done';
      } catch (error) {
        if (error instanceof Interrupted) {
          if (this.#closed || back) throw error;
          return 'cancel';
        }
        if (!isKeyfleetError(error) || !error.retryable) {
          // Until somebody has seen to it, nobody is to wait for keys that do not move.
          this.#walker = undefined;
          await walk?.release().catch(() => undefined);
          throw error;
        }
        this.#trouble = error;
        options.onEvent?.({ kind: 'trouble', error });
        await sleep(waitMs);
      } finally {
        this.#walker = undefined;
        this.#lost = undefined;
        clearInterval(tending);
        from.close();
        to.close();
        await putDone.close();
      }
    }
  }

  /** Takes our keys of this move off both servers; and once the move is over, with `isMoving`, the keys that a source which came back with older data has again. */
  async cleanUp(map: PoolMap, move: PlannedMove, back: boolean, isMoving?: (key: Bytes) => boolean): Promise<void> {
    const id = back ? returningId(move.id) : move.id;
    await this.retried(async () => {
      const [from, to] = [this.link(map, back ? move.to : move.from), this.link(map, back ? move.from : move.to)];
      try {
        const token = await this.fence([to, from]);
        if (isMoving !== undefined && (await this.#isAnother(id, from))) await forgetAll({ from, token, isMoving });
        await KeyWalk.clean(from, to, id, token);
      } finally {
        from.close();
        to.close();
      }
    });
    const { journal } = await Journal.open<PutDone>(`${this.#ports.options.journalPath}.${id}`);
    await journal.remove();
  }

  /** The fences go when all moves are over; a late packet of a mover finds none that is its own. Each goes under a token, so that a late removal finds another. */
  async unfence(map: PoolMap, moves: readonly PlannedMove[]): Promise<void> {
    for (const name of new Set(moves.flatMap(({ from, to }) => [from, to])))
      await this.retried(async () => {
        const link = this.link(map, name);
        try {
          await removeFence(link, await this.fence([link]));
        } finally {
          link.close();
        }
      });
  }

  /** Takes a new token on servers, in this order; only its bearer may change their keys from then on. @throws KF_POOL_FENCED. */
  async fence(links: readonly ServerLink[]): Promise<string> {
    const { view, append } = this.#ports;
    for (let tries = 0; tries < 10; tries++) {
      const number = view.tokenNumber + 1;
      await append({ kind: 'token', number });
      view.tokenNumber = number;
      const token = `${number}:${randomBytes(6).toString('hex')}`;
      let standing = token;
      let done = 0;
      for (const link of links) {
        standing = textOf(await evaluate(link, FENCE_SCRIPT, [FENCE_KEY], [token]));
        if (standing !== token || !(await lasts(link, token))) break;
        done++;
      }
      if (done === links.length) return token;
      view.tokenNumber = Math.max(number, Number.parseInt(standing, 10));
    }
    throw new KeyfleetError('KF_POOL_FENCED', 'another mover takes the same servers again and again');
  }

  /** A connection of the mover to a server by its name. @throws KF_POOL_PLAN. */
  link(map: PoolMap, name: string): ServerLink {
    const { options } = this.#ports;
    const server = map.servers.find((one) => one.name === name);
    if (server === undefined) throw new KeyfleetError('KF_POOL_PLAN', `there is no server ${name} in the pool`);
    return new ServerLink(options.addressOf(server), { timeoutMs: options.timeoutMs ?? 5_000, name: 'kf:mover' });
  }

  async withLinks<T>(map: PoolMap, move: PlannedMove, work: (from: ServerLink, to: ServerLink) => Promise<T>): Promise<T> {
    const [from, to] = [this.link(map, move.from), this.link(map, move.to)];
    try {
      return await work(from, to);
    } finally {
      from.close();
      to.close();
    }
  }

  /** Sees whether the source is still the process that the guard stands on. */
  async #tend(walk: KeyWalk): Promise<void> {
    const open = await walk.isOpen().catch(() => false);
    if (open || this.#walker !== walk) return;
    this.#lost ??= new KeyfleetError('KF_POOL_SERVER_LOST', 'the source restarted inside a move', { retryable: true });
    this.#ports.onLost();
  }

  /** A source that is another process than it was may have come back with keys that are gone from there. */
  async #reconcile(id: string, options: ForgetOptions, putDone: readonly PutDone[]): Promise<void> {
    const { view, append } = this.#ports;
    const runId = await runIdOf(options.from);
    const before = view.runIds.get(id);
    if (before === runId) return;
    if (before !== undefined) await forgetMoved(options, putDone);
    await append({ kind: 'source', move: id, runId });
    view.runIds.set(id, runId);
  }

  async #isAnother(id: string, from: ServerLink): Promise<boolean> {
    return this.#ports.view.runIds.get(id) !== (await runIdOf(from));
  }

  /** Does `work` again until no server is lost in it. @throws Interrupted once closed. */
  async retried<T>(work: () => Promise<T>): Promise<T> {
    for (let waitMs = FIRST_WAIT_MS; ; waitMs = Math.min(MOST_WAIT_MS, waitMs * 2)) {
      if (this.#closed) throw new Interrupted();
      try {
        const done = await work();
        this.#trouble = undefined;
        return done;
      } catch (error) {
        if (!isKeyfleetError(error) || !error.retryable) throw error;
        this.#trouble = error;
        await sleep(waitMs);
      }
    }
  }
}

/** Takes the fence off a server whose moves are over. @throws KF_POOL_FENCED when another one stands there. */
export async function removeFence(link: ServerLink, token: string): Promise<void> {
  await evaluate(link, FENCED_SCRIPT, [FENCE_KEY], [token, 'UNLINK', FENCE_KEY]);
}

/** Makes a fence that was set last; false when it has expired by now, or another one stands there. */
async function lasts(link: ServerLink, token: string): Promise<boolean> {
  try {
    await evaluate(link, FENCED_SCRIPT, [FENCE_KEY], [token, 'PERSIST', FENCE_KEY]);
    return true;
  } catch (error) {
    if (isKeyfleetError(error) && error.code === 'KF_POOL_FENCED') return false;
    throw error;
  }
}

async function runIdOf(link: ServerLink): Promise<string> {
  return (await info(link)).get('run_id') ?? '';
}
