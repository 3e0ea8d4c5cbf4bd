import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';

// What every HTTP server of ours asks of a request before it is let in.

/** Whether the request carries `secret`, as `Authorization: Bearer SECRET` or as the password of Basic (any user name). */
export function carriesSecret(headers: IncomingHttpHeaders, secret: string): boolean {
  const [scheme = '', credentials = ''] = (headers.authorization ?? '').split(/ +(.*)/s);
  switch (scheme.toLowerCase()) {
    case 'bearer':
      return isSame(credentials.trim(), secret);
    case 'basic': {
      const decoded = Buffer.from(credentials.trim(), 'base64').toString('utf8');
      const colon = decoded.indexOf(':');
      return colon >= 0 && isSame(decoded.slice(colon + 1), secret);
    }
    default:
      return false;
  }
}

/** Takes the same time wherever the two differ. */
function isSame(a: string, b: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text, 'utf8').digest();
  return timingSafeEqual(digest(a), digest(b));
}

/**
 * Whether a `Host` header names this machine itself. A server without a secret that listens on loopback answers no other: a web page
 * that has its own name resolve to 127.0.0.1 would otherwise read and write the store through the browser of whoever visits it.
 */
export function isLoopbackHost(host: string | undefined): boolean {
  if (host === undefined) return true;
  const name = host.replace(/:\d*$/, '').toLowerCase();
  return name === 'localhost' || name.endsWith('.localhost') || name === '[::1]' || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(name);
}

/** Whether an address to listen on is reachable from this machine only. */
export function isLoopbackAddress(host: string): boolean {
  return isLoopbackHost(host.includes(':') && !host.startsWith('[') ? `[${host}]` : host);
}
