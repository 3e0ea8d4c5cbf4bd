import { ClosedConnectionError, type Msg, type NatsConnection, RequestError, TimeoutError } from '@nats-io/transport-node';
import type { Bytes } from '../base/bytes.ts';
import { KeyfleetError, messageOf } from '../base/errors.ts';
import { checkNodeId, checkPayload, closed, silent, Traffic, unreachable } from '../transport/traffic.ts';
import {
  ANYONE,
  DEFAULT_LIMITS,
  DEFAULT_TIMEOUT_MS,
  type Handler,
  type NodeId,
  type RequestOptions,
  type Transport,
  type TransportLimits,
} from '../transport/transport.ts';
import { decodeAnswer, decodeRequest, encodeRequest, REQUEST_OVERHEAD_BYTES } from '../transport/wire.ts';

// Each node listens on a subject of its own, `<cluster>.node.<id>`; a request is a NATS request, a message one without a reply subject.

export interface NatsTransportOptions {
  /** Yours to close, after the transport. */
  readonly connection: NatsConnection;
  /** Tells the clusters on the same servers apart: 1 to 64 of `A-Z a-z 0-9 _ -`. */
  readonly cluster: string;
  readonly self: NodeId;
  readonly limits?: Partial<TransportLimits>;
}

/** @throws KF_BAD_OPTION for a name that is none. Whether another node has it already, the transport does not know. */
export function natsTransport(options: NatsTransportOptions): Transport {
  const { connection, cluster, self, limits } = options;
  checkNodeId(self);
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(cluster))
    throw new KeyfleetError('KF_BAD_OPTION', `a cluster cannot be called ${JSON.stringify(cluster)}`);
  return new NatsTransport(connection, cluster, self, { ...DEFAULT_LIMITS, ...limits });
}

class NatsTransport implements Transport {
  readonly self: NodeId;
  readonly #connection: NatsConnection;
  readonly #cluster: string;
  readonly #traffic: Traffic;
  #subscription: { unsubscribe(): void } | undefined;
  /** Of each request to anyone, one node hears. */
  #anyone: { unsubscribe(): void } | undefined;
  readonly #giveUp = new Set<(error: Error) => void>();

  constructor(connection: NatsConnection, cluster: string, self: NodeId, limits: TransportLimits) {
    this.self = self;
    this.#connection = connection;
    this.#cluster = cluster;
    this.#traffic = new Traffic(limits);
  }

  get maxPayloadBytes(): number {
    return (this.#connection.info?.max_payload ?? 1024 * 1024) - REQUEST_OVERHEAD_BYTES;
  }

  async serve(handler: Handler): Promise<void> {
    if (this.#traffic.isClosed) throw closed();
    this.#traffic.serve(handler);
    this.#subscription ??= this.#connection.subscribe(this.#subjectOf(this.self), {
      callback: (error, message) => {
        if (!error) void this.#hear(message);
      },
    });
    this.#anyone ??= this.#connection.subscribe(this.#subjectOf(ANYONE), {
      queue: 'anyone',
      callback: (error, message) => {
        if (!error) void this.#hear(message);
      },
    });
    await this.#connection.flush();
  }

  async request(to: NodeId, method: string, payload: Bytes, options: RequestOptions = {}): Promise<Bytes> {
    const { timeoutMs = DEFAULT_TIMEOUT_MS } = options;
    checkPayload(payload, this.maxPayloadBytes);
    const wire = encodeRequest({ from: this.self, method, payload, timeoutMs });
    const { done } = this.#traffic.begin(to, wire.length);
    let giveUp: ((error: Error) => void) | undefined;
    try {
      const closing = new Promise<never>((_, reject) => {
        giveUp = reject;
        this.#giveUp.add(reject);
      });
      const answer = this.#connection.request(this.#subjectOf(to), wire, { timeout: timeoutMs });
      return decodeAnswer((await Promise.race([answer, closing])).data);
    } catch (error) {
      throw failureOf(error, to, timeoutMs);
    } finally {
      this.#giveUp.delete(giveUp!);
      done();
    }
  }

  send(to: NodeId, method: string, payload: Bytes): void {
    checkPayload(payload, this.maxPayloadBytes);
    if (this.#traffic.isClosed || this.#connection.isClosed()) return;
    this.#connection.publish(this.#subjectOf(to), encodeRequest({ from: this.self, method, payload, timeoutMs: 0 }));
  }

  async close(): Promise<void> {
    this.#traffic.close();
    this.#subscription?.unsubscribe();
    this.#anyone?.unsubscribe();
    for (const giveUp of this.#giveUp) giveUp(closed());
    // Once the servers know, whoever asks hears at once that nobody listens.
    if (!this.#connection.isClosed()) await this.#connection.flush().catch(() => {});
  }

  #subjectOf(node: NodeId): string {
    if (node === ANYONE) return `${this.#cluster}.anyone`;
    checkNodeId(node);
    return `${this.#cluster}.node.${node}`;
  }

  async #hear(message: Msg): Promise<void> {
    const request = decodeRequest(message.data);
    // From a release that we do not know: it hears nothing, as from a node that is not there.
    if (request === undefined) return;
    const answer = await this.#traffic.answer(this.self, request);
    if (message.reply) message.respond(answer);
  }
}

function failureOf(error: unknown, to: NodeId, timeoutMs: number): unknown {
  if (error instanceof KeyfleetError) return error;
  if (error instanceof RequestError && error.isNoResponders()) return unreachable(to);
  if (error instanceof TimeoutError || (error instanceof RequestError && error.cause instanceof TimeoutError)) return silent(to, timeoutMs);
  if (error instanceof ClosedConnectionError) return closed();
  // A connection that broke meanwhile: it may have been asked.
  return new KeyfleetError('KF_NODE_SILENT', `node ${to}: ${messageOf(error)}`, { cause: error });
}
