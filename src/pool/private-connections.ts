import { setTimeout as sleep } from 'node:timers/promises';
import type { Bytes } from '../base/bytes.ts';
import type { Backend } from './backend.ts';
import type { BackendConnection } from './backend-connection.ts';

/** What its user hears of a private connection. */
export interface PrivateEvents {
  onPush?(bytes: Bytes, start: number, end: number): void;
  onLost?(): void;
  /** The keys it stands on are not where they were: it is about to end, and what waits at the server to be unblocked. */
  onMoved?(): void;
}

/** A connection to a server that one user has for himself, for as long as it is needed. */
export interface PrivateConnection {
  readonly backend: Backend;
  /** Whether answers may take as long as they like. */
  readonly isPatient: boolean;
  readonly connection: BackendConnection;
  events: PrivateEvents;
  /** The keys, or channels, that what it is used for stands on. */
  keys: Bytes[];
  /** It stands on more keys than are listed. */
  isWide: boolean;
  /** What was sent waits at the server, and can be unblocked there. */
  isWaiting: boolean;
  idleSinceMs: number;
}

/** So many are kept for the next user, for each server. */
const KEPT = 32;
const IDLE_MS = 10_000;
/** Of more keys than this nobody asks where each is: they count as moved. */
const MOST_KEYS = 4_096;

/** The private connections of a pool, for MULTI, WATCH, subscriptions and commands that wait: made when needed, and kept a while for whoever needs one next. */
export class PrivateConnections {
  readonly #idle = new Map<Backend, PrivateConnection[]>();
  readonly #all = new Set<PrivateConnection>();

  get count(): number {
    return this.#all.size;
  }

  take(backend: Backend, isPatient: boolean, events: PrivateEvents = {}): PrivateConnection {
    const idle = this.#idle.get(backend) ?? [];
    for (let at = idle.length - 1; at >= 0; at--) {
      const one = idle[at]!;
      if (one.isPatient !== isPatient || one.connection.state !== 'ready') continue;
      idle.splice(at, 1);
      one.events = events;
      return one;
    }
    const connection = backend.openPrivate(
      {
        onPush: (bytes, start, end) => made.events.onPush?.(bytes, start, end),
        onClose: () => {
          this.#all.delete(made);
          made.events.onLost?.();
        },
      },
      isPatient ? { timeoutMs: undefined } : {},
    );
    const made: PrivateConnection = { backend, isPatient, connection, events, keys: [], isWide: false, isWaiting: false, idleSinceMs: 0 };
    this.#all.add(made);
    return made;
  }

  /** Gives back a connection that is in no special state. */
  give(one: PrivateConnection): void {
    one.events = {};
    one.keys = [];
    one.isWide = false;
    one.isWaiting = false;
    const { connection } = one;
    const nowMs = performance.now();
    this.check(nowMs);
    const idle = this.#idle.get(one.backend) ?? [];
    if (connection.state !== 'ready' || connection.pending > 0 || connection.pushing || idle.length >= KEPT) {
      connection.close();
      return;
    }
    one.idleSinceMs = nowMs;
    idle.push(one);
    this.#idle.set(one.backend, idle);
  }

  drop(one: PrivateConnection): void {
    one.events = {};
    one.connection.close();
    this.#all.delete(one);
  }

  /** Ends what nobody has needed for a while. */
  check(nowMs: number): void {
    for (const [backend, idle] of this.#idle) {
      const kept = idle.filter((one) => one.connection.state === 'ready' && nowMs - one.idleSinceMs < IDLE_MS);
      for (const one of idle) if (!kept.includes(one)) one.connection.close();
      if (kept.length === 0) this.#idle.delete(backend);
      else this.#idle.set(backend, kept);
    }
  }

  /**
   * Ends what stands on keys that are elsewhere from now on, by the map that is in force; resolves when nothing of it can be carried out any more. Commands that
   * wait at a server are unblocked there, so that none of them takes an element that nobody hears of.
   */
  async leave(isHome: (one: PrivateConnection) => boolean): Promise<void> {
    const leaving = [...this.#all].filter((one) => one.isWide || !isHome(one));
    for (const one of leaving) one.events.onMoved?.();
    await Promise.all(leaving.map((one) => this.#end(one)));
  }

  async #end(one: PrivateConnection): Promise<void> {
    const { connection, backend, keys } = one;
    while (connection.pending > 0 && connection.state !== 'closed') {
      // It may not have got there yet: said until there is an answer.
      if (one.isWaiting && connection.idAtServer !== undefined)
        await backend.request('CLIENT', 'UNBLOCK', String(connection.idAtServer)).catch(() => undefined);
      await sleep(5);
    }
    // Its user may have given it back meanwhile.
    if (one.keys === keys) connection.close();
  }

  /** Notes what it stands on from now on, too. */
  stand(one: PrivateConnection, keys: readonly Bytes[]): void {
    if (one.keys.length + keys.length > MOST_KEYS) one.isWide = true;
    else for (const key of keys) one.keys.push(key.slice());
  }

  close(): void {
    for (const one of [...this.#all]) one.connection.close();
    this.#idle.clear();
  }
}
