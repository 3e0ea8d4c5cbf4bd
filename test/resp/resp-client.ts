import { connect, type Socket } from 'node:net';
import { type Bytes, concatBytes, fromUtf8, utf8 } from '../../src/base/bytes.ts';
import { ReplyParser } from '../../src/resp/codec/reply-parser.ts';
import type { Reply } from '../../src/shard/redis/reply.ts';

/** A bare RESP client for tests: sends what it is told to, byte for byte, and hands out replies in the order they come. */
export class RespClient {
  readonly socket: Socket;
  readonly #parser = new ReplyParser();
  readonly #replies: Reply[] = [];
  #wakeUp: (() => void) | undefined;
  isClosed = false;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.#replies.push(...this.#parser.push(chunk));
      this.#wakeUp?.();
    });
    socket.on('error', () => undefined);
    socket.on('end', () => this.#wakeUp?.());
    socket.on('close', () => {
      this.isClosed = true;
      this.#wakeUp?.();
    });
  }

  static connect(where: { readonly port: number } | { readonly path: string }): Promise<RespClient> {
    return new Promise((resolve, reject) => {
      const socket = connect({ ...where, noDelay: true });
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        resolve(new RespClient(socket));
      });
    });
  }

  /** Writes bytes as they are. */
  raw(bytes: string | Bytes): void {
    this.socket.write(bytes);
  }

  send(...args: readonly (string | Bytes)[]): void {
    this.socket.write(request(...args));
  }

  /** The next reply. @throws when the connection ends first, or after `timeoutMs`. */
  async next(timeoutMs = 20_000): Promise<Reply> {
    if (await this.#until(() => this.#replies.length > 0, timeoutMs)) return this.#replies.shift()!;
    throw new Error(this.isClosed ? 'connection closed' : `no reply within ${timeoutMs} ms`);
  }

  /** The next reply, {@link show}n. */
  async shown(): Promise<unknown> {
    return show(await this.next());
  }

  /** Sends a request; its reply, {@link show}n. */
  async call(...args: readonly (string | Bytes)[]): Promise<unknown> {
    this.send(...args);
    return this.shown();
  }

  /** Replies that have come and were not asked for. */
  get waiting(): number {
    return this.#replies.length;
  }

  /** Whether the server closes the connection within `timeoutMs`. */
  closed(timeoutMs = 5_000): Promise<boolean> {
    return this.#until(() => this.isClosed || this.socket.readableEnded, timeoutMs);
  }

  close(): void {
    this.socket.destroy();
  }

  async #until(isSo: () => boolean, timeoutMs: number): Promise<boolean> {
    const deadline = Date.now() + timeoutMs;
    while (!isSo()) {
      if (this.isClosed || Date.now() >= deadline) return isSo();
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, deadline - Date.now());
        this.#wakeUp = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    return true;
  }
}

export function request(...args: readonly (string | Bytes)[]): Bytes {
  const parts = args.map((arg) => (typeof arg === 'string' ? utf8(arg) : arg));
  return concatBytes(utf8(`*${parts.length}\r\n`), ...parts.flatMap((part) => [utf8(`$${part.length}\r\n`), part, utf8('\r\n')]));
}

/** A reply as plain values: strings are text, statuses `+OK`, errors `-ERR …`, maps objects. */
export function show(reply: Reply): unknown {
  if (reply instanceof Uint8Array) return fromUtf8(reply);
  if (reply === null || typeof reply === 'number' || typeof reply === 'bigint') return reply;
  if (!('kind' in reply)) return reply.map(show);
  switch (reply.kind) {
    case 'status':
      return `+${reply.text}`;
    case 'error':
      return `-${reply.text}`;
    case 'double':
      return Number(reply.text);
    case 'boolean':
      return reply.value;
    case 'null-array':
      return null;
    case 'map':
      return Object.fromEntries(reply.pairs.map(([key, value]) => [String(show(key)), show(value)]));
    case 'pairs':
      return reply.pairs.map((pair) => pair.map(show));
    case 'verbatim':
      return fromUtf8(reply.text);
    default:
      return reply.items.map(show);
  }
}
