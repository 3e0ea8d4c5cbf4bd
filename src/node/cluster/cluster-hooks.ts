import { isKeyfleetError } from '../../base/errors.ts';
import { decodeEntry, type Entry, encodeEntry } from '../../shard/entry.ts';
import {
  hookCursorKey,
  hookHeirKey,
  hookHeirRange,
  hookHeirShard,
  hookOutboxKey,
  hookOutboxPlace,
  shardOutboxRange,
} from '../../shard/key-layout.ts';
import type { Applied } from '../../shard/outcome.ts';
import type { Storage } from '../../storage/storage.ts';
import { checkHook, HookCaller, hookFailed } from '../hook-caller.ts';
import type { LeaderHook } from '../leader-hook.ts';
import type { NodeClock } from '../node-clock.ts';
import type { HostedShard } from './hosted-shard.ts';

// Hooks in a cluster. Each replica of a shard writes the commands of each entry to an outbox in its own storage, in the batch of their effects. The leader tells
// them from its outbox, and then logs `hook-done`: with that entry each replica removes what was told from its outbox. So whoever leads next has all that
// was not told yet, and begins where the last cursor stands. A shard that is brought to another node comes with its outbox (replica/shard-data.ts).
//
// A split leaves what was not told with the parent. A merge makes the left shard the heir of the right one's outbox, and of all that the right one had
// inherited: its leader tells that too, under the names that the entries had, and the cursor is logged by the left shard.

export type AnyHook = LeaderHook<never, never, unknown>;
type Ran = Applied<unknown> & { readonly kind: 'applied' };

/** Entries told before the cursor moves on. */
const PAGE = 64;
/** Waiting entries of a shard whose hook has best effort; more are passed over. */
const MAX_WAITING = 10_000;
/** Between two looks whether there is something to tell, where nothing has said so. */
const LOOK_MS = 1_000;
const PAUSE_MS = 100;

export interface ClusterHooksOptions {
  readonly storage: Storage;
  readonly clock: NodeClock;
  readonly shards: () => Iterable<HostedShard>;
  /** All nodes know what the leader logs of a shard that it took over; until then that waits. */
  readonly mayTellInherited: () => boolean;
  readonly onError: (error: Error) => void;
}

/** The hooks of a node's keyspaces. */
export class ClusterHooks {
  readonly #options: ClusterHooksOptions;
  /** By the name of their keyspace. */
  readonly #hooks = new Map<string, AnyHook>();
  readonly #tellers = new Map<number, ShardTeller>();
  #cancelLook: () => void = () => {};
  #isStopped = false;

  constructor(options: ClusterHooksOptions) {
    this.#options = options;
  }

  /** To be given before the keyspace's shards run entries: what ran before is not told by this node. @throws KF_BAD_OPTION. */
  give(keyspace: string, hook: AnyHook): void {
    checkHook(hook);
    const isFirst = this.#hooks.size === 0;
    this.#hooks.set(keyspace, hook);
    if (isFirst) this.#lookAgain();
  }

  of(keyspace: string): AnyHook | undefined {
    return this.#hooks.get(keyspace);
  }

  /** A replica here has run an entry; the batch of its effects is open. */
  ran(shard: HostedShard, entry: Entry<unknown>, seq: number, applied: Ran): void {
    const hook = this.#hooks.get(shard.keyspace.name);
    if (!hook || hook.onCommandCommitted === undefined) return;
    const [first] = entry.commands;
    if (first?.kind === 'control') {
      if (first.control.kind === 'merge-commit' && applied.control === 'done') this.#inherit(shard, first.control.right);
      return;
    }
    const told = entry.commands.filter(({ kind }, at) => applied.changed[at] && (kind === 'command' || kind === 'command-many'));
    for (const [at, command] of entry.commands.entries())
      if (command.kind === 'hook-done' && applied.changed[at]) this.#told(shard, command.shard ?? shard.id, command.seq);
    if (told.length === 0) return;
    const kept = { ...entry, commands: told };
    if (hook.delivery === 'best-effort') {
      if (shard.leads) this.#tellerOf(shard, hook).offer(kept, seq);
      return;
    }
    const { id, module } = shard.keyspace;
    this.#options.storage.put(hookOutboxKey(id, shard.id, seq), encodeEntry(kept, module.commandCodec));
    if (shard.leads) this.#tellerOf(shard, hook).kick();
  }

  /** Somebody else leads a shard, or this node does. */
  kick(): void {
    if (this.#isStopped || this.#hooks.size === 0) return;
    for (const shard of this.#options.shards()) {
      const hook = shard.leads ? this.#hooks.get(shard.keyspace.name) : undefined;
      if (hook?.onCommandCommitted && hook.delivery !== 'best-effort') this.#tellerOf(shard, hook).kick();
    }
  }

  /** Tells nothing more. What is under way is told again by whoever leads next. */
  stop(): void {
    this.#isStopped = true;
    this.#cancelLook();
    for (const teller of this.#tellers.values()) teller.stop();
    this.#tellers.clear();
  }

  #lookAgain(): void {
    this.#cancelLook = this.#options.clock.after(LOOK_MS, () => {
      this.kick();
      if (!this.#isStopped) this.#lookAgain();
    });
  }

  #tellerOf(shard: HostedShard, hook: AnyHook): ShardTeller {
    const known = this.#tellers.get(shard.id);
    if (known?.shard === shard) return known;
    known?.stop();
    const teller = new ShardTeller(shard, hook, this.#options);
    this.#tellers.set(shard.id, teller);
    return teller;
  }

  /** The shard has taken over `right`, and what of that was not told. */
  #inherit(shard: HostedShard, right: number): void {
    const { storage } = this.#options;
    const { id } = shard.keyspace;
    const taken = [...storage.scan(hookHeirRange(id, right))].map(({ key }) => hookHeirShard(key));
    for (const from of [right, ...taken]) {
      storage.delete(hookHeirKey(id, right, from));
      if (hasAny(storage, id, from)) storage.put(hookHeirKey(id, shard.id, from), NOTHING);
    }
    this.#tellers.get(right)?.stop();
    this.#tellers.delete(right);
  }

  /** All of `from` up to entry `seq` has been told: by the log of `shard`, which is that one or its heir. */
  #told(shard: HostedShard, from: number, seq: number): void {
    const { storage } = this.#options;
    const { id } = shard.keyspace;
    for (const { key } of [...storage.scan(shardOutboxRange(id, from, seq))]) storage.delete(key);
    if (from === shard.id || hasAny(storage, id, from)) return;
    storage.delete(hookHeirKey(id, shard.id, from));
    storage.delete(hookCursorKey(from));
  }
}

const NOTHING = new Uint8Array(0);

function hasAny(storage: Storage, keyspaceId: number, shard: number): boolean {
  const [found] = storage.scan({ ...shardOutboxRange(keyspaceId, shard), limit: 1 });
  return found !== undefined;
}

/** Tells what one shard has to tell, for as long as this node leads it. */
class ShardTeller {
  readonly shard: HostedShard;
  readonly #options: ClusterHooksOptions;
  readonly #caller: HookCaller<unknown>;
  /** Of a hook with best effort. */
  #waiting: { readonly entry: Entry<unknown>; readonly seq: number }[] = [];
  #passedOver = 0;
  #isRunning = false;
  #isStopped = false;

  constructor(shard: HostedShard, hook: AnyHook, options: ClusterHooksOptions) {
    this.shard = shard;
    this.#options = options;
    this.#caller = new HookCaller({
      keyspace: shard.keyspace.name,
      hook: hook as LeaderHook<unknown, never, unknown>,
      onError: options.onError,
      after: (ms, callback) => options.clock.after(ms, callback),
    });
  }

  /** To be told, once, if this node leads still when its turn comes. */
  offer(entry: Entry<unknown>, seq: number): void {
    if (this.#waiting.length < MAX_WAITING) this.#waiting.push({ entry, seq });
    else this.#passedOver++;
    this.kick();
  }

  /** Begins to tell what there is to tell, if it has not begun. */
  kick(): void {
    if (this.#isRunning || this.#isStopped) return;
    this.#isRunning = true;
    // The batch that woke it is not even closed yet.
    this.#options.clock.atTurnEnd(() => {
      this.#run()
        .catch((error: unknown) => {
          if (!isKeyfleetError(error)) throw error;
          this.#options.onError(error);
        })
        .finally(() => {
          this.#isRunning = false;
          if (this.#waiting.length > 0) this.kick();
        });
    });
  }

  stop(): void {
    this.#isStopped = true;
    this.#caller.stop();
  }

  readonly #isOver = (): boolean => this.#isStopped || !this.shard.leads || !this.shard.machine?.isServing;

  async #run(): Promise<void> {
    while (!this.#isOver()) {
      const isMore = this.#waiting.length > 0 ? await this.#tellWaiting() : await this.#tellPage();
      if (!isMore) return;
    }
    this.#waiting = [];
  }

  async #tellWaiting(): Promise<boolean> {
    if (this.#passedOver > 0) {
      const { name } = this.shard.keyspace;
      this.#options.onError(
        hookFailed(`${this.#passedOver} entries of shard ${this.shard.id} were passed over: the hook of ${name} is too slow`),
      );
      this.#passedOver = 0;
    }
    for (const { entry, seq } of this.#waiting.splice(0, PAGE)) await this.#caller.tell(entry, this.shard.id, seq, this.#isOver);
    return true;
  }

  /** Tells the next entries of a shard that it took over, else of its own. False when there is nothing to tell. */
  async #tellPage(): Promise<boolean> {
    const { storage } = this.#options;
    const { id: keyspaceId, module } = this.shard.keyspace;
    const heirs = this.#options.mayTellInherited() ? storage.scan(hookHeirRange(keyspaceId, this.shard.id)) : [];
    for (const from of [...[...heirs].map(({ key }) => hookHeirShard(key)), this.shard.id]) {
      const page = [...storage.scan({ ...shardOutboxRange(keyspaceId, from), limit: PAGE })];
      if (page.length === 0) continue;
      // Whoever has been replaced without knowing it yet tells nothing.
      if (!(await this.#leads())) return false;
      let toldSeq: number | undefined;
      for (const { key, value } of page) {
        const { seq } = hookOutboxPlace(key);
        if (!(await this.#caller.tell(decodeEntry(value, module.commandCodec), from, seq, this.#isOver))) break;
        toldSeq = seq;
      }
      if (toldSeq === undefined) return false;
      if (!(await this.#log(from, toldSeq))) await this.#caller.pause(PAUSE_MS);
      return true;
    }
    return false;
  }

  #leads(): Promise<boolean> {
    const { driver } = this.shard;
    return new Promise((resolve) => {
      if (!driver) resolve(false);
      else driver.look(() => undefined, { settled: () => resolve(true), failed: () => resolve(false) }, 0);
    });
  }

  /** Moves the cursor on. False when it is not known to be logged: then some is told again. */
  #log(from: number, seq: number): Promise<boolean> {
    const { driver, id } = this.shard;
    return new Promise((resolve) => {
      const sink = { settled: () => resolve(true), failed: () => resolve(false) };
      if (!driver) resolve(false);
      else driver.submit({ kind: 'hook-done', seq, ...(from === id ? {} : { shard: from }) }, sink, 0);
    });
  }
}
