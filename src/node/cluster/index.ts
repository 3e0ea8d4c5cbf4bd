// What the doors and the library need of a cluster's nodes.

export { ClusterClient, type ClusterClientOptions } from './cluster-client.ts';
export { ClusterKeyspace, type KeyPlace } from './cluster-keyspace.ts';
export { ClusterNode } from './cluster-node.ts';
export { type ClusterNodeOptions, PROTOCOL } from './cluster-options.ts';
export type { ClusterView, KeyspaceView, NodeView, ShardView } from './cluster-view.ts';
