import type { NatsConnection } from '@nats-io/transport-node';
import { isKeyfleetError, KeyfleetError } from '../base/errors.ts';
import { connectNats, type NatsAddress } from '../nats/connect.ts';
import { jetStreamLogs } from '../nats/jetstream-logs.ts';
import { natsTransport } from '../nats/nats-transport.ts';
import { checkNatsServers } from '../nats/server-check.ts';
import type { Storage } from '../storage/storage.ts';
import type { Transport } from '../transport/transport.ts';
import type { AnyHook } from './cluster/cluster-hooks.ts';
import { ClusterNode } from './cluster/cluster-node.ts';
import type { AnyModule } from './cluster/hosted-shard.ts';
import { ClusterStoreHost } from './cluster-store-host.ts';
import { SystemClock } from './node-clock.ts';
import type { ServingHost } from './store-host.ts';
import { type NodeStats, statsOf } from './store-stats.ts';

// A node of a cluster with all that it stands on: the connection to the NATS servers, what is checked of them, the transport, the storage.

export interface ClusterHostOptions {
  /** The cluster's name: 1 to 64 of `A-Z a-z 0-9 _ -`. Clusters of different names on the same NATS servers do not meet. */
  readonly cluster: string;
  /** This node's id, of the same letters: its own for good, and no other node's. */
  readonly node: string;
  readonly nats: Omit<NatsAddress, 'name'> & {
    /** Monitoring addresses of the servers, as `http://10.0.0.1:8222`: through them alone can be known whether they sync every write. */
    readonly monitors?: readonly string[] | undefined;
    /** Servers that hold the log of each shard: 1, 3 or 5. Default: 3, or 1 where there is only one server. */
    readonly replicas?: number | undefined;
    /** Serves though acknowledged writes are at risk with these servers. Default: false. */
    readonly allowUnsafe?: boolean | undefined;
  };
  /** Where this node's copies are kept. The host closes it. */
  readonly storage: Storage;
  /** What fails with this node, such as a rack or a data centre: the replicas of a shard are spread over zones. Default: '' for all. */
  readonly zone?: string | undefined;
  /** Its share of the data, beside the other nodes'. Default: 1. */
  readonly weight?: number | undefined;
  /** Copies of each shard, for a new cluster. Default: 3. */
  readonly replication?: number | undefined;
  /** @see ClusterNodeOptions */
  readonly acceptMetaLoss?: boolean | undefined;
  readonly maxValueBytes?: number | undefined;
  readonly maxKeyBytes?: number | undefined;
  /** How long a request looks for somebody to answer it, at most. Default: 10,000. */
  readonly requestTimeoutMs?: number | undefined;
  /** As `openStore` has it. Default: false. */
  readonly checkModules?: boolean | undefined;
  /** Value modules beside those of the keyspaces that this process registers: it has its share of what others make of them. */
  readonly modules?: readonly AnyModule[] | undefined;
  /** Hooks by keyspace, see {@link KeyspaceOptions.hook}: given here, they miss nothing that this node runs before the keyspace is registered. */
  readonly hooks?: Readonly<Record<string, AnyHook>> | undefined;
  /** The release that this node runs, for the others to see. */
  readonly release?: string;
  readonly onBackgroundError?: ((error: Error) => void) | undefined;
}

/** How often a node of the same id is asked whether it is there, when it hears and says nothing. */
const HELLOS = 3;
const HELLO_MS = 2_000;

export class ClusterHost extends ClusterStoreHost implements ServingHost {
  readonly node: ClusterNode;
  readonly storage: Storage;
  /** What puts acknowledged writes at risk with these NATS servers, or is not known of them; a sentence each. */
  readonly risks: readonly string[];
  readonly #connection: NatsConnection;
  readonly #transport: Transport;
  #closing: Promise<void> | undefined;

  private constructor(parts: {
    readonly node: ClusterNode;
    readonly storage: Storage;
    readonly risks: readonly string[];
    readonly checkModules: boolean;
    readonly connection: NatsConnection;
    readonly transport: Transport;
  }) {
    super(parts.checkModules);
    this.node = parts.node;
    this.storage = parts.storage;
    this.risks = parts.risks;
    this.#connection = parts.connection;
    this.#transport = parts.transport;
  }

  /**
   * Joins the cluster, or begins it. The storage stays open when this fails.
   * @throws KF_NATS_UNREACHABLE, KF_NATS_REFUSED, KF_NATS_UNSAFE, KF_NATS_UNSUITABLE; KF_NODE_ID_TAKEN when another process is this node;
   *   KF_OTHER_CLUSTER when the data are of another node or cluster; KF_NODE_INCOMPATIBLE, KF_BAD_NODE, KF_BAD_OPTION.
   */
  static async open(options: ClusterHostOptions): Promise<ClusterHost> {
    const { cluster, node: nodeId, nats, storage, zone, weight, replication, release, onBackgroundError } = options;
    const connection = await connectNats({ ...nats, name: `keyfleet ${cluster}/${nodeId}` });
    let transport: Transport | undefined;
    try {
      const { monitors = [], allowUnsafe = false } = nats;
      const risks = [...(await checkNatsServers(connection, { monitors, allowUnsafe, allowUnknown: true }))];
      const replicas = nats.replicas ?? logReplicas(connection, nats.servers);
      if (replicas === 1) risks.push('every log is on one NATS server only: what it loses is lost');
      transport = natsTransport({ connection, cluster, self: nodeId });
      await checkIdIsFree(transport);
      const node = await ClusterNode.start({
        nodeId,
        cluster,
        storage,
        clock: new SystemClock(),
        transport,
        logs: jetStreamLogs({ connection, cluster, replicas }),
        acceptMetaLoss: options.acceptMetaLoss ?? false,
        ...(zone === undefined ? {} : { zone }),
        ...(weight === undefined ? {} : { weight }),
        ...(replication === undefined ? {} : { replication }),
        ...(release === undefined ? {} : { release }),
        modules: options.modules ?? [],
        ...(options.hooks === undefined ? {} : { hooks: options.hooks }),
        ...(options.maxValueBytes === undefined ? {} : { maxValueBytes: options.maxValueBytes }),
        ...(options.maxKeyBytes === undefined ? {} : { maxKeyBytes: options.maxKeyBytes }),
        ...(options.requestTimeoutMs === undefined ? {} : { requestTimeoutMs: options.requestTimeoutMs }),
        ...(onBackgroundError === undefined ? {} : { onBackgroundError }),
      });
      return new ClusterHost({ node, storage, risks, checkModules: options.checkModules ?? false, connection, transport });
    } catch (error) {
      await transport?.close();
      await connection.close();
      throw error;
    }
  }

  override stats(): NodeStats {
    return {
      nodeId: this.nodeId,
      refusal: this.storage.refusal?.message,
      expiredCount: 0,
      keyspaces: statsOf(this.keyspaces()),
      storage: this.storage.stats(),
    };
  }

  /** Hands over what this node leads, and lets go of everything. Twice is once. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    try {
      await this.node.stop();
      // Servers drop what is on its way to one that has just stopped listening, and nobody hears of it.
      await new Promise((resolve) => setTimeout(resolve, LINGER_MS));
    } finally {
      await this.#transport.close();
      await this.#connection.close();
      await this.storage.close();
    }
  }
}

/** So long a node that leads nothing any more refuses what still comes. */
const LINGER_MS = 100;

/** Three where the servers are three at least, as far as one of them has said. */
function logReplicas(connection: NatsConnection, given: readonly string[]): number {
  const known = connection.info?.connect_urls?.length ?? 0;
  return Math.max(known, given.length) >= 3 ? 3 : 1;
}

/**
 * Two processes of one id would both take themselves for the leader of the same shards. One that was cut off may be listening still as far as the
 * servers know: it does not answer, and by the time that it was asked in vain its leases are over.
 * @throws KF_NODE_ID_TAKEN
 */
async function checkIdIsFree(transport: Transport): Promise<void> {
  for (let tried = 0; tried < HELLOS; tried++) {
    try {
      await transport.request(transport.self, 'hello', new Uint8Array(0), { timeoutMs: HELLO_MS });
    } catch (error) {
      if (!isKeyfleetError(error)) throw error;
      if (error.code === 'KF_NODE_UNREACHABLE') return;
      if (error.code === 'KF_NODE_SILENT') continue;
    }
    throw new KeyfleetError(
      'KF_NODE_ID_TAKEN',
      `a node ${transport.self} is in the cluster and answers; each process needs an id of its own (--node)`,
    );
  }
}
