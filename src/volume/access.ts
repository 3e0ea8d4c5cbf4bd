import type { IncomingMessage } from 'node:http';
import { KeyfleetError } from '../base/errors.ts';
import { isLoopbackHost } from '../door/access.ts';

// Who may ask a master or a volume. A server without a secret listens on this machine only, and still a browser on it runs scripts of
// strangers: they may send requests to it, even by names of their own that lead to 127.0.0.1, and must have no effect.

/** Whether the request comes from this machine, and not through a proxy on it that says so. */
export function isFromHere({ socket, headers }: IncomingMessage): boolean {
  const from = socket.remoteAddress ?? '';
  const isLoopback = from === '::1' || from.startsWith('127.') || from.startsWith('::ffff:127.');
  return isLoopback && headers.forwarded === undefined && headers['x-forwarded-for'] === undefined;
}

/** @throws KF_HOST_REFUSED when the `Host` header names another machine than this one */
export function requireLoopbackHost({ headers }: IncomingMessage): void {
  const { host } = headers;
  if (isLoopbackHost(host)) return;
  throw new KeyfleetError(
    'KF_HOST_REFUSED',
    `without a secret this server answers only to localhost, not to ${JSON.stringify(host)}; set a token (volume) or password (master) to allow other names`,
  );
}

/** @throws KF_ORIGIN_REFUSED when a web page of another origin wants to change something */
export function requireOwnOrigin({ method, headers }: IncomingMessage): void {
  const { origin, host } = headers;
  if (origin === undefined || method === 'GET' || method === 'HEAD') return;
  if (URL.canParse(origin) && new URL(origin).host === host) return;
  throw new KeyfleetError('KF_ORIGIN_REFUSED', `web pages of ${origin} may not change anything here`);
}
