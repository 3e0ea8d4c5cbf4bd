import type { Bytes } from '../base/bytes.ts';
import type { AnyLocalShard, LocalLog } from '../log/local.ts';
import { decodeEntry, type Entry, encodeEntry } from '../shard/entry.ts';
import { hookOutboxKey, hookOutboxPlace, hookOutboxRange } from '../shard/key-layout.ts';
import type { ValueCodec } from '../shard/value-module.ts';
import type { Storage } from '../storage/storage.ts';
import { checkHook, FIRST_PAUSE_MS, HookCaller, hookFailed, LONGEST_PAUSE_MS } from './hook-caller.ts';
import type { LeaderHook } from './leader-hook.ts';

// Tells a keyspace's hook of its commits. The local log keeps no entries, so each entry's commands are written to an outbox, in the very batch of
// their effects. The runner takes from the outbox what is durable, tells the hook, and then, again in one batch, removes it and orders a
// `hook-done` entry of the shard: the cursor from which whoever leads the shard next goes on.

/** Entries told before the cursor moves on. */
const PAGE = 64;
/** Waiting commands of a hook with best effort; more are passed over. */
const MAX_WAITING = 10_000;

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
  readonly #caller: HookCaller<Command>;
  readonly #waiting: { readonly entry: Entry<Command>; readonly shard: number; readonly seq: number }[] = [];
  #passedOver = 0;
  #running: Promise<void> | undefined;
  #stopped = false;

  /** @throws KF_BAD_OPTION. */
  constructor(options: HookRunnerOptions<Command>) {
    this.#options = options;
    this.#isBestEffort = checkHook(options.hook).delivery === 'best-effort';
    this.#caller = new HookCaller({ keyspace: options.keyspace.name, hook: options.hook, onError: options.onError });
  }

  /** Takes an entry that has just been closed, inside its batch; `changed`: which of its commands changed something. */
  take(shard: number, entry: Entry<Command>, seq: number, changed: readonly boolean[]): void {
    const commands = entry.commands.filter(({ kind }, at) => changed[at] && (kind === 'command' || kind === 'command-many'));
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
    this.#caller.stop();
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
        await this.#caller.pause(pauseMs);
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
      await this.#caller.tell(decodeEntry(value, commandCodec), shard, seq);
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
      this.#options.onError(
        hookFailed(`${this.#passedOver} entries were passed over: the hook of ${this.#options.keyspace.name} is too slow`),
      );
      this.#passedOver = 0;
    }
    if (this.#waiting.length === 0) return false;
    const page = this.#waiting.splice(0, PAGE);
    await this.#options.log.flush();
    for (const { entry, shard, seq } of page) await this.#caller.tell(entry, shard, seq);
    return true;
  }
}
