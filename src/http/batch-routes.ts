import type { IncomingHttpHeaders } from 'node:http';
import { Readable } from 'node:stream';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Bytes } from '../base/bytes.ts';
import { isKeyfleetError, type KeyfleetError } from '../base/errors.ts';
import { MIB } from '../base/units.ts';
import { type BatchForm, formOf, readBatch } from './batch-body.ts';
import { bodyOf } from './body-parser.ts';
import { statusOf } from './http-error.ts';
import type { HttpKeyspace } from './http-store.ts';
import { requestOf } from './idempotency.ts';
import { jsonField, type KeyedRecord, keyOf, recordOf } from './record-json.ts';

// POST /v1/keyspaces/<keyspace>/batch/get and …/batch/put, as JSON or NDJSON. The answer has the form of the question.

type Params = { readonly Params: { readonly keyspace: string } };

export function serveBatches(server: FastifyInstance, keyspaceOf: (request: FastifyRequest<Params>) => HttpKeyspace): void {
  server.post<Params>('/v1/keyspaces/:keyspace/batch/get', async (request, reply) => {
    const keyspace = keyspaceOf(request);
    const form = formOf(request.headers['content-type']);
    const keys = readBatch(bodyOf(request), form, 'keys', keyOf);
    reply.type(form === 'json' ? 'application/json' : 'application/x-ndjson');
    return reply.send(Readable.from(answers(keyspace, keys, form), { objectMode: true, highWaterMark: 1 }));
  });

  server.post<Params>('/v1/keyspaces/:keyspace/batch/put', async (request, reply) => {
    const keyspace = keyspaceOf(request);
    const form = formOf(request.headers['content-type']);
    const result = await putAll(keyspace, readBatch(bodyOf(request), form, 'records', recordOf), request.headers);
    const { firstError, ...counts } = result;
    if (!firstError) return reply.send(counts);
    // Some may have been written, so the answer says how many; sending the same batch again is safe.
    return reply.code(statusOf(firstError)).send({ ...counts, error: { code: firstError.code, message: firstError.message } });
  });
}

/** One answer per key, in their order, a chunk of text at a time, so that no more than a few values are in memory at once. */
async function* answers(keyspace: HttpKeyspace, keys: readonly Bytes[], form: BatchForm): AsyncGenerator<string> {
  if (form === 'json') yield '{"records":[';
  let chunkLength = 16;
  for (let from = 0; from < keys.length; ) {
    const chunk = keys.slice(from, from + chunkLength);
    const lines = await Promise.all(chunk.map((key) => answerLine(keyspace, key)));
    const text = form === 'json' ? (from > 0 ? ',' : '') + lines.join(',') : `${lines.join('\n')}\n`;
    yield text;
    from += chunk.length;
    chunkLength = text.length < MIB / 4 ? Math.min(1_024, chunkLength * 2) : Math.max(1, Math.floor(chunkLength / 2));
  }
  if (form === 'json') yield ']}';
}

/** A key that is not there has `"value":null`; one that holds something else than a string has an `"error"`. */
async function answerLine(keyspace: HttpKeyspace, key: Bytes): Promise<string> {
  try {
    const found = await keyspace.get(key);
    if (!found) return `{${jsonField('key', key)},"value":null}`;
    return `{${jsonField('key', key)},${jsonField('value', found.value)}${found.ttlMs === undefined ? '' : `,"ttlMs":${found.ttlMs}`}}`;
  } catch (error) {
    if (!isKeyfleetError(error)) throw error;
    return `{${jsonField('key', key)},"error":${JSON.stringify({ code: error.code, message: error.message })}}`;
  }
}

interface PutCounts {
  written: number;
  created: number;
  replaced: number;
  failed: number;
  firstError?: KeyfleetError;
}

/** Writes all records in their order, so that of two with one key the later stays; one that fails does not keep the others back. */
async function putAll(keyspace: HttpKeyspace, records: readonly KeyedRecord[], headers: IncomingHttpHeaders): Promise<PutCounts> {
  const counts: PutCounts = { written: 0, created: 0, replaced: 0, failed: 0 };
  await Promise.all(
    records.map(async (record, index) => {
      try {
        const request = requestOf(headers, record.key, index);
        const outcome = await ('type' in record
          ? keyspace.restore(record, request)
          : keyspace.put(record.key, record.value, { ttlMs: record.ttlMs, condition: {}, request }));
        counts.written++;
        if (outcome === 'created') counts.created++;
        else counts.replaced++;
      } catch (error) {
        if (!isKeyfleetError(error)) throw error;
        counts.failed++;
        counts.firstError ??= error;
      }
    }),
  );
  return counts;
}
