import { setTimeout as sleep } from 'node:timers/promises';
import { fromUtf8 } from '../base/bytes.ts';
import { readReply } from '../resp/codec/reply-parser.ts';
import type { Reply } from '../shard/redis/reply.ts';
import { BackendConnection, type BackendOptions, type ConnectionEvents } from './backend-connection.ts';
import { BackendError } from './backend-error.ts';
import type { PoolConfig, PoolServer } from './pool-config.ts';
import type { EncodedRequest, ReplySink } from './reply-sink.ts';
import { type CommandArg, encodeRequest } from './request-encoder.ts';

/** What the owner of a backend hears. */
export interface BackendEvents {
  onUp?(backend: Backend): void;
  /** A connection was lost or could not be made; `failures` in a row so far. */
  onDown?(backend: Backend, error: BackendError, failures: number): void;
  /** Waiting requests have gone out: what was held back may come. */
  onDrain?(backend: Backend): void;
}

export interface BackendSettings extends BackendOptions {
  /** Shared connections; 1 when absent. */
  readonly connections?: number;
  /** Connect at once, and again by itself; else with the first request. */
  readonly preconnect?: boolean;
  /** Bounds of the wait between attempts to connect. */
  readonly backoffMs?: { readonly first: number; readonly most: number };
}

const MOST_UNSETTLED = 256;
const BACKOFF_MS = { first: 50, most: 2_000 };

/** The settings of one server of a pool. `router` names the connections of one that follows the pool's owner. */
export function backendSettings(
  pool: PoolConfig,
  server: PoolServer,
  router?: { readonly name: string | undefined; readonly maySend: () => boolean },
): BackendSettings {
  return {
    name: server.name,
    address: server.address,
    auth: pool.auth,
    username: pool.username,
    db: pool.db,
    tls: pool.tls,
    tcpKeepalive: pool.tcpKeepalive,
    timeoutMs: pool.timeoutMs,
    ...(pool.timeoutMs === undefined ? {} : { connectTimeoutMs: pool.timeoutMs }),
    connections: pool.serverConnections,
    preconnect: pool.preconnect,
    ...(router?.name === undefined ? {} : { clientName: router.name, maySend: router.maySend, asksId: true, preconnect: true }),
  };
}

/**
 * One server of a pool behind its shared connections. Requests are pipelined; see {@link BackendConnection} for what is promised of each.
 *
 * A lost connection is made again with a growing pause. While one is being made for the first time requests wait for it; once an attempt
 * has failed they fail at once, until an attempt succeeds, for which the server has to answer a PING: one that takes connections but stalls, or
 * is still loading, stays down.
 */
export class Backend {
  readonly settings: BackendSettings;
  readonly #events: BackendEvents;
  readonly #connections: (BackendConnection | undefined)[];
  #turn = 0;
  /** Attempts that failed since the last that did not. */
  #failures = 0;
  #lastError: BackendError | undefined;
  #retryTimer: NodeJS.Timeout | undefined;
  #closed = false;
  /** Connections that ended before all was answered, by their ids at the server, and when they did. */
  readonly #unsettled = new Map<number, number>();

  constructor(settings: BackendSettings, events: BackendEvents = {}) {
    this.settings = settings;
    this.#events = events;
    this.#connections = new Array(settings.connections ?? 1).fill(undefined);
    if (settings.preconnect === true) this.#open();
  }

  get name(): string {
    return this.settings.name;
  }

  /** Connected, as far as is known. */
  get isUp(): boolean {
    return this.#connections.some((one) => one?.state === 'ready');
  }

  /** Attempts to connect that failed in a row. */
  get failures(): number {
    return this.#failures;
  }

  get lastError(): BackendError | undefined {
    return this.#lastError;
  }

  /** Requests without an answer. */
  get pending(): number {
    let sum = 0;
    for (const one of this.#connections) sum += one?.pending ?? 0;
    return sum;
  }

  get unsentBytes(): number {
    let sum = 0;
    for (const one of this.#connections) sum += one?.unsentBytes ?? 0;
    return sum;
  }

  /**
   * Sends a request over one of the shared connections: the answer goes to `sink` with `token`. Requests of one `lane` keep their order; without one
   * they take turns. Never throws.
   */
  send<Token>(request: EncodedRequest, sink: ReplySink<Token>, token: Token, lane = -1): void {
    const count = this.#connections.length;
    const index = count === 1 ? 0 : lane >= 0 ? lane % count : (this.#turn = (this.#turn + 1) % count);
    const connection = this.#connections[index];
    if (connection !== undefined && (connection.state === 'ready' || this.#failures === 0)) connection.send(request, sink, token);
    else if (this.#closed) sink.onFailure(token, new BackendError('KF_BACKEND_DOWN', this.name, 'the pool is closed'));
    else if (this.#failures > 0) sink.onFailure(token, this.#lastError ?? new BackendError('KF_BACKEND_DOWN', this.name, 'no connection'));
    else this.#openAt(index).send(request, sink, token);
  }

  /** {@link send} with a promise of the reply's value; error replies are values of kind `error`. @throws BackendError. */
  request(...args: CommandArg[]): Promise<Reply> {
    return new Promise((resolve, reject) => {
      this.send(
        encodeRequest(args),
        { onReply: (_, bytes, start) => resolve(readReply(bytes, start)), onFailure: (_, error) => reject(error) },
        undefined,
      );
    });
  }

  /** A connection of one's own, for MULTI, WATCH, blocking commands and subscriptions. Close it. It is not made again. */
  openPrivate(events: ConnectionEvents = {}, options: Partial<BackendOptions> = {}): BackendConnection {
    const onClose = (error: BackendError | undefined): void => {
      this.#noteEnd(connection);
      events.onClose?.(error);
    };
    const connection: BackendConnection = new BackendConnection({ ...this.settings, asksId: true, ...options }, { ...events, onClose });
    return connection;
  }

  /**
   * Resolves once nothing sent before over a shared connection, or over one that has ended, can be carried out any more: it was answered, or its connection is gone
   * from the server too. A server that stalls keeps it waiting; one that refuses connections is a process that has ended, with all it had received.
   */
  async settled(): Promise<void> {
    await Promise.all(this.#connections.map((one) => one?.answered()));
    while (this.#unsettled.size > 0 && !this.#closed) {
      if (await this.#endUnsettled()) return;
      await sleep(100);
    }
  }

  /** Takes over what another backend of the same server left open. */
  inherit(other: Backend): void {
    for (const [id, endedMs] of other.#unsettled) this.#unsettled.set(id, endedMs);
  }

  #noteEnd(connection: BackendConnection): void {
    const { idAtServer, leftUnanswered } = connection;
    if (idAtServer === undefined || !leftUnanswered) return;
    this.#unsettled.set(idAtServer, performance.now());
    // Nobody may ever ask.
    if (this.#unsettled.size > MOST_UNSETTLED) void this.#endUnsettled();
  }

  /** Ends at the server what ended here; true when that is done. */
  async #endUnsettled(): Promise<boolean> {
    const ended = [...this.#unsettled];
    const done = (): true => {
      for (const [id] of ended) this.#unsettled.delete(id);
      return true;
    };
    try {
      const list = await this.request('CLIENT', 'LIST');
      const verbatim = typeof list === 'object' && list !== null && 'kind' in list && list.kind === 'verbatim' ? list.text : list;
      if (!(verbatim instanceof Uint8Array)) return false;
      const lines = new Map(
        fromUtf8(verbatim)
          .split('\n')
          .map((line) => [Number(/^id=(\d+)/.exec(line)?.[1]), line]),
      );
      for (const [id, endedMs] of ended) {
        const line = lines.get(id);
        // Ids begin anew with the server's process: whoever has another name, or came after ours had ended, is somebody else.
        const ageMs = 1_000 * Number(/ age=(\d+)/.exec(line ?? '')?.[1] ?? 0);
        const isOurs = line?.includes(` name=${this.settings.clientName ?? ''} `) === true && ageMs + 1_000 >= performance.now() - endedMs;
        if (isOurs) await this.request('CLIENT', 'KILL', 'ID', String(id));
      }
      return done();
    } catch (error) {
      return error instanceof BackendError && /ECONNREFUSED|ENOENT/.test(error.message) ? done() : false;
    }
  }

  /** Connects now instead of with the first request. */
  open(): void {
    this.#open();
  }

  /** Ends all shared connections; requests without an answer fail. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#retryTimer);
    for (const one of this.#connections) one?.close();
  }

  #open(): void {
    for (let i = 0; i < this.#connections.length; i++) if (this.#connections[i] === undefined) this.#openAt(i);
  }

  #openAt(index: number): BackendConnection {
    const connection: BackendConnection = new BackendConnection(
      { ...this.settings, probe: this.#failures > 0 },
      {
        onReady: () => {
          const wasDown = this.#failures > 0 || this.#lastError === undefined;
          this.#failures = 0;
          if (wasDown) this.#events.onUp?.(this);
        },
        onClose: (error) => {
          if (this.#connections[index] === connection) this.#connections[index] = undefined;
          this.#noteEnd(connection);
          if (error === undefined || this.#closed) return;
          this.#failures++;
          this.#lastError = error;
          this.#events.onDown?.(this, error, this.#failures);
          this.#retry();
        },
        onDrain: () => this.#events.onDrain?.(this),
      },
    );
    this.#connections[index] = connection;
    return connection;
  }

  #retry(): void {
    if (this.#retryTimer !== undefined || this.#closed) return;
    const { first, most } = this.settings.backoffMs ?? BACKOFF_MS;
    const pauseMs = Math.min(most, first * 2 ** Math.min(16, this.#failures - 1));
    this.#retryTimer = setTimeout(() => {
      this.#retryTimer = undefined;
      if (!this.#closed) this.#open();
    }, pauseMs);
    // An application that is done must be able to end while a server is away.
    this.#retryTimer.unref();
  }
}
