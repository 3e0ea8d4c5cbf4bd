import type { Readable } from 'node:stream';
import { Pool } from 'undici';
import type { Bytes } from '../base/bytes.ts';
import { type ErrorCode, KeyfleetError, messageOf } from '../base/errors.ts';
import { keyToPath } from './http-door.ts';

export interface ListedKey {
  readonly key: Bytes;
  readonly sizeBytes: number;
  readonly sha256: string;
}

/** Talks to a master as any HTTP client may: values in and out, streamed, and the list of keys. */
export class MasterClient {
  readonly url: string;
  readonly #pool: Pool;

  constructor(url: string, options: { readonly connections?: number } = {}) {
    this.url = url;
    this.#pool = new Pool(new URL(url).origin, { connections: options.connections ?? 16, connect: { timeout: 3_000 } });
  }

  /** Resolves when the value is durable; to its SHA-256. */
  async put(key: Bytes, body: Buffer | Readable, sizeBytes: number): Promise<string> {
    const answer = await this.#request('PUT', `/set/${keyToPath(key)}`, body, sizeBytes);
    return ((await answer.json()) as { sha256: string }).sha256;
  }

  /** @throws KF_NOT_FOUND */
  async get(key: Bytes): Promise<Readable> {
    return this.#request('GET', `/get/${keyToPath(key)}`);
  }

  /** All keys that begin with `prefix`. @throws KF_UNREACHABLE when the list ends early */
  async *keys(prefix = ''): AsyncGenerator<ListedKey, void> {
    const body = await this.#request('GET', `/keys?prefix=${encodeURIComponent(prefix)}`);
    let rest = Buffer.alloc(0);
    for await (const piece of body) {
      const bytes = Buffer.concat([rest, piece as Buffer]);
      const end = bytes.lastIndexOf(0x0a) + 1;
      rest = bytes.subarray(end);
      for (const line of bytes.toString('utf8', 0, end).split('\n')) {
        if (line === '') continue;
        const entry = JSON.parse(line) as { end?: true; key?: string; key64?: string; sizeBytes: number; sha256: string };
        if (entry.end) return;
        yield {
          key: entry.key64 === undefined ? Buffer.from(entry.key!, 'utf8') : Buffer.from(entry.key64, 'base64'),
          sizeBytes: entry.sizeBytes,
          sha256: entry.sha256,
        };
      }
    }
    throw new KeyfleetError('KF_UNREACHABLE', `${this.url} ended its list of keys early`, { retryable: true });
  }

  close(): Promise<void> {
    return this.#pool.destroy();
  }

  async #request(
    method: 'GET' | 'PUT',
    path: string,
    body: Buffer | Readable | null = null,
    sizeBytes?: number,
  ): Promise<Readable & { json(): Promise<unknown> }> {
    let answer: Awaited<ReturnType<Pool['request']>>;
    try {
      answer = await this.#pool.request({
        method,
        path,
        body,
        headers: sizeBytes === undefined ? {} : { 'content-length': String(sizeBytes) },
      });
    } catch (error) {
      throw new KeyfleetError('KF_UNREACHABLE', `no master answers at ${this.url}: ${messageOf(error)}`, { cause: error, retryable: true });
    }
    if (answer.statusCode < 300) return answer.body;
    const text = await answer.body.text();
    let error: { code: ErrorCode; message: string } = {
      code: 'KF_UNREACHABLE',
      message: `${this.url} answered ${answer.statusCode}: ${text.slice(0, 200)}`,
    };
    try {
      ({ error } = JSON.parse(text) as { error: { code: ErrorCode; message: string } });
    } catch {
      // Not one of ours: the status says what there is to say.
    }
    throw new KeyfleetError(error.code, error.message);
  }
}
