import type { Command } from 'commander';
import type { ClusterReport } from '../../http/cluster-admin.ts';
import { ServerClient, serverAddress } from '../client/server-client.ts';

export interface NodesFlags {
  readonly url?: string;
  readonly passwordFile?: string;
  readonly json?: boolean;
}

export function withNodesFlags(command: Command): Command {
  return command
    .option('--json', 'print JSON')
    .option('--url <url>', 'any node of the cluster (http://127.0.0.1:7380)')
    .option('--password-file <file>', "file whose first line is the server's password");
}

/** The nodes of a cluster, at one of them. */
export class NodesClient {
  readonly #client: ServerClient;

  constructor(flags: NodesFlags) {
    this.#client = new ServerClient(serverAddress(flags), 30_000);
  }

  async report(): Promise<ClusterReport> {
    return (await (await this.#client.request('GET', '/v1/nodes')).json()) as ClusterReport;
  }

  /** @throws KF_UNKNOWN_NODE, KF_NODE_IN_USE, KF_NO_CLUSTER, KF_UNAVAILABLE. */
  async change(node: string, what: 'drain' | 'undrain' | 'remove'): Promise<ClusterReport> {
    return this.#post(`/v1/nodes/${encodeURIComponent(node)}/${what}`, {});
  }

  /** @throws KF_NO_SHARD, KF_LOG_NOT_LOST, KF_NO_CLUSTER, KF_UNAVAILABLE. */
  acceptLoss(shard: number): Promise<ClusterReport> {
    return this.#post(`/v1/shards/${shard}/recover`, { acceptLoss: true });
  }

  async #post(path: string, fields: object): Promise<ClusterReport> {
    const body = { type: 'application/json', bytes: JSON.stringify(fields) };
    return (await (await this.#client.request('POST', path, body)).json()) as ClusterReport;
  }
}
