import { KeyfleetError } from '../base/errors.ts';
import type { KeyInput } from '../partition/hasher.ts';
import { Backend, backendSettings } from './backend.ts';
import type { BackendConnection } from './backend-connection.ts';
import type { BackendError } from './backend-error.ts';
import type { BatchResult } from './batch.ts';
import { argBytes, commandNamed, keyOf, keyPlaces, requestArgs } from './client-command.ts';
import { type PoolOptions, resolvePool } from './client-settings.ts';
import { CommandRouting, notSupported } from './command-routing.ts';
import type { RoutedCommand } from './command-table.ts';
import { Ejection } from './ejection.ts';
import { type PoolConfig, type PoolServer, showAddress } from './pool-config.ts';
import { PoolMap } from './pool-map.ts';
import { type PrivateConnection, PrivateConnections, type PrivateEvents } from './private-connections.ts';
import type { ReplyValue } from './reply-value.ts';
import type { CommandArg } from './request-encoder.ts';
import { BackendLink, ClientLink, type Pending, type ServerLink } from './server-link.ts';
import { mayWait } from './waiting-commands.ts';

/** What a pool tells those who listen. */
export interface PoolListener {
  /** A server was connected to. */
  up(server: PoolServer): void;
  /** A connection to a server was lost or could not be made, `failures` times in a row. */
  down(server: PoolServer, error: BackendError, failures: number): void;
  /** Cache mode: its keys go to other servers for now. */
  ejected(server: PoolServer): void;
  /** Cache mode: it has its keys again. */
  returned(server: PoolServer): void;
}

/** A command whose slot may be on the move. */
export interface MovingCommand {
  readonly args: readonly CommandArg[];
  /** All of one slot, or of slots of one move. */
  readonly keys: readonly KeyInput[];
  readonly write: boolean;
  readonly scriptable: boolean;
  /** It waits at its server. */
  readonly waits: boolean;
}

/** Takes commands whose slots are on the move out of the ordinary way. */
export interface MovingSlots {
  /** True when it answers `pending` itself. */
  takes(command: MovingCommand, pending: Pending): boolean;
  /** False while nothing may be sent. */
  readonly maySend?: boolean;
  /** The server to which the mover has brought these keys; undefined when they are not on the move. */
  homeOf?(keys: readonly KeyInput[]): Promise<number | undefined>;
  close?(): Promise<void>;
}

/** Where a command goes when its keys do not say. */
export interface CallOptions {
  /** The key to route by. */
  readonly key?: string | Uint8Array;
  /** The name of the server. */
  readonly server?: string;
  /** Strings as Buffers instead of text. */
  readonly asBuffers?: boolean;
}

/**
 * Commands to the servers of a pool: each goes to the server of its keys, is split over several, or is refused. No queue of its own: what is on its
 * way waits at its server's connection. See {@link ./client.ts} for what users see of it.
 */
export class PoolCore {
  readonly config: PoolConfig;
  /** Undefined while no slot can be on the move. */
  moving: MovingSlots | undefined;
  /** Its connections' name at the servers, when it follows the pool's owner. */
  #routerName: string | undefined;
  readonly #options: PoolOptions;
  readonly #listener: PoolListener;
  readonly #ejection: Ejection | undefined;
  #map: PoolMap;
  #links: ServerLink[];
  readonly privates = new PrivateConnections();
  readonly #routing = new CommandRouting(this);
  #closed = false;

  /** @throws KF_CONFIG. */
  constructor(options: PoolOptions, listener: PoolListener) {
    this.#options = options;
    this.#listener = listener;
    this.config = resolvePool(options);
    this.#map = PoolMap.of(this.config);
    this.#links = this.#map.servers.map((server) => this.#linkTo(server));
    if (this.config.autoEjectHosts) {
      this.#ejection = new Ejection(this.config, {
        onEjected: (server) => listener.ejected(server),
        onReturned: (server) => listener.returned(server),
      });
    }
  }

  get map(): PoolMap {
    return this.#map;
  }

  get links(): readonly ServerLink[] {
    return this.#links;
  }

  /** Takes another map, between two commands: servers it adds are connected to, those it leaves out are closed. */
  setMap(map: PoolMap): void {
    const addressed = (server: PoolServer): string => `${server.name} ${showAddress(server.address)}`;
    const old = new Map(this.#links.map((link, index) => [addressed(this.#map.servers[index]!), link]));
    this.#links = map.servers.map((server) => old.get(addressed(server)) ?? this.#linkTo(server));
    for (const link of old.values()) if (!this.#links.includes(link)) link.close();
    this.#map = map;
  }

  /** Ends all connections and makes others of this name: what the old ones had sent is of unknown outcome. */
  renameConnections(name: string): void {
    this.#routerName = name;
    this.privates.close();
    for (const link of this.#links) link.close();
    this.#links = this.#map.servers.map((server) => this.#linkTo(server));
  }

  /** Index of the server that a key is on now. */
  serverOf(key: KeyInput): number {
    const slot = this.#map.slotOf(key);
    if (this.#ejection?.isActive) return this.#ejection.serverOf(key);
    return this.#map.ownerOf(slot);
  }

  /** Sends any command. Never throws; `pending` hears. */
  run(args: readonly CommandArg[], pending: Pending, options: CallOptions = {}): void {
    try {
      this.#routing.run(args, pending, options);
    } catch (error) {
      pending.reject(error);
    }
  }

  /** Sends a command whose one key is `args[place]`: the quick way for most commands. */
  runKeyed(command: RoutedCommand, place: number, args: readonly CommandArg[], pending: Pending): void {
    const arg = args[place];
    if (arg === undefined || this.moving !== undefined || this.#ejection !== undefined) {
      this.run(args, pending);
      return;
    }
    let link: ServerLink;
    try {
      const key = typeof arg === 'string' || typeof arg === 'object' ? arg : String(arg);
      link = this.#links[this.#map.ownerOf(this.#map.slotOf(key))]!;
    } catch (error) {
      pending.reject(error);
      return;
    }
    if (command.kind === 'blocking') this.run(args, pending);
    else link.send(args, pending);
  }

  /** {@link sendTo}, but what may wait at the server goes over a connection of its own. */
  sendAlone(server: number, args: readonly CommandArg[], pending: Pending): void {
    const name = String(args[0]).toLowerCase();
    if (commandNamed(name)?.kind === 'blocking' && mayWait(name, requestArgs(args))) this.#routing.block(server, args, pending);
    else this.sendTo(server, args, pending);
  }

  /**
   * Goes by `map` from now on; resolves once nothing that was begun before can be carried out any more: what a mover's barrier asks of a router. A server that
   * stalls with requests of ours keeps it waiting.
   */
  async pass(map: PoolMap): Promise<void> {
    const links = this.#links;
    if (map.epoch > this.#map.epoch) this.setMap(map);
    const isHome = ({ backend, keys }: PrivateConnection): boolean =>
      keys.every((key) => {
        const home = this.#map.homeOf(key);
        const link = home === undefined ? undefined : this.#links[home];
        return link instanceof BackendLink && link.backend === backend;
      });
    await this.privates.leave(isHome);
    await Promise.all(links.map((link) => (link instanceof BackendLink ? link.backend.settled() : undefined)));
  }

  sendTo(server: number, args: readonly CommandArg[], pending: Pending, lane = -1): void {
    this.#links[server]!.send(args, pending, lane);
  }

  /** A private connection that is told when its keys move; give it back or drop it. @throws KF_NOT_SUPPORTED over clients of the user's. */
  takePrivate(server: number, events: PrivateEvents): PrivateConnection {
    const link = this.#links[server]!;
    if (!(link instanceof BackendLink)) throw overOwnClients();
    return this.privates.take(link.backend, true, events);
  }

  /** The place in the map of the server of a private connection; -1 when it is there no more. */
  placeOf({ backend }: PrivateConnection): number {
    return this.#links.findIndex((link) => link instanceof BackendLink && link.backend === backend);
  }

  /** A connection of one's own to a server. @throws KF_NOT_SUPPORTED over clients of the user's. */
  openPrivate(server: number, events: ConstructorParameters<typeof BackendConnection>[1]): BackendConnection {
    const link = this.#links[server]!;
    if (!(link instanceof BackendLink)) throw overOwnClients();
    return link.backend.openPrivate(events, { timeoutMs: undefined });
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#ejection?.close();
    this.privates.close();
    void this.moving?.close?.();
    for (const link of this.#links) link.close();
  }

  /** The one server of all keys. @throws KF_CROSS_SLOT. */
  oneServer(name: string, keys: readonly KeyInput[]): number {
    const server = this.serverOf(keys[0]!);
    for (let i = 1; i < keys.length; i++)
      if (this.serverOf(keys[i]!) !== server)
        throw new KeyfleetError(
          'KF_CROSS_SLOT',
          `${name} needs all its keys on one server; ${shown(keys[0]!)} is on ${this.#links[server]!.name} and ${shown(keys[i]!)} on ${this.#links[this.serverOf(keys[i]!)]!.name}: keep them together with a hash tag`,
        );
    return server;
  }

  serverNamed(name: string): number {
    const index = this.#map.servers.findIndex((server) => server.name === name);
    if (index < 0)
      throw new KeyfleetError(
        'KF_UNKNOWN_NODE',
        `pool ${this.config.name} has no server ${name}; it has ${this.#map.servers.map((one) => one.name).join(', ')}`,
      );
    return index;
  }

  /** MULTI, `commands`, EXEC to the one server of all their keys, without anything between. */
  async multi(commands: readonly (readonly CommandArg[])[]): Promise<BatchResult[]> {
    const keys = commands.flatMap((args) => this.keysOf(args));
    if (keys.length === 0) throw new KeyfleetError('KF_BAD_COMMAND', 'a transaction needs a key that tells its server');
    const brought = await this.moving?.homeOf?.(keys);
    const server = brought ?? this.oneServer('MULTI', keys);
    if (!(this.#links[server] instanceof BackendLink)) throw notSupported('MULTI', 'over clients of your own; use the client itself');
    const ask = (args: readonly CommandArg[]): Promise<ReplyValue> => promised((pending) => this.sendTo(server, args, pending, 0), false);
    const begun = ask(['MULTI']);
    const answers = commands.map((args) => ask(args).catch((error: KeyfleetError) => error));
    const done = ask(['EXEC']);
    await begun;
    const refusals = (await Promise.all(answers)).filter((answer) => answer instanceof KeyfleetError);
    try {
      return (await done) as BatchResult[];
    } catch (error) {
      // EXECABORT says only that there was something; the command's own error says what.
      throw refusals[0] ?? error;
    }
  }

  /** @throws KF_CROSS_SLOT when a command has a key that is not on this server. */
  checkOn(server: number, args: readonly CommandArg[]): void {
    const stray = this.keysOf(args).find((key) => (this.#map.hasMoves ? this.#map.homeOf(key) : this.serverOf(key)) !== server);
    if (stray !== undefined)
      throw new KeyfleetError(
        'KF_CROSS_SLOT',
        `${shown(stray)} is not on ${this.#links[server]!.name}, where the watched keys are: keep them together with a hash tag`,
      );
  }

  /** The keys of a command; of one that is not known, its first argument. */
  keysOf(args: readonly CommandArg[]): KeyInput[] {
    const command = commandNamed(String(args[0]));
    if (command === undefined) return args.length > 1 ? [keyOf(args[1]!)] : [];
    return keyPlaces(command, args).map((place) => keyOf(args[place]!));
  }

  /** Servers that have keys now. */
  liveServers(): number[] {
    return this.#links.map((_, index) => index).filter((index) => this.#ejection?.isEjected(index) !== true);
  }

  #linkTo(server: PoolServer): ServerLink {
    const { clients } = this.#options;
    if (clients !== undefined) {
      const client =
        clients instanceof Map
          ? clients.get(server.name)
          : (clients as Record<string, ConstructorParameters<typeof ClientLink>[1]>)[server.name];
      if (client === undefined)
        throw new KeyfleetError('KF_CONFIG', `pool ${this.config.name}: there is no client for server ${server.name}`);
      return new ClientLink(server.name, client);
    }
    const router = { name: this.#routerName, maySend: () => this.moving?.maySend !== false };
    const settings = backendSettings(this.config, server, router);
    const backend = new Backend(
      { ...settings, ...(this.#options.limits === undefined ? {} : { limits: this.#options.limits }) },
      {
        onUp: () => {
          this.#ejection?.succeeded(this.#indexOf(server));
          this.#listener.up(server);
        },
        onDown: (_, error, failures) => {
          this.#ejection?.failed(this.#indexOf(server), failures);
          this.#listener.down(server, error, failures);
        },
      },
    );
    return new BackendLink(backend);
  }

  #indexOf(server: PoolServer): number {
    return this.#map.servers.findIndex(({ name }) => name === server.name);
  }
}

function overOwnClients(): KeyfleetError {
  return notSupported('subscriptions and transactions', 'over clients of your own; use the client itself');
}

function shown(key: KeyInput): string {
  return JSON.stringify(typeof key === 'string' ? key : Buffer.from(argBytes(key)).toString());
}

/** A promise of a command's answer. */
export function promised(run: (pending: Pending) => void, asBuffers: boolean): Promise<ReplyValue> {
  return new Promise((resolve, reject) => {
    run({ asBuffers, resolve, reject });
  });
}
