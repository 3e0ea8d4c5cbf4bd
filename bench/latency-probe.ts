import { RespClient } from '../test/resp/resp-client.ts';

/** What clients saw in a stretch of time, in milliseconds. */
export interface Latencies {
  readonly count: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/**
 * A light, steady load of Redis clients on one node: each asks, by turns a SET and a GET of keys of its own, waits for the answer, pauses, and asks
 * again. What it notes is how long answers take while something else happens to the servers.
 */
export class LatencyProbe {
  readonly #loops: Promise<void>[];
  readonly #waits: { set: number[]; get: number[] } = { set: [], get: [] };
  #stop = false;

  constructor(options: { readonly port: number; readonly clients: number; readonly pauseMs: number; readonly valueBytes: number }) {
    const { clients } = options;
    this.#loops = Array.from({ length: clients }, (_, i) => this.#loop(`probe:${i}`, options));
  }

  /** What was seen since the last lap. */
  lap(): { readonly set: Latencies; readonly get: Latencies } {
    const [set, get] = [latencies(this.#waits.set.splice(0)), latencies(this.#waits.get.splice(0))];
    return { set, get };
  }

  /** @throws what a client was answered that is no answer to its request. */
  async stop(): Promise<void> {
    this.#stop = true;
    await Promise.all(this.#loops);
  }

  async #loop(key: string, { port, pauseMs, valueBytes }: { port: number; pauseMs: number; valueBytes: number }): Promise<void> {
    const client = await RespClient.connect({ port });
    for (let i = 0; !this.#stop; i++) {
      const value = String(i).padEnd(valueBytes, '.');
      let beganMs = performance.now();
      const said = String(await client.call('SET', key, value));
      if (!said.includes('OK')) throw new Error(`SET ${key}: ${said}`);
      this.#waits.set.push(performance.now() - beganMs);
      beganMs = performance.now();
      const found = String(await client.call('GET', key));
      if (!found.includes(value)) throw new Error(`GET ${key}: ${found.slice(0, 100)}`);
      this.#waits.get.push(performance.now() - beganMs);
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
    client.close();
  }
}

function latencies(waits: number[]): Latencies {
  waits.sort((a, b) => a - b);
  const at = (share: number): number => waits[Math.min(waits.length - 1, Math.floor(waits.length * share))] ?? Number.NaN;
  return { count: waits.length, p50: at(0.5), p99: at(0.99), max: at(1) };
}
