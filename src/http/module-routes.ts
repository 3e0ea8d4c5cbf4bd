import type { FastifyInstance, FastifyRequest } from 'fastify';
import { type Bytes, fromUtf8 } from '../base/bytes.ts';
import { KeyfleetError, messageOf } from '../base/errors.ts';
import { bodyOf } from './body-parser.ts';
import { jsonWithBytes, jsonWithoutBytes } from './call-json.ts';
import type { HttpKeyspace } from './http-store.ts';
import { requestOf } from './idempotency.ts';
import { keyOf } from './record-json.ts';

// POST /v1/keyspaces/<keyspace>/command and …/query: {"key": …, "command": …} → {"reply": …} and {"key": …, "query": …} → {"answer": …}, for
// keyspaces of value modules.

type Params = { readonly Params: { readonly keyspace: string } };

export function serveModules(server: FastifyInstance, keyspaceOf: (request: FastifyRequest<Params>) => HttpKeyspace): void {
  server.post<Params>('/v1/keyspaces/:keyspace/command', async (request, reply) => {
    const keyspace = keyspaceOf(request);
    if (!keyspace.command) throw notAModule(keyspace);
    const { key, body } = readCall(request);
    const answer = await keyspace.command(key, jsonWithBytes(body['command']), requestOf(request.headers, key));
    return reply.send({ reply: jsonWithoutBytes(answer) });
  });

  server.post<Params>('/v1/keyspaces/:keyspace/query', async (request, reply) => {
    const keyspace = keyspaceOf(request);
    if (!keyspace.query) throw notAModule(keyspace);
    const { key, body } = readCall(request);
    return reply.send({ answer: jsonWithoutBytes(await keyspace.query(key, jsonWithBytes(body['query'] ?? null))) });
  });
}

function readCall(request: FastifyRequest): { readonly key: Bytes; readonly body: Readonly<Record<string, unknown>> } {
  const mediaType = (request.headers['content-type'] ?? '').split(';')[0]!.trim().toLowerCase();
  if (mediaType !== 'application/json') throw new KeyfleetError('KF_MEDIA_TYPE', 'send content-type: application/json');
  try {
    const body = JSON.parse(fromUtf8(bodyOf(request))) as Readonly<Record<string, unknown>>;
    return { key: keyOf(body), body };
  } catch (error) {
    throw new KeyfleetError('KF_BAD_RECORD', `the body is no call: ${messageOf(error)}`);
  }
}

function notAModule({ name }: HttpKeyspace): KeyfleetError {
  return new KeyfleetError('KF_NOT_SUPPORTED', `keyspace ${name} is served as strings: GET and PUT /v1/keyspaces/${name}/keys/<key>`);
}
