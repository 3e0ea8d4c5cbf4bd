import { readFileSync } from 'node:fs';
import { KeyfleetError, messageOf } from '../../base/errors.ts';
import type { KeyspaceReport, StatusReport } from '../../http/status.ts';

/** Where a running server is, and how to be let in. */
export interface ServerAddress {
  readonly url: string;
  readonly password: string | undefined;
}

export const DEFAULT_URL = 'http://127.0.0.1:7380';

/** What `--url` and `--password-file` say. @throws KF_USAGE. */
export function serverAddress(options: { readonly url?: string; readonly passwordFile?: string }): ServerAddress {
  let url: URL;
  try {
    url = new URL(options.url ?? DEFAULT_URL);
  } catch {
    throw new KeyfleetError('KF_USAGE', `--url: ${JSON.stringify(options.url)} is no URL; one looks like ${DEFAULT_URL}`);
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    throw new KeyfleetError('KF_USAGE', `--url: must begin with http:// or https://`);
  const password = url.password !== '' ? decodeURIComponent(url.password) : undefined;
  return {
    url: url.origin + url.pathname.replace(/\/+$/, ''),
    password: options.passwordFile === undefined ? password : readPassword(options.passwordFile),
  };
}

/** The first line of a password file. @throws KF_USAGE when it cannot be read or is empty. */
export function readPassword(path: string): string {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new KeyfleetError('KF_USAGE', `cannot read the password file ${path}: ${messageOf(error)}`, { cause: error });
  }
  const password = text.split(/\r?\n/, 1)[0]!;
  if (password === '') throw new KeyfleetError('KF_USAGE', `the first line of the password file ${path} is empty`);
  return password;
}

/** Requests to a running server; whatever goes wrong on the way becomes a KeyfleetError, the server's own errors keep their codes. */
export class ServerClient {
  readonly #address: ServerAddress;
  readonly #timeoutMs: number;

  constructor(address: ServerAddress, timeoutMs = 60_000) {
    this.#address = address;
    this.#timeoutMs = timeoutMs;
  }

  get url(): string {
    return this.#address.url;
  }

  async status(): Promise<StatusReport> {
    return (await (await this.request('GET', '/v1/status')).json()) as StatusReport;
  }

  /** With exact counts. @throws KF_NO_KEYSPACE */
  async keyspace(name: string): Promise<KeyspaceReport> {
    return (await (await this.request('GET', `/v1/keyspaces/${encodeURIComponent(name)}`)).json()) as KeyspaceReport;
  }

  /** `signal`: ends it, the reading of the body included. @throws KF_UNREACHABLE (retryable), or the error the server answers. */
  async request(
    method: string,
    path: string,
    body?: { readonly type: string; readonly bytes: Uint8Array | string },
    signal: AbortSignal = AbortSignal.timeout(this.#timeoutMs),
  ): Promise<Response> {
    const { url, password } = this.#address;
    let response: Response;
    try {
      response = await fetch(url + path, {
        method,
        headers: {
          ...(password === undefined ? {} : { authorization: `Bearer ${password}` }),
          ...(body ? { 'content-type': body.type } : {}),
        },
        ...(body ? { body: body.bytes } : {}),
        signal,
      });
    } catch (error) {
      throw this.unreachable(error);
    }
    if (response.ok) return response;
    throw await this.#refusal(response);
  }

  unreachable(error: unknown): KeyfleetError {
    const cause = error instanceof Error && error.cause ? messageOf(error.cause) : messageOf(error);
    return new KeyfleetError(
      'KF_UNREACHABLE',
      `no answer from ${this.#address.url} (${cause || 'connection refused'}); is \`keyfleet serve\` running, and is --url right?`,
      { cause: error, retryable: true },
    );
  }

  async #refusal(response: Response): Promise<KeyfleetError> {
    const text = await response.text().catch(() => '');
    try {
      const { error } = JSON.parse(text) as { readonly error: { readonly code: `KF_${string}`; readonly message: string } };
      return new KeyfleetError(error.code, error.message, { retryable: [503, 504, 507].includes(response.status) });
    } catch {
      return new KeyfleetError(
        'KF_UNREACHABLE',
        `${this.#address.url} answers ${response.status} ${response.statusText}, not as Keyfleet does`,
      );
    }
  }
}
