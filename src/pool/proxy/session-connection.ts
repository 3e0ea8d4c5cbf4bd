import type { Bytes } from '../../base/bytes.ts';
import type { KeyfleetError } from '../../base/errors.ts';
import { errorReply } from '../../shard/redis/reply.ts';
import type { RoutedCommand } from '../command-table.ts';
import type { PrivateConnection } from '../private-connections.ts';
import type { EncodedRequest, ReplySink } from '../reply-sink.ts';
import { NO_SERVER, type ProxyClient } from './proxy-client.ts';

const LEFT = errorReply(
  'TRYAGAIN the slot of this key has moved to another node of the cluster; nothing was done, begin anew (KF_POOL_MOVING)',
);
const LEAVING = errorReply(
  'TRYAGAIN the slot of this key is on its way to another node of the cluster; nothing was done, begin anew later (KF_POOL_MOVING)',
);
const NOBODY: ReplySink<unknown> = { onReply: () => undefined, onFailure: () => undefined };
const MINUS = 45;

/** What a session hears of its connection. */
interface SessionEvents {
  onPush(bytes: Bytes, start: number, end: number): void;
  onLost(): void;
}

/** The connection of a client's own to one server: made when it is first needed, and given back when nothing stands on it. */
export class SessionConnection {
  readonly #client: ProxyClient;
  readonly #events: SessionEvents;
  #own: PrivateConnection | undefined;
  /** It is gone, or to be used no more. */
  isLost = false;
  /** The keys that stand on it have begun to move. */
  isMoved = false;

  constructor(client: ProxyClient, events: SessionEvents) {
    this.#client = client;
    this.#events = events;
  }

  /** Whether there is one. */
  get isThere(): boolean {
    return this.#own !== undefined;
  }

  connect(server: number): PrivateConnection {
    const { pool, version } = this.#client;
    this.#own ??= pool.privates.take(pool.backends(version)[server]!, false, {
      onPush: (bytes, start, end) => this.#events.onPush(bytes, start, end),
      onLost: () => {
        this.isLost = true;
        this.#events.onLost();
      },
      onMoved: () => {
        this.isMoved = true;
        this.isLost = true;
      },
    });
    return this.#own;
  }

  /** Whether it is one to this server; without one yet, any will do. */
  isAt(server: number): boolean {
    const { pool, version } = this.#client;
    return this.#own === undefined || pool.backends(version)[server] === this.#own.backend;
  }

  /** The place of its server in the map. */
  get server(): number {
    const { pool, version } = this.#client;
    const place = pool.backends(version).indexOf(this.#own!.backend);
    return place < 0 ? NO_SERVER : place;
  }

  /** Sends the request just read, for whose keys it stands from then on. */
  send(command: RoutedCommand, server: number, keys: readonly Bytes[] = []): void {
    const client = this.#client;
    const own = this.connect(server);
    client.pool.privates.stand(own, keys);
    const counters = client.pool.stats.servers[server];
    if (counters !== undefined) counters.requests++;
    const token = client.open(command, server, 1);
    if (client.pool.special?.redirected === undefined) own.connection.send(client.frame(), client, token);
    else own.connection.send(client.frame(), new RefusedRedirect(client, server), token);
  }

  /** Sends a request of ours, whose answer the client does not see. */
  sendUnheard(request: EncodedRequest): void {
    this.#own!.connection.send(request, NOBODY, undefined);
  }

  /** Leaves it when nothing stands on it any more; false while answers are under way there. */
  leave(): boolean {
    const own = this.#own;
    if (own === undefined) return true;
    if (this.#client.inFlight > 0) {
      this.#client.hold('drained');
      return false;
    }
    this.#own = undefined;
    this.isLost = false;
    this.isMoved = false;
    this.#client.pool.privates.give(own);
    return true;
  }

  /** Gives it back, or ends it when it is in the middle of something. */
  end(inTheMiddle: boolean): void {
    const own = this.#own;
    this.#own = undefined;
    if (own === undefined) return;
    if (inTheMiddle || own.connection.pushing) this.#client.pool.privates.drop(own);
    else this.#client.pool.privates.give(own);
  }
}

/** What a transaction hears when a cluster has moved its keys: nobody can take it there in its middle, and the next one finds them. */
class RefusedRedirect implements ReplySink<number> {
  readonly #client: ProxyClient;
  readonly #server: number;

  constructor(client: ProxyClient, server: number) {
    this.#client = client;
    this.#server = server;
  }

  onReply(token: number, bytes: Bytes, start: number, end: number): void {
    const found = bytes[start] === MINUS ? this.#client.pool.special?.redirected?.(bytes, start, end, this.#server) : undefined;
    if (found === undefined) this.#client.onReply(token, bytes, start, end);
    else this.#client.answer(token, found.isAsk ? LEAVING : LEFT);
  }

  onFailure(token: number, error: KeyfleetError): void {
    this.#client.onFailure(token, error);
  }
}
