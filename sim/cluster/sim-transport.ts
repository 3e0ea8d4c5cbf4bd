import type { Bytes } from '../../src/base/bytes.ts';
import { checkPayload, closed, silent, Traffic, unreachable } from '../../src/transport/traffic.ts';
import {
  ANYONE,
  DEFAULT_LIMITS,
  DEFAULT_TIMEOUT_MS,
  type Handler,
  type RequestOptions,
  type Transport,
} from '../../src/transport/transport.ts';
import { decodeAnswer, decodeRequest, encodeRequest } from '../../src/transport/wire.ts';
import type { SimMachine } from '../sim-machine.ts';
import type { SimNetwork } from '../sim-network.ts';

/** Whoever has a transport, so that messages find it. */
export interface Reachable {
  readonly transport: SimTransport;
}

/** A process's end of the simulated network. What is told takes the way of bytes. */
export class SimTransport implements Transport {
  readonly self: string;
  readonly maxPayloadBytes = 64 * 1024;
  readonly #machine: SimMachine<Reachable>;
  readonly #network: SimNetwork<Reachable>;
  readonly #traffic = new Traffic(DEFAULT_LIMITS);
  /** Requests that wait for an answer. Numbers are never used twice on a machine, so that no answer comes to a later process. */
  readonly #waiting = new Map<string, (settle: () => Bytes) => void>();
  #requests = 0;

  constructor(machine: SimMachine<Reachable>, network: SimNetwork<Reachable>) {
    this.self = machine.name;
    this.#machine = machine;
    this.#network = network;
  }

  async serve(handler: Handler): Promise<void> {
    this.#traffic.serve(handler);
  }

  async request(whom: string, method: string, payload: Bytes, { timeoutMs = DEFAULT_TIMEOUT_MS }: RequestOptions = {}): Promise<Bytes> {
    const to = whom === ANYONE ? this.#network.anyoneBut(this.self) : whom;
    checkPayload(payload, this.maxPayloadBytes);
    const wire = encodeRequest({ from: this.self, method, payload, timeoutMs });
    const { done } = this.#traffic.begin(to, wire.length);
    const id = `${this.#machine.life}.${++this.#requests}`;
    return new Promise((resolve, reject) => {
      const settle = (look: () => Bytes): void => {
        if (!this.#waiting.delete(id)) return;
        cancel();
        done();
        try {
          resolve(look());
        } catch (error) {
          reject(error);
        }
      };
      this.#waiting.set(id, settle);
      const fail = (error: Error): void =>
        settle(() => {
          throw error;
        });
      const cancel = this.#machine.clock.after(timeoutMs, () => fail(silent(to, timeoutMs)));
      const { self } = this;
      const nobody = (): void => void this.#machine.later('nobody', this.#network.delayMs(), () => fail(unreachable(to)));
      this.#network.send(
        self,
        to,
        method,
        async ({ transport }) => {
          const answer = await transport.hear(wire);
          this.#network.send(to, self, 'answer', (asker) => asker.transport.#waiting.get(id)?.(() => decodeAnswer(answer)), true);
        },
        // As NATS does it: what is asked arrives at most once.
        false,
        nobody,
      );
    });
  }

  send(to: string, method: string, payload: Bytes): void {
    checkPayload(payload, this.maxPayloadBytes);
    if (this.#traffic.isClosed) return;
    const wire = encodeRequest({ from: this.self, method, payload, timeoutMs: 0 });
    this.#network.send(this.self, to, method, ({ transport }) => void transport.hear(wire), true);
  }

  async close(): Promise<void> {
    this.#traffic.close();
    for (const settle of [...this.#waiting.values()]) {
      settle(() => {
        throw closed();
      });
    }
  }

  /** A request has come. */
  hear(wire: Bytes): Promise<Bytes> {
    return this.#traffic.answer(this.self, decodeRequest(wire)!);
  }
}
