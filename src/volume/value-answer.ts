import type { IncomingMessage, ServerResponse } from 'node:http';
import { parseRange, sendPieces } from './http-door.ts';
import type { OpenValue } from './value-directory.ts';

/** Answers a GET or HEAD and resolves to the bytes sent: ETag, Range, If-None-Match, every byte verified before it is sent. */
export async function sendValue(
  request: IncomingMessage,
  response: ServerResponse,
  { reader }: OpenValue,
  headOnly: boolean,
): Promise<number> {
  const { info } = reader;
  const etag = `"${info.sha256}"`;
  const headers = { etag, 'content-type': info.contentType, 'accept-ranges': 'bytes', 'keyfleet-version': String(info.version) };
  const match = request.headers['if-none-match'];
  if (match !== undefined && (match.trim() === '*' || match.split(',').some((one) => one.trim().replace(/^W\//, '') === etag))) {
    response.writeHead(304, headers);
    response.end();
    return 0;
  }
  const ifRange = request.headers['if-range'];
  // A HEAD tells of the whole (RFC 9110, 14.2).
  const wanted = headOnly || (ifRange !== undefined && ifRange !== etag) ? undefined : request.headers.range;
  const range = parseRange(wanted, info.sizeBytes);
  if (range === 'unsatisfiable') {
    response.writeHead(416, { ...headers, 'content-range': `bytes */${info.sizeBytes}`, 'content-length': 0 });
    response.end();
    return 0;
  }
  const { from, to } = range ?? { from: 0, to: info.sizeBytes };
  const whole = {
    ...headers,
    'content-length': to - from,
    ...(range === undefined ? {} : { 'content-range': `bytes ${from}-${to - 1}/${info.sizeBytes}` }),
  };
  const status = range === undefined ? 200 : 206;
  const small = headOnly ? undefined : reader.smallBody();
  if (headOnly || small !== undefined) {
    response.writeHead(status, whole);
    response.end(small?.subarray(from, to));
    return headOnly ? 0 : to - from;
  }
  const pieces = reader.read(from, to);
  // The first piece is verified before the status is sent, so that damage there is a clean error.
  const first = await pieces.next();
  response.writeHead(status, whole);
  if (!first.done) response.write(first.value);
  await sendPieces(response, pieces);
  return to - from;
}
