import type { Bytes } from '../base/bytes.ts';
import type { RespVersion } from '../resp/codec/reply-writer.ts';
import type { BackendConnection } from './backend-connection.ts';
import type { ProxyPool } from './proxy-pool.ts';

/** What its user hears of a private connection. */
export interface PrivateEvents {
  onPush?(bytes: Bytes, start: number, end: number): void;
  onLost?(): void;
}

/** A connection to a server that one client has for itself, for as long as it needs it. */
export interface PrivateConnection {
  readonly server: number;
  readonly version: RespVersion;
  /** Whether answers may take as long as they like. */
  readonly isPatient: boolean;
  readonly connection: BackendConnection;
  events: PrivateEvents;
  idleSinceMs: number;
}

/** So many are kept for the next client, for each server. */
const KEPT = 32;
const IDLE_MS = 10_000;

/** The private connections of a pool: made when needed, and kept a while for whoever needs one next. */
export class PrivateConnections {
  readonly #pool: ProxyPool;
  readonly #idle = new Map<string, PrivateConnection[]>();
  readonly #all = new Set<PrivateConnection>();

  constructor(pool: ProxyPool) {
    this.#pool = pool;
  }

  get count(): number {
    return this.#all.size;
  }

  take(server: number, version: RespVersion, isPatient: boolean, events: PrivateEvents): PrivateConnection {
    const idle = this.#idle.get(keyOf(server, version, isPatient));
    for (let one = idle?.pop(); one !== undefined; one = idle?.pop()) {
      if (one.connection.state !== 'ready') continue;
      one.events = events;
      return one;
    }
    const backend = this.#pool.backends(version)[server]!;
    const made: { connection?: BackendConnection; events: PrivateEvents } = { events };
    const holder = made as unknown as PrivateConnection;
    const connection = backend.openPrivate(
      {
        onPush: (bytes, start, end) => holder.events.onPush?.(bytes, start, end),
        onClose: () => {
          this.#all.delete(holder);
          holder.events.onLost?.();
        },
      },
      isPatient ? { timeoutMs: undefined } : {},
    );
    Object.assign(made, { server, version, isPatient, connection, idleSinceMs: 0 });
    this.#all.add(holder);
    return holder;
  }

  /** Gives back a connection that is in no special state. */
  give(one: PrivateConnection): void {
    one.events = {};
    const key = keyOf(one.server, one.version, one.isPatient);
    const idle = this.#idle.get(key) ?? [];
    if (one.connection.state !== 'ready' || one.connection.pending > 0 || one.connection.pushing || idle.length >= KEPT) {
      one.connection.close();
      return;
    }
    one.idleSinceMs = performance.now();
    idle.push(one);
    this.#idle.set(key, idle);
  }

  drop(one: PrivateConnection): void {
    one.events = {};
    one.connection.close();
  }

  /** Ends those that nobody has needed for a while. */
  check(nowMs: number): void {
    for (const [key, idle] of this.#idle) {
      const kept = idle.filter((one) => one.connection.state === 'ready' && nowMs - one.idleSinceMs < IDLE_MS);
      for (const one of idle) if (!kept.includes(one)) one.connection.close();
      if (kept.length === 0) this.#idle.delete(key);
      else this.#idle.set(key, kept);
    }
  }

  close(): void {
    for (const one of [...this.#all]) this.drop(one);
    this.#idle.clear();
  }
}

function keyOf(server: number, version: RespVersion, isPatient: boolean): string {
  return `${server}/${version}/${isPatient}`;
}
