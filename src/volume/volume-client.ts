import type { Readable } from 'node:stream';
import { type Dispatcher, Pool } from 'undici';
import type { Bytes } from '../base/bytes.ts';
import { type ErrorCode, KeyfleetError, messageOf } from '../base/errors.ts';
import { type PullResult, packr, readEntries, unpackResults, type WireValue } from './batch-wire.ts';
import { keyToPath } from './http-door.ts';

/** A volume that cannot be asked: nothing listens, it does not answer in time, or the connection broke before an answer. */
export class VolumeUnavailableError extends KeyfleetError {
  override readonly name = 'VolumeUnavailableError';
  /** Whether a change may have been made all the same. */
  readonly outcomeUnknown: boolean;
  constructor(address: string, error: unknown, outcomeUnknown: boolean) {
    super('KF_VOLUME_UNAVAILABLE', `volume ${address} does not answer: ${messageOf(error)}`, { cause: error, retryable: true });
    this.outcomeUnknown = outcomeUnknown;
  }
}

export interface VolumeClientOptions {
  readonly token?: string | undefined;
  /** The identity that must answer: with another one, the volume itself refuses (KF_WRONG_VOLUME) and nothing is read or written. */
  readonly expectId?: string | undefined;
  /** The asking master's: a volume of another fleet refuses (KF_OTHER_FLEET). */
  readonly fleet?: string | undefined;
  /** The asking master's: a volume lets nothing of an older one take effect. */
  readonly epoch?: number | undefined;
  /** To connect. */
  readonly connectMs?: number;
  /** For an answer to begin, and between its pieces. */
  readonly answerMs?: number;
  /** Connections to the volume. */
  readonly connections?: number;
}

/** Who a volume is, and how full. */
export interface VolumeIdentity {
  readonly id: string;
  /** The fleet that it belongs to; undefined: it is free. */
  readonly fleet: string | undefined;
  /** The newest master's that has asked it. */
  readonly epoch: number;
  readonly freeBytes: number;
  readonly totalBytes: number;
}

export interface VolumeAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Dispatcher.ResponseData['body'];
}

export interface StoredValue {
  readonly sizeBytes: number;
  readonly version: number;
  readonly sha256: string;
  readonly contentType: string;
}

/** A line of a volume's list of values. */
export type ListedValue =
  | (StoredValue & { readonly name: string; readonly key: Bytes })
  | { readonly name: string; readonly error: string; readonly message: string };

/** Talks to one volume server. Every call ends: by an answer, or by {@link VolumeUnavailableError} within its time limits. */
export class VolumeClient {
  readonly address: string;
  readonly #pool: Pool;
  readonly #basePath: string;
  readonly #headers: Readonly<Record<string, string>>;

  constructor(address: string, options: VolumeClientOptions = {}) {
    this.address = address;
    const url = new URL(address);
    this.#basePath = url.pathname.replace(/\/$/, '');
    const answerMs = options.answerMs ?? 30_000;
    this.#pool = new Pool(url.origin, {
      connections: options.connections ?? 256,
      connect: { timeout: options.connectMs ?? 2_000 },
      headersTimeout: answerMs,
      bodyTimeout: answerMs,
      keepAliveTimeout: 20_000,
    });
    this.#headers = {
      ...(options.token === undefined ? {} : { authorization: `Bearer ${options.token}` }),
      ...(options.epoch === undefined ? {} : { 'keyfleet-epoch': String(options.epoch) }),
      ...(options.fleet === undefined ? {} : { 'keyfleet-fleet': options.fleet }),
      ...(options.expectId === undefined ? {} : { 'keyfleet-volume': options.expectId }),
    };
  }

  async identity(): Promise<VolumeIdentity> {
    const answer = (await this.#json('GET', '/')) as Partial<VolumeIdentity> & { keyfleet?: unknown };
    if (answer.keyfleet !== 'volume' || typeof answer.id !== 'string') {
      throw new KeyfleetError('KF_NOT_A_VOLUME', `what answers at ${this.address} is not a Keyfleet volume`);
    }
    const { id, fleet, epoch = 0, freeBytes = 0, totalBytes = 0 } = answer;
    return { id, fleet, epoch, freeBytes, totalBytes };
  }

  /** Takes the volume for the asking master's fleet, durably. @throws KF_OTHER_FLEET */
  async claim(): Promise<void> {
    await this.#json('POST', '/claim');
  }

  /** Sets the volume free for any master. @throws KF_OTHER_FLEET */
  async release(): Promise<void> {
    await this.#json('POST', '/release');
  }

  /** The volume's answer to a GET or HEAD as it is (200, 206, 304, 404, 416 …), its body unread. */
  async fetch(method: 'GET' | 'HEAD', key: Bytes, headers: Readonly<Record<string, string>>): Promise<VolumeAnswer> {
    const { statusCode, headers: answered, body } = await this.#request(method, `/get/${keyToPath(key)}`, { headers });
    if (answered['keyfleet-version'] === undefined && answered['keyfleet-error'] === undefined) {
      await body.dump();
      throw new VolumeUnavailableError(this.address, new Error(`what answers there (with ${statusCode}) is not a volume`), false);
    }
    return { status: statusCode, headers: answered, body };
  }

  /** What the volume has of a key; undefined when nothing, or only a damaged file. */
  async head(key: Bytes): Promise<{ readonly version: number; readonly sha256: string; readonly sizeBytes: number } | undefined> {
    const answer = await this.fetch('HEAD', key, {});
    if (answer.status !== 200) {
      const error = await errorOf(answer, this.address);
      if (error.code === 'KF_NOT_FOUND' || error.code === 'KF_VALUE_DAMAGED') return undefined;
      throw error;
    }
    await answer.body.dump();
    const { 'keyfleet-version': version, etag, 'content-length': length } = answer.headers;
    return { version: Number(version), sha256: String(etag).replaceAll('"', ''), sizeBytes: Number(length) };
  }

  /** A whole value, to be streamed; undefined when the volume has none. */
  async get(
    key: Bytes,
    headers: Readonly<Record<string, string>>,
  ): Promise<{ readonly body: Readable; readonly contentType: string; readonly sha256: string } | undefined> {
    const answer = await this.fetch('GET', key, headers);
    if (answer.status === 200) {
      const { etag, 'content-type': contentType } = answer.headers;
      return { body: answer.body, contentType: String(contentType), sha256: String(etag).replaceAll('"', '') };
    }
    const error = await errorOf(answer, this.address);
    if (error.code === 'KF_NOT_FOUND') return undefined;
    throw error;
  }

  async put(
    key: Bytes,
    body: Buffer | AsyncIterable<Buffer>,
    options: { readonly contentType: string; readonly version: number; readonly sizeBytes?: number | undefined },
  ): Promise<StoredValue> {
    const headers: Record<string, string> = { 'content-type': options.contentType, 'keyfleet-version': String(options.version) };
    if (options.sizeBytes !== undefined) headers['content-length'] = String(options.sizeBytes);
    return (await this.#json('PUT', `/set/${keyToPath(key)}`, { headers, body: body as Buffer })) as StoredValue;
  }

  /** Whether a value was there and is gone. */
  async delete(key: Bytes, upToVersion: number): Promise<boolean> {
    try {
      await this.#json('DELETE', `/delete/${keyToPath(key)}`, { headers: { 'keyfleet-version': String(upToVersion) } });
      return true;
    } catch (error) {
      if (error instanceof KeyfleetError && error.code === 'KF_NOT_FOUND') return false;
      throw error;
    }
  }

  /** The values of many keys, in the order of these, some at a time. @throws KF_VOLUME_UNAVAILABLE when the answer breaks off */
  async *batchRead(keys: readonly Bytes[]): AsyncGenerator<readonly WireValue[], void> {
    const answer = await this.#request('POST', '/batch/read', { body: packr.pack({ keys }) });
    if (answer.statusCode !== 200)
      throw await errorOf({ status: answer.statusCode, headers: answer.headers, body: answer.body }, this.address);
    try {
      yield* readEntries(answer.body as AsyncIterable<Buffer>);
    } catch (error) {
      throw new VolumeUnavailableError(this.address, error, false);
    }
  }

  /** Has this volume fetch values from `from`; one result per value, in order. */
  async batchPull(from: string, values: readonly { readonly key: Bytes; readonly version: number }[]): Promise<readonly PullResult[]> {
    const body = packr.pack({ from, keys: values.map(({ key }) => key), versions: values.map(({ version }) => version) });
    const answer = await this.#request('POST', '/batch/pull', { body });
    if (answer.statusCode !== 200)
      throw await errorOf({ status: answer.statusCode, headers: answer.headers, body: answer.body }, this.address);
    try {
      const results = unpackResults(Buffer.from(await answer.body.arrayBuffer()));
      if (results.length !== values.length) throw new Error(`it told of ${results.length} values instead of ${values.length}`);
      return results;
    } catch (error) {
      throw new VolumeUnavailableError(this.address, error, true);
    }
  }

  /** Has this volume fetch one value of any size from `from`. */
  async pull(key: Bytes, from: string, version: number): Promise<StoredValue> {
    const body = packr.pack({ from, version });
    const answer = (await this.#json('POST', `/pull/${keyToPath(key)}`, { body })) as
      | StoredValue
      | { readonly error: { readonly code: ErrorCode; readonly message: string } };
    if ('error' in answer) throw new KeyfleetError(answer.error.code, answer.error.message);
    return answer;
  }

  async batchDelete(values: readonly { readonly key: Bytes; readonly upToVersion: number }[]): Promise<number> {
    const body = packr.pack({ keys: values.map(({ key }) => key), versions: values.map(({ upToVersion }) => upToVersion) });
    return ((await this.#json('POST', '/batch/delete', { body })) as { deleted: number }).deleted;
  }

  /** All values of the volume. @throws when the list ends early */
  async *list(options: { readonly after?: string; readonly verify?: boolean } = {}): AsyncGenerator<ListedValue, void> {
    const answer = await this.#request('GET', `/values?after=${options.after ?? ''}${options.verify ? '&verify=1' : ''}`);
    if (answer.statusCode !== 200)
      throw await errorOf({ status: answer.statusCode, headers: answer.headers, body: answer.body }, this.address);
    let rest = '';
    let ended = false;
    try {
      for await (const piece of answer.body) {
        const lines = (rest + (piece as Buffer).toString('latin1')).split('\n');
        rest = lines.pop() ?? '';
        for (const line of lines) {
          if (line === '') continue;
          const entry = JSON.parse(line) as { end?: boolean; key64?: string } & StoredValue & { name: string };
          if (entry.end) ended = true;
          else yield entry.key64 === undefined ? (entry as unknown as ListedValue) : { ...entry, key: Buffer.from(entry.key64, 'base64') };
        }
      }
    } catch (error) {
      throw new VolumeUnavailableError(this.address, error, false);
    }
    if (!ended) throw new VolumeUnavailableError(this.address, new Error('its list of values ended early'), false);
  }

  close(): Promise<void> {
    return this.#pool.destroy();
  }

  async #json(method: Dispatcher.HttpMethod, path: string, options: RequestOptions = {}): Promise<unknown> {
    const answer = await this.#request(method, path, options);
    if (answer.statusCode !== 200)
      throw await errorOf({ status: answer.statusCode, headers: answer.headers, body: answer.body }, this.address);
    try {
      return await answer.body.json();
    } catch (error) {
      throw new VolumeUnavailableError(this.address, error, method !== 'GET');
    }
  }

  async #request(method: Dispatcher.HttpMethod, path: string, options: RequestOptions = {}): Promise<Dispatcher.ResponseData> {
    try {
      return await this.#pool.request({
        method,
        path: this.#basePath + path,
        headers: { ...this.#headers, ...options.headers },
        body: (options.body ?? null) as Buffer | null,
      });
    } catch (error) {
      if (error instanceof KeyfleetError) throw error;
      if (error instanceof Error && error.cause instanceof KeyfleetError) throw error.cause;
      const refused = ['ECONNREFUSED', 'UND_ERR_CONNECT_TIMEOUT', 'ENOTFOUND', 'EHOSTUNREACH'].includes(
        (error as NodeJS.ErrnoException).code ?? '',
      );
      throw new VolumeUnavailableError(this.address, error, method !== 'GET' && method !== 'HEAD' && !refused);
    }
  }
}

interface RequestOptions {
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer | AsyncIterable<Buffer>;
}

/** What lies between a volume and its master. */
const BETWEEN_US: readonly ErrorCode[] = ['KF_WRONG_VOLUME', 'KF_OTHER_FLEET', 'KF_UNAUTHORIZED'];

/**
 * The error that a volume's answer stands for. What lies between it and its master (another identity, fleet or token) is no business of the
 * master's clients: to them the volume is away.
 */
export async function errorOf(answer: VolumeAnswer, address: string): Promise<KeyfleetError> {
  const error = await errorIn(answer);
  if (!BETWEEN_US.includes(error.code)) return error;
  return new VolumeUnavailableError(address, error, false);
}

async function errorIn(answer: VolumeAnswer): Promise<KeyfleetError> {
  const pieces: Buffer[] = [];
  for await (const piece of answer.body) pieces.push(piece as Buffer);
  const text = Buffer.concat(pieces).toString('utf8');
  const { 'keyfleet-error': code } = answer.headers;
  // The answer to a HEAD has no body.
  if (text === '' && typeof code === 'string') return new KeyfleetError(code as ErrorCode, `the volume says ${code}`);
  try {
    const { error } = JSON.parse(text) as { error: { code: ErrorCode; message: string } };
    return new KeyfleetError(error.code, error.message);
  } catch {
    return new KeyfleetError('KF_VOLUME_IO', `the volume answered ${answer.status} ${text.slice(0, 200)}`);
  }
}
