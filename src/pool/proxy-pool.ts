import type { Bytes } from '../base/bytes.ts';
import type { RespVersion } from '../resp/codec/reply-writer.ts';
import { Backend, type BackendSettings, backendSettings } from './backend.ts';
import type { BackendError } from './backend-error.ts';
import type { PoolConfig, PoolServer } from './pool-config.ts';
import { PoolMap } from './pool-map.ts';
import type { ProxyClient } from './proxy-client.ts';
import { TickClock } from './proxy-clock.ts';
import type { ProxyCommand } from './proxy-commands.ts';
import { learnCommands } from './proxy-learn.ts';
import { PrivateConnections } from './proxy-private.ts';
import { ClusterRoutes } from './proxy-redirects.ts';
import { PROXY_LIMITS, type ProxyLimits } from './proxy-settings.ts';
import { ProxyStats } from './proxy-stats.ts';

/** Takes requests out of the ordinary way: slots that are on the move, servers that are a cluster. */
export interface SpecialRoutes {
  /** True when it has taken the request just read, and will answer it. */
  takes(client: ProxyClient, command: ProxyCommand, server: number, keys: readonly Bytes[]): boolean;
  takesSplit(
    client: ProxyClient,
    command: ProxyCommand,
    parts: ReadonlyMap<number, { readonly args: readonly Bytes[]; readonly keys: readonly Bytes[]; readonly orders: readonly number[] }>,
  ): boolean;
}

export interface PoolEvents {
  onServerDown?(server: PoolServer, why: string): void;
  onServerUp?(server: PoolServer): void;
  onEjected?(server: PoolServer, forMs: number): void;
  onReturned?(server: PoolServer): void;
}

/** From so many unsent bytes on, no more is started that would go to a server. */
const CONGESTED_BYTES = 4 * 1024 * 1024;
const CHECK_MS = 100;

/**
 * One pool as one process serves it: the map that says which server a key is on, connections to the servers, the clients. Clients that speak
 * RESP3 have connections of their own to the servers, which speak RESP3 too: answers are passed on as they are.
 */
export class ProxyPool {
  config: PoolConfig;
  map: PoolMap;
  readonly stats = new ProxyStats();
  readonly clock = new TickClock();
  readonly limits: ProxyLimits;
  readonly privates: PrivateConnections = new PrivateConnections(this);
  readonly clients = new Map<number, ProxyClient>();
  special: SpecialRoutes | undefined;
  /** Whether requests need a second look: something is congested, or on the move. */
  isSlow = false;
  /** Where its clients find it, once it listens. */
  port = 0;
  host = '127.0.0.1';
  readonly workerCount: number;

  readonly #events: PoolEvents;
  #backends: Record<RespVersion, Backend[]> = { 2: [], 3: [] };
  #congested = new Set<number>();
  #waiting: ProxyClient[] = [];
  #lastLook = 0;
  #hasLearned = false;
  /** Servers out of the ring (cache mode), and when they may come back. */
  readonly #ejected = new Map<number, number>();
  readonly #failures: number[] = [];
  readonly #answeredBefore: number[] = [];
  /** The map without the ejected servers, and its servers' places in `map`. */
  #without: { readonly map: PoolMap; readonly places: readonly number[] } | undefined;
  readonly #timer: NodeJS.Timeout;

  constructor(
    config: PoolConfig,
    options: {
      readonly limits?: Partial<ProxyLimits>;
      readonly events?: PoolEvents;
      readonly map?: PoolMap;
      readonly workerCount?: number;
    } = {},
  ) {
    this.config = config;
    this.limits = { ...PROXY_LIMITS, ...options.limits };
    this.#events = options.events ?? {};
    this.workerCount = options.workerCount ?? 1;
    this.map = options.map ?? PoolMap.of(config);
    this.#connectServers();
    if (config.cluster) this.special = new ClusterRoutes(this);
    this.lookForCongestion();
    this.#timer = setInterval(() => this.#check(), CHECK_MS);
    this.#timer.unref();
  }

  /** The password that clients have to give, which is the servers' too, as twemproxy has it. */
  get password(): string | undefined {
    return this.config.auth;
  }

  /** What cluster clients are shown; see proxy-cluster.ts. */
  get redirects(): 'off' | 'proxies' | 'backends' {
    return this.config.redirects;
  }

  /** The connections to the servers, by their places in the map. */
  backends(version: RespVersion): readonly Backend[] {
    return this.#backends[version];
  }

  /** Index of the server that a key is on. */
  serverOf(key: Bytes): number {
    if (this.#without !== undefined) return this.#without.places[this.#without.map.ownerOf(this.#without.map.slotOf(key))]!;
    return this.map.ownerOf(this.map.slotOf(key));
  }

  /** A server that is up, the first if none is known to be down, -1 without any. */
  anyServer(): number {
    const up = this.#backends[2].findIndex((one, i) => one.isUp && !this.#ejected.has(i));
    return up >= 0 ? up : this.#backends[2].findIndex((one, i) => one.failures === 0 && !this.#ejected.has(i));
  }

  /** The servers that own anything now, ascending. */
  liveServers(): number[] {
    return this.map.servers.map((_, i) => i).filter((i) => !this.#ejected.has(i));
  }

  isEjected(server: number): boolean {
    return this.#ejected.has(server);
  }

  /** Takes another map, between two commands. Servers it adds are connected to; those it no longer names are left to end by themselves. */
  setMap(map: PoolMap): void {
    this.map = map;
    this.#connectServers();
    this.#remap();
  }

  /** Takes requests out of the ordinary way, from the next one on; undefined: no more. */
  setSpecial(special: SpecialRoutes | undefined): void {
    this.special = special;
    this.isSlow = this.#congested.size > 0 || special !== undefined || this.redirects === 'backends';
  }

  /** Takes what can change while it runs: timeouts, limits on clients, the password. Which servers there are changes by {@link setMap}. */
  reconfigure(config: PoolConfig): void {
    this.config = { ...config, servers: this.config.servers };
    this.#closeServers();
    this.#backends = { 2: [], 3: [] };
    this.#connectServers();
  }

  #connectServers(): void {
    for (const [index, server] of this.map.servers.entries()) {
      this.stats.server(index);
      for (const version of [2, 3] as const) {
        const there = this.#backends[version][index];
        if (there && there.name === server.name && sameAddress(there.settings, server)) continue;
        this.#backends[version][index] = this.#connectServer(index, server, version);
        if (there) setTimeout(() => there.close(), this.config.timeoutMs ?? 5_000).unref();
      }
    }
  }

  #connectServer(index: number, server: PoolServer, version: RespVersion): Backend {
    const settings: BackendSettings = {
      ...backendSettings(this.config, server),
      resp3: version === 3,
      ...(version === 3 && { preconnect: false }),
    };
    const backend = new Backend(settings, {
      onUp: (one) => {
        if (!this.#hasLearned && version === 2) {
          this.#hasLearned = true;
          learnCommands(one);
        }
        this.#events.onServerUp?.(server);
      },
      onDown: (_, error) => this.#onDown(index, server, error),
      onDrain: () => this.#onDrain(),
    });
    return backend;
  }

  #onDown(index: number, server: PoolServer, error: BackendError): void {
    const counters = this.stats.server(index);
    if (/no answer for|no connection/.test(error.message)) counters.timeouts++;
    else if (/closed the connection/.test(error.message)) counters.eof++;
    else counters.failures++;
    this.#failures[index] = (this.#failures[index] ?? 0) + 1;
    this.#events.onServerDown?.(server, error.message);
    this.#onDrain();
    if (!this.config.autoEjectHosts || this.#failures[index]! < this.config.serverFailureLimit || this.#ejected.has(index)) return;
    this.#ejected.set(index, performance.now() + this.config.serverRetryTimeoutMs);
    counters.ejectedAtMs = Date.now();
    counters.ejections++;
    this.#events.onEjected?.(server, this.config.serverRetryTimeoutMs);
    this.#remap();
  }

  /** Cache mode: the ring of the servers that are left, as twemproxy rebuilds it. With none left the whole ring stays. */
  #remap(): void {
    const places = this.liveServers();
    if (places.length === this.map.servers.length || places.length === 0) {
      this.#without = undefined;
      return;
    }
    this.#without = { map: PoolMap.of({ ...this.config, servers: places.map((place) => this.map.servers[place]!) }), places };
  }

  // ── congestion ──

  isCongested(server: number): boolean {
    return this.#congested.has(server);
  }

  /** Starts the client's request again when the server has taken what waits for it. */
  wakeWhenDrained(client: ProxyClient, _server: number): void {
    client.hold('room');
    this.#waiting.push(client);
  }

  #onDrain(): void {
    this.lookForCongestion();
    if (this.#waiting.length === 0) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const client of waiting) client.release();
  }

  /** Cheap; called by clients once a chunk. */
  lookForCongestion(): void {
    const nowMs = this.clock.nowMs;
    if (nowMs === this.#lastLook) return;
    this.#lastLook = nowMs;
    for (let i = 0; i < this.#backends[2].length; i++) {
      const bytes = Math.max(this.#backends[2][i]!.unsentBytes, this.#backends[3][i]!.unsentBytes);
      if (bytes > CONGESTED_BYTES) this.#congested.add(i);
      else if (bytes < CONGESTED_BYTES / 2) this.#congested.delete(i);
    }
    this.isSlow = this.#congested.size > 0 || this.special !== undefined || this.redirects === 'backends';
  }

  #check(): void {
    const nowMs = performance.now();
    for (const [index, counters] of this.stats.servers.entries()) {
      if (counters.responses !== this.#answeredBefore[index]) this.#failures[index] = 0;
      this.#answeredBefore[index] = counters.responses;
    }
    let returned = false;
    for (const [index, untilMs] of this.#ejected) {
      // It is probed by the connections, which are made again by themselves: back it comes once it can be reached.
      if (nowMs < untilMs || !this.#backends[2][index]!.isUp) continue;
      this.#ejected.delete(index);
      this.#failures[index] = 0;
      returned = true;
      this.#events.onReturned?.(this.map.servers[index]!);
    }
    if (returned) this.#remap();
    this.#onDrain();
    this.privates.check(nowMs);
    const epochMs = Date.now();
    for (const client of this.clients.values()) client.check(epochMs);
  }

  // ── clients ──

  forget(client: ProxyClient): void {
    if (!this.clients.delete(client.id)) return;
    this.stats.clients--;
    this.stats.clientsClosed++;
  }

  #closeServers(): void {
    for (const version of [2, 3] as const) for (const backend of this.#backends[version]) backend.close();
  }

  close(): void {
    clearInterval(this.#timer);
    this.privates.close();
    this.#closeServers();
  }
}

function sameAddress(settings: BackendSettings, server: PoolServer): boolean {
  return JSON.stringify(settings.address) === JSON.stringify(server.address);
}
