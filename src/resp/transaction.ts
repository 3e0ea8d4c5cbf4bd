import type { Bytes } from '../base/bytes.ts';
import { redisSlot } from '../partition/redis-slot.ts';
import { asLatin1 } from '../shard/redis/ascii.ts';
import { type CommandArgs, type CommandSpec, keysOf } from '../shard/redis/command-table.ts';
import { CROSS_SLOT } from '../shard/redis/error-replies.ts';
import type { Reply, TaggedReply } from '../shard/redis/reply.ts';
import type { WatchedKey } from '../shard/redis/watched-keys.ts';

export interface QueuedCommand {
  readonly spec: CommandSpec;
  readonly args: CommandArgs;
}

/** For each argument beyond its bytes: the object that holds them. */
const ARG_BYTES = 96;

/** What one connection has said with MULTI and WATCH. */
export class Transaction {
  /** The commands since MULTI; undefined outside. */
  #queue: QueuedCommand[] | undefined;
  #queuedBytes = 0;
  #slot: number | undefined;
  #keys: Bytes[] = [];
  /** A command was refused: EXEC will do nothing. */
  #isAborted = false;
  /** The keys of WATCH, and how to stop listening to each. */
  readonly #watches = new Map<string, () => void>();
  #expiries: number[] = [];
  #prints: WatchedKey[] = [];
  #hasChanged = false;

  get isOpen(): boolean {
    return this.#queue !== undefined;
  }

  get isAborted(): boolean {
    return this.#isAborted;
  }

  get length(): number {
    return this.#queue?.length ?? -1;
  }

  /** Memory that the commands since MULTI take, about. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** The keys that EXEC has their shard compare. */
  get prints(): readonly WatchedKey[] {
    return this.#prints;
  }

  /** The keys of all commands, all in one slot. */
  get keys(): readonly Bytes[] {
    return this.#keys;
  }

  begin(): void {
    this.#queue = [];
  }

  abort(): void {
    if (this.#queue !== undefined) this.#isAborted = true;
  }

  /** Keeps a command for EXEC; the error reply when its keys are not in the slot of those before it. */
  add(command: QueuedCommand): TaggedReply | undefined {
    for (const key of keysOf(command.spec, command.args)) {
      const slot = redisSlot(key);
      this.#slot ??= slot;
      if (slot !== this.#slot) return CROSS_SLOT;
      this.#keys.push(key);
    }
    this.#queue!.push(command);
    for (const arg of command.args) this.#queuedBytes += ARG_BYTES + arg.length;
    return undefined;
  }

  commands(): readonly QueuedCommand[] {
    return this.#queue ?? [];
  }

  isWatching(key: Bytes): boolean {
    return this.#watches.has(asLatin1(key));
  }

  /** Calls `listen` unless the key is watched already; what that returns is called when it is watched no more. */
  watch(key: Bytes, listen: (key: Bytes) => () => void): void {
    const name = asLatin1(key);
    if (!this.#watches.has(name)) this.#watches.set(name, listen(key));
  }

  /** A watched key has changed. */
  changed(): void {
    this.#hasChanged = true;
  }

  /** A watched key expires then. */
  expires(atMs: number): void {
    this.#expiries.push(atMs);
  }

  /** A watched key held this when it was watched. */
  holds(watched: WatchedKey): void {
    this.#prints.push(watched);
  }

  /** A watched key has changed, or its time is up. */
  isStale(nowMs: number): boolean {
    return this.#hasChanged || this.#expiries.some((atMs) => atMs <= nowMs);
  }

  unwatch(): void {
    for (const stop of this.#watches.values()) stop();
    this.#watches.clear();
    this.#expiries = [];
    this.#prints = [];
    this.#hasChanged = false;
  }

  /** As if MULTI and WATCH had never been. */
  reset(): void {
    this.unwatch();
    this.#queue = undefined;
    this.#queuedBytes = 0;
    this.#slot = undefined;
    this.#keys = [];
    this.#isAborted = false;
  }
}

/** Who wants to hear of changes of which keys. */
export class WatchedKeys {
  readonly #byKey = new Map<string, Set<() => void>>();

  /** Calls `listener` at each change of `key` until the function returned is called. */
  add(key: Bytes, listener: () => void): () => void {
    const name = asLatin1(key);
    // Its own function: the same key may be watched twice.
    const own = (): void => listener();
    let listeners = this.#byKey.get(name);
    if (listeners === undefined) this.#byKey.set(name, (listeners = new Set()));
    listeners.add(own);
    return () => {
      listeners.delete(own);
      if (listeners.size === 0 && this.#byKey.get(name) === listeners) this.#byKey.delete(name);
    };
  }

  /** Undefined: every key may have changed. */
  changed(key: Bytes | undefined): void {
    if (this.#byKey.size === 0) return;
    if (key !== undefined) for (const listener of this.#byKey.get(asLatin1(key)) ?? []) listener();
    else for (const listeners of this.#byKey.values()) for (const listener of listeners) listener();
  }
}

/** The replies of a transaction: those of the module in the places of its commands. */
export function mergeReplies(replies: readonly (Reply | undefined)[], ofModule: readonly Reply[]): Reply[] {
  let at = 0;
  return replies.map((reply) => (reply === undefined ? ofModule[at++]! : reply));
}
