import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Bytes } from '../base/bytes.ts';
import { type ErrorCode, isKeyfleetError, KeyfleetError, messageOf } from '../base/errors.ts';
import { KIB, MIB } from '../base/units.ts';
import { carriesSecret, isLoopbackAddress } from '../door/access.ts';
import { requireLoopbackHost, requireOwnOrigin } from './access.ts';

// What the master and the volume server share as HTTP servers: keys in paths, errors as JSON, tokens, streaming with backpressure, a
// graceful end. On node:http itself: a key in a path is any bytes, which routers that decode paths as UTF-8 cannot carry.

/** Longest key, in bytes. */
export const MAX_KEY_BYTES = 8 * KIB;
/** Longest body of a batch request. */
const MAX_BATCH_BODY_BYTES = 64 * MIB;
/** How slow or many those who ask may be, so that none of them holds up the others. */
export interface DoorLimits {
  /** The headers of a request are there so long after its first byte. */
  readonly headersMs: number;
  /** A connection on which a request is under way and nothing moves for so long is ended. */
  readonly stalledMs: number;
  /** A body brings at least so many bytes in each `stalledMs` that are spent waiting for it. */
  readonly leastBodyBytes: number;
  /** Connections at the same time; more are not taken. */
  readonly connections: number;
}

export const DOOR_LIMITS: DoorLimits = { headersMs: 20_000, stalledMs: 60_000, leastBodyBytes: KIB, connections: 4_096 };

const STATUS: Readonly<Record<string, number>> = {
  KF_BAD_REQUEST: 400,
  KF_KEY_TOO_LARGE: 414,
  KF_UNAUTHORIZED: 401,
  KF_HOST_REFUSED: 403,
  KF_ORIGIN_REFUSED: 403,
  KF_NOT_FOUND: 404,
  KF_NEWER_VERSION: 409,
  KF_FENCED: 409,
  KF_BUSY: 409,
  KF_WRONG_VOLUME: 421,
  KF_WRONG_VOLUMES: 409,
  KF_OTHER_FLEET: 409,
  KF_LAST_VOLUME: 409,
  KF_VOLUME_NOT_EMPTY: 409,
  KF_NOT_A_VOLUME: 409,
  KF_UNKNOWN_VOLUME: 404,
  KF_CHECKSUM_MISMATCH: 422,
  KF_VALUE_TOO_LARGE: 413,
  KF_REQUEST_INCOMPLETE: 400,
  KF_VOLUME_UNAVAILABLE: 503,
  KF_OUTCOME_UNKNOWN: 503,
  KF_STORAGE_FAILED: 503,
  KF_DISK_FULL: 507,
};

export type Handler = (request: IncomingMessage, response: ServerResponse, url: RequestTarget) => Promise<void>;

/** The target of a request, its path still percent-encoded. */
export interface RequestTarget {
  readonly path: string;
  readonly query: URLSearchParams;
}

export interface Door {
  readonly host: string;
  readonly port: number;
  /** Takes no new connection, lets running requests end (for at most `graceMs`), and ends. */
  close(graceMs?: number): Promise<void>;
}

export interface DoorOptions {
  readonly host: string;
  readonly port: number;
  readonly handler: Handler;
  /** When set, every request but health checks carries `Authorization: Bearer <token>`. */
  readonly token?: string | undefined;
  /** Something else than the token keeps strangers from changing what must not be changed: other names than localhost are taken. */
  readonly isGuarded?: boolean;
  readonly onError?: (error: unknown, request: IncomingMessage) => void;
  readonly limits?: DoorLimits | undefined;
}

/** @throws KF_LISTEN_FAILED */
export async function openDoor(options: DoorOptions): Promise<Door> {
  const limits = options.limits ?? DOOR_LIMITS;
  const server = createServer(
    {
      maxHeaderSize: 64 * KIB,
      // A body may take as long as it moves.
      requestTimeout: 0,
      headersTimeout: limits.headersMs,
      connectionsCheckingInterval: Math.ceil(limits.headersMs / 4),
      keepAliveTimeout: 30_000,
    },
    (request, response) => {
      void answer(options, request, response);
    },
  );
  server.timeout = limits.stalledMs;
  server.maxConnections = limits.connections;
  server.on('clientError', refuseConnection);
  await listen(server, options);
  const address = server.address() as AddressInfo;
  return { host: options.host, port: address.port, close: (graceMs = 5_000) => closeServer(server, graceMs) };
}

async function answer(options: DoorOptions, request: IncomingMessage, response: ServerResponse): Promise<void> {
  request.on('error', () => {});
  response.on('error', () => {});
  try {
    if (options.token === undefined && !options.isGuarded && isLoopbackAddress(options.host)) requireLoopbackHost(request);
    requireOwnOrigin(request);
    const target = request.url ?? '/';
    const mark = target.indexOf('?');
    const url = { path: mark < 0 ? target : target.slice(0, mark), query: new URLSearchParams(mark < 0 ? '' : target.slice(mark + 1)) };
    if (options.token !== undefined && url.path !== '/healthz' && !carriesSecret(request.headers, options.token)) {
      throw new KeyfleetError('KF_UNAUTHORIZED', 'this server wants a token: send Authorization: Bearer <token>');
    }
    await options.handler(request, response, url);
  } catch (error) {
    if (!isKeyfleetError(error)) options.onError?.(error, request);
    sendError(request, response, error);
  }
}

/** What arrives is not HTTP, too long or too slow: there is no request to answer, only a socket. */
function refuseConnection(error: Error & { readonly code?: string }, socket: Duplex): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const tooLong = error.code === 'HPE_HEADER_OVERFLOW';
  let code = tooLong ? 'KF_KEY_TOO_LARGE' : 'KF_BAD_REQUEST';
  let message = `this is not HTTP: ${error.message}`;
  if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    code = 'KF_REQUEST_INCOMPLETE';
    message = 'the headers of the request did not end in time; send it again, whole';
  } else if (tooLong) message = `the key and the headers are too long; a key has at most ${MAX_KEY_BYTES} bytes`;
  else if (error.code === 'HPE_INVALID_URL') message = 'the key in the path has bytes that are no ASCII letters: percent-encode them';
  const body = `${JSON.stringify({ error: { code, message } })}\n`;
  const head = `HTTP/1.1 ${STATUS[code]} ${code}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n`;
  socket.end(head + body);
}

export function sendJson(response: ServerResponse, status: number, body: unknown, headers: Readonly<Record<string, string>> = {}): void {
  const text = Buffer.from(`${JSON.stringify(body)}\n`);
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8', 'content-length': text.length, ...headers });
  response.end(text);
}

/** Answers with the error as JSON; once the answer has begun there is only cutting the connection, so that nobody takes half for whole. */
export function sendError(request: IncomingMessage, response: ServerResponse, error: unknown): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const code: ErrorCode = isKeyfleetError(error) ? error.code : 'KF_INTERNAL';
  const status = STATUS[code] ?? 500;
  // A body that nobody will read is not waited for: say so and close.
  const hasBody = request.headers['transfer-encoding'] !== undefined || Number(request.headers['content-length'] ?? 0) > 0;
  const unread = hasBody && !request.complete;
  sendJson(
    response,
    status,
    { error: { code, message: messageOf(error) } },
    { 'keyfleet-error': code, ...(unread ? { connection: 'close' } : {}), ...(status === 401 ? { 'www-authenticate': 'Bearer' } : {}) },
  );
  if (unread) response.once('finish', () => setTimeout(() => request.destroy(), 500).unref());
}

/** The key in `path` behind `prefix`, percent-decoded to bytes. @throws KF_BAD_REQUEST, KF_KEY_TOO_LARGE */
export function keyInPath(path: string, prefix: string): Bytes {
  const encoded = path.slice(prefix.length);
  const bytes = Buffer.allocUnsafe(Buffer.byteLength(encoded));
  let length = 0;
  for (let at = 0; at < encoded.length; at++) {
    const code = encoded.charCodeAt(at);
    if (code === 0x25) {
      const hex = encoded.slice(at + 1, at + 3);
      if (!/^[0-9a-fA-F]{2}$/.test(hex))
        throw new KeyfleetError('KF_BAD_REQUEST', `the key has a % that is not followed by two hex digits (at ${at}); write % as %25`);
      bytes[length++] = Number.parseInt(hex, 16);
      at += 2;
    } else {
      // Node hands over the request target as latin1: one character a byte.
      bytes[length++] = code;
    }
  }
  if (length > MAX_KEY_BYTES)
    throw new KeyfleetError('KF_KEY_TOO_LARGE', `the key has ${length} bytes; at most ${MAX_KEY_BYTES} are taken`);
  return bytes.subarray(0, length);
}

/** `key` for a path: everything but letters, digits and - . _ ~ percent-encoded. */
export function keyToPath(key: Bytes): string {
  let path = '';
  for (const byte of key) {
    const plain =
      (byte >= 0x30 && byte <= 0x39) ||
      (byte >= 0x41 && byte <= 0x5a) ||
      (byte >= 0x61 && byte <= 0x7a) ||
      byte === 0x2d ||
      byte === 0x2e ||
      byte === 0x5f ||
      byte === 0x7e;
    path += plain ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return path;
}

/** The whole body of a request, at most `limitBytes`. @throws KF_VALUE_TOO_LARGE, KF_REQUEST_INCOMPLETE */
export async function readBody(
  request: IncomingMessage,
  {
    limitBytes = MAX_BATCH_BODY_BYTES,
    limits = DOOR_LIMITS,
  }: { readonly limitBytes?: number; readonly limits?: DoorLimits | undefined } = {},
): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let length = 0;
  for await (const piece of bodyPieces(request, limits)) {
    length += piece.length;
    if (length > limitBytes) throw new KeyfleetError('KF_VALUE_TOO_LARGE', `the body has more than ${limitBytes} bytes`);
    pieces.push(piece);
  }
  return pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces, length);
}

/**
 * The body of a request piece by piece; one that ends early, or comes drop by drop, is an error and not a shorter body.
 * @throws KF_REQUEST_INCOMPLETE
 */
export async function* bodyPieces(request: IncomingMessage, limits: DoorLimits = DOOR_LIMITS): AsyncGenerator<Buffer, void> {
  let waitedMs = 0;
  let bytes = 0;
  let askedAtMs = performance.now();
  try {
    for await (const piece of request) {
      // Only the time in which we waited counts: the sender cannot help it when it is we who are slow.
      waitedMs += performance.now() - askedAtMs;
      bytes += (piece as Buffer).length;
      if (waitedMs > limits.stalledMs) {
        if (bytes < limits.leastBodyBytes) throw incomplete('the body of the request came too slowly');
        waitedMs = 0;
        bytes = 0;
      }
      yield piece as Buffer;
      askedAtMs = performance.now();
    }
  } catch (error) {
    throw isKeyfleetError(error) ? error : incomplete('the request ended before its body did', error);
  }
  if (!request.complete) throw incomplete('the request ended before its body did');
}

function incomplete(what: string, cause?: unknown): KeyfleetError {
  return new KeyfleetError('KF_REQUEST_INCOMPLETE', `${what}; nothing was stored`, { cause, retryable: true });
}

export interface ByteRange {
  readonly from: number;
  /** Exclusive. */
  readonly to: number;
}

/** What a `Range` header asks of `sizeBytes` bytes: one range, 'unsatisfiable', or undefined when it is absent or of a form we answer in full. */
export function parseRange(header: string | undefined, sizeBytes: number): ByteRange | 'unsatisfiable' | undefined {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header?.trim() ?? '');
  if (match === null || (match[1] === '' && match[2] === '')) return undefined;
  if (match[1] === '') {
    const last = Math.min(Number(match[2]), sizeBytes);
    return last === 0 ? 'unsatisfiable' : { from: sizeBytes - last, to: sizeBytes };
  }
  const from = Number(match[1]);
  const to = match[2] === '' ? sizeBytes : Math.min(Number(match[2]) + 1, sizeBytes);
  if (match[2] !== '' && Number(match[2]) < from) return undefined;
  return from >= sizeBytes ? 'unsatisfiable' : { from, to };
}

/** Sends pieces as fast as the client takes them. Resolves when all are handed to the socket; throws when the client is gone. */
export async function sendPieces(response: ServerResponse, pieces: AsyncIterable<Buffer>): Promise<void> {
  for await (const piece of pieces) {
    if (response.destroyed) throw new KeyfleetError('KF_REQUEST_INCOMPLETE', 'the client went away');
    if (!response.write(piece)) await drained(response);
  }
  response.end();
}

/** Resolves when the client has taken what was written. @throws when it has gone */
export function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = (): void => {
      response.off('drain', done);
      response.off('close', gone);
      resolve();
    };
    const gone = (): void => {
      response.off('drain', done);
      reject(new KeyfleetError('KF_REQUEST_INCOMPLETE', 'the client went away'));
    };
    response.once('drain', done);
    response.once('close', gone);
  });
}

function listen(server: Server, { host, port }: { readonly host: string; readonly port: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const what =
        error.code === 'EADDRINUSE'
          ? `port ${port} on ${host} is taken by another process; choose another port`
          : `cannot listen on ${host}:${port}: ${error.message}`;
      reject(new KeyfleetError('KF_LISTEN_FAILED', what, { cause: error }));
    });
    server.listen(port, host, () => resolve());
  });
}

function closeServer(server: Server, graceMs: number): Promise<void> {
  return new Promise((resolve) => {
    const force = setTimeout(() => server.closeAllConnections(), graceMs);
    server.close(() => {
      clearTimeout(force);
      resolve();
    });
    server.closeIdleConnections();
  });
}
