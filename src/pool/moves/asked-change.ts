/** What people ask the owner of a pool for, in words: read, and refused when it makes no sense. */
import { KeyfleetError } from '../../base/errors.ts';
import { formatServer, type KeyRangeConfig, type PoolConfig, type PoolServer, parseServer } from '../pool-config.ts';
import { checkAddresses, type WantedServers, withChanges } from './file-changes.ts';

/** A server of a file, as it goes over the wire. */
export interface AskedServer {
  readonly server: string;
  readonly zone?: string;
}

export interface AskedChange {
  /** `add`, `remove`, `reweight`, or `file`. */
  readonly action?: string;
  readonly server?: string;
  readonly weight?: number;
  /** `file`: its servers … */
  readonly servers?: readonly AskedServer[];
  /** … and those that it had before, when only what has changed is asked for. */
  readonly before?: readonly AskedServer[];
  readonly ranges?: readonly KeyRangeConfig[];
}

/** The change that a file asks for, as it was `before` and is now; ranges say all by themselves. */
export function askedByFile(file: WantedServers, before?: WantedServers): AskedChange {
  const listed = (servers: readonly PoolServer[]): AskedServer[] =>
    servers.map((server) => ({ server: formatServer(server), ...(server.zone === undefined ? {} : { zone: server.zone }) }));
  return {
    action: 'file',
    servers: listed(file.servers),
    ...(before === undefined || file.ranges !== undefined ? {} : { before: listed(before.servers) }),
    ...(file.ranges === undefined ? {} : { ranges: file.ranges }),
  };
}

/** What a pool of these servers is to become. @throws KF_POOL_PLAN. */
export function wantedBy(now: readonly PoolServer[], config: PoolConfig, asked: AskedChange): WantedServers & { readonly title: string } {
  const { action, server = '', weight } = asked;
  const title = `${action} ${server}`;
  switch (action) {
    case 'add': {
      const added = parseNewServer(server);
      if (now.some(({ name }) => name === added.name))
        throw new KeyfleetError('KF_POOL_PLAN', `the pool has a server ${added.name} already`);
      return { title, servers: [...now, added] };
    }
    case 'remove':
      serverNamed(now, server);
      return { title, servers: now.filter(({ name }) => name !== server) };
    case 'reweight':
      serverNamed(now, server);
      if (weight === undefined || !Number.isSafeInteger(weight) || weight < 1)
        throw new KeyfleetError('KF_POOL_PLAN', 'a weight is a whole number from 1');
      return { title, servers: now.map((one) => (one.name === server ? { ...one, weight } : one)) };
    case 'file': {
      const after = listOf(asked.servers ?? []);
      const servers = asked.before === undefined ? after : withChanges(now, listOf(asked.before), after);
      checkAddresses(now, servers);
      return { title: 'the servers of the file', servers, ranges: rangesOf(config, servers, asked.ranges) };
    }
    default:
      throw new KeyfleetError('KF_POOL_PLAN', 'a change is add, remove, reweight or file');
  }
}

/** The server of a name. @throws KF_POOL_PLAN when there is none. */
export function serverNamed(servers: readonly PoolServer[], name: string): PoolServer {
  const found = servers.find((server) => server.name === name);
  if (found === undefined)
    throw new KeyfleetError('KF_POOL_PLAN', `the pool has no server ${name}; it has ${servers.map((one) => one.name).join(', ')}`);
  return found;
}

/** A server as people write it. @throws KF_POOL_PLAN. */
export function parseNewServer(text: string, weight = 1): PoolServer {
  const [address, name = ''] = text.trim().split(/\s+/);
  const server = parseServer(text) ?? parseServer(`${address}:${weight} ${name}`);
  if (server === undefined)
    throw new KeyfleetError(
      'KF_POOL_PLAN',
      `a server is host:port, host:port:weight or "host:port:weight name", not ${JSON.stringify(text)}`,
    );
  return server;
}

function listOf(asked: readonly AskedServer[]): PoolServer[] {
  return asked.map(({ server, zone }) => ({ ...parseNewServer(String(server)), ...(zone === undefined ? {} : { zone: String(zone) }) }));
}

/** @throws KF_POOL_PLAN when a range is for a server that the pool is not to have. */
function rangesOf(
  { distribution }: PoolConfig,
  servers: readonly PoolServer[],
  ranges: readonly KeyRangeConfig[] | undefined,
): readonly KeyRangeConfig[] | undefined {
  if (distribution !== 'ranges' || ranges === undefined) return undefined;
  for (const { server } of ranges) serverNamed(servers, server);
  return ranges;
}
