import { KeyfleetError } from '../base/errors.ts';
import type { BackendLimits } from './backend-connection.ts';
import { DISTRIBUTIONS, POOL_DEFAULTS, type PoolConfig, type PoolServer, parseServer, whyNotFollowing } from './pool-config.ts';
import { readPoolsFile } from './pools-file.ts';
import type { UserClient } from './server-link.ts';

/** What {@link createPool} takes: a file of pools, or the settings themselves by the names of {@link PoolConfig}; given settings go before the file's. */
export interface PoolOptions extends Partial<Omit<PoolConfig, 'servers'>> {
  /** A file of pools, in twemproxy's YAML or our superset of it. */
  readonly file?: string;
  /** Which pool of the file; may be left out when there is one. */
  readonly pool?: string;
  /** `host:port`, `host:port:weight`, `host:port:weight name`, with a path instead of `host:port` for a unix socket, or whole {@link PoolServer}s. */
  readonly servers?: readonly (string | PoolServer)[];
  /** Clients of your own (ioredis, iovalkey, node-redis) by the names of the servers; the pool then opens no sockets and closes none. */
  readonly clients?: Readonly<Record<string, UserClient>> | ReadonlyMap<string, UserClient>;
  readonly limits?: Partial<BackendLimits>;
}

/** The pool that the options describe. @throws KF_CONFIG. */
export function resolvePool(options: PoolOptions): PoolConfig {
  const { file, pool, servers, clients: _, limits: __, ...given } = options;
  const base = file === undefined ? undefined : chosenPool(file, pool);
  const defaults: Omit<PoolConfig, 'servers'> = { ...POOL_DEFAULTS, name: pool ?? 'pool', redis: true };
  const listed = servers?.map((one) => (typeof one === 'string' ? serverOf(one) : one)) ?? base?.servers ?? [];
  const config: PoolConfig = { ...defaults, ...base, ...given, servers: listed };
  if (!(DISTRIBUTIONS as readonly string[]).includes(config.distribution))
    throw bad(config, `there is no distribution ${config.distribution}; there are ${DISTRIBUTIONS.join(', ')}`);
  if (config.servers.length === 0) throw bad(config, 'there are no servers');
  const names = new Set(config.servers.map(({ name }) => name));
  if (names.size < config.servers.length) throw bad(config, 'two servers have one name');
  if (config.autoEjectHosts && (config.distribution === 'ranges' || config.distribution === 'slots'))
    throw bad(config, `auto_eject_hosts is for caches, whose keys may go to any server; not for distribution: ${config.distribution}`);
  const unfit = whyNotFollowing(config);
  if (unfit !== undefined) throw bad(config, unfit);
  if (!config.redis)
    throw bad(config, 'its servers speak the protocol of memcached, since `redis: true` is not there; only Redis is spoken here');
  return config;
}

function chosenPool(path: string, name: string | undefined): PoolConfig {
  const { pools } = readPoolsFile(path);
  if (name === undefined && pools.length > 1)
    throw new KeyfleetError('KF_CONFIG', `${path} has several pools (${pools.map((one) => one.name).join(', ')}); say which`);
  const found = name === undefined ? pools[0] : pools.find((one) => one.name === name);
  if (!found)
    throw new KeyfleetError('KF_CONFIG', `${path} has no pool ${JSON.stringify(name)}; it has ${pools.map((one) => one.name).join(', ')}`);
  return found;
}

function serverOf(text: string): PoolServer {
  const server = parseServer(text) ?? parseServer(/:\d+$|^\//.test(text) ? `${text}:1` : `${text}:6379:1`);
  if (!server)
    throw new KeyfleetError(
      'KF_CONFIG',
      `a server is "host:port", "host:port:weight" or "host:port:weight name", not ${JSON.stringify(text)}`,
    );
  return server;
}

function bad(config: PoolConfig, what: string): KeyfleetError {
  return new KeyfleetError('KF_CONFIG', `pool ${config.name}: ${what}`);
}
