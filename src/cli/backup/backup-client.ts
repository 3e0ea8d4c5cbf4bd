import type { Bytes } from '../../base/bytes.ts';
import { isKeyfleetError, KeyfleetError } from '../../base/errors.ts';
import { BACKUP_TYPE } from '../../http/backup-routes.ts';
import type { ClusterReport } from '../../http/cluster-admin.ts';
import type { BackupOrigin, BackupSource } from '../../node/backup/backup-source.ts';
import type { BackupTarget, RestoreBeginning, RestoreBegun, RestoreEnd, RestoreWish } from '../../node/backup/backup-target.ts';
import type { KeyspaceCounts } from '../../node/keyspace-handle.ts';
import { ServerClient, serverAddress } from '../client/server-client.ts';

/** So long a server may send nothing in the middle of a part. */
const SILENCE_MS = 30_000;
const REQUEST_TIMEOUT_MS = 60_000;

/**
 * Takes backups from a running server and restores into one. Of a cluster any node will do: when one does not answer, the others are asked that it has told of.
 */
export class BackupClient implements BackupSource, BackupTarget {
  readonly #password: string | undefined;
  readonly #protocol: string;
  readonly #clients: ServerClient[];
  #current = 0;

  constructor(flags: { readonly url?: string; readonly passwordFile?: string }) {
    const address = serverAddress(flags);
    this.#password = address.password;
    this.#protocol = new URL(address.url).protocol;
    this.#clients = [new ServerClient(address, REQUEST_TIMEOUT_MS)];
  }

  async origin(): Promise<BackupOrigin> {
    const origin = (await (await this.#request('GET', '/v1/backup')).json()) as BackupOrigin;
    if (origin.cluster !== null) await this.#meetNodes();
    return origin;
  }

  /** @throws KF_UNREACHABLE and other errors that are retryable; another node is asked next then. */
  async part(keyspace: string, from: number, to: number): Promise<AsyncIterable<Bytes>> {
    const abort = new AbortController();
    const path = `/v1/keyspaces/${encodeURIComponent(keyspace)}/backup?from=${from}&to=${to}`;
    let timer = setTimeout(() => abort.abort(), REQUEST_TIMEOUT_MS);
    const client = this.#client;
    const asked = this.#current;
    const response = await this.#request('GET', path, undefined, abort.signal).finally(() => clearTimeout(timer));
    const heard = (): void => {
      clearTimeout(timer);
      timer = setTimeout(() => abort.abort(), SILENCE_MS);
    };
    const next = (): void => this.#turnFrom(asked);
    return (async function* () {
      try {
        heard();
        for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
          clearTimeout(timer);
          yield chunk;
          heard();
        }
      } catch (error) {
        next();
        throw client.unreachable(error);
      } finally {
        clearTimeout(timer);
        abort.abort();
      }
    })();
  }

  async check(keyspace: string, wish: RestoreWish): Promise<{ readonly isDone: boolean }> {
    await this.#mustServe(keyspace);
    try {
      return (await this.#post(`${keyspace}/restore/check`, wish)) as { readonly isDone: boolean };
    } catch (error) {
      // A server of an earlier release: it refuses when the restore begins.
      if (isKeyfleetError(error) && error.code === 'KF_NOT_FOUND') return { isDone: false };
      throw error;
    }
  }

  async begin(keyspace: string, what: RestoreBeginning): Promise<RestoreBegun> {
    await this.#mustServe(keyspace);
    return (await this.#post(`${keyspace}/restore`, what)) as RestoreBegun;
  }

  /** If it is there at all. @throws KF_MODULE_MISSING. */
  async #mustServe(keyspace: string): Promise<void> {
    const report = await this.origin();
    if (report.keyspaces.some(({ name, isServed }) => name === keyspace && !isServed)) {
      throw new KeyfleetError('KF_MODULE_MISSING', `keyspace ${keyspace} is there, and the server was not given its value module`);
    }
  }

  async put(keyspace: string, id: string, block: Bytes): Promise<void> {
    const path = `/v1/keyspaces/${encodeURIComponent(keyspace)}/restore/put?id=${encodeURIComponent(id)}`;
    await (await this.#request('POST', path, { type: BACKUP_TYPE, bytes: block })).arrayBuffer();
  }

  async end(keyspace: string, id: string, what: RestoreEnd): Promise<KeyspaceCounts> {
    return (await this.#post(`${keyspace}/restore/end`, { id, ...what })) as KeyspaceCounts;
  }

  async #post(path: string, body: object): Promise<unknown> {
    const sent = { type: 'application/json', bytes: JSON.stringify(body) };
    return (await this.#request('POST', `/v1/keyspaces/${path}`, sent)).json();
  }

  get #client(): ServerClient {
    return this.#clients[this.#current]!;
  }

  async #request(...request: Parameters<ServerClient['request']>): Promise<Response> {
    const asked = this.#current;
    try {
      return await this.#client.request(...request);
    } catch (error) {
      if (isKeyfleetError(error) && error.retryable) this.#turnFrom(asked);
      throw error;
    }
  }

  #turnFrom(asked: number): void {
    if (asked === this.#current) this.#current = (asked + 1) % this.#clients.length;
  }

  /** The other nodes, as this one knows them. */
  async #meetNodes(): Promise<void> {
    const { nodes } = (await (await this.#request('GET', '/v1/nodes')).json()) as ClusterReport;
    for (const { addresses, isSelf, status } of nodes) {
      if (isSelf || status !== 'up' || addresses.http === undefined) continue;
      const url = `${this.#protocol}//${addresses.http}`;
      if (this.#clients.some((client) => client.url === url)) continue;
      this.#clients.push(new ServerClient({ url, password: this.#password }, REQUEST_TIMEOUT_MS));
    }
  }
}
