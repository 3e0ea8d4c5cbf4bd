/**
 * Keeps the routers of a pool together: each holds a lease on the map, and a change of the map is a barrier that every router passes, or is fenced out.
 *
 * A router counts its lease from the moment it ASKED for it, the coordinator from the moment it ANSWERED, and adds a tenth: when the coordinator holds a lease for over, the router has
 * stopped sending. What it had sent before is cut off at the servers: its connections, known by their name, are ended there. docs/protocol/pool-moves.md has the argument.
 */
import { KeyfleetError, messageOf } from '../../base/errors.ts';
import type { PoolServer } from '../pool-config.ts';
import type { PoolMap } from '../pool-map.ts';
import { type ServerAddress, ServerLink, textOf } from './move-link.ts';
import type { RouterBarrier } from './move-options.ts';

export const DEFAULT_LEASE_MS = 3_000;
const DRIFT = 1.1;
const SERVER_PATIENCE_MS = 10_000;

/** `CLIENT SETNAME` of a router's connections to the servers. */
export const routerName = (routerId: string): string => `kf:router:${routerId}`;

interface Member {
  readonly id: string;
  /** By the coordinator's own monotonic clock. */
  leaseUntilMs: number;
  confirmedEpoch: number;
  foregroundP99Ms: number | undefined;
  /** Routers of this process hold no lease: they cannot live on without the coordinator. */
  readonly apply: ((map: PoolMap) => Promise<void>) | undefined;
}

export interface CoordinatorOptions {
  readonly addressOf: (server: PoolServer) => ServerAddress;
  readonly leaseMs?: number;
  /** How long a barrier waits for a server to end the connections of a router that was fenced out; 10,000 when absent. */
  readonly serverPatienceMs?: number;
  readonly onFenced?: (routerId: string) => void;
}

export class MoveCoordinator implements RouterBarrier {
  readonly leaseMs: number;
  readonly #options: CoordinatorOptions;
  readonly #members = new Map<string, Member>();
  #map: PoolMap;
  /** Called when somebody confirms, registers or is fenced out, or there is another map. */
  #waiters: (() => void)[] = [];
  /** Before a new coordinator's first barrier, leases of the one before it may still run. */
  readonly #inheritedUntilMs: number;
  readonly #known = new Set<string>();
  /** Names of routers that were fenced out, and the servers where their connections may still stand: no barrier passes before they are ended. */
  readonly #condemned = new Map<string, Set<string>>();

  /** @param inherited - True when another coordinator may have granted leases lately: the first barrier waits them out. */
  constructor(map: PoolMap, options: CoordinatorOptions, inherited = false) {
    this.#map = map;
    this.#options = options;
    this.leaseMs = options.leaseMs ?? DEFAULT_LEASE_MS;
    this.#inheritedUntilMs = inherited ? performance.now() + this.leaseMs * DRIFT : 0;
  }

  get map(): PoolMap {
    return this.#map;
  }

  /** Routers that hold a lease, or live in this process. */
  get routers(): readonly { readonly id: string; readonly epoch: number; readonly foregroundP99Ms: number | undefined }[] {
    return [...this.#members.values()].map(({ id, confirmedEpoch, foregroundP99Ms }) => ({ id, epoch: confirmedEpoch, foregroundP99Ms }));
  }

  /** A router of this process. */
  async join(id: string, apply: (map: PoolMap) => Promise<void>): Promise<() => void> {
    this.#members.set(id, { id, leaseUntilMs: Number.POSITIVE_INFINITY, confirmedEpoch: 0, foregroundP99Ms: undefined, apply });
    await apply(this.#map);
    const member = this.#members.get(id);
    if (member) member.confirmedEpoch = this.#map.epoch;
    return () => {
      this.#members.delete(id);
      this.#wake();
    };
  }

  /**
   * A router elsewhere takes or renews its lease and says up to which epoch it has done what a barrier asks. Answers the map when it is newer than the router's.
   * @throws KF_POOL_ROUTER_FENCED for one that was fenced out: it begins anew under another id.
   */
  renew(id: string, epoch: number, foregroundP99Ms?: number): { readonly leaseMs: number; readonly map: PoolMap | undefined } {
    let member = this.#members.get(id);
    if (member === undefined) {
      if (this.#known.has(id)) throw new KeyfleetError('KF_POOL_ROUTER_FENCED', `router ${id} did not renew its lease in time`);
      this.#known.add(id);
      member = { id, leaseUntilMs: 0, confirmedEpoch: 0, foregroundP99Ms: undefined, apply: undefined };
      this.#members.set(id, member);
    }
    member.leaseUntilMs = performance.now() + this.leaseMs * DRIFT;
    member.foregroundP99Ms = foregroundP99Ms;
    if (epoch > member.confirmedEpoch) {
      member.confirmedEpoch = epoch;
      this.#wake();
    }
    return { leaseMs: this.leaseMs, map: epoch < this.#map.epoch ? this.#map : undefined };
  }

  /** A router that ends in good order: all it sent is answered. */
  leave(id: string): void {
    this.#members.delete(id);
    this.#wake();
  }

  /** Resolves when there is a map newer than `epoch`, or after `timeoutMs`. */
  async newer(epoch: number, timeoutMs: number): Promise<void> {
    const endMs = performance.now() + timeoutMs;
    while (this.#map.epoch <= epoch && performance.now() < endMs) await this.#woken(endMs - performance.now());
  }

  async publish(map: PoolMap): Promise<void> {
    this.#map = map;
    this.#wake();
    const late: Promise<void>[] = [];
    for (const member of this.#members.values())
      if (member.apply !== undefined)
        late.push(
          member.apply(map).then(() => {
            member.confirmedEpoch = map.epoch;
          }),
        );
    await Promise.all(late);
    for (;;) {
      const nowMs = performance.now();
      const behind = [...this.#members.values()].filter((member) => member.apply === undefined && member.confirmedEpoch < map.epoch);
      const expired = behind.filter(({ leaseUntilMs }) => leaseUntilMs <= nowMs);
      for (const member of expired) this.#fenceOut(member);
      if (behind.length === expired.length && nowMs >= this.#inheritedUntilMs) break;
      const nextMs = Math.min(
        ...behind.map(({ leaseUntilMs }) => leaseUntilMs),
        nowMs < this.#inheritedUntilMs ? this.#inheritedUntilMs : Infinity,
      );
      await this.#woken(Math.max(1, nextMs - nowMs));
    }
    await this.#endCondemned();
    // Routers of a coordinator before this one, which never came here, are unknown by id: whatever has a router's name and no lease goes.
    if (this.#inheritedUntilMs > 0 && map.hasMoves)
      await this.#endConnections((name) => name.startsWith(routerName('')) && !this.#holds(name));
  }

  foregroundP99Ms(): number | undefined {
    const measured = [...this.#members.values()].map((member) => member.foregroundP99Ms).filter((ms) => ms !== undefined);
    return measured.length === 0 ? undefined : Math.max(...measured);
  }

  #holds(name: string): boolean {
    return [...this.#members.keys()].some((id) => routerName(id) === name);
  }

  #fenceOut(member: Member): void {
    this.#members.delete(member.id);
    this.#condemned.set(routerName(member.id), new Set(this.#map.servers.map(({ name }) => name)));
    this.#options.onFenced?.(member.id);
    this.#wake();
  }

  /** @throws KF_POOL_SERVER_LOST while a server does not answer: what waits in its sockets may yet be carried out. The next barrier tries again. */
  async #endCondemned(): Promise<void> {
    if (this.#condemned.size === 0) return;
    const names = new Map(this.#condemned);
    const ended = await Promise.allSettled(
      this.#map.servers.map(async (server) => {
        const there = new Set([...names].filter(([, servers]) => servers.has(server.name)).map(([name]) => name));
        if (there.size > 0) await this.#endConnectionsTo(server, (name) => there.has(name));
        for (const name of there) names.get(name)!.delete(server.name);
      }),
    );
    // Servers that are in the map no more get nothing that matters.
    const present = new Set(this.#map.servers.map(({ name }) => name));
    for (const [name, servers] of names) if (![...servers].some((server) => present.has(server))) this.#condemned.delete(name);
    const failed = ended.find((one) => one.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  }

  async #endConnections(isTheirs: (name: string) => boolean): Promise<void> {
    await Promise.all(this.#map.servers.map((server) => this.#endConnectionsTo(server, isTheirs)));
  }

  /** A server that refuses connections is a process that has ended, and its clients' connections with it. */
  async #endConnectionsTo(server: PoolServer, isTheirs: (name: string) => boolean): Promise<void> {
    for (const endMs = performance.now() + (this.#options.serverPatienceMs ?? SERVER_PATIENCE_MS); ; ) {
      const link = new ServerLink(this.#options.addressOf(server), { timeoutMs: 2_000, name: 'kf:mover' });
      try {
        const clients = textOf(await link.call(['CLIENT', 'LIST']));
        const ids = clients
          .split('\n')
          .filter((line) => isTheirs(/ name=(\S*)/.exec(line)?.[1] ?? ''))
          .map((line) => /^id=(\d+)/.exec(line)![1]!);
        if (ids.length === 0) return;
        for (const id of ids) await link.raw(['CLIENT', 'KILL', 'ID', id]);
      } catch (error) {
        if (/ECONNREFUSED|ENOENT/.test(messageOf(error))) return;
        if (performance.now() > endMs)
          throw new KeyfleetError('KF_POOL_SERVER_LOST', `cannot end a lost router's connections to ${server.name}: ${messageOf(error)}`, {
            retryable: true,
          });
        await new Promise((resolve) => setTimeout(resolve, 100));
      } finally {
        link.close();
      }
    }
  }

  #wake(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const wake of waiters) wake();
  }

  #woken(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, Math.min(timeoutMs, 60_000));
      this.#waiters.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }
}
