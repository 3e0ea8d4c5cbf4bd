import type { FastifyInstance } from 'fastify';
import { KeyfleetError } from '../base/errors.ts';
import type { ClusterAdmin } from './cluster-admin.ts';
import { fieldsOf, shardOf } from './shard-routes.ts';

// GET /v1/nodes, POST /v1/nodes/<id>/drain, …/undrain and …/remove, and POST /v1/shards/<id>/recover: the nodes of a cluster, at any of them.

type OfNode = { readonly Params: { readonly node: string } };
type OfShard = { readonly Params: { readonly shard: string } };

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
  server.post<OfShard>('/v1/shards/:shard/recover', async (request) => {
    const { acceptLoss } = fieldsOf(request, ['acceptLoss']);
    if (acceptLoss !== true) {
      throw new KeyfleetError('KF_BAD_REQUEST', 'the body is {"acceptLoss":true}: a shard that loses nothing recovers by itself');
    }
    await admin().acceptLoss(shardOf(request.params.shard));
    return admin().report();
  });
}
