import { Readable } from 'node:stream';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { type Bytes, utf8 } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import { KIB } from '../base/units.ts';
import { matchesGlob } from '../shard/redis/glob.ts';
import { piecesOf } from './collection-json.ts';
import type { Held, HttpKeyspace, ScanRecord } from './http-store.ts';
import { jsonField, recordLine } from './record-json.ts';

// GET /v1/keyspaces/<keyspace>/scan: the records as NDJSON, read a page at a time as fast as the client takes them.
// The last line is {"end":true,"count":…,"cursor":…}: without it the answer was cut short. `cursor` is null when there is no more.

type Params = { readonly Params: { readonly keyspace: string } };

export function serveScan(server: FastifyInstance, keyspaceOf: (request: FastifyRequest<Params>) => HttpKeyspace): void {
  server.get<Params>('/v1/keyspaces/:keyspace/scan', async (request, reply) => {
    const keyspace = keyspaceOf(request);
    const options = optionsOf(request.query as Readonly<Record<string, unknown>>);
    reply.type('application/x-ndjson').header('x-accel-buffering', 'no');
    return reply.send(Readable.from(scanText(keyspace, options), { objectMode: true, highWaterMark: 1 }));
  });
}

interface ScanOptions {
  readonly cursor: number;
  /** Stop once this many records are told; the keys of one position come together, so it may be a few more. */
  readonly limit: number;
  readonly prefix: Bytes | undefined;
  readonly match: Bytes | undefined;
  readonly withValues: boolean;
  /** Whether collections come with their values, or with their type only. */
  readonly withCollections: boolean;
}

const KNOWN = ['cursor', 'limit', 'prefix', 'match', 'values', 'collections'];

/** @throws KF_BAD_REQUEST naming the parameter. */
function optionsOf(query: Readonly<Record<string, unknown>>): ScanOptions {
  const one = (name: string): string | undefined => {
    const value = query[name];
    if (value !== undefined && typeof value !== 'string') throw new KeyfleetError('KF_BAD_REQUEST', `${name} is given twice`);
    return value;
  };
  const whole = (name: string, fallback: number): number => {
    const text = one(name) ?? String(fallback);
    if (text !== 'Infinity' && !/^\d{1,15}$/.test(text))
      throw new KeyfleetError('KF_BAD_REQUEST', `${name} must be a whole number, not ${JSON.stringify(text)}`);
    return Number(text);
  };
  const stranger = Object.keys(query).find((name) => !KNOWN.includes(name));
  if (stranger !== undefined)
    throw new KeyfleetError('KF_BAD_REQUEST', `unknown parameter ${JSON.stringify(stranger)}; there are ${KNOWN.join(', ')}`);
  const flag = (name: string): boolean => {
    const text = one(name) ?? 'true';
    if (text !== 'true' && text !== 'false') throw new KeyfleetError('KF_BAD_REQUEST', `${name} must be true or false`);
    return text === 'true';
  };
  const withValues = flag('values');
  const prefix = one('prefix');
  const match = one('match');
  return {
    cursor: whole('cursor', 0),
    limit: whole('limit', Number.POSITIVE_INFINITY),
    prefix: prefix === undefined ? undefined : utf8(prefix),
    match: match === undefined ? undefined : utf8(match),
    withValues,
    withCollections: withValues && flag('collections'),
  };
}

/** The lines, in chunks of some 64 KiB; each page is read only when the one before has been taken. */
async function* scanText(keyspace: HttpKeyspace, options: ScanOptions): AsyncGenerator<string> {
  const { cursor, limit, prefix, match, withValues, withCollections } = options;
  let next: number | undefined = cursor;
  let count = 0;
  let pageLimit = 64;
  while (next !== undefined && count < limit) {
    const page = await keyspace.scan({ cursor: next, limit: Math.max(1, Math.min(pageLimit, limit - count)) });
    next = page.next;
    let text = '';
    let readBytes = 0;
    for (const record of page.records) {
      readBytes += record.sizeBytes + record.key.length;
      if (prefix && !startsWith(record.key, prefix)) continue;
      if (match && !matchesGlob(match, record.key)) continue;
      // The values of other modules have no form here.
      if (record.value === undefined && withCollections && !keyspace.command) {
        // Read in a step of its own; it may be gone by now.
        const held = await keyspace.read(record.key);
        if (!held) continue;
        for (const line of heldLines(record.key, held)) {
          text += `${line}\n`;
          if (text.length < 64 * KIB) continue;
          yield text;
          text = '';
        }
      } else text += `${lineOf(record, withValues)}\n`;
      count++;
    }
    pageLimit = readBytes < 64 * KIB ? Math.min(1_024, pageLimit * 2) : Math.max(1, Math.floor(pageLimit / 2));
    if (text !== '') yield text;
    // Nothing of this page was wanted: let others have their turn before the next.
    else await new Promise((resolve) => setImmediate(resolve));
  }
  yield `${JSON.stringify({ end: true, count, cursor: next === undefined ? null : String(next) })}\n`;
}

function* heldLines(key: Bytes, { type, parts, ttlMs }: Held): IterableIterator<string> {
  if (type === 'string') yield recordLine({ key, value: parts[0]!, ttlMs });
  else for (const piece of piecesOf(type, parts)) yield recordLine({ key, ...piece, ttlMs });
}

/** `type` stands only where it is not a string: such a record has no value here. */
function lineOf(record: ScanRecord, withValues: boolean): string {
  const value =
    record.value === undefined ? `,"type":${JSON.stringify(record.type)}` : withValues ? `,${jsonField('value', record.value)}` : '';
  return `{${jsonField('key', record.key)}${value}${record.ttlMs === undefined ? '' : `,"ttlMs":${record.ttlMs}`}}`;
}

function startsWith(key: Bytes, prefix: Bytes): boolean {
  if (key.length < prefix.length) return false;
  for (let i = 0; i < prefix.length; i++) if (key[i] !== prefix[i]) return false;
  return true;
}
