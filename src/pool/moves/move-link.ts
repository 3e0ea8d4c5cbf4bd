import type { Socket } from 'node:net';
import type { Bytes } from '../../base/bytes.ts';
import { KeyfleetError, messageOf } from '../../base/errors.ts';
import { ReplyParser } from '../../resp/codec/reply-parser.ts';
import type { Reply } from '../../shard/redis/reply.ts';
import type { BackendTls, PoolConfig, PoolServer } from '../pool-config.ts';
import { introductionOf, openSocket } from '../server-socket.ts';

/** Where a Redis-like server is, and how to be let in. */
export interface ServerAddress {
  readonly host: string;
  readonly port: number;
  /** A unix socket, instead of host and port. */
  readonly path?: string | undefined;
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  /** The database; 0 when absent. */
  readonly db?: number | undefined;
  readonly tls?: BackendTls | undefined;
}

/** How the mover reaches a server of a pool: as the pool's file says for all of them. */
export function moverAddress(config: PoolConfig, { address }: Pick<PoolServer, 'address'>): ServerAddress {
  const place = 'path' in address ? { host: '', port: 0, path: address.path } : address;
  return { ...place, username: config.username, password: config.auth, db: config.db, tls: config.tls };
}

export type Argument = string | number | Bytes;

export interface LinkOptions {
  /** A reply that takes longer cuts the connection: everything sent on it is then of unknown outcome. */
  readonly timeoutMs?: number;
  /** `CLIENT SETNAME`, so that the connection can be told from others and ended by its name. */
  readonly name?: string;
}

interface Waiting {
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: Error) => void;
  readonly sentMs: number;
}

/** What a server says that will serve again by itself: it loads its data, or is busy with a script. */
const FOR_NOW = /^(LOADING|BUSY|MASTERDOWN|TRYAGAIN)\b/;

/** `127.0.0.1:6379`, or the path of a socket: what errors and reports call a server. */
export function showAddress(server: ServerAddress): string {
  return server.path ?? `${server.host}:${server.port}`;
}

/**
 * One connection of the mover to one server, opened by the first command; commands are pipelined in the order of the calls. Once it has broken it is over: behind the address
 * there may be another server by then, a replica that took over, of which nothing is true that was found out before. Whoever wants to go on opens another link and begins anew.
 */
export class ServerLink {
  readonly server: ServerAddress;
  readonly #timeoutMs: number;
  readonly #name: string | undefined;
  #socket: Socket | undefined;
  #waiting: Waiting[] = [];
  #outbox: Buffer[] = [];
  #watch: NodeJS.Timeout | undefined;
  /** Why it is over. */
  #over: string | undefined;

  constructor(server: ServerAddress, { timeoutMs = 5_000, name }: LinkOptions = {}) {
    this.server = server;
    this.#timeoutMs = timeoutMs;
    this.#name = name;
  }

  /** Whether it was closed or has broken: no command can be sent any more. */
  get isOver(): boolean {
    return this.#over !== undefined;
  }

  /** The reply, error replies included. @throws KF_POOL_SERVER_LOST, retryable; what was sent may have been done. */
  raw(args: readonly Argument[]): Promise<Reply> {
    if (this.#over !== undefined) return Promise.reject(this.#lost(this.#over));
    let socket: Socket;
    try {
      socket = this.#socket ??= this.#open();
    } catch (error) {
      this.#over = messageOf(error);
      return Promise.reject(this.#lost(this.#over));
    }
    return new Promise((resolve, reject) => {
      this.#send(socket, args, { resolve, reject, sentMs: performance.now() });
    });
  }

  /** The reply. @throws as {@link checked}. */
  async call(args: readonly Argument[]): Promise<Reply> {
    return this.checked(args, await this.raw(args));
  }

  /**
   * The reply to a command. @throws KF_POOL_SERVER_LOST, also while the server loads its data; KF_POOL_SERVER_REFUSED with the server's words for an
   * error reply; KF_POOL_FENCED.
   */
  checked(args: readonly Argument[], reply: Reply): Reply {
    const text = errorText(reply);
    if (text === undefined) return reply;
    if (FOR_NOW.test(text)) throw this.#lost(text);
    throw text.startsWith('KFFENCED')
      ? new KeyfleetError('KF_POOL_FENCED', `another mover has taken over on ${showAddress(this.server)}`)
      : new KeyfleetError('KF_POOL_SERVER_REFUSED', `${showAddress(this.server)} answers ${String(args[0])} with: ${text}`);
  }

  close(): void {
    this.#over ??= 'the connection was closed';
    this.#drop(this.#socket, this.#over);
  }

  #open(): Socket {
    const { host, port, path, tls } = this.server;
    const socket = openSocket(path === undefined ? { host, port } : { path }, tls);
    const parser = new ReplyParser();
    socket.on('data', (chunk: Buffer) => {
      for (const reply of parser.push(chunk)) this.#waiting.shift()?.resolve(reply);
      if (parser.error !== undefined) this.#drop(socket, `no answer in the Redis protocol: ${parser.error}`);
    });
    socket.on('error', (error) => this.#drop(socket, error.message));
    socket.on('close', () => this.#drop(socket, 'the server closed the connection'));
    const login: Waiting = {
      resolve: (reply) => {
        const text = errorText(reply);
        if (text !== undefined) this.#drop(socket, `the server does not let us in: ${text}`);
      },
      reject: () => {},
      sentMs: performance.now(),
    };
    const { username, password, db } = this.server;
    for (const command of introductionOf({ auth: password, username, db, clientName: this.#name })) this.#send(socket, command, login);
    this.#watch ??= setInterval(() => this.#checkTime(), Math.min(500, this.#timeoutMs)).unref();
    return socket;
  }

  #send(socket: Socket, args: readonly Argument[], waiting: Waiting): void {
    this.#waiting.push(waiting);
    if (this.#outbox.length === 0) {
      queueMicrotask(() => {
        const bytes = this.#outbox;
        this.#outbox = [];
        if (bytes.length > 0 && this.#socket === socket) socket.write(bytes.length === 1 ? bytes[0]! : Buffer.concat(bytes));
      });
    }
    this.#outbox.push(encode(args));
  }

  #checkTime(): void {
    const oldest = this.#waiting[0];
    if (oldest !== undefined && performance.now() - oldest.sentMs > this.#timeoutMs)
      this.#drop(this.#socket, `no answer within ${this.#timeoutMs} ms`);
  }

  #drop(socket: Socket | undefined, why: string): void {
    if (socket === undefined || socket !== this.#socket) return;
    this.#over ??= why;
    this.#socket = undefined;
    clearInterval(this.#watch);
    this.#watch = undefined;
    socket.destroy();
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#outbox = [];
    for (const one of waiting) one.reject(this.#lost(why));
  }

  #lost(why: string): KeyfleetError {
    return new KeyfleetError('KF_POOL_SERVER_LOST', `lost ${showAddress(this.server)}: ${why}`, { retryable: true });
  }
}

/** The text of an error reply; undefined for any other reply. */
export function errorText(reply: Reply): string | undefined {
  return typeof reply === 'object' && reply !== null && 'kind' in reply && reply.kind === 'error' ? reply.text : undefined;
}

/** A reply of strings, as bytes; nils become undefined. */
export function bytesList(reply: Reply): (Bytes | undefined)[] {
  return Array.isArray(reply) ? (reply as readonly Reply[]).map((one) => (one instanceof Uint8Array ? one : undefined)) : [];
}

/** A string, status or number reply as text; '' for a nil. */
export function textOf(reply: Reply | undefined): string {
  if (reply instanceof Uint8Array) return Buffer.from(reply.buffer, reply.byteOffset, reply.length).toString('utf8');
  if (typeof reply === 'number' || typeof reply === 'bigint') return String(reply);
  if (typeof reply === 'object' && reply !== null && 'kind' in reply && (reply.kind === 'status' || reply.kind === 'error'))
    return reply.text;
  return '';
}

function encode(args: readonly Argument[]): Buffer {
  const pieces: Uint8Array[] = [Buffer.from(`*${args.length}\r\n`)];
  for (const arg of args) {
    const bytes = arg instanceof Uint8Array ? arg : Buffer.from(String(arg), 'utf8');
    pieces.push(Buffer.from(`$${bytes.length}\r\n`), bytes, CRLF);
  }
  return Buffer.concat(pieces);
}

const CRLF = Buffer.from('\r\n');
