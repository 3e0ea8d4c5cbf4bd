import { createHash } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { type Bytes, concatBytes, utf8 } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import type { RequestId } from '../shard/request-id.ts';

const MAX_LENGTH = 200;

/**
 * The request id that `Idempotency-Key` makes of a write of `key`; undefined without one. The header names a request on one key: the same one on
 * another key is another request. `index`: its place in a batch.
 * @throws KF_BAD_REQUEST.
 */
export function requestOf(headers: IncomingHttpHeaders, key: Bytes, index = 0): RequestId | undefined {
  const given = headers['idempotency-key'];
  if (given === undefined) return undefined;
  if (typeof given !== 'string' || !/^[\x21-\x7e]{1,200}$/.test(given)) {
    throw new KeyfleetError('KF_BAD_REQUEST', `Idempotency-Key is 1 to ${MAX_LENGTH} printable ASCII characters without spaces`);
  }
  const scope = createHash('sha256').update(key).digest().subarray(0, 16);
  return { clientId: concatBytes(scope, utf8(given)), requestSeq: index, ackedBelow: 0 };
}
