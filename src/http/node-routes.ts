import type { FastifyInstance } from 'fastify';
import { KeyfleetError } from '../base/errors.ts';
import type { ClusterAdmin } from './cluster-admin.ts';
import { fieldsOf } from './shard-routes.ts';

// GET /v1/nodes, POST /v1/nodes/<id>/drain, …/undrain and …/remove: the nodes of a cluster, at any of them.

type OfNode = { readonly Params: { readonly node: string } };

export function serveNodes(server: FastifyInstance, cluster: ClusterAdmin | undefined): void {
  const admin = (): ClusterAdmin => {
    if (cluster) return cluster;
    throw new KeyfleetError('KF_NO_CLUSTER', 'this server is no node of a cluster (keyfleet serve --cluster)');
  };
  server.get('/v1/nodes', async () => admin().report());
  for (const what of ['drain', 'undrain', 'remove'] as const) {
    server.post<OfNode>(`/v1/nodes/:node/${what}`, async (request) => {
      fieldsOf(request, []);
      await admin()[what](request.params.node);
      return admin().report();
    });
  }
}
