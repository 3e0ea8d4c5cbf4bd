import type { KeyspaceRecord } from '../shard/meta/meta-records.ts';
import type { KeyspacePolicy } from '../shard/policy.ts';
import type { PositionScheme } from '../shard/position-scheme.ts';
import type { Storage } from '../storage/storage.ts';
import type { KeyspaceBackup } from './backup/range-reading.ts';
import type { AnyModule } from './cluster/hosted-shard.ts';
import type { KeyspaceHandle } from './keyspace-handle.ts';
import type { KeyspaceOptions } from './keyspace-options.ts';
import type { KeyspaceWorkflows } from './keyspace-workflows.ts';
import type { NodeStats, StoreStats } from './store-stats.ts';

/** A keyspace whose value module this process has. */
export interface ServedKeyspace extends KeyspaceHandle<never, never, unknown, never, unknown> {
  readonly id: number;
  readonly module: { readonly name: string };
  readonly scheme: PositionScheme;
  readonly backup: KeyspaceBackup;
}

/** The splits and merges of one keyspace. */
export type WorkflowControl = Pick<KeyspaceWorkflows, 'running' | 'split' | 'merge' | 'cancel' | 'loadPerSecond'>;

/** What a `Store` stands on: one machine (`StoreNode`), a node of a cluster, or a client of one. */
export interface StoreHost {
  readonly nodeId: string;
  /** Undefined on one machine. */
  readonly cluster: string | undefined;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** Serves a keyspace, and makes it first if there is none of that name. */
  registerKeyspace<V, C, R, Q, A>(name: string, options: KeyspaceOptions<V, C, R, Q, A>): Promise<KeyspaceHandle<V, C, R, Q, A>>;
  deregisterKeyspace(name: string): Promise<void>;
  /** @throws KF_NO_KEYSPACE. */
  getPolicy(name: string): KeyspacePolicy;
  setPolicy(name: string, change: Partial<KeyspacePolicy>): Promise<KeyspacePolicy>;
  /** A value module that some keyspace here has. */
  moduleNamed(name: string): AnyModule | undefined;
  /** All keyspaces that there are, served or not, by name. */
  keyspaceRecords(): readonly KeyspaceRecord[];
  /** Those that are served here. */
  keyspaces(): readonly ServedKeyspace[];
  /** @throws KF_NO_KEYSPACE. */
  workflows(name: string): WorkflowControl;
  stats(): StoreStats;
  close(): Promise<void>;
}

/** What the doors stand on: it has data of its own. */
export interface ServingHost extends StoreHost {
  /** This process's own; in a cluster not all the data. */
  readonly storage: Storage;
  stats(): NodeStats;
}
