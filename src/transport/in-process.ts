import type { Bytes } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import { checkNodeId, checkPayload, closed, silent, Traffic, unreachable } from './traffic.ts';
import {
  ANYONE,
  DEFAULT_LIMITS,
  DEFAULT_TIMEOUT_MS,
  type Handler,
  type NodeId,
  type RequestOptions,
  type Transport,
  type TransportLimits,
} from './transport.ts';
import { decodeAnswer, decodeRequest, encodeRequest } from './wire.ts';

/** Nodes of one process. What they tell each other takes the way of bytes, as between machines. */
export class InProcessNetwork {
  readonly #ends = new Map<NodeId, InProcessTransport>();

  /** @throws KF_DUPLICATE_NODE */
  join(self: NodeId, limits: Partial<TransportLimits> = {}): Transport {
    checkNodeId(self);
    if (this.#ends.has(self)) throw new KeyfleetError('KF_DUPLICATE_NODE', `node ${self} is there already`);
    const end = new InProcessTransport(self, this.#ends, { ...DEFAULT_LIMITS, ...limits });
    this.#ends.set(self, end);
    return end;
  }
}

class InProcessTransport implements Transport {
  readonly self: NodeId;
  readonly maxPayloadBytes = 1024 * 1024;
  readonly traffic: Traffic;
  readonly #ends: Map<NodeId, InProcessTransport>;
  readonly #waiting = new Set<(error: Error) => void>();

  constructor(self: NodeId, ends: Map<NodeId, InProcessTransport>, limits: TransportLimits) {
    this.self = self;
    this.#ends = ends;
    this.traffic = new Traffic(limits);
  }

  async serve(handler: Handler): Promise<void> {
    this.traffic.serve(handler);
  }

  async request(to: NodeId, method: string, payload: Bytes, options: RequestOptions = {}): Promise<Bytes> {
    const { timeoutMs = DEFAULT_TIMEOUT_MS } = options;
    checkPayload(payload, this.maxPayloadBytes);
    const wire = encodeRequest({ from: this.self, method, payload, timeoutMs });
    const { done } = this.traffic.begin(to, wire.length);
    let timer: NodeJS.Timeout | undefined;
    let giveUp: ((error: Error) => void) | undefined;
    try {
      const other = to === ANYONE ? this.#anyone() : this.#ends.get(to);
      if (other === undefined) throw unreachable(to);
      const given = new Promise<never>((_, reject) => {
        giveUp = reject;
        timer = setTimeout(() => reject(silent(to, timeoutMs)), timeoutMs);
      });
      this.#waiting.add(giveUp!);
      return decodeAnswer(await Promise.race([other.hear(wire), given]));
    } finally {
      clearTimeout(timer);
      if (giveUp) this.#waiting.delete(giveUp);
      done();
    }
  }

  /** Another one, if there is one. */
  #anyone(): InProcessTransport | undefined {
    const ends = [...this.#ends.values()].filter((end) => end.traffic.isServing);
    return ends.find((end) => end !== this) ?? ends[0];
  }

  send(to: NodeId, method: string, payload: Bytes): void {
    checkPayload(payload, this.maxPayloadBytes);
    const wire = encodeRequest({ from: this.self, method, payload, timeoutMs: 0 });
    if (!this.traffic.isClosed) void this.#ends.get(to)?.hear(wire);
  }

  async close(): Promise<void> {
    this.traffic.close();
    if (this.#ends.get(this.self) === this) this.#ends.delete(this.self);
    for (const giveUp of this.#waiting) giveUp(closed());
  }

  async hear(wire: Bytes): Promise<Bytes> {
    await new Promise((resolve) => setImmediate(resolve));
    return this.traffic.answer(this.self, decodeRequest(wire)!);
  }
}
