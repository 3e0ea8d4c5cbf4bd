import { KeyfleetError } from '../../base/errors.ts';
import type { Transport } from '../../transport/transport.ts';
import type { NodeClock } from '../node-clock.ts';
import { type AccessParts, ClusterAccess } from './cluster-access.ts';
import type { ViewSources } from './cluster-view.ts';
import type { AnyModule } from './hosted-shard.ts';
import { KeyListeners } from './key-listeners.ts';
import { KeyWatches } from './key-watches.ts';
import type { MapAnswer } from './map-source.ts';
import { MetaClient } from './meta-client.ts';
import { META_KEYSPACE } from './meta-replica.ts';
import { RemoteMap } from './remote-map.ts';
import { ClusterReports } from './reports.ts';
import { CallRouter, NO_SHARDS } from './router.ts';
import { ServedKeyspaces } from './served-keyspaces.ts';

export interface ClusterClientOptions {
  /** As whom it asks: 1 to 64 of `A-Z a-z 0-9 _ -`, no node's nor other client's. */
  readonly self: string;
  readonly cluster: string;
  readonly clock: NodeClock;
  /** The caller's to close, after the client. Nobody is served over it. */
  readonly transport: Transport;
  readonly modules?: readonly AnyModule[];
  /** Default: 512 MiB. */
  readonly maxKeyBytes?: number | undefined;
  /** How long a request looks for somebody to answer it. Default: 10,000. */
  readonly requestTimeoutMs?: number | undefined;
  /** Told what its own asking after the map met. */
  readonly onBackgroundError?: ((error: Error) => void) | undefined;
}

/** Who has nothing of a cluster's data, knows its map, and asks whoever leads. */
export class ClusterClient extends ClusterAccess {
  protected readonly access: AccessParts;
  readonly #clock: NodeClock;
  readonly #map: RemoteMap;
  readonly #reports = new ClusterReports();
  readonly #router: CallRouter;
  readonly #watches: KeyWatches;

  private constructor(options: ClusterClientOptions) {
    const { self, cluster, clock, transport, maxKeyBytes, requestTimeoutMs = 10_000, onBackgroundError: onError = () => {} } = options;
    super(self, cluster);
    this.#clock = clock;
    this.#map = new RemoteMap({ clock, transport, onAnswer: (answer) => this.#learn(answer), onError });
    this.#router = new CallRouter({ self, clock, transport, host: NO_SHARDS, map: this.#map, onAstray: () => this.#map.refresh() });
    const listeners = new KeyListeners();
    this.#watches = new KeyWatches({ clock, transport, listeners });
    const client = new MetaClient({ self, clock, router: this.#router, keyspace: META_KEYSPACE, timeoutMs: requestTimeoutMs });
    this.access = {
      ...{
        clock,
        transport,
        router: this.#router,
        client,
        served: new ServedKeyspaces(options.modules),
        requestTimeoutMs,
        maxKeyBytes,
        onError,
      },
      sources: () => this.#sources,
      within: (ms, isTrue) => this.#map.within(ms, isTrue),
      giveHook: (name) => {
        throw new KeyfleetError('KF_BAD_OPTION', `a client leads no shard of keyspace ${name}: its hook is for the nodes`);
      },
      hookOf: () => undefined,
      onServed: () => {},
      listen: (id, listener) => listeners.listen(id, listener),
      watch: (...watch) => this.#watches.watch(...watch),
    };
  }

  /** @throws KF_UNAVAILABLE when no node of the cluster answers; KF_NODE_INCOMPATIBLE. */
  static async open(options: ClusterClientOptions): Promise<ClusterClient> {
    const client = new ClusterClient(options);
    try {
      await client.#map.open(options.requestTimeoutMs ?? 10_000);
    } catch (error) {
      client.stop();
      throw error;
    }
    return client;
  }

  /** What waits for an answer hears KF_CLOSED, or KF_OUTCOME_UNKNOWN. */
  stop(): void {
    this.#map.stop();
    this.#watches.stop();
    this.#router.stop();
  }

  get #sources(): ViewSources {
    const { nodeId, cluster } = this;
    return {
      ...{ nodeId, cluster, map: this.#map, metaLost: undefined, host: NO_SHARDS, router: this.#router, reports: this.#reports },
      nowMs: this.#clock.now().monoMs,
    };
  }

  #learn({ leaders, reports }: MapAnswer): void {
    this.#reports.takeAll(reports, this.nodeId, this.#clock.now().monoMs);
    for (const [shard, node, epoch] of leaders) this.#router.hints.note(shard, node, epoch);
    this.mapChanged();
  }
}
