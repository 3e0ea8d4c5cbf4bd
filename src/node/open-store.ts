import type { Storage } from '../storage/storage.ts';
import { type KeyspaceDefinitions, Store } from './store.ts';
import type { KeyspaceOptions } from './store-node.ts';
import { type NodeLimits, StoreNode } from './store-node.ts';

export interface OpenStoreOptions<Definitions extends KeyspaceDefinitions> extends NodeLimits {
  /** An opened storage; the store closes it. */
  readonly storage: Storage;
  /** Made if there are none of these names. */
  readonly keyspaces?: Definitions;
  /** Told what the store's own work in the background met, such as a full disk. */
  readonly onBackgroundError?: (error: Error) => void;
}

/**
 * Opens a store in this process.
 *
 * @throws KF_FORMAT_TOO_NEW, KF_BAD_KEYSPACE, KF_KEYSPACE_MISMATCH, or what opening the storage throws; nothing stays open then.
 */
export async function openStore<const Definitions extends KeyspaceDefinitions = Record<never, never>>(
  options: OpenStoreOptions<Definitions>,
): Promise<Store<Definitions>> {
  const { keyspaces, ...nodeOptions } = options;
  const node = await StoreNode.open(nodeOptions);
  try {
    const store = new Store<Definitions>(node);
    for (const [name, definition] of Object.entries(keyspaces ?? {})) {
      await store.registerKeyspace(name, definition as KeyspaceOptions<unknown, unknown, unknown, unknown, unknown>);
    }
    return store;
  } catch (error) {
    await node.close();
    throw error;
  }
}
