import { randomBytes } from 'node:crypto';
import type { NatsConnection } from '@nats-io/transport-node';
import { toHex } from '../base/bytes.ts';
import { connectNats, type NatsAddress } from '../nats/connect.ts';
import { natsTransport } from '../nats/nats-transport.ts';
import type { Transport } from '../transport/transport.ts';
import { ClusterClient } from './cluster/cluster-client.ts';
import { ClusterStoreHost } from './cluster-store-host.ts';
import { SystemClock } from './node-clock.ts';

// A client of a cluster with what it stands on: the connection to the NATS servers, over which it asks the nodes.

export interface ClientHostOptions {
  /** The cluster's name. */
  readonly cluster: string;
  readonly nats: Omit<NatsAddress, 'name'>;
  /** What the servers call this client, in front of some random letters: 1 to 40 of `A-Z a-z 0-9 _ -`. Default: `client`. */
  readonly name?: string | undefined;
  /** How long a request looks for somebody to answer it, and the first one for a node. Default: 10,000. */
  readonly requestTimeoutMs?: number | undefined;
  readonly maxKeyBytes?: number | undefined;
  /** Told when no node answers that is asked for the map. */
  readonly onBackgroundError?: ((error: Error) => void) | undefined;
}

export class ClientHost extends ClusterStoreHost {
  readonly node: ClusterClient;
  readonly #connection: NatsConnection;
  readonly #transport: Transport;
  #closing: Promise<void> | undefined;

  private constructor(node: ClusterClient, connection: NatsConnection, transport: Transport) {
    super(false);
    this.node = node;
    this.#connection = connection;
    this.#transport = transport;
  }

  /** @throws KF_NATS_UNREACHABLE, KF_NATS_REFUSED, KF_BAD_OPTION; KF_UNAVAILABLE when no node of the cluster answers; KF_NODE_INCOMPATIBLE. */
  static async open({ cluster, nats, name = 'client', ...options }: ClientHostOptions): Promise<ClientHost> {
    const self = `${name}-${toHex(randomBytes(8))}`;
    const connection = await connectNats({ ...nats, name: `keyfleet ${cluster}/${self}` });
    try {
      const transport = natsTransport({ connection, cluster, self });
      const client = await ClusterClient.open({ ...options, self, cluster, clock: new SystemClock(), transport });
      return new ClientHost(client, connection, transport);
    } catch (error) {
      await connection.close();
      throw error;
    }
  }

  /** What waits for an answer hears KF_CLOSED, or KF_OUTCOME_UNKNOWN. Twice is once. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.node.stop();
    await this.#transport.close();
    await this.#connection.close();
  }
}
