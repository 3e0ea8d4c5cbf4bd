import { KeyfleetError, messageOf } from '../base/errors.ts';
import type { Entry } from '../shard/entry.ts';
import type { CommittedCommand, LeaderHook } from './leader-hook.ts';

export const FIRST_PAUSE_MS = 50;
export const LONGEST_PAUSE_MS = 10_000;
const DEFAULT_TIMEOUT_MS = 30_000;
const LONGEST_TIMEOUT_MS = 2 ** 31 - 1;

export interface HookCallerOptions<Command> {
  /** Its name. */
  readonly keyspace: string;
  readonly hook: LeaderHook<Command, never, unknown>;
  readonly onError: (error: Error) => void;
  /** Calls back after so many milliseconds; returns the call that prevents it. Default: a timer that keeps no process alive. */
  readonly after?: (ms: number, callback: () => void) => () => void;
}

/** Calls a hook for what it is to be told, one call at a time, until each has succeeded or is passed over. */
export class HookCaller<Command> {
  readonly #options: HookCallerOptions<Command>;
  readonly #after: (ms: number, callback: () => void) => () => void;
  readonly #timeoutMs: number;
  readonly #attempts: number;
  #stopped = false;
  #wake: (() => void) | undefined;

  /** @throws KF_BAD_OPTION. */
  constructor(options: HookCallerOptions<Command>) {
    const { delivery, timeoutMs, giveUpAfter } = checkHook(options.hook);
    this.#options = options;
    this.#after = options.after ?? quietTimer;
    this.#timeoutMs = timeoutMs;
    this.#attempts = delivery === 'best-effort' ? 1 : giveUpAfter;
  }

  /** Tells of the commands of an entry. False when it was stopped, or `isOver`, before all were told. */
  async tell(entry: Entry<Command>, shard: number, seq: number, isOver: () => boolean = () => false): Promise<boolean> {
    const { keyspace } = this.#options;
    const token = { shard, epoch: entry.epoch, seq };
    let index = 0;
    for (const one of entry.commands) {
      if (one.kind !== 'command' && one.kind !== 'command-many') continue;
      const { key, command } = one;
      if (!(await this.#insist({ keyspace, token, index: index++, key, command, nowMs: entry.nowMs }, isOver))) return false;
    }
    return true;
  }

  pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#after(ms, resolve);
      this.#wake = () => {
        cancel();
        resolve();
      };
    });
  }

  /** Tells nothing more. What is under way is given up on. */
  stop(): void {
    this.#stopped = true;
    this.#wake?.();
  }

  /** Calls the hook until it succeeds, or as often as it may be called. */
  async #insist(event: CommittedCommand<Command>, isOver: () => boolean): Promise<boolean> {
    for (let attempt = 1; !this.#stopped && !isOver(); attempt++) {
      try {
        await this.#call(event);
        return !this.#stopped;
      } catch (error) {
        const { shard, seq } = event.token;
        const next = attempt < this.#attempts ? 'it is told again' : 'it is passed over';
        const what = `the hook of keyspace ${event.keyspace} failed at command ${event.index} of entry ${seq} of shard ${shard}, attempt ${attempt}; ${next}`;
        this.#options.onError(hookFailed(`${what}: ${messageOf(error)}`, error));
        if (attempt >= this.#attempts) return !this.#stopped;
        await this.pause(Math.min(FIRST_PAUSE_MS * 2 ** Math.min(attempt - 1, 10), LONGEST_PAUSE_MS));
      }
    }
    return false;
  }

  #call(event: CommittedCommand<Command>): Promise<void> {
    return new Promise((resolve, reject) => {
      const cancel = this.#after(this.#timeoutMs, () => end(() => reject(new Error(`it took longer than ${this.#timeoutMs} ms`))));
      const end = (settle: () => void): void => {
        cancel();
        this.#wake = undefined;
        settle();
      };
      this.#wake = () => end(() => reject(new Error('the store is closing')));
      // Also what it throws at once becomes a rejection.
      new Promise<void>((done) => done(this.#options.hook.onCommandCommitted?.(event))).then(
        () => end(resolve),
        (error) => end(() => reject(error)),
      );
    });
  }
}

function quietTimer(ms: number, callback: () => void): () => void {
  const timer = setTimeout(callback, ms);
  timer.unref();
  return () => clearTimeout(timer);
}

/** The options of a hook, with their defaults. @throws KF_BAD_OPTION. */
export function checkHook({
  delivery = 'at-least-once',
  timeoutMs = DEFAULT_TIMEOUT_MS,
  giveUpAfter = Number.POSITIVE_INFINITY,
}: Pick<LeaderHook<never, never, never>, 'delivery' | 'timeoutMs' | 'giveUpAfter'>): {
  readonly delivery: 'at-least-once' | 'best-effort';
  readonly timeoutMs: number;
  readonly giveUpAfter: number;
} {
  if (!(timeoutMs > 0 && timeoutMs <= LONGEST_TIMEOUT_MS))
    throw badOption(`timeoutMs is a number of milliseconds above 0, not ${timeoutMs}`);
  if (!(giveUpAfter >= 1)) throw badOption(`giveUpAfter is a number from 1, not ${giveUpAfter}`);
  if (delivery !== 'at-least-once' && delivery !== 'best-effort')
    throw badOption(`delivery is at-least-once or best-effort, not ${delivery}`);
  return { delivery, timeoutMs, giveUpAfter };
}

export function hookFailed(message: string, cause?: unknown): KeyfleetError {
  return new KeyfleetError('KF_HOOK_FAILED', message, cause === undefined ? {} : { cause });
}

function badOption(message: string): KeyfleetError {
  return new KeyfleetError('KF_BAD_OPTION', `a hook's ${message}`);
}
