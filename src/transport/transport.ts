import type { Bytes } from '../base/bytes.ts';

// How the nodes of a cluster talk to each other: a request with one answer, or a message without one. Adapters: in one process (here), and over
// NATS (src/nats/nats-transport.ts). One conformance suite for all.

/** 1 to 64 of `A-Z a-z 0-9 _ -`. */
export type NodeId = string;

/** As whom to ask: some node of the cluster that listens, perhaps oneself. For requests without memory. */
export const ANYONE = '*';

export interface Request {
  readonly from: NodeId;
  /** What is asked for: 1 to 255 bytes of UTF-8. */
  readonly method: string;
  readonly payload: Bytes;
  /** So long the other side still waits. What takes longer is for nobody. */
  readonly timeoutMs: number;
}

/** Answers a request. What it throws reaches the one who asked, with its code if it is a KeyfleetError. */
export type Handler = (request: Request) => Bytes | Promise<Bytes>;

export interface RequestOptions {
  /** Default 5,000. */
  readonly timeoutMs?: number;
}

/**
 * One node's end of it. Messages may be lost, and arrive twice or in another order than they were sent; requests arrive once at most, and are not sent again by the
 * transport. At most {@link TransportLimits} are under way in each direction.
 */
export interface Transport {
  readonly self: NodeId;
  /** The longest payload of a request, message or answer, in bytes. */
  readonly maxPayloadBytes: number;
  /** From now on `handler` answers the requests to this node, and gets its messages (their answers go nowhere). Fulfilled when it can be asked. */
  serve(handler: Handler): Promise<void>;
  /**
   * Asks another node, or oneself, or {@link ANYONE}.
   * @throws KF_NODE_UNREACHABLE when nobody of this name listens: it was not asked. KF_NODE_SILENT when no answer came in time: it may have been done.
   * KF_BUSY when too much is under way here or there: it was not done. KF_MESSAGE_TOO_LARGE: nothing was sent. Else what the other's handler threw.
   */
  request(to: NodeId, method: string, payload: Bytes, options?: RequestOptions): Promise<Bytes>;
  /** Tells another node. Whether it arrives is not known; too much at once is dropped, oversized ones throw KF_MESSAGE_TOO_LARGE. */
  send(to: NodeId, method: string, payload: Bytes): void;
  /** Hears and answers nothing more; what waits for an answer gets KF_CLOSED. */
  close(): Promise<void>;
}

export interface TransportLimits {
  /** Requests of this node that wait for an answer. Default 4,096. */
  readonly maxWaiting: number;
  /** Bytes of those. Default 64 MiB. */
  readonly maxWaitingBytes: number;
  /** Requests to this node that its handler has not answered. Default 1,024. */
  readonly maxServing: number;
}

export const DEFAULT_LIMITS: TransportLimits = { maxWaiting: 4_096, maxWaitingBytes: 64 * 1024 * 1024, maxServing: 1_024 };
export const DEFAULT_TIMEOUT_MS = 5_000;
