/** keyfleet/http: the HTTP door over a store. */
export type { HttpKeyspace, HttpStore } from './http-store.ts';
export { NodeHttpStore } from './node-store.ts';
export { type HttpServer, type HttpServerOptions, startHttpServer } from './server.ts';
export type { KeyspaceReport, StatusReport } from './status.ts';
