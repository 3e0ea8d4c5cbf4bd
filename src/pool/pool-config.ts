import type { HashkitName } from '../partition/hash/hashkit.ts';

/** How keys find their server: the two of twemproxy that have an answer for a key, its `random`, and ours. */
export const DISTRIBUTIONS = ['ketama', 'modula', 'random', 'rendezvous', 'jump', 'maglev', 'fair', 'slots', 'ranges'] as const;
export type Distribution = (typeof DISTRIBUTIONS)[number];

/** Where a server listens: TCP, or a unix socket. */
export type ServerAddress = { readonly host: string; readonly port: number } | { readonly path: string };

export interface PoolServer {
  /** Distinct in its pool, and what decides where its keys lie: the name given, else `host:port` (`host` alone for port 11211), else the path. */
  readonly name: string;
  readonly address: ServerAddress;
  /** A whole number from 1. */
  readonly weight: number;
  readonly zone?: string;
}

/** TLS to the servers. PEM files; all of them may be left out when a public authority signed the servers' certificates. */
export interface BackendTls {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly serverName?: string;
  /** False accepts any certificate. */
  readonly verify: boolean;
}

/** TLS towards the clients of the proxy. */
export interface ListenTls {
  readonly cert: string;
  readonly key: string;
  /** When there, clients must show a certificate signed by it. */
  readonly ca?: string;
}

/** Where the proxy listens; `mode` is of a unix socket. */
export type ListenAddress = { readonly host: string; readonly port: number } | { readonly path: string; readonly mode?: number };

/** Where the owner of a pool is (`keyfleet pool owner`). */
export interface PoolControl {
  readonly url: string;
  readonly password?: string;
  /** A file whose first line is the password. */
  readonly passwordFile?: string;
}

/** One range of ordered keys, from `from` (before all keys when absent) up to the next one's. */
export interface KeyRangeConfig {
  readonly from?: string | number;
  /** The name of a server. */
  readonly server: string;
}

/** A pool as its file, or a program, describes it, with every default filled in. Times in milliseconds, as twemproxy has them. */
export interface PoolConfig {
  readonly name: string;
  readonly listen?: ListenAddress;
  readonly listenTls?: ListenTls;
  /** One of twemproxy's hashes, or of ours by name; `slots` and `ranges` have no use for it. */
  readonly hash: HashkitName | string;
  /** Two characters; `slots` always goes by `{}` as Redis Cluster does. */
  readonly hashTag?: string;
  readonly distribution: Distribution;
  /** How long a server may take to connect and to answer; undefined: for ever. */
  readonly timeoutMs?: number;
  readonly backlog: number;
  /** The most clients; 0: no limit of ours. */
  readonly clientConnections: number;
  readonly tcpKeepalive: boolean;
  readonly preconnect: boolean;
  /** False: a pool of memcached servers, which can be planned for but not served. */
  readonly redis: boolean;
  readonly auth?: string;
  readonly username?: string;
  readonly db: number;
  readonly serverConnections: number;
  /** Cache mode. False is store mode: a key has one home, and a dead home is an error. */
  readonly autoEjectHosts: boolean;
  readonly serverRetryTimeoutMs: number;
  readonly serverFailureLimit: number;
  readonly tls?: BackendTls;
  readonly workers: number;
  /** What cluster clients are shown at the proxy's port; `off`: it is no cluster. */
  readonly redirects: 'off' | 'proxies' | 'backends';
  /** The servers are nodes of one Redis Cluster, where to begin: its slots decide, and its MOVED and ASK are followed. */
  readonly cluster: boolean;
  /** The pool's owner, which routers follow: its map counts, and not the servers of the file. */
  readonly control?: PoolControl;
  /** `host:port` of the statistics. */
  readonly stats?: { readonly host: string; readonly port: number };
  /** Slots of the distributions that have a table of them; a power of two is not needed. */
  readonly slots: number;
  readonly ranges?: readonly KeyRangeConfig[];
  /** Whether `ranges` compares keys as text, or by the first number that stands in them. */
  readonly rangeBy: 'text' | 'number';
  readonly servers: readonly PoolServer[];
}

/** What a pool has when its description is silent: twemproxy's own defaults. */
export const POOL_DEFAULTS = {
  hash: 'fnv1a_64',
  distribution: 'ketama',
  backlog: 512,
  clientConnections: 0,
  tcpKeepalive: false,
  preconnect: false,
  db: 0,
  serverConnections: 1,
  autoEjectHosts: false,
  serverRetryTimeoutMs: 30_000,
  serverFailureLimit: 2,
  workers: 1,
  redirects: 'off',
  cluster: false,
  slots: 16_384,
  rangeBy: 'text',
} as const satisfies Partial<PoolConfig>;

/** Why a pool cannot follow the owner that it names; undefined when it can, or names none. */
export function whyNotFollowing(config: PoolConfig): string | undefined {
  if (config.control === undefined) return undefined;
  if (config.autoEjectHosts) return 'a pool with an owner has its keys at home, so auto_eject_hosts is not for it';
  if (config.cluster) return 'cluster: true follows the slots of a Redis Cluster, so the pool has no owner of its own';
  if (config.redirects === 'backends')
    return 'redirects: backends sends clients straight to the servers, which cannot tell them where a key on its way is, nor make them wait; use redirects: proxies';
  return undefined;
}

/** The pools of one file, in its order. */
export interface PoolsFile {
  readonly path: string;
  readonly pools: readonly PoolConfig[];
}

/** As in the file: `127.0.0.1:6379`, `/run/redis.sock`. */
export function showAddress(address: ServerAddress): string {
  return 'path' in address ? address.path : `${address.host}:${address.port}`;
}

/** The name of a server that was given none, as twemproxy makes it. */
export function defaultServerName(address: ServerAddress): string {
  if ('path' in address) return address.path;
  return address.port === 11_211 ? address.host : `${address.host}:${address.port}`;
}

/**
 * The order in which twemproxy numbers its servers, whatever that of the file: by the length of their names, then byte by byte. It decides under
 * `modula`, and between equal points of `ketama`.
 *
 * @see conf_validate_server and string_compare of twemproxy, which sorts to find duplicates and keeps the order.
 */
export function compareAsTwemproxy(a: { readonly name: string }, b: { readonly name: string }): number {
  return Buffer.byteLength(a.name) - Buffer.byteLength(b.name) || Buffer.compare(Buffer.from(a.name), Buffer.from(b.name));
}

/** `host:port` or a path of a unix socket; undefined when it is neither. */
export function parseAddress(text: string): ServerAddress | undefined {
  if (text.startsWith('/')) return /\s/.test(text) ? undefined : { path: text };
  const match = /^(\S+):(\d{1,5})$/.exec(text);
  const port = Number(match?.[2]);
  if (!match || port < 1 || port > 65_535) return undefined;
  return { host: match[1]!.replace(/^\[(.*)\]$/, '$1'), port };
}

/** `host:port:weight [name]` or `/path:weight [name]`; undefined when it is neither. */
export function parseServer(text: string): PoolServer | undefined {
  const match = /^(\S+):(\d+)(?:\s+(\S+))?$/.exec(text.trim());
  const address = match ? parseAddress(match[1]!) : undefined;
  const weight = Number(match?.[2]);
  if (!match || !address || weight < 1 || weight > 0x7fff_ffff) return undefined;
  return { name: match[3] ?? defaultServerName(address), address, weight };
}

/** The server as a line of the file; the name only where it is not the default. */
export function formatServer(server: PoolServer): string {
  const named = server.name === defaultServerName(server.address) ? '' : ` ${server.name}`;
  const address =
    'host' in server.address && server.address.host.includes(':')
      ? `[${server.address.host}]:${server.address.port}`
      : showAddress(server.address);
  return `${address}:${server.weight}${named}`;
}
