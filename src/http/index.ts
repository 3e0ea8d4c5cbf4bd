/** keyfleet/http: the HTTP door over a store. */
export { type ClusterAdmin, type ClusterReport, type NodeReport, nodeClusterAdmin, type ReplicaReport } from './cluster-admin.ts';
export type { HttpKeyspace, HttpStore } from './http-store.ts';
export { NodeHttpStore } from './node-store.ts';
export { type HttpServer, type HttpServerOptions, startHttpServer } from './server.ts';
export type { KeyspaceReport, StatusReport } from './status.ts';
