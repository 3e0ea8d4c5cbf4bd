import type { KeyspaceRecord } from '../shard/meta/meta-records.ts';
import type { KeyspacePolicy } from '../shard/policy.ts';
import { checkedModule } from './checked-module.ts';
import type { ClusterAccess } from './cluster/cluster-access.ts';
import type { ClusterView } from './cluster/cluster-view.ts';
import type { AnyModule } from './cluster/hosted-shard.ts';
import type { KeyspaceHandle } from './keyspace-handle.ts';
import type { KeyspaceOptions } from './keyspace-options.ts';
import type { ServedKeyspace, StoreHost, WorkflowControl } from './store-host.ts';
import { type StoreStats, statsOf } from './store-stats.ts';

/** What the store of a cluster stands on, at a node and at a client. */
export abstract class ClusterStoreHost implements StoreHost {
  abstract readonly node: ClusterAccess;
  readonly now: () => number = Date.now;
  readonly #checkModules: boolean;

  constructor(checkModules: boolean) {
    this.#checkModules = checkModules;
  }

  get cluster(): string {
    return this.node.cluster;
  }

  get nodeId(): string {
    return this.node.nodeId;
  }

  moduleNamed(name: string): AnyModule | undefined {
    return this.keyspaces().find(({ module }) => module.name === name)?.module as AnyModule | undefined;
  }

  /** The cluster as this process knows it. */
  view(): ClusterView {
    return this.node.view();
  }

  registerKeyspace<V, C, R, Q, A>(name: string, options: KeyspaceOptions<V, C, R, Q, A>): Promise<KeyspaceHandle<V, C, R, Q, A>> {
    const module = this.#checkModules ? checkedModule(options.module) : options.module;
    return this.node.registerKeyspace(name, { ...options, module });
  }

  deregisterKeyspace(name: string): Promise<void> {
    return this.node.deregisterKeyspace(name);
  }

  getPolicy(name: string): KeyspacePolicy {
    return this.node.getPolicy(name);
  }

  setPolicy(name: string, change: Partial<KeyspacePolicy>): Promise<KeyspacePolicy> {
    return this.node.setPolicy(name, change);
  }

  keyspaceRecords(): readonly KeyspaceRecord[] {
    return this.node.keyspaceRecords();
  }

  keyspaces(): readonly ServedKeyspace[] {
    return this.node.keyspaces();
  }

  workflows(name: string): WorkflowControl {
    return this.node.workflows(name);
  }

  stats(): StoreStats {
    return { nodeId: this.nodeId, keyspaces: statsOf(this.keyspaces()) };
  }

  abstract close(): Promise<void>;
}
