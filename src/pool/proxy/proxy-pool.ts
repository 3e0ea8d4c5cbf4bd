import type { Bytes } from '../../base/bytes.ts';
import type { RespVersion } from '../../resp/codec/reply-writer.ts';
import { Backend, type BackendSettings, backendSettings } from '../backend.ts';
import type { BackendError } from '../backend-error.ts';
import type { RoutedCommand } from '../command-table.ts';
import { takeable } from '../moves/file-changes.ts';
import type { PoolConfig, PoolServer } from '../pool-config.ts';
import { PoolMap } from '../pool-map.ts';
import { type PrivateConnection, PrivateConnections } from '../private-connections.ts';
import type { ProxyClient } from './proxy-client.ts';
import { TickClock } from './proxy-clock.ts';
import { learnCommands } from './proxy-learn.ts';
import { ProxyMoving } from './proxy-moving.ts';
import { ClusterRoutes } from './proxy-redirects.ts';
import { PROXY_LIMITS, type ProxyLimits } from './proxy-settings.ts';
import { ProxyStats } from './proxy-stats.ts';

/** Takes requests out of the ordinary way: slots that are on the move, servers that are a cluster. */
export interface SpecialRoutes {
  /** Whether requests are to be shown to it now. */
  readonly isActive: boolean;
  /** Asked first: true when the request just read has to wait, or was answered. */
  holds(client: ProxyClient, command: RoutedCommand): boolean;
  /** True when it has taken the request just read, and will answer it. */
  takes(client: ProxyClient, command: RoutedCommand, server: number, keys: readonly Bytes[]): boolean;
  /** {@link takes} of a command whose keys may lie apart, `step` arguments to a key. */
  takesSplit(client: ProxyClient, command: RoutedCommand, args: readonly Bytes[], keys: readonly Bytes[], step: number): boolean;
  /** Where a reply over a private connection says that its keys are, when it says so. */
  redirected?(bytes: Bytes, start: number, end: number, speaker: number): { readonly server: number; readonly isAsk: boolean } | undefined;
  /** Resolves with the server where these keys are and stay, for what outlives one command. */
  bring(keys: readonly Bytes[]): Promise<number>;
  close?(): void;
}

export interface PoolEvents {
  onServerDown?(server: PoolServer, why: string): void;
  onServerUp?(server: PoolServer): void;
  onEjected?(server: PoolServer, forMs: number): void;
  onReturned?(server: PoolServer): void;
  /** The owner that the pool follows does not answer; once for every time that it is lost. */
  onOwnerLost?(why: string): void;
  onOwnerFound?(epoch: number): void;
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
  readonly privates = new PrivateConnections();
  readonly clients = new Map<number, ProxyClient>();
  special: SpecialRoutes | undefined;
  /** Whether requests need a second look: something is congested, or on the move. */
  isSlow = false;
  /** Where its clients find it, once it listens. */
  port = 0;
  host = '127.0.0.1';
  readonly workerCount: number;

  readonly events: PoolEvents;
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
  /** Connections of before a change, until what they have under way is answered, and those that took their place. */
  #retired: { readonly backend: Backend; readonly successor: Backend | undefined; readonly sinceMs: number }[] = [];
  /** The name of its connections at the servers, when it follows the pool's owner. */
  #routerName: string | undefined;
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
    this.events = options.events ?? {};
    this.workerCount = options.workerCount ?? 1;
    this.map = options.map ?? PoolMap.of(config);
    // Whoever follows an owner connects under the name that it has there.
    if (config.control === undefined) this.#connectServers();
    else this.special = new ProxyMoving(this, config.control);
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

  /** Index of the server where what outlives one command belongs for a key; undefined while nobody may say. */
  homeOf(key: Bytes): number | undefined {
    return this.map.hasMoves ? this.map.homeOf(key) : this.serverOf(key);
  }

  /** Takes another map, between two commands. Servers it adds are connected to; those it leaves out are left when all they have is answered. */
  setMap(map: PoolMap): void {
    const counters = new Map(this.map.servers.map(({ name }, i) => [name, this.stats.server(i)]));
    this.map = map;
    this.stats.setServers(map.servers.map(({ name }) => counters.get(name)));
    this.#connectServers();
    this.#remap();
    this.lookAgain();
  }

  /** Whether its map may change. */
  get canMove(): boolean {
    return this.special !== undefined;
  }

  /** Whether requests need a second look is another matter from now on. */
  lookAgain(): void {
    this.isSlow = this.#congested.size > 0 || this.special?.isActive === true || this.redirects === 'backends';
  }

  /** Takes what can change while it runs: timeouts, limits on clients, the password. Which servers there are changes by {@link setMap}. */
  reconfigure(config: PoolConfig): void {
    const before = this.config;
    this.config = takeable(before, config);
    if (CONNECTION_SETTINGS.every((name) => JSON.stringify(before[name]) === JSON.stringify(this.config[name]))) return;
    this.#connectServers(true);
  }

  /** Ends all connections and makes others of this name: what the old ones had under way is of unknown outcome. */
  renameConnections(name: string): void {
    this.#routerName = name;
    this.privates.close();
    this.#closeServers();
    this.#backends = { 2: [], 3: [] };
    this.#connectServers();
  }

  /**
   * Goes by `map` from now on; resolves once nothing that was begun before can be carried out any more: what a mover's barrier asks of a router. A server that
   * stalls with requests of ours keeps it waiting.
   */
  async pass(map: PoolMap): Promise<void> {
    const before = [...this.#backends[2], ...this.#backends[3]];
    this.setMap(map);
    await this.privates.leave((one) => this.#isHome(one));
    await Promise.all([...before, ...this.#retired.map(({ backend }) => backend)].map((one) => one.settled()));
  }

  /** Channels belong to no key: all of a pool are on its first server. Sharded channels are spread like keys. */
  get pubSubServer(): number {
    return this.liveServers()[0] ?? 0;
  }

  #isHome({ backend, keys, connection }: PrivateConnection): boolean {
    const isAt = (server: number | undefined): boolean =>
      server !== undefined && (this.#backends[2][server] === backend || this.#backends[3][server] === backend);
    return keys.length === 0 && connection.pushing ? isAt(this.pubSubServer) : keys.every((key) => isAt(this.homeOf(key)));
  }

  #connectServers(anew = false): void {
    for (const version of [2, 3] as const) {
      const old = anew ? [] : [...this.#backends[version]];
      const gone = new Set(this.#backends[version]);
      const fresh = this.map.servers.map((server, index) => {
        this.stats.server(index);
        const there = old.find(({ name, settings }) => name === server.name && sameAddress(settings, server));
        if (there === undefined) return this.#connectServer(server, version);
        gone.delete(there);
        return there;
      });
      this.#backends[version] = fresh;
      for (const backend of gone)
        this.#retired.push({
          backend,
          successor: fresh.find((one) => sameAddress(one.settings, backend.settings)),
          sinceMs: performance.now(),
        });
    }
  }

  #connectServer(server: PoolServer, version: RespVersion): Backend {
    const router = { name: this.#routerName, maySend: () => !(this.special instanceof ProxyMoving) || this.special.maySend };
    const settings: BackendSettings = {
      ...backendSettings(this.config, server, router),
      resp3: version === 3,
      ...(version === 3 && { preconnect: false }),
    };
    const place = (): number => this.map.servers.findIndex(({ name }) => name === server.name);
    const backend = new Backend(settings, {
      onUp: (one) => {
        if (!this.#hasLearned && version === 2) {
          this.#hasLearned = true;
          learnCommands(one);
        }
        this.events.onServerUp?.(server);
      },
      onDown: (_, error) => this.#onDown(place(), server, error),
      onDrain: () => this.#onDrain(),
    });
    return backend;
  }

  #onDown(index: number, server: PoolServer, error: BackendError): void {
    if (index < 0) return;
    const counters = this.stats.server(index);
    if (/no answer for|no connection/.test(error.message)) counters.timeouts++;
    else if (/closed the connection/.test(error.message)) counters.eof++;
    else counters.failures++;
    this.#failures[index] = (this.#failures[index] ?? 0) + 1;
    this.events.onServerDown?.(server, error.message);
    this.#onDrain();
    if (!this.config.autoEjectHosts || this.#failures[index]! < this.config.serverFailureLimit || this.#ejected.has(index)) return;
    this.#ejected.set(index, performance.now() + this.config.serverRetryTimeoutMs);
    counters.ejectedAtMs = Date.now();
    counters.ejections++;
    this.events.onEjected?.(server, this.config.serverRetryTimeoutMs);
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

  /** Starts the client's request again when a server has taken what waits for it. */
  wakeWhenDrained(client: ProxyClient): void {
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
    this.lookAgain();
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
      this.events.onReturned?.(this.map.servers[index]!);
    }
    if (returned) this.#remap();
    this.#onDrain();
    this.privates.check(nowMs);
    this.#retired = this.#retired.filter(({ backend, successor, sinceMs }) => {
      if (backend.pending > 0 && nowMs - sinceMs < RETIRE_MS) return true;
      backend.close();
      successor?.inherit(backend);
      return false;
    });
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
    this.special?.close?.();
    this.privates.close();
    for (const { backend } of this.#retired) backend.close();
    this.#closeServers();
  }
}

/** Settings whose change asks for other connections. */
const CONNECTION_SETTINGS = ['auth', 'username', 'db', 'tls', 'tcpKeepalive', 'timeoutMs', 'serverConnections', 'preconnect'] as const;
/** How long connections of before a change may take to answer what they have under way. */
const RETIRE_MS = 10_000;

function sameAddress(settings: BackendSettings, server: Pick<PoolServer, 'address'>): boolean {
  return JSON.stringify(settings.address) === JSON.stringify(server.address);
}
