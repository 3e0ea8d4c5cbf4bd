import type { Bytes } from '../base/bytes.ts';
import type { ReplySink } from '../node/keyspace-handle.ts';
import { asLatin1 } from '../shard/redis/ascii.ts';
import { type BlockingForm, blockingForm } from '../shard/redis/blocking-commands.ts';
import { type CommandArgs, type CommandSpec, keysOf } from '../shard/redis/command-table.ts';
import { WRONG_TYPE } from '../shard/redis/error-replies.ts';
import { errorReply, NULL_ARRAY, type Reply } from '../shard/redis/reply.ts';
import type { Connection } from './connection.ts';
import type { RedisKeyspace } from './door.ts';

// Clients that wait in BLPOP and its like.
//
// A client takes its place in the queue of each of its keys before its command is first tried, so that no push can come in between. The store
// tells of every change of a key while the change is being made; as soon as the command that made it is through, before the next command of
// anybody, those who wait for the key are tried in the order of their arrival. Trying is running the same command for that key alone: it takes
// something or changes nothing, and which of the two shows at once, in whether the key changed again. When one found nothing, those behind it
// that want the same kind of thing would not either.

const UNBLOCKED = errorReply('UNBLOCKED client unblocked via CLIENT UNBLOCK');
const MAX_TIMER_MS = 2 ** 31 - 1;

/** One client that waits; also hears the answers to what is tried for it. */
class Waiter implements ReplySink<Reply> {
  readonly conn: Connection;
  readonly spec: CommandSpec;
  readonly token: number;
  readonly form: BlockingForm;
  /** It has taken something, or its time is up: answers to earlier tries mean nothing any more. */
  isDone = false;
  timer: NodeJS.Timeout | undefined;
  /** The try that counts. */
  tries = 0;
  /** The first try, which alone says whether the command is a good one, has been answered. */
  isAccepted = false;
  /** Its time was up before that. */
  isOverdue = false;
  readonly #finish: (waiter: Waiter, answer: () => void) => void;

  constructor(options: {
    readonly conn: Connection;
    readonly spec: CommandSpec;
    readonly token: number;
    readonly form: BlockingForm;
    readonly finish: (waiter: Waiter, answer: () => void) => void;
  }) {
    this.conn = options.conn;
    this.spec = options.spec;
    this.token = options.token;
    this.form = options.form;
    this.#finish = options.finish;
  }

  settled(attempt: number, reply: Reply): void {
    if (attempt === 1) this.isAccepted = true;
    // What the first try was refused with stands, though it come late.
    const isRefusal =
      attempt === 1 && !this.isDone && typeof reply === 'object' && reply !== null && 'kind' in reply && reply.kind === 'error';
    const isNothing = reply === this.form.nothing;
    if (this.isOverdue && !this.isDone && !isRefusal && (isNothing || attempt !== this.tries)) {
      this.#finish(this, () => this.conn.settled(this.token, NULL_ARRAY));
      return;
    }
    if (attempt !== this.tries && !isRefusal) return;
    if (!this.isDone) {
      if (isNothing) return;
      // A key became something else while we waited: that is not what we wait for.
      if (reply === WRONG_TYPE && attempt > 1 && !this.form.isMove) return;
    }
    this.#finish(this, () => this.conn.settled(this.token, reply));
  }

  failed(attempt: number, error: Error): void {
    if (attempt === this.tries || this.isOverdue) this.#finish(this, () => this.conn.failed(this.token, error));
  }
}

/** Who waits in BLPOP and its like. */
export interface Blocking {
  readonly count: number;
  isBlocked(conn: Connection): boolean;
  /** Carries out a blocking command: at once if it can be, else when one of its keys has something. */
  start(conn: Connection, spec: CommandSpec, args: CommandArgs, token: number): void;
  /** A key has changed; serves those who wait for it soon, or when {@link serve} is called. */
  changed(key: Bytes): void;
  /** Tries those who wait for what has changed. Not to be called while a command runs. */
  serve(): void;
  /** CLIENT UNBLOCK: false when the client does not wait. */
  unblock(conn: Connection, isError: boolean): boolean;
  /** The client is gone: nothing is taken for it any more. */
  forget(conn: Connection): void;
}

/** Those of a keyspace whose commands are run in this process. */
export class BlockedClients implements Blocking {
  readonly #keyspace: RedisKeyspace;
  /** Who waits for each key, in the order of arrival. */
  readonly #byKey = new Map<string, Set<Waiter>>();
  readonly #byConnection = new Map<Connection, Waiter>();
  /** Keys that have changed and that somebody waits for. */
  readonly #ready = new Set<string>();
  #isServing = false;
  #changes = 0;

  constructor(keyspace: RedisKeyspace) {
    this.#keyspace = keyspace;
  }

  get count(): number {
    return this.#byConnection.size;
  }

  isBlocked(conn: Connection): boolean {
    return this.#byConnection.size > 0 && this.#byConnection.has(conn);
  }

  start(conn: Connection, spec: CommandSpec, args: CommandArgs, token: number): void {
    const keys = keysOf(spec, args);
    // Keys whose number is wrong: for the module to refuse.
    if (keys.length === 0) {
      this.#keyspace.submitMany([args[1]!], args, conn, token);
      return;
    }
    const form = blockingForm(spec.name, args);
    const waiter = new Waiter({ conn, spec, token, form, finish: (one, answer) => this.#finish(one, answer) });
    for (const key of form.keys) {
      const name = asLatin1(key);
      const waiting = this.#byKey.get(name);
      if (waiting === undefined) this.#byKey.set(name, new Set([waiter]));
      else waiting.add(waiter);
    }
    this.#byConnection.set(conn, waiter);
    if (form.timeoutMs > 0) this.#arm(waiter, Date.now() + form.timeoutMs);
    this.#try(waiter, keys, args);
  }

  changed(key: Bytes): void {
    this.#changes++;
    if (this.#byKey.size === 0) return;
    const name = asLatin1(key);
    if (!this.#byKey.has(name)) return;
    this.#ready.add(name);
    if (this.#ready.size === 1 && !this.#isServing) queueMicrotask(() => this.serve());
  }

  serve(): void {
    if (this.#isServing || this.#ready.size === 0) return;
    this.#isServing = true;
    for (const name of this.#ready) {
      // What is served may change it again.
      this.#ready.delete(name);
      const key = Uint8Array.from(name, (character) => character.charCodeAt(0));
      const exhausted = new Set<string>();
      for (const waiter of [...(this.#byKey.get(name) ?? [])]) {
        if (exhausted.has(waiter.spec.group) || waiter.isDone) continue;
        const args = waiter.form.onlyFor(key);
        const took = this.#try(waiter, keysOf(waiter.spec, args), args);
        if (!took && !waiter.form.isMove) exhausted.add(waiter.spec.group);
      }
    }
    this.#isServing = false;
  }

  unblock(conn: Connection, isError: boolean): boolean {
    const waiter = this.#byConnection.get(conn);
    if (waiter === undefined || waiter.isDone) return false;
    waiter.isDone = true;
    this.#finish(waiter, () => conn.settled(waiter.token, isError ? UNBLOCKED : NULL_ARRAY));
    return true;
  }

  forget(conn: Connection): void {
    const waiter = this.#byConnection.get(conn);
    if (waiter !== undefined) this.#finish(waiter, () => {});
  }

  /** True when it took something. */
  #try(waiter: Waiter, keys: readonly Bytes[], args: CommandArgs): boolean {
    const before = this.#changes;
    const attempt = ++waiter.tries;
    this.#keyspace.submitMany(keys, args, waiter, attempt);
    const took = this.#changes !== before;
    if (took && !waiter.isDone) {
      waiter.isDone = true;
      this.#leave(waiter);
    }
    return took;
  }

  /** Out of the queues; the connection still waits for the answer. */
  #leave(waiter: Waiter): void {
    clearTimeout(waiter.timer);
    for (const key of waiter.form.keys) {
      const name = asLatin1(key);
      const waiting = this.#byKey.get(name);
      waiting?.delete(waiter);
      if (waiting?.size === 0) this.#byKey.delete(name);
    }
  }

  #finish(waiter: Waiter, answer: () => void): void {
    waiter.isDone = true;
    waiter.tries++;
    this.#leave(waiter);
    if (this.#byConnection.get(waiter.conn) !== waiter) return;
    this.#byConnection.delete(waiter.conn);
    answer();
  }

  /** Answers null; but a command that is refused hears so, however short its time was. */
  #timeUp(waiter: Waiter): void {
    if (waiter.isAccepted) this.unblock(waiter.conn, false);
    else waiter.isOverdue = true;
  }

  #arm(waiter: Waiter, untilMs: number): void {
    const leftMs = untilMs - Date.now();
    const isLast = leftMs <= MAX_TIMER_MS;
    waiter.timer = setTimeout(
      () => (isLast ? this.#timeUp(waiter) : this.#arm(waiter, untilMs)),
      Math.max(0, Math.min(leftMs, MAX_TIMER_MS)),
    );
    waiter.timer.unref();
  }
}
