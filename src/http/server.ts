import type { Socket } from 'node:net';
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { KeyfleetError, messageOf } from '../base/errors.ts';
import { KIB, MIB } from '../base/units.ts';
import { carriesSecret, isLoopbackAddress, isLoopbackHost } from '../door/access.ts';
import { serveBackups } from './backup-routes.ts';
import { serveBatches } from './batch-routes.ts';
import { BodyBudget, takeBytes } from './body-parser.ts';
import { errorBody, foreignError, statusOf } from './http-error.ts';
import type { HttpKeyspace, HttpStore } from './http-store.ts';
import { serveKeys, setKeyAside } from './key-routes.ts';
import { Metrics } from './metrics.ts';
import { serveModules } from './module-routes.ts';
import { serveNodes } from './node-routes.ts';
import { serveScan } from './scan-route.ts';
import { serveShards } from './shard-routes.ts';
import { keyspaceReport, type StatusReport, statusReport } from './status.ts';
import { welcomePage } from './welcome-page.ts';

export interface HttpServerOptions {
  readonly store: HttpStore;
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  readonly version: string;
  /** The password as it is now; empty or absent: everyone who can connect may read and write. */
  readonly password?: () => string;
  readonly maxConnections?: number;
  readonly maxBodyBytes?: number;
  /** How long a client may take to send a request whole. */
  readonly requestTimeoutMs?: number;
  /** How long a connection may stand still, while idle, sending, or not reading its answer. */
  readonly idleTimeoutMs?: number;
  /** Numbers of the other doors, for `/v1/status` and `/metrics`. */
  readonly doors?: () => StatusReport['doors'];
  /** Told of every fault of our own (status 500); the client only learns that there was one. */
  readonly onFault?: (error: unknown, request: { readonly method: string; readonly url: string }) => void;
}

export interface HttpServer {
  readonly host: string;
  readonly port: number;
  /** Takes no new connection or request, lets those under way end for at most `graceMs`, then cuts the rest off. */
  close(graceMs?: number): Promise<void>;
}

const OPEN_TO_ALL = new Set(['/healthz', '/readyz']);

/** Serves the store over HTTP; resolves when it listens. @throws KF_LISTEN_FAILED. */
export async function startHttpServer(options: HttpServerOptions): Promise<HttpServer> {
  const startedMs = Date.now();
  const maxBodyBytes = options.maxBodyBytes ?? 64 * MIB;
  const requestTimeout = options.requestTimeoutMs ?? 120_000;
  const budget = new BodyBudget(Math.max(4 * maxBodyBytes, 256 * MIB));
  let isClosing = false;
  let openConnections = 0;
  let requestCount = 0;
  const doors = (): StatusReport['doors'] => ({
    ...options.doors?.(),
    http: { connections: openConnections, requests: requestCount },
  });
  const { store, version } = options;
  const metrics = new Metrics({ store, version, budget, doors });

  const server: FastifyInstance = fastify({
    rewriteUrl: setKeyAside,
    exposeHeadRoutes: false,
    forceCloseConnections: 'idle',
    bodyLimit: maxBodyBytes,
    connectionTimeout: options.idleTimeoutMs ?? 60_000,
    keepAliveTimeout: options.idleTimeoutMs ?? 60_000,
    requestTimeout,
    http: {
      maxHeaderSize: 64 * KIB,
      headersTimeout: Math.min(requestTimeout, 20_000),
      connectionsCheckingInterval: Math.min(requestTimeout, 2_000),
    },
    clientErrorHandler: refuseConnection,
    frameworkErrors: (error, _request, reply) => void sendError(reply, error),
  });
  server.server.maxConnections = options.maxConnections ?? 2_000;
  server.server.on('connection', (socket: Socket) => {
    openConnections++;
    socket.once('close', () => openConnections--);
  });

  const isLoopbackOnly = isLoopbackAddress(options.host);
  server.addHook('onRequest', async (request, reply) => {
    requestCount++;
    const path = request.url.split('?', 1)[0]!;
    const password = options.password?.() ?? '';
    if (password === '' && isLoopbackOnly && !isLoopbackHost(request.headers.host)) {
      throw new KeyfleetError(
        'KF_HOST_REFUSED',
        `without a password this server answers only to localhost, not to ${JSON.stringify(request.headers.host)}; set a password to allow other names`,
      );
    }
    if (password !== '' && !OPEN_TO_ALL.has(path) && !carriesSecret(request.headers, password)) {
      reply.header('www-authenticate', 'Basic realm="keyfleet", charset="UTF-8"');
      throw new KeyfleetError('KF_UNAUTHORIZED', 'send the password, as Authorization: Bearer PASSWORD or as the password of Basic');
    }
  });
  server.addHook('onSend', async (_request, reply, payload) => {
    reply.header('x-content-type-options', 'nosniff');
    reply.header('cache-control', 'no-store');
    return payload;
  });
  server.addHook('onResponse', async (request, reply) => {
    const route = request.routeOptions.url ?? 'none';
    metrics.answered({ method: request.method, route, status: reply.statusCode, seconds: reply.elapsedTime / 1_000 });
  });
  takeBytes(server, { maxBodyBytes, budget });
  server.setErrorHandler((error, request, reply) => {
    if (!foreignError(error)) options.onFault?.(error, { method: request.method, url: request.url });
    return sendError(reply, error);
  });
  server.setNotFoundHandler((request, reply) =>
    sendError(
      reply,
      new KeyfleetError('KF_NOT_FOUND', `there is no ${request.method} ${request.url.split('?', 1)[0]}; docs/http.md lists what there is`),
    ),
  );

  const keyspaceOf = (request: FastifyRequest<{ Params: { readonly keyspace: string } }>): HttpKeyspace => {
    const { keyspace: name } = request.params;
    const keyspace = store.keyspace(name);
    if (!keyspace) throw notServed(store, name);
    return keyspace;
  };
  serveKeys(server, keyspaceOf, budget);
  serveBatches(server, keyspaceOf);
  serveScan(server, keyspaceOf);
  serveModules(server, keyspaceOf);
  serveShards(server, (name) => {
    const admin = store.shardAdmin(name);
    if (!admin) throw notServed(store, name);
    return admin;
  });
  serveNodes(server, store.cluster);
  serveBackups(server, store.backups, maxBodyBytes);
  server.get('/v1/keyspaces', async () => ({ keyspaces: store.keyspaceNames().map((name) => summary(store.keyspace(name)!)) }));
  server.get<{ Params: { readonly keyspace: string } }>('/v1/keyspaces/:keyspace', async (request) => {
    const keyspace = keyspaceOf(request);
    return { ...keyspaceReport(store, keyspace), ...(await keyspace.counts()) };
  });
  server.get('/v1/status', async () => statusReport(store, { version, uptimeMs: Date.now() - startedMs, doors: doors() }));
  server.get('/metrics', async (_request, reply) => reply.type(metrics.registry.contentType).send(await metrics.registry.metrics()));
  server.get('/healthz', async (_request, reply) => reply.type('text/plain').send('ok\n'));
  server.get('/readyz', async (_request, reply) => {
    const { refusal } = store;
    if (isClosing) throw new KeyfleetError('KF_CLOSED', 'the server is shutting down', { retryable: true });
    const unready = store.cluster?.unready;
    if (unready !== undefined) throw new KeyfleetError('KF_UNAVAILABLE', unready, { retryable: true });
    if (refusal) return reply.code(503).send(errorBody(foreignError(refusal) ?? new KeyfleetError('KF_STORAGE_FAILED', refusal.message)));
    return reply.type('text/plain').send('ready\n');
  });
  server.get('/', async (_request, reply) => reply.type('text/html').send(welcomePage(version)));

  try {
    await server.listen({ host: options.host, port: options.port, listenTextResolver: () => '' });
  } catch (error) {
    await server.close();
    throw listenError(error, options);
  }
  const address = server.server.address();
  const port = typeof address === 'object' && address ? address.port : options.port;
  return {
    host: options.host,
    port,
    async close(graceMs = 5_000) {
      isClosing = true;
      const deadline = setTimeout(() => server.server.closeAllConnections(), graceMs);
      await server.close();
      clearTimeout(deadline);
    },
  };
}

function summary(keyspace: HttpKeyspace): Readonly<Record<string, unknown>> {
  const { name, keyCount, sizeBytes } = keyspace;
  return { name, keyCount, sizeBytes, shardCount: keyspace.shards().length };
}

/** Why a keyspace is not served. */
function notServed(store: HttpStore, name: string): KeyfleetError {
  const module = store.missingModule?.(name);
  if (module === undefined) return new KeyfleetError('KF_NO_KEYSPACE', `there is no keyspace ${JSON.stringify(name)}`);
  return new KeyfleetError(
    'KF_MODULE_MISSING',
    `keyspace ${name} is there, and its value module ${module} was not given to this server (--module)`,
  );
}

function sendError(reply: FastifyReply, error: unknown): FastifyReply {
  const known = foreignError(error);
  if (!known)
    return reply
      .code(500)
      .type('application/json')
      .send(errorBody(new KeyfleetError('KF_INTERNAL', 'a fault of the server; its log says more')));
  if (known.retryable) reply.header('retry-after', '1');
  return reply.code(statusOf(known)).type('application/json').send(errorBody(known));
}

/** What arrives is not HTTP, too long, or too slow: the answer goes straight to the socket, since there is no request to answer. */
function refuseConnection(error: Error & { readonly code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
  const known = foreignError(error) ?? new KeyfleetError('KF_BAD_REQUEST', messageOf(error));
  const body = JSON.stringify(errorBody(known));
  const head = `HTTP/1.1 ${statusOf(known)} ${known.code}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n`;
  socket.end(head + body);
  socket.setTimeout(1_000, () => socket.destroy());
}

function listenError(error: unknown, { host, port }: HttpServerOptions): KeyfleetError {
  return new KeyfleetError('KF_LISTEN_FAILED', `cannot listen on ${host}:${port}: ${messageOf(error)}`, { cause: error });
}
