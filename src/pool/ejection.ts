import type { KeyInput } from '../partition/hasher.ts';
import type { PoolConfig, PoolServer } from './pool-config.ts';
import { PoolMap } from './pool-map.ts';

export interface EjectionEvents {
  onEjected(server: PoolServer): void;
  onReturned(server: PoolServer): void;
}

/**
 * Cache mode (`auto_eject_hosts`): after `server_failure_limit` failures in a row a server is out of the ring, as twemproxy does it, for
 * `server_retry_timeout` at least and until it can be connected to again. Its keys lie on the others meanwhile.
 *
 * For caches only: what was written elsewhere meanwhile is not brought back, so a server that returns serves what it had before.
 */
export class Ejection {
  readonly #config: PoolConfig;
  readonly #events: EjectionEvents;
  /** Servers that are out, and whether each may come back. */
  readonly #out = new Map<number, { until: NodeJS.Timeout | undefined; reachable: boolean }>();
  /** The ring without them, and the places of its servers in the whole one. */
  #without: { readonly map: PoolMap; readonly places: readonly number[] } | undefined;

  constructor(config: PoolConfig, events: EjectionEvents) {
    this.#config = config;
    this.#events = events;
  }

  /** Whether any server is out. */
  get isActive(): boolean {
    return this.#without !== undefined;
  }

  isEjected(server: number): boolean {
    return this.#without !== undefined && this.#out.has(server);
  }

  /** The server of a key, while {@link isActive}. */
  serverOf(key: KeyInput): number {
    const { map, places } = this.#without!;
    return places[map.ownerOf(map.slotOf(key))]!;
  }

  failed(server: number, failures: number): void {
    const out = this.#out.get(server);
    if (out) out.reachable = false;
    if (out || failures < this.#config.serverFailureLimit) return;
    const until = setTimeout(() => {
      const one = this.#out.get(server);
      if (one) one.until = undefined;
      this.#mayReturn(server);
    }, this.#config.serverRetryTimeoutMs);
    until.unref();
    this.#out.set(server, { until, reachable: false });
    this.#rebuild();
    this.#events.onEjected(this.#config.servers[server]!);
  }

  succeeded(server: number): void {
    const out = this.#out.get(server);
    if (!out) return;
    out.reachable = true;
    this.#mayReturn(server);
  }

  close(): void {
    for (const { until } of this.#out.values()) clearTimeout(until);
  }

  #mayReturn(server: number): void {
    const out = this.#out.get(server);
    if (!out || out.until !== undefined || !out.reachable) return;
    this.#out.delete(server);
    this.#rebuild();
    this.#events.onReturned(this.#config.servers[server]!);
  }

  /** With all servers out the whole ring stays, so that every key has an error of its own server. */
  #rebuild(): void {
    const { servers } = this.#config;
    const places = servers.map((_, index) => index).filter((index) => !this.#out.has(index));
    const whole = places.length === servers.length || places.length === 0;
    this.#without = whole ? undefined : { map: PoolMap.of({ ...this.#config, servers: places.map((index) => servers[index]!) }), places };
  }
}
