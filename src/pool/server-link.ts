import type { Bytes } from '../base/bytes.ts';
import { isKeyfleetError, KeyfleetError, messageOf } from '../base/errors.ts';
import type { Backend } from './backend.ts';
import type { ReplySink } from './reply-sink.ts';
import { RedisReplyError, type ReplyValue, replyValue } from './reply-value.ts';
import { type CommandArg, encodeRequest } from './request-encoder.ts';

/** A command on its way: who hears of its answer, and in which form. */
export interface Pending {
  readonly asBuffers: boolean;
  resolve(value: ReplyValue): void;
  reject(error: unknown): void;
}

/** How the library reaches one server: its own sockets, or a client of the user's. */
export interface ServerLink {
  readonly name: string;
  /** Sends a command; `pending` hears of it exactly once. Commands of one `lane` from 0 keep their order. */
  send(args: readonly CommandArg[], pending: Pending, lane?: number): void;
  close(): void;
}

/** Over sockets of our own. */
export class BackendLink implements ServerLink, ReplySink<Pending> {
  readonly backend: Backend;

  constructor(backend: Backend) {
    this.backend = backend;
  }

  get name(): string {
    return this.backend.name;
  }

  send(args: readonly CommandArg[], pending: Pending, lane = -1): void {
    this.backend.send(encodeRequest(args), this, pending, lane);
  }

  onReply(pending: Pending, bytes: Bytes, start: number): void {
    const value = replyValue(bytes, start, pending.asBuffers, this.backend.name);
    if (value instanceof RedisReplyError) pending.reject(value);
    else pending.resolve(value);
  }

  onFailure(pending: Pending, error: KeyfleetError): void {
    pending.reject(error);
  }

  close(): void {
    this.backend.close();
  }
}

/** ioredis and iovalkey. */
export interface IoredisLike {
  call(command: string, ...args: (string | Buffer | number)[]): Promise<unknown>;
  callBuffer(command: string, ...args: (string | Buffer | number)[]): Promise<unknown>;
}

/** node-redis. */
export interface NodeRedisLike {
  sendCommand(args: (string | Buffer)[]): Promise<unknown>;
}

/** A client that the user has made, and closes. */
export type UserClient = IoredisLike | NodeRedisLike;

/** Over a client of the user's: its connection, its reconnection, its errors. */
export class ClientLink implements ServerLink {
  readonly name: string;
  readonly #client: UserClient;

  /** @throws KF_CONFIG when it is no client that we know how to talk to. */
  constructor(name: string, client: UserClient) {
    this.name = name;
    this.#client = client;
    if (!('callBuffer' in client) && !('sendCommand' in client))
      throw new KeyfleetError(
        'KF_CONFIG',
        `the client of ${name} is neither ioredis, iovalkey nor node-redis: it has no callBuffer and no sendCommand`,
      );
  }

  send(args: readonly CommandArg[], pending: Pending): void {
    const client = this.#client;
    let sent: Promise<unknown>;
    try {
      if ('callBuffer' in client) {
        const [name, ...rest] = args.map(bufferOrText);
        sent = pending.asBuffers ? client.callBuffer(String(name), ...rest) : client.call(String(name), ...rest);
      } else sent = client.sendCommand(args.map(bufferOrText));
    } catch (error) {
      pending.reject(this.#wrapped(error));
      return;
    }
    sent.then(
      (value) => pending.resolve(value as ReplyValue),
      (error: unknown) => pending.reject(this.#wrapped(error)),
    );
  }

  /** The user closes what the user has opened. */
  close(): void {}

  /** Error replies are told from the client's own errors by their first word, which servers write in capitals. */
  #wrapped(error: unknown): Error {
    if (isKeyfleetError(error)) return error;
    const text = messageOf(error);
    return /^[A-Z][A-Z0-9]+ /.test(text)
      ? new RedisReplyError(text, this.name)
      : new KeyfleetError('KF_OUTCOME_UNKNOWN', `${this.name}: ${text}`, { cause: error });
  }
}

function bufferOrText(arg: CommandArg): string | Buffer {
  return typeof arg === 'object' ? Buffer.from(arg.buffer, arg.byteOffset, arg.length) : String(arg);
}
