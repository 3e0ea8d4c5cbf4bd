import { lstatSync, unlinkSync } from 'node:fs';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { KeyfleetError, messageOf } from '../base/errors.ts';
import type { ClusterSource, RedirectPolicy } from './cluster-source.ts';
import { Connection } from './connection.ts';
import { Door, type RedisKeyspace } from './door.ts';
import type { InfoSource } from './info-source.ts';
import { type RespSettings, respSettings } from './settings.ts';
import { RespStats } from './stats.ts';

export interface RespServerOptions {
  readonly keyspace: RedisKeyspace;
  readonly info: InfoSource;
  /** 127.0.0.1 when absent: nobody but this machine. */
  readonly host?: string;
  /** 7379 when absent; 0 lets the system choose. */
  readonly port?: number;
  /** Path of a Unix socket to listen on as well. A socket left there by a dead server is removed. */
  readonly unixSocket?: string;
  readonly settings?: Partial<RespSettings>;
  /** The cluster that the keyspace is of. */
  readonly cluster?: ClusterSource;
  /** Default: `auto`. */
  readonly redirects?: RedirectPolicy;
}

export interface RespServer {
  /** Where it listens. */
  readonly address: { readonly host: string; readonly port: number };
  /** As CONFIG SET has left them. */
  readonly settings: Readonly<RespSettings>;
  /** Counters for metrics; read, not written. */
  readonly stats: RespStats;
  /**
   * Accepts no more, answers every request that was received whole, then closes the connections; those whose answers do not leave within
   * `graceMs` (5,000 when absent) are cut. Resolves when all are closed. The keyspace must stay open until then.
   */
  close(options?: { readonly graceMs?: number }): Promise<void>;
}

export const DEFAULT_RESP_PORT = 7379;
const BACKLOG = 4_096;
const TOO_MANY = '-ERR max number of clients reached\r\n';

/**
 * Serves a keyspace to Redis clients, RESP2 and RESP3.
 *
 * @throws {KeyfleetError} `KF_LISTEN_FAILED` when the port or path is taken or not allowed; `KF_RESP_SETTING` for a setting out of bounds.
 */
export async function startRespServer(options: RespServerOptions): Promise<RespServer> {
  const settings = respSettings(options.settings);
  const stats = new RespStats();
  const door = new Door({ ...options, settings, stats });
  let nextId = 1;
  const accept = (socket: Socket): void => {
    if (door.connections.size >= settings.maxclients) {
      stats.connectionsRejected++;
      socket.on('error', () => socket.destroy());
      socket.end(TOO_MANY, () => socket.destroy());
      return;
    }
    if (settings['tcp-keepalive'] > 0) socket.setKeepAlive(true, settings['tcp-keepalive'] * 1_000);
    const conn = new Connection(door, socket, nextId++);
    door.connections.set(conn.id, conn);
    stats.connectionsOpened++;
    stats.connections++;
    stats.connectionsPeak = Math.max(stats.connectionsPeak, stats.connections);
  };
  const listener = (): Server => createServer({ noDelay: true, allowHalfOpen: true }, accept);

  const servers: Server[] = [];
  const host = options.host ?? '127.0.0.1';
  const port = options.port ?? DEFAULT_RESP_PORT;
  try {
    const tcp = listener();
    servers.push(tcp);
    await listen(tcp, { host, port, backlog: BACKLOG }, `${host}:${port}`);
    if (options.unixSocket !== undefined) {
      removeDeadSocket(options.unixSocket);
      const unix = listener();
      servers.push(unix);
      await listen(unix, { path: options.unixSocket, backlog: BACKLOG }, options.unixSocket);
    }
  } catch (error) {
    for (const server of servers) if (server.listening) server.close();
    throw error;
  }
  const bound = servers[0]!.address() as AddressInfo;
  door.port = bound.port;

  const ticking = setInterval(() => {
    const nowMs = Date.now();
    stats.tick(nowMs);
    for (const conn of door.connections.values()) conn.check(nowMs);
  }, TICK_MS);
  ticking.unref();

  let closing: Promise<void> | undefined;
  return {
    address: { host: bound.address, port: bound.port },
    settings,
    stats,
    close: ({ graceMs = 5_000 } = {}) => (closing ??= close(servers, door, graceMs).finally(() => clearInterval(ticking))),
  };
}

const TICK_MS = 500;

async function close(servers: readonly Server[], door: Door, graceMs: number): Promise<void> {
  const closed = servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve())));
  door.unpause();
  for (const conn of door.connections.values()) conn.finish();
  const cut = setTimeout(() => {
    for (const conn of door.connections.values()) conn.destroy();
  }, graceMs);
  await Promise.all(closed);
  door.stopListening();
  clearTimeout(cut);
}

function listen(server: Server, where: object, shown: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) =>
      reject(new KeyfleetError('KF_LISTEN_FAILED', `cannot listen on ${shown}: ${messageOf(error)}`, { cause: error })),
    );
    server.listen(where, () => {
      server.removeAllListeners('error');
      // A failed accept (out of file descriptors) costs that one client, not the server.
      server.on('error', () => undefined);
      resolve();
    });
  });
}

function removeDeadSocket(path: string): void {
  if (lstatSync(path, { throwIfNoEntry: false })?.isSocket()) unlinkSync(path);
}
