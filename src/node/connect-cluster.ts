import type { ClientHost, ClientHostOptions } from './client-host.ts';
import { type KeyspaceDefinitions, Store } from './store.ts';

/** A store whose shards are all on the nodes of a cluster, and none in this process. */
export type ClientStore<Definitions extends KeyspaceDefinitions = Record<never, never>> = Store<Definitions, ClientHost>;

export type ConnectClusterOptions<Definitions extends KeyspaceDefinitions> = ClientHostOptions & {
  /** Those that this client uses, with the modules that the nodes have. Made if there are none of these names. */
  readonly keyspaces?: Definitions;
};

/**
 * Makes this process a client of a cluster, and gives its store: the same as `openCluster` gives, without any of the data. It learns the map of the
 * cluster and asks the node that leads a key's shard; hooks are for nodes alone.
 *
 * @throws KF_NATS_UNREACHABLE, KF_NATS_REFUSED, KF_BAD_OPTION; KF_UNAVAILABLE when no node of the cluster answers; KF_NODE_INCOMPATIBLE when the
 *   nodes speak a protocol that this release does not know; KF_BAD_KEYSPACE, KF_KEYSPACE_MISMATCH. Nothing stays open then.
 */
export async function connectCluster<const Definitions extends KeyspaceDefinitions = Record<never, never>>(
  options: ConnectClusterOptions<Definitions>,
): Promise<ClientStore<Definitions>> {
  const { keyspaces, ...rest } = options;
  // Whoever keeps a store on one machine never loads what talks to NATS.
  const { ClientHost } = await import('./client-host.ts');
  const host = await ClientHost.open(rest);
  try {
    const store = new Store<Definitions, ClientHost>(host);
    for (const [name, definition] of Object.entries(keyspaces ?? {})) await store.registerKeyspace(name, definition);
    return store;
  } catch (error) {
    await host.close();
    throw error;
  }
}
