import { connect, type Socket } from 'node:net';
import { type Bytes, utf8 } from '../../src/base/bytes.ts';
import type { Reply } from '../../src/shard/redis/reply.ts';

/** A bare pipelining client that keeps every distinction of the protocol, as the differential tests need it. */
export class RedisConnection {
  readonly #socket: Socket;
  readonly #waiting: { resolve(reply: Reply): void; reject(error: Error): void }[] = [];
  #received: Uint8Array = new Uint8Array(0);
  #closed: Error | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (chunk) => this.#take(chunk));
    socket.on('error', (error) => this.#end(error));
    socket.on('close', () => this.#end(new Error('the connection was closed')));
  }

  static open(port: number): Promise<RedisConnection> {
    return new Promise((resolve, reject) => {
      const socket = connect({ port, host: '127.0.0.1' });
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        resolve(new RedisConnection(socket));
      });
    });
  }

  /** Sends a command; strings stand for their UTF-8 bytes. Commands sent without waiting are pipelined. */
  send(args: readonly (Bytes | string)[]): Promise<Reply> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed);
    const parts: Uint8Array[] = [utf8(`*${args.length}\r\n`)];
    for (const arg of args) {
      const bytes = typeof arg === 'string' ? utf8(arg) : arg;
      parts.push(utf8(`$${bytes.length}\r\n`), bytes, CRLF);
    }
    this.#socket.write(Buffer.concat(parts));
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  close(): void {
    this.#socket.destroy();
  }

  #take(chunk: Uint8Array): void {
    this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk]);
    const reader = new ReplyReader(this.#received);
    let taken = 0;
    for (;;) {
      const reply = reader.next();
      if (reply === undefined) break;
      taken = reader.at;
      this.#waiting.shift()?.resolve(reply);
    }
    this.#received = this.#received.subarray(taken);
  }

  #end(error: Error): void {
    this.#closed ??= error;
    for (const { reject } of this.#waiting.splice(0)) reject(this.#closed);
  }
}

const CRLF = utf8('\r\n');
const NEWLINE = 0x0a;

/** Reads whole replies from bytes; `next` is undefined while the rest of one is missing. */
class ReplyReader {
  at = 0;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  next(): Reply | undefined {
    const start = this.at;
    const reply = this.#read();
    if (reply === undefined) this.at = start;
    return reply;
  }

  #line(): string | undefined {
    const end = this.#bytes.indexOf(NEWLINE, this.at);
    if (end < 0) return undefined;
    const line = Buffer.from(this.#bytes.subarray(this.at, end - 1)).toString('utf8');
    this.at = end + 1;
    return line;
  }

  #read(): Reply | undefined {
    const line = this.#line();
    if (line === undefined) return undefined;
    const text = line.slice(1);
    switch (line[0]) {
      case '+':
        return { kind: 'status', text };
      case '-':
        return { kind: 'error', text };
      case ':':
        return Number.isSafeInteger(Number(text)) ? Number(text) : BigInt(text);
      case '_':
        return null;
      case ',':
        return { kind: 'double', text };
      case '#':
        return { kind: 'boolean', value: text === 't' };
      case '$':
        return Number(text) < 0 ? null : this.#blob(Number(text));
      case '=': {
        const blob = this.#blob(Number(text));
        return blob && { kind: 'verbatim', format: Buffer.from(blob.subarray(0, 3)).toString() as 'txt', text: blob.subarray(4) };
      }
      case '*':
        return Number(text) < 0 ? { kind: 'null-array' } : this.#items(Number(text));
      case '~':
      case '>': {
        const items = this.#items(Number(text));
        return items && { kind: line[0] === '~' ? 'set' : 'push', items };
      }
      case '%': {
        const flat = this.#items(2 * Number(text));
        if (flat === undefined) return undefined;
        return { kind: 'map', pairs: Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i]!, flat[2 * i + 1]!] as const) };
      }
      default:
        throw new Error(`no reply begins like this: ${line}`);
    }
  }

  #blob(length: number): Uint8Array | undefined {
    if (this.#bytes.length < this.at + length + 2) return undefined;
    const blob = this.#bytes.slice(this.at, this.at + length);
    this.at += length + 2;
    return blob;
  }

  #items(count: number): Reply[] | undefined {
    const items: Reply[] = [];
    for (let i = 0; i < count; i++) {
      const item = this.#read();
      if (item === undefined) return undefined;
      items.push(item);
    }
    return items;
  }
}
