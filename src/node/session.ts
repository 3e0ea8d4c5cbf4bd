import { randomBytes } from 'node:crypto';
import { type Bytes, utf8 } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import { MAX_CLIENT_ID_BYTES, type RequestId } from '../shard/request-id.ts';
import type { CommandOptions } from './call-options.ts';
import type { Keyspace } from './keyspace.ts';

export interface SessionOptions {
  /** Text or bytes, 1 to 255 of them, that no other client uses. Default: 16 random bytes. */
  readonly clientId?: string | Bytes;
  /** Where to begin counting: above every number that the client id was ever used with. Default: 1. */
  readonly nextSeq?: number;
}

/**
 * A client whose requests are numbered, so that each is run once however often it is sent: `command` retries by itself; `request` gives an id
 * to keep and to send again later, in another process too.
 */
export class Session {
  readonly clientId: Bytes;
  readonly #now: () => number;
  #nextSeq: number;
  /** Requests that have been given out and may be sent again; the lowest comes first. */
  readonly #open = new Set<number>();

  /** Use `Store.session`. @throws KF_BAD_REQUEST_ID. */
  constructor(options: SessionOptions, now: () => number) {
    const { clientId = randomBytes(16), nextSeq = 1 } = options;
    this.clientId = typeof clientId === 'string' ? utf8(clientId) : clientId;
    if (this.clientId.length < 1 || this.clientId.length > MAX_CLIENT_ID_BYTES) {
      throw new KeyfleetError('KF_BAD_REQUEST_ID', `a client id has 1 to ${MAX_CLIENT_ID_BYTES} bytes, not ${this.clientId.length}`);
    }
    if (!Number.isSafeInteger(nextSeq) || nextSeq < 0) {
      throw new KeyfleetError('KF_BAD_REQUEST_ID', `nextSeq is a whole number from 0, not ${nextSeq}`);
    }
    this.#nextSeq = nextSeq;
    this.#now = now;
  }

  /** The number that the next request will have. */
  get nextSeq(): number {
    return this.#nextSeq;
  }

  /** The id of a new request. It may be sent any number of times, until {@link close} says that it will not be any more. */
  request(): RequestId {
    const requestSeq = this.#nextSeq++;
    this.#open.add(requestSeq);
    const [ackedBelow] = this.#open;
    return { clientId: this.clientId, requestSeq, ackedBelow: ackedBelow ?? requestSeq, issuedMs: this.#now() };
  }

  /** The request will not be sent again: what it came to need not be kept. */
  close(request: RequestId): void {
    this.#open.delete(request.requestSeq);
  }

  /** As {@link Keyspace.command}, run once however often it is retried. */
  async command<V, C, R, Q, A>(
    keyspace: Keyspace<V, C, R, Q, A>,
    key: string | Bytes,
    command: C,
    options: Omit<CommandOptions, 'request'> = {},
  ): Promise<R> {
    const request = this.request();
    try {
      return await keyspace.command(key, command, { request, ...options });
    } finally {
      this.close(request);
    }
  }

  /** As {@link Keyspace.commandMany}, run once however often it is retried. */
  async commandMany<V, C, R, Q, A>(
    keyspace: Keyspace<V, C, R, Q, A>,
    keys: readonly (string | Bytes)[],
    command: C,
    options: Omit<CommandOptions, 'request'> = {},
  ): Promise<R> {
    const request = this.request();
    try {
      return await keyspace.commandMany(keys, command, { request, ...options });
    } finally {
      this.close(request);
    }
  }
}
