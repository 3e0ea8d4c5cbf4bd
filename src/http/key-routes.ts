import type { IncomingMessage } from 'node:http';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Bytes } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import { type BodyBudget, bodyOf } from './body-parser.ts';
import { conditionOf, etagOf, isUnchanged, refusesMatch } from './condition.ts';
import type { HttpKeyspace, WriteOptions } from './http-store.ts';
import { requestOf } from './idempotency.ts';
import { viewOf } from './json-bytes.ts';
import { percentDecode } from './percent.ts';
import { MAX_TTL_MS } from './record-json.ts';

// GET, HEAD, PUT and DELETE of /v1/keyspaces/<keyspace>/keys/<key>. The key is everything after /keys/, percent-encoded, any bytes at all.
// Fastify's router wants UTF-8, so the key is set aside before routing and the router sees /v1/keyspaces/<keyspace>/key.

const KEY_PATH = /^\/v1\/keyspaces\/([^/?]*)\/keys\/([^?]*)(\?.*)?$/s;
const rawKeys = new WeakMap<IncomingMessage, string>();

/** Sets the key of a request's URL aside; what the router is to see instead. */
export function setKeyAside(message: IncomingMessage): string {
  const url = message.url ?? '/';
  const match = KEY_PATH.exec(url);
  if (!match) return url;
  rawKeys.set(message, match[2]!);
  return `/v1/keyspaces/${match[1]}/key${match[3] ?? ''}`;
}

type Params = { readonly Params: { readonly keyspace: string } };

export function serveKeys(
  server: FastifyInstance,
  keyspaceOf: (request: FastifyRequest<Params>) => HttpKeyspace,
  budget: BodyBudget,
): void {
  const url = '/v1/keyspaces/:keyspace/key';

  server.route<Params>({
    method: ['GET', 'HEAD'],
    url,
    handler: async (request, reply) => {
      const condition = conditionOf(request.headers);
      const found = await keyspaceOf(request).get(keyOf(request));
      const etag = found && etagOf(found.value);
      if (refusesMatch(condition, etag)) throw conditionFailed();
      if (!found || etag === undefined) throw new KeyfleetError('KF_KEY_NOT_FOUND', 'there is no such key');
      reply.header('etag', `"${etag}"`);
      if (found.ttlMs !== undefined) reply.header('keyfleet-ttl-ms', String(found.ttlMs));
      if (isUnchanged(condition, etag)) return reply.code(304).send();
      if (request.method === 'GET') budget.answer(found.value.length, reply.raw);
      reply.header('content-length', found.value.length);
      return reply.type('application/octet-stream').send(viewOf(found.value));
    },
  });

  server.put<Params>(url, async (request, reply) => {
    const key = keyOf(request);
    const value = bodyOf(request);
    const outcome = await keyspaceOf(request).put(key, value, { ttlMs: ttlOf(request), ...writeOptions(request, key) });
    if (outcome === 'condition-failed') throw conditionFailed();
    return reply
      .code(outcome === 'created' ? 201 : 204)
      .header('etag', `"${etagOf(value)}"`)
      .send();
  });

  server.delete<Params>(url, async (request, reply) => {
    const key = keyOf(request);
    const outcome = await keyspaceOf(request).delete(key, writeOptions(request, key));
    if (outcome === 'condition-failed') throw conditionFailed();
    if (outcome === 'absent') throw new KeyfleetError('KF_KEY_NOT_FOUND', 'there is no such key');
    return reply.code(204).send();
  });

  server.route<Params>({
    method: ['POST', 'PATCH', 'OPTIONS'],
    url,
    handler: async (request, reply: FastifyReply) => {
      reply.header('allow', 'GET, HEAD, PUT, DELETE');
      throw new KeyfleetError('KF_METHOD_NOT_ALLOWED', `a key takes GET, HEAD, PUT and DELETE, not ${request.method}`);
    },
  });
}

function keyOf(request: FastifyRequest<Params>): Bytes {
  const raw = rawKeys.get(request.raw);
  if (raw === undefined) throw new KeyfleetError('KF_NOT_FOUND', 'keys are at /v1/keyspaces/<keyspace>/keys/<key>');
  const key = percentDecode(raw);
  if (!key) throw new KeyfleetError('KF_BAD_REQUEST', 'the key is malformed: a % needs two hex digits after it');
  return key;
}

function writeOptions({ headers }: FastifyRequest<Params>, key: Bytes): WriteOptions {
  return { condition: conditionOf(headers), request: requestOf(headers, key) };
}

/** The time to live that the query (`ttlMs`) or the header (`Keyfleet-Ttl-Ms`) asks for. */
function ttlOf(request: FastifyRequest<Params>): number | undefined {
  const { ttlMs, ...others } = request.query as { readonly ttlMs?: string | readonly string[] };
  const [stranger] = Object.keys(others);
  // One that is misspelt would leave a value for ever that was to go.
  if (stranger !== undefined) throw new KeyfleetError('KF_BAD_REQUEST', `unknown parameter ${JSON.stringify(stranger)}; a PUT takes ttlMs`);
  const given = ttlMs ?? request.headers['keyfleet-ttl-ms'];
  if (given === undefined) return undefined;
  if (typeof given !== 'string' || !/^[1-9]\d{0,14}$/.test(given) || Number(given) > MAX_TTL_MS) {
    throw new KeyfleetError('KF_BAD_REQUEST', `ttlMs must be a whole number of milliseconds from 1, not ${JSON.stringify(given)}`);
  }
  return Number(given);
}

function conditionFailed(): KeyfleetError {
  return new KeyfleetError(
    'KF_PRECONDITION_FAILED',
    'If-Match or If-None-Match does not hold for what the key holds now; nothing was done',
  );
}
