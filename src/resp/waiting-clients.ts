import { utf8 } from '../base/bytes.ts';
import { isKeyfleetError } from '../base/errors.ts';
import type { ReplySink } from '../node/keyspace-handle.ts';
import { asLatin1 } from '../shard/redis/ascii.ts';
import { type BlockingForm, blockingForm } from '../shard/redis/blocking-commands.ts';
import { type CommandArgs, type CommandSpec, keysOf } from '../shard/redis/command-table.ts';
import { WRONG_TYPE } from '../shard/redis/error-replies.ts';
import { errorReply, NULL_ARRAY, type Reply } from '../shard/redis/reply.ts';
import type { Blocking } from './blocked-clients.ts';
import type { Connection } from './connection.ts';
import type { RedisKeyspace } from './door.ts';

// Clients that wait in BLPOP and its like, where the keys may be on other nodes. What a command comes to is known only when it is answered, so a
// client is tried, and while its try is on its way those behind it at this door wait for what becomes of it: the order of arrival holds for the
// clients of one node. Which keys have changed is heard from the leader of their shard; in case that was missed, a look is taken now and then.
//
// A client whose time is up while its try is on its way hears what that comes to: what was taken for it is not lost.

const UNBLOCKED = errorReply('UNBLOCKED client unblocked via CLIENT UNBLOCK');
const MAX_TIMER_MS = 2 ** 31 - 1;
/** Nobody waits longer than this for a change that was not heard of. */
const LOOK_MS = 5_000;
const EXISTS = utf8('EXISTS');
/** After an error that says that nothing was done. */
const PAUSE_MS = 250;

interface Waiter {
  readonly conn: Connection;
  readonly spec: CommandSpec;
  readonly token: number;
  readonly args: CommandArgs;
  readonly form: BlockingForm;
  /** Its command is on its way. */
  isTrying: boolean;
  /** Something changed since. */
  tryAgain: boolean;
  /** The first try, which alone says whether the command is a good one, has been answered. */
  isAccepted: boolean;
  /** What to say as soon as no try is on its way. */
  parting: Reply | undefined;
  timer: NodeJS.Timeout | undefined;
  again: NodeJS.Timeout | undefined;
  stopWatching: (() => void) | undefined;
  isGone: boolean;
}

export class WaitingClients implements Blocking {
  readonly #keyspace: RedisKeyspace;
  /** Who waits for each key, in the order of arrival. */
  readonly #byKey = new Map<string, Set<Waiter>>();
  readonly #byConnection = new Map<Connection, Waiter>();

  constructor(keyspace: RedisKeyspace) {
    this.#keyspace = keyspace;
  }

  get count(): number {
    return this.#byConnection.size;
  }

  isBlocked(conn: Connection): boolean {
    return this.#byConnection.has(conn);
  }

  /** Changes are heard for each client by itself. */
  changed(): void {}

  serve(): void {}

  start(conn: Connection, spec: CommandSpec, args: CommandArgs, token: number): void {
    const keys = keysOf(spec, args);
    // Keys whose number is wrong: for the module to refuse.
    if (keys.length === 0) {
      conn.keyspace.submitMany([args[1]!], args, conn, token);
      return;
    }
    const form = blockingForm(spec.name, args);
    const waiter: Waiter = {
      ...{ conn, spec, token, args, form, isTrying: true, tryAgain: false, isAccepted: false, isGone: false },
      ...{ parting: undefined, timer: undefined, again: undefined, stopWatching: undefined },
    };
    for (const key of form.keys) {
      const name = asLatin1(key);
      const waiting = this.#byKey.get(name);
      if (waiting === undefined) this.#byKey.set(name, new Set([waiter]));
      else waiting.add(waiter);
    }
    this.#byConnection.set(conn, waiter);
    if (form.timeoutMs > 0) this.#arm(waiter, Date.now() + form.timeoutMs);
    void this.#begin(waiter);
  }

  /** Listens first, so that no change falls between trying and listening. */
  async #begin(waiter: Waiter): Promise<void> {
    try {
      const stop = await this.#keyspace.watch(waiter.form.keys, () => this.#kick(waiter));
      if (waiter.isGone) stop();
      else waiter.stopWatching = stop;
    } catch {
      // A look is taken now and then without.
    }
    if (waiter.isGone) return;
    this.#try(waiter);
  }

  /** A key of the client has changed, or may have. */
  #kick(waiter: Waiter): void {
    if (waiter.isTrying) waiter.tryAgain = true;
    else this.#look(waiter);
  }

  /** Asks whether there is anything, which changes nothing and so costs little; then its command is tried. */
  #look(waiter: Waiter): void {
    if (waiter.isGone) return;
    clearTimeout(waiter.again);
    // Those who came before it and want the same kind of thing of the same key are served first.
    if (this.#hasEarlier(waiter)) {
      waiter.tryAgain = true;
      return;
    }
    waiter.isTrying = true;
    waiter.tryAgain = false;
    const { keys } = waiter.form;
    const sink: ReplySink<Reply> = {
      settled: (_, count) => {
        if (count === 0) this.#found(waiter, waiter.form.nothing, false);
        else if (!waiter.isGone) this.#try(waiter);
      },
      failed: (_, error) => this.#failed(waiter, error),
    };
    this.#keyspace.askMany(keys, [EXISTS, ...keys], sink, 0);
  }

  #try(waiter: Waiter): void {
    const isFirst = !waiter.isAccepted;
    const sink: ReplySink<Reply> = {
      settled: (_, reply) => this.#found(waiter, reply, isFirst),
      failed: (_, error) => this.#failed(waiter, error),
    };
    waiter.conn.keyspace.submitMany(keysOf(waiter.spec, waiter.args), waiter.args, sink, 0);
  }

  /** Whether somebody before it in the queue of one of its keys is being tried. */
  #hasEarlier(waiter: Waiter): boolean {
    return waiter.form.keys.some((key) => {
      for (const other of this.#byKey.get(asLatin1(key)) ?? []) {
        if (other === waiter) return false;
        if (other.isTrying && other.spec.group === waiter.spec.group) return true;
      }
      return false;
    });
  }

  #found(waiter: Waiter, reply: Reply, isFirst: boolean): void {
    if (waiter.isGone) return;
    waiter.isTrying = false;
    waiter.isAccepted = true;
    const isNothing = reply === waiter.form.nothing || (reply === WRONG_TYPE && !isFirst && !waiter.form.isMove);
    if (!isNothing) this.#finish(waiter, () => waiter.conn.settled(waiter.token, reply));
    else if (waiter.parting !== undefined) this.#part(waiter, waiter.parting);
    else if (waiter.tryAgain) this.#look(waiter);
    else {
      waiter.again = later(LOOK_MS, () => this.#look(waiter));
      this.#passOn(waiter);
    }
  }

  #failed(waiter: Waiter, error: Error): void {
    waiter.isTrying = false;
    const mayTryAgain = waiter.isAccepted && waiter.parting === undefined && isKeyfleetError(error) && error.retryable;
    if (mayTryAgain) waiter.again = later(PAUSE_MS, () => this.#look(waiter));
    else this.#finish(waiter, () => waiter.conn.failed(waiter.token, error));
  }

  /** There is nothing for this client. Those behind it who want the same of the same keys need not be tried; others have their turn. */
  #passOn(waiter: Waiter): void {
    const { spec, form } = waiter;
    const mine = new Set(form.keys.map(asLatin1));
    for (const other of this.#behind(waiter)) {
      if (!other.tryAgain || other.isTrying) continue;
      const wantsTheSame = !form.isMove && other.spec.group === spec.group && other.form.keys.every((key) => mine.has(asLatin1(key)));
      if (wantsTheSame) other.tryAgain = false;
      else this.#look(other);
    }
  }

  #behind(waiter: Waiter): Set<Waiter> {
    const behind = new Set<Waiter>();
    for (const key of waiter.form.keys) for (const other of this.#byKey.get(asLatin1(key)) ?? []) if (other !== waiter) behind.add(other);
    return behind;
  }

  /** CLIENT UNBLOCK: false when the client does not wait. */
  unblock(conn: Connection, isError: boolean): boolean {
    const waiter = this.#byConnection.get(conn);
    if (waiter === undefined || waiter.parting !== undefined) return false;
    this.#leave(waiter, isError ? UNBLOCKED : NULL_ARRAY);
    return true;
  }

  /** The client is gone: nothing is taken for it any more, but for what is on its way. */
  forget(conn: Connection): void {
    const waiter = this.#byConnection.get(conn);
    if (waiter !== undefined) this.#finish(waiter, () => {});
  }

  #leave(waiter: Waiter, parting: Reply): void {
    if (waiter.isTrying) waiter.parting = parting;
    else this.#part(waiter, parting);
  }

  #part(waiter: Waiter, parting: Reply): void {
    this.#finish(waiter, () => waiter.conn.settled(waiter.token, parting));
  }

  #finish(waiter: Waiter, answer: () => void): void {
    if (waiter.isGone) return;
    waiter.isGone = true;
    clearTimeout(waiter.timer);
    clearTimeout(waiter.again);
    waiter.stopWatching?.();
    const behind = this.#behind(waiter);
    for (const key of waiter.form.keys) {
      const name = asLatin1(key);
      const waiting = this.#byKey.get(name);
      waiting?.delete(waiter);
      if (waiting?.size === 0) this.#byKey.delete(name);
    }
    if (this.#byConnection.get(waiter.conn) === waiter) {
      this.#byConnection.delete(waiter.conn);
      answer();
    }
    // What changed may be more than this one took.
    for (const other of behind) this.#kick(other);
  }

  #arm(waiter: Waiter, untilMs: number): void {
    const leftMs = untilMs - Date.now();
    const isLast = leftMs <= MAX_TIMER_MS;
    waiter.timer = setTimeout(
      () => (isLast ? this.#leave(waiter, NULL_ARRAY) : this.#arm(waiter, untilMs)),
      Math.max(0, Math.min(leftMs, MAX_TIMER_MS)),
    );
    waiter.timer.unref();
  }
}

function later(ms: number, run: () => void): NodeJS.Timeout {
  const timer = setTimeout(run, ms);
  timer.unref();
  return timer;
}
