import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { KeyfleetError } from '../base/errors.ts';

// Who may ask a master or a volume. A server without a secret listens on this machine only, and still a browser on it runs scripts of
// strangers: they may send requests to it, even by names of their own that lead to 127.0.0.1, and must have no effect.

/** Whether the request carries `secret`, as `Authorization: Bearer SECRET` or as the password of Basic (any user name). */
export function carriesSecret(request: IncomingMessage, secret: string): boolean {
  const [scheme = '', credentials = ''] = (request.headers.authorization ?? '').split(/ +(.*)/s);
  if (scheme.toLowerCase() === 'bearer') return isSame(credentials.trim(), secret);
  if (scheme.toLowerCase() !== 'basic') return false;
  const decoded = Buffer.from(credentials.trim(), 'base64').toString('utf8');
  return isSame(decoded.slice(decoded.indexOf(':') + 1), secret);
}

/** Takes the same time wherever the two differ. */
function isSame(a: string, b: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text, 'utf8').digest();
  return timingSafeEqual(digest(a), digest(b));
}

/** Whether the request comes from this machine, and not through a proxy on it that says so. */
export function isFromHere({ socket, headers }: IncomingMessage): boolean {
  const from = socket.remoteAddress ?? '';
  const isLoopback = from === '::1' || from.startsWith('127.') || from.startsWith('::ffff:127.');
  return isLoopback && headers.forwarded === undefined && headers['x-forwarded-for'] === undefined;
}

/** @throws KF_HOST_REFUSED when the `Host` header names another machine than this one */
export function requireLoopbackHost({ headers }: IncomingMessage): void {
  const { host } = headers;
  if (host === undefined || isLoopbackHost(host)) return;
  throw new KeyfleetError(
    'KF_HOST_REFUSED',
    `without a secret this server answers only to localhost, not to ${JSON.stringify(host)}; set a token (volume) or password (master) to allow other names`,
  );
}

/** Whether an address to listen on, or the name in a `Host` header, is this machine itself. */
export function isLoopbackHost(host: string): boolean {
  const name = host.replace(/:\d*$/, '').toLowerCase();
  return (
    name === 'localhost' ||
    name.endsWith('.localhost') ||
    name === '[::1]' ||
    host === '::1' ||
    /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(name)
  );
}

/** @throws KF_ORIGIN_REFUSED when a web page of another origin wants to change something */
export function requireOwnOrigin({ method, headers }: IncomingMessage): void {
  const { origin, host } = headers;
  if (origin === undefined || method === 'GET' || method === 'HEAD') return;
  if (URL.canParse(origin) && new URL(origin).host === host) return;
  throw new KeyfleetError('KF_ORIGIN_REFUSED', `web pages of ${origin} may not change anything here`);
}
