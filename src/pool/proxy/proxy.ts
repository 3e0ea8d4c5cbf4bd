import { chmodSync, lstatSync, readFileSync, unlinkSync } from 'node:fs';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { KeyfleetError, messageOf } from '../../base/errors.ts';
import { type PoolConfig, showAddress } from '../pool-config.ts';
import type { PoolMap } from '../pool-map.ts';
import { ProxyClient } from './proxy-client.ts';
import { type PoolEvents, ProxyPool } from './proxy-pool.ts';
import type { ProxyLimits } from './proxy-settings.ts';

export interface ProxyOptions {
  /** Pools to serve; each listens where it says. */
  readonly pools: readonly PoolConfig[];
  readonly limits?: Partial<ProxyLimits>;
  /** Maps that differ from what the pools would start with, by the name of the pool. */
  readonly maps?: ReadonlyMap<string, PoolMap>;
  readonly events?: (pool: string) => PoolEvents;
  readonly workerCount?: number;
  /** First id of clients, so that those of several processes differ. */
  readonly firstClientId?: number;
}

export interface PoolProxy {
  readonly pools: readonly ProxyPool[];
  /** Where each pool listens, by name. */
  readonly addresses: ReadonlyMap<string, { readonly host: string; readonly port: number }>;
  /** Takes no more clients, answers what was received, closes; who does not take the answers within `graceMs` is cut. */
  close(options?: { readonly graceMs?: number }): Promise<void>;
}

const TOO_MANY = '-ERR max number of clients reached\r\n';

/**
 * Serves pools of Redis-like servers to Redis clients: each request goes to the server of its keys, over connections that all clients share.
 *
 * @throws {KeyfleetError} `KF_LISTEN_FAILED` when a port or path is taken or not allowed, `KF_CONFIG` for a pool that cannot be served.
 */
export async function startProxy(options: ProxyOptions): Promise<PoolProxy> {
  const pools: ProxyPool[] = [];
  const servers: Server[] = [];
  const addresses = new Map<string, { host: string; port: number }>();
  let nextId = options.firstClientId ?? 1;
  try {
    for (const config of options.pools) {
      if (!config.redis) throw new KeyfleetError('KF_CONFIG', `pool ${config.name}: only pools with redis: true can be served`);
      if (config.listen === undefined) throw new KeyfleetError('KF_CONFIG', `pool ${config.name}: it does not say where to listen`);
      const map = options.maps?.get(config.name);
      const pool = new ProxyPool(config, {
        ...(options.limits && { limits: options.limits }),
        ...(options.events && { events: options.events(config.name) }),
        ...(map && { map }),
        ...(options.workerCount && { workerCount: options.workerCount }),
      });
      pools.push(pool);
      const server = listener(pool, () => nextId++);
      servers.push(server);
      const address = await listen(server, config);
      pool.port = address.port;
      pool.host = address.host;
      addresses.set(config.name, address);
    }
  } catch (error) {
    for (const server of servers) if (server.listening) server.close();
    for (const pool of pools) pool.close();
    throw error;
  }
  let closing: Promise<void> | undefined;
  return {
    pools,
    addresses,
    close: ({ graceMs = 5_000 } = {}) => (closing ??= close(servers, pools, graceMs)),
  };
}

function listener(pool: ProxyPool, nextId: () => number): Server {
  const accept = (socket: Socket): void => {
    const { stats, config } = pool;
    if (config.clientConnections > 0 && pool.clients.size >= config.clientConnections) {
      stats.clientsRejected++;
      socket.on('error', () => socket.destroy());
      socket.end(TOO_MANY, () => socket.destroy());
      return;
    }
    if (config.tcpKeepalive) socket.setKeepAlive(true, 60_000);
    const client = new ProxyClient(pool, socket, nextId());
    pool.clients.set(client.id, client);
    stats.clients++;
    stats.clientsOpened++;
  };
  const { listenTls } = pool.config;
  if (listenTls === undefined) return createServer({ noDelay: true, allowHalfOpen: true }, accept);
  try {
    const server = createTlsServer(
      {
        cert: readFileSync(listenTls.cert),
        key: readFileSync(listenTls.key),
        noDelay: true,
        allowHalfOpen: true,
        ...(listenTls.ca !== undefined && { ca: readFileSync(listenTls.ca), requestCert: true, rejectUnauthorized: true }),
      },
      accept,
    );
    // A client that breaks off its handshake costs nobody else anything.
    server.on('tlsClientError', (_, socket) => socket.destroy());
    return server;
  } catch (error) {
    throw new KeyfleetError('KF_CONFIG', `pool ${pool.config.name}: listen_tls: ${messageOf(error)}`, { cause: error });
  }
}

async function listen(server: Server, config: PoolConfig): Promise<{ host: string; port: number }> {
  const address = config.listen!;
  const where = 'path' in address ? { path: address.path } : { host: address.host, port: address.port };
  if ('path' in address && lstatSync(address.path, { throwIfNoEntry: false })?.isSocket()) unlinkSync(address.path);
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) =>
      reject(
        new KeyfleetError('KF_LISTEN_FAILED', `pool ${config.name}: cannot listen on ${showAddress(address)}: ${messageOf(error)}`, {
          cause: error,
        }),
      ),
    );
    server.listen({ ...where, backlog: config.backlog }, () => {
      server.removeAllListeners('error');
      // A failed accept (out of file descriptors) costs that one client, not the server.
      server.on('error', () => undefined);
      resolve();
    });
  });
  if ('path' in address) {
    if (address.mode !== undefined) chmodSync(address.path, address.mode);
    return { host: address.path, port: 0 };
  }
  const bound = server.address() as AddressInfo;
  return { host: bound.address, port: bound.port };
}

async function close(servers: readonly Server[], pools: readonly ProxyPool[], graceMs: number): Promise<void> {
  const closed = servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve())));
  for (const pool of pools) for (const client of pool.clients.values()) client.finish();
  const cut = setTimeout(() => {
    for (const pool of pools) for (const client of pool.clients.values()) client.destroy();
  }, graceMs);
  await Promise.all(closed);
  clearTimeout(cut);
  for (const pool of pools) pool.close();
}
