import type { FastifyInstance, FastifyRequest } from 'fastify';
import { KeyfleetError } from '../base/errors.ts';
import { formOf } from './batch-body.ts';
import { bodyOf } from './body-parser.ts';
import type { ShardAdmin } from './shard-admin.ts';

// GET …/shards, POST …/shards/<id>/split and …/merge, GET and PATCH …/policy of /v1/keyspaces/<keyspace>. What changes something has a body of
// JSON, which no web page can send to another site unasked.

type Of = { readonly Params: { readonly keyspace: string } };
type OfShard = { readonly Params: { readonly keyspace: string; readonly shard: string } };

export function serveShards(server: FastifyInstance, adminOf: (keyspace: string) => ShardAdmin): void {
  server.get<Of>('/v1/keyspaces/:keyspace/shards', async ({ params }) => adminOf(params.keyspace).report());
  server.post<OfShard>('/v1/keyspaces/:keyspace/shards/:shard/split', async (request) => {
    const { at } = fieldsOf(request, ['at']);
    if (at !== undefined && !Number.isInteger(at)) throw new KeyfleetError('KF_BAD_REQUEST', '"at" is a position: a whole number');
    return adminOf(request.params.keyspace).split(shardOf(request.params.shard), at as number | undefined);
  });
  server.post<OfShard>('/v1/keyspaces/:keyspace/shards/:shard/merge', async (request) => {
    fieldsOf(request, []);
    return adminOf(request.params.keyspace).merge(shardOf(request.params.shard));
  });
  server.get<Of>('/v1/keyspaces/:keyspace/policy', async ({ params }) => adminOf(params.keyspace).report().policy);
  server.patch<Of>('/v1/keyspaces/:keyspace/policy', async (request) => adminOf(request.params.keyspace).setPolicy(fieldsOf(request)));
}

/** @throws KF_BAD_REQUEST. */
export function shardOf(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new KeyfleetError('KF_BAD_REQUEST', `a shard has a number, not ${JSON.stringify(text)}`);
  return Number(text);
}

/** The fields of a JSON object. @throws KF_MEDIA_TYPE, KF_BAD_REQUEST. */
export function fieldsOf(request: FastifyRequest, known?: readonly string[]): Readonly<Record<string, unknown>> {
  if (formOf(request.headers['content-type']) !== 'json') throw new KeyfleetError('KF_MEDIA_TYPE', 'the body is one JSON object');
  let fields: unknown;
  try {
    fields = JSON.parse(Buffer.from(bodyOf(request)).toString('utf8'));
  } catch {
    throw new KeyfleetError('KF_BAD_REQUEST', 'the body is not JSON');
  }
  if (typeof fields !== 'object' || fields === null || Array.isArray(fields))
    throw new KeyfleetError('KF_BAD_REQUEST', 'the body is not a JSON object');
  const stranger = known && Object.keys(fields).find((name) => !known.includes(name));
  if (stranger !== undefined) throw new KeyfleetError('KF_BAD_REQUEST', `unknown field ${JSON.stringify(stranger)}`);
  return fields as Readonly<Record<string, unknown>>;
}
