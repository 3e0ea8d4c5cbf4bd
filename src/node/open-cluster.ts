import { openStorage } from '../storage/lmdb.ts';
import type { Durability, Storage } from '../storage/storage.ts';
import type { ClusterHost, ClusterHostOptions } from './cluster-host.ts';
import { type KeyspaceDefinitions, Store } from './store.ts';

/** A store whose shards are on the nodes of a cluster, of which this process is one. */
export type ClusterStore<Definitions extends KeyspaceDefinitions = Record<never, never>> = Store<Definitions, ClusterHost>;

export type OpenClusterOptions<Definitions extends KeyspaceDefinitions> = Omit<ClusterHostOptions, 'storage'> & {
  /** Where this node's copies are kept; made when missing, one process at a time. Instead: `storage`, open already. */
  readonly dir?: string;
  readonly durability?: Durability;
  /** The store closes it. */
  readonly storage?: Storage;
  /** Made if there are none of these names. Every node is given the same. */
  readonly keyspaces?: Definitions;
};

/**
 * Makes this process a node of a cluster, and gives its store: the same as `openStore` gives, for any key wherever it is.
 *
 * @throws what `openStore` throws; KF_NATS_UNREACHABLE, KF_NATS_REFUSED, KF_NATS_UNSAFE, KF_NATS_UNSUITABLE, KF_NODE_ID_TAKEN, KF_OTHER_CLUSTER,
 *   KF_NODE_INCOMPATIBLE, KF_UNAVAILABLE; nothing stays open then.
 */
export async function openCluster<const Definitions extends KeyspaceDefinitions = Record<never, never>>(
  options: OpenClusterOptions<Definitions>,
): Promise<ClusterStore<Definitions>> {
  const { keyspaces, dir, durability = 'sync', storage: given, ...rest } = options;
  // Whoever keeps a store on one machine never loads what talks to NATS.
  const { ClusterHost } = await import('./cluster-host.ts');
  const storage = given ?? (await openStorage({ dir: dir ?? './keyfleet-data', durability }));
  let host: ClusterHost;
  try {
    const hooks = Object.entries(keyspaces ?? {}).flatMap(([name, { hook }]) => (hook ? [[name, hook] as const] : []));
    host = await ClusterHost.open({ hooks: Object.fromEntries(hooks), ...rest, storage });
  } catch (error) {
    await storage.close();
    throw error;
  }
  try {
    const store = new Store<Definitions, ClusterHost>(host);
    for (const [name, definition] of Object.entries(keyspaces ?? {})) await store.registerKeyspace(name, definition);
    return store;
  } catch (error) {
    await host.close();
    throw error;
  }
}
