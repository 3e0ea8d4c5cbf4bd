import type { Bytes } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import type { Handler, NodeId, Request, TransportLimits } from './transport.ts';
import { encodeAnswer, encodeFailure } from './wire.ts';

/** What every adapter does: keeps count of what is under way, and refuses beyond the limits. */
export class Traffic {
  readonly #limits: TransportLimits;
  #handler: Handler | undefined;
  #waiting = 0;
  #waitingBytes = 0;
  #serving = 0;
  #isClosed = false;

  constructor(limits: TransportLimits) {
    this.#limits = limits;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  get isServing(): boolean {
    return this.#handler !== undefined;
  }

  serve(handler: Handler): void {
    this.#handler = handler;
  }

  close(): void {
    this.#isClosed = true;
    this.#handler = undefined;
  }

  /** Counts a request of this node's own; `done` is to be called once, when its fate is known. @throws KF_CLOSED, KF_BUSY */
  begin(to: NodeId, bytes: number): { done(): void } {
    if (this.#isClosed) throw closed();
    const { maxWaiting, maxWaitingBytes } = this.#limits;
    if (this.#waiting >= maxWaiting || (this.#waiting > 0 && this.#waitingBytes + bytes > maxWaitingBytes)) {
      throw new KeyfleetError('KF_BUSY', `${this.#waiting} requests (${this.#waitingBytes} bytes) wait for answers; ${to} was not asked`, {
        retryable: true,
      });
    }
    this.#waiting++;
    this.#waitingBytes += bytes;
    return {
      done: () => {
        this.#waiting--;
        this.#waitingBytes -= bytes;
      },
    };
  }

  /** Has the handler answer; gives the answer, or its failure, as it goes over the wire. */
  async answer(self: NodeId, request: Request): Promise<Bytes> {
    const handler = this.#handler;
    if (handler === undefined) return encodeFailure(notServing(self));
    if (this.#serving >= this.#limits.maxServing) {
      return encodeFailure(new KeyfleetError('KF_BUSY', `node ${self} has ${this.#serving} requests to answer`, { retryable: true }));
    }
    this.#serving++;
    try {
      return encodeAnswer(await handler(request));
    } catch (error) {
      return encodeFailure(error);
    } finally {
      this.#serving--;
    }
  }
}

export function checkNodeId(id: NodeId): void {
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(id)) throw new KeyfleetError('KF_BAD_OPTION', `a node cannot be called ${JSON.stringify(id)}`);
}

export function checkPayload(payload: Bytes, maxPayloadBytes: number): void {
  if (payload.length <= maxPayloadBytes) return;
  throw new KeyfleetError('KF_MESSAGE_TOO_LARGE', `${payload.length} bytes between nodes; the limit is ${maxPayloadBytes}`);
}

export function closed(): KeyfleetError {
  return new KeyfleetError('KF_CLOSED', 'the connection to the other nodes was closed');
}

/** Not asked: nothing was done. */
export function unreachable(to: NodeId): KeyfleetError {
  return new KeyfleetError('KF_NODE_UNREACHABLE', `node ${to} does not listen`, { retryable: true });
}

/** Asked, perhaps: it may have been done. */
export function silent(to: NodeId, timeoutMs: number): KeyfleetError {
  return new KeyfleetError('KF_NODE_SILENT', `node ${to} did not answer within ${Math.round(timeoutMs)} ms`);
}

function notServing(self: NodeId): KeyfleetError {
  return new KeyfleetError('KF_NODE_UNREACHABLE', `node ${self} does not serve yet, or no longer`, { retryable: true });
}
