import { Readable } from 'node:stream';
import type { FastifyInstance } from 'fastify';
import { KeyfleetError } from '../base/errors.ts';
import { MIB } from '../base/units.ts';
import type { BackupSource } from '../node/backup/backup-source.ts';
import type { BackupTarget, RestoreBeginning, RestoreWish } from '../node/backup/backup-target.ts';
import { bodyOf } from './body-parser.ts';
import { fieldsOf } from './shard-routes.ts';

// What `keyfleet backup` and `keyfleet restore` ask: GET /v1/backup, GET /v1/keyspaces/<keyspace>/backup, POST …/restore, …/restore/put and …/restore/end.
// docs/protocol/backup.md

/** Of parts and blocks. No web page can send it to another site unasked. */
export const BACKUP_TYPE = 'application/vnd.keyfleet.backup';

type Of = { readonly Params: { readonly keyspace: string }; readonly Querystring: Readonly<Record<string, string | undefined>> };

export function serveBackups(server: FastifyInstance, backups: (BackupSource & BackupTarget) | undefined, maxBodyBytes: number): void {
  if (!backups) return;
  server.get('/v1/backup', () => backups.origin());
  server.get<Of>('/v1/keyspaces/:keyspace/backup', async ({ params, query }, reply) => {
    const part = await backups.part(params.keyspace, positionOf('from', query['from']), positionOf('to', query['to']));
    return reply.type(BACKUP_TYPE).send(Readable.from(part, { objectMode: false, highWaterMark: MIB }));
  });
  server.post<Of>('/v1/keyspaces/:keyspace/restore', async (request) => {
    const what = fieldsOf(request, ['backup', 'module', 'scheme', 'starts', 'policy', 'longestItemBytes', 'restart']);
    const beginning = beginningOf(what);
    // A block ends behind the item that fills it.
    if (beginning.longestItemBytes + MIB > maxBodyBytes) {
      const why = `the backup has a value of ${beginning.longestItemBytes} bytes, and a body here has at most ${maxBodyBytes} (http.maxBodyBytes)`;
      throw new KeyfleetError('KF_BODY_TOO_LARGE', why);
    }
    return backups.begin(request.params.keyspace, beginning);
  });
  server.post<Of>('/v1/keyspaces/:keyspace/restore/check', (request) =>
    backups.check(request.params.keyspace, wishOf(fieldsOf(request, ['backup', 'module', 'scheme', 'restart']))),
  );
  server.post<Of>('/v1/keyspaces/:keyspace/restore/put', async (request) => {
    if (request.headers['content-type'] !== BACKUP_TYPE) throw new KeyfleetError('KF_MEDIA_TYPE', `the body is a block: ${BACKUP_TYPE}`);
    await backups.put(request.params.keyspace, idOf(request.query['id']), bodyOf(request));
    return {};
  });
  server.post<Of>('/v1/keyspaces/:keyspace/restore/end', async (request) => {
    const { id, sessionsExpiredBeforeMs, records } = fieldsOf(request, ['id', 'sessionsExpiredBeforeMs', 'records']);
    if (typeof sessionsExpiredBeforeMs !== 'number' || !(sessionsExpiredBeforeMs >= 0)) throw bad('"sessionsExpiredBeforeMs" is a time');
    if (typeof records !== 'number' || !(records >= 0)) throw bad('"records" is a number');
    return backups.end(request.params.keyspace, idOf(id), { sessionsExpiredBeforeMs, records });
  });
}

function positionOf(name: string, text: string | undefined): number {
  const position = Number(text);
  if (text !== undefined && /^\d{1,10}$/.test(text) && position <= 0x1_0000_0000) return position;
  throw bad(`${name} is a position from 0 to 2^32, not ${JSON.stringify(text)}`);
}

function idOf(id: unknown): string {
  if (typeof id === 'string' && /^[\w/-]{1,100}$/.test(id)) return id;
  throw bad('"id" is that of the restore');
}

function wishOf({ backup, module, scheme, restart }: Readonly<Record<string, unknown>>): RestoreWish {
  if (typeof backup !== 'string' || !/^[\w-]{1,64}$/.test(backup)) throw bad('"backup" is the id of a backup');
  if (typeof module !== 'string') throw bad('"module" is the name of a value module');
  if (scheme !== 'hash' && scheme !== 'redis') throw bad('"scheme" is hash or redis');
  return { backup, module, scheme, restart: restart === true };
}

function beginningOf(fields: Readonly<Record<string, unknown>>): RestoreBeginning {
  const { starts, policy, longestItemBytes } = fields;
  if (!Array.isArray(starts) || !starts.every((start) => Number.isInteger(start))) throw bad('"starts" are positions');
  if (typeof policy !== 'object' || policy === null) throw bad('"policy" is an object');
  if (typeof longestItemBytes !== 'number' || !(longestItemBytes >= 0)) throw bad('"longestItemBytes" is a number');
  return { ...wishOf(fields), starts: starts as number[], policy, longestItemBytes };
}

function bad(message: string): KeyfleetError {
  return new KeyfleetError('KF_BAD_REQUEST', message);
}
