import { KeyfleetError } from '../base/errors.ts';
import { openStorage } from '../storage/lmdb.ts';
import type { Durability, Storage } from '../storage/storage.ts';
import { type KeyspaceDefinitions, Store } from './store.ts';
import { type NodeLimits, StoreNode } from './store-node.ts';

/** Where the data are: a directory, or a storage that is open already. */
export type StoreLocation =
  | {
      /** Made when missing. One process at a time. */
      readonly dir: string;
      /** When a promise resolves: `sync` (default) after fdatasync, `os` when the operating system has the bytes, `none` at once. */
      readonly durability?: Durability;
      readonly storage?: never;
    }
  /** The store closes it. */
  | { readonly storage: Storage; readonly dir?: never; readonly durability?: never };

export type OpenStoreOptions<Definitions extends KeyspaceDefinitions> = StoreLocation &
  NodeLimits & {
    /** Made if there are none of these names. */
    readonly keyspaces?: Definitions;
    /** Told what the store's own work in the background met, such as a full disk. */
    readonly onBackgroundError?: (error: Error) => void;
  };

/**
 * Opens a store in this process.
 *
 * @throws KF_STORAGE_LOCKED, KF_STORAGE_VERSION, KF_STORAGE_DAMAGED, KF_STORAGE_UNREADABLE, KF_DISK_FULL, KF_FORMAT_TOO_NEW,
 *   KF_BAD_OPTION, KF_BAD_KEYSPACE, KF_BAD_MODULE, KF_KEYSPACE_MISMATCH; nothing stays open then.
 */
export async function openStore<const Definitions extends KeyspaceDefinitions = Record<never, never>>(
  options: OpenStoreOptions<Definitions>,
): Promise<Store<Definitions>> {
  const { keyspaces, dir, durability = 'sync', storage: given, ...limits } = options ?? {};
  if (given === undefined && typeof dir !== 'string')
    throw new KeyfleetError('KF_BAD_OPTION', "openStore is to be told where the data are: { dir: './app-data' }");
  const storage = given ?? (await openStorage({ dir: dir as string, durability }));
  let node: StoreNode;
  try {
    node = await StoreNode.open({ ...limits, storage });
  } catch (error) {
    await storage.close();
    throw error;
  }
  try {
    const store = new Store<Definitions>(node);
    for (const [name, definition] of Object.entries(keyspaces ?? {})) {
      await store.registerKeyspace(name, definition);
    }
    return store;
  } catch (error) {
    await node.close();
    throw error;
  }
}
