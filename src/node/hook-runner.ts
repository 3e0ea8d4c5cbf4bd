import type { Bytes } from '../base/bytes.ts';
import { KeyfleetError, messageOf } from '../base/errors.ts';
import type { AnyLocalShard, LocalLog } from '../log/local.ts';
import { decodeEntry, type Entry, encodeEntry } from '../shard/entry.ts';
import { hookOutboxKey, hookOutboxPlace, hookOutboxRange } from '../shard/key-layout.ts';
import type { ValueCodec } from '../shard/value-module.ts';
import type { Storage } from '../storage/storage.ts';
import type { CommittedCommand, LeaderHook } from './leader-hook.ts';

// Tells a keyspace's hook of its commits. The local log keeps no entries, so each entry's commands are written to an outbox, in the very batch of
// their effects. The runner takes from the outbox what is durable, tells the hook, and then, again in one batch, removes it and orders a
// `hook-done` entry of the shard: the cursor from which whoever leads the shard next goes on.

/** Entries told before the cursor moves on. */
const PAGE = 64;
/** Waiting commands of a hook with best effort; more are passed over. */
const MAX_WAITING = 10_000;
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 10_000;
const DEFAULT_TIMEOUT_MS = 30_000;
const LONGEST_TIMEOUT_MS = 2 ** 31 - 1;

export interface HookRunnerOptions<Command> {
  readonly keyspace: { readonly id: number; readonly name: string };
  readonly hook: LeaderHook<Command, never, unknown>;
  readonly commandCodec: ValueCodec<Command>;
  readonly storage: Storage;
  readonly log: LocalLog;
  /** A shard that is there, by its id. */
  readonly shardOf: (id: number) => AnyLocalShard | undefined;
  readonly onError: (error: Error) => void;
}

export class HookRunner<Command> {
  readonly #options: HookRunnerOptions<Command>;
  readonly #isBestEffort: boolean;
  readonly #timeoutMs: number;
  readonly #giveUpAfter: number;
  readonly #waiting: { readonly entry: Entry<Command>; readonly shard: number; readonly seq: number }[] = [];
  #passedOver = 0;
  #running: Promise<void> | undefined;
  #stopped = false;
  #wake: (() => void) | undefined;

  /** @throws KF_BAD_OPTION. */
  constructor(options: HookRunnerOptions<Command>) {
    const { delivery, timeoutMs, giveUpAfter } = checkHook(options.hook);
    this.#options = options;
    this.#isBestEffort = delivery === 'best-effort';
    this.#timeoutMs = timeoutMs;
    this.#giveUpAfter = giveUpAfter;
  }

  /** Takes an entry that has just been closed, inside its batch. */
  take(shard: number, entry: Entry<Command>, seq: number): void {
    const commands = entry.commands.filter(({ kind }) => kind === 'command' || kind === 'command-many');
    if (commands.length === 0) return;
    const { keyspace, storage, commandCodec } = this.#options;
    if (!this.#isBestEffort) {
      storage.put(hookOutboxKey(keyspace.id, shard, seq), encodeEntry({ ...entry, commands }, commandCodec));
    } else if (this.#waiting.length < MAX_WAITING) {
      this.#waiting.push({ entry: { ...entry, commands }, shard, seq });
    } else {
      this.#passedOver++;
    }
    this.kick();
  }

  /** Begins to tell what there is to tell, if it has not begun. */
  kick(): void {
    if (this.#running || this.#stopped) return;
    this.#running = this.#run().finally(() => {
      this.#running = undefined;
    });
  }

  /** Tells nothing more. What is under way is given up on, and told again by the next process. */
  stop(): void {
    this.#stopped = true;
    this.#wake?.();
  }

  async #run(): Promise<void> {
    // The batch that woke it is not even closed yet.
    await new Promise((resolve) => setImmediate(resolve));
    let pauseMs = FIRST_PAUSE_MS;
    while (!this.#stopped) {
      try {
        if (!(await (this.#isBestEffort ? this.#tellWaiting() : this.#tellOutbox()))) return;
        pauseMs = FIRST_PAUSE_MS;
      } catch (error) {
        if (this.#stopped) return;
        // The storage's troubles: a full disk passes.
        this.#options.onError(error as Error);
        await this.#pause(pauseMs);
        pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS);
      }
    }
  }

  /** False when there was nothing to tell. */
  async #tellOutbox(): Promise<boolean> {
    const { keyspace, storage, log, commandCodec, shardOf } = this.#options;
    const page = [...storage.scan({ ...hookOutboxRange(keyspace.id), limit: PAGE })];
    if (page.length === 0) return false;
    await log.flush();
    if (this.#stopped) return false;
    const done: Bytes[] = [];
    const cursors = new Map<number, number>();
    for (const { key, value } of page) {
      // Undone with its batch, by a disk that was full.
      if (!storage.has(key)) continue;
      const { shard, seq } = hookOutboxPlace(key);
      await this.#tell(decodeEntry(value, commandCodec), shard, seq);
      if (this.#stopped) break;
      done.push(key);
      cursors.set(shard, seq);
    }
    if (done.length === 0 || this.#stopped) return false;
    log.atomically((batch) => {
      for (const [id, seq] of cursors) {
        const shard = shardOf(id);
        if (shard?.machine.isServing) log.inEntry(shard, (machine) => machine.hookDone(seq));
      }
      for (const key of done) batch.delete(key);
    });
    return true;
  }

  async #tellWaiting(): Promise<boolean> {
    if (this.#passedOver > 0) {
      this.#options.onError(failed(`${this.#passedOver} entries were passed over: the hook of ${this.#options.keyspace.name} is too slow`));
      this.#passedOver = 0;
    }
    if (this.#waiting.length === 0) return false;
    const page = this.#waiting.splice(0, PAGE);
    await this.#options.log.flush();
    for (const { entry, shard, seq } of page) await this.#tell(entry, shard, seq);
    return true;
  }

  async #tell(entry: Entry<Command>, shard: number, seq: number): Promise<void> {
    const { keyspace } = this.#options;
    const token = { shard, epoch: entry.epoch, seq };
    let index = 0;
    for (const one of entry.commands) {
      if (one.kind !== 'command' && one.kind !== 'command-many') continue;
      const { key, command } = one;
      await this.#insist({ keyspace: keyspace.name, token, index: index++, key, command, nowMs: entry.nowMs });
      if (this.#stopped) return;
    }
  }

  /** Calls the hook until it succeeds, or as often as it may be called. */
  async #insist(event: CommittedCommand<Command>): Promise<void> {
    const attempts = this.#isBestEffort ? 1 : this.#giveUpAfter;
    for (let attempt = 1; !this.#stopped; attempt++) {
      try {
        await this.#call(event);
        return;
      } catch (error) {
        const { shard, seq } = event.token;
        const next = attempt < attempts ? 'it is told again' : 'it is passed over';
        const what = `the hook of keyspace ${event.keyspace} failed at command ${event.index} of entry ${seq} of shard ${shard}, attempt ${attempt}; ${next}`;
        this.#options.onError(failed(`${what}: ${messageOf(error)}`, error));
        if (attempt >= attempts) return;
        await this.#pause(Math.min(FIRST_PAUSE_MS * 2 ** Math.min(attempt - 1, 10), LONGEST_PAUSE_MS));
      }
    }
  }

  #call(event: CommittedCommand<Command>): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => end(() => reject(new Error(`it took longer than ${this.#timeoutMs} ms`))), this.#timeoutMs);
      timer.unref();
      const end = (settle: () => void): void => {
        clearTimeout(timer);
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

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      timer.unref();
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
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

function failed(message: string, cause?: unknown): KeyfleetError {
  return new KeyfleetError('KF_HOOK_FAILED', message, cause === undefined ? {} : { cause });
}

function badOption(message: string): KeyfleetError {
  return new KeyfleetError('KF_BAD_OPTION', `a hook's ${message}`);
}
