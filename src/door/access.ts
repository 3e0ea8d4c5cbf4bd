import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';

// What every server of ours asks of whoever knocks before it lets them in.

/** Whether the request carries `secret`, as `Authorization: Bearer SECRET` or as the password of Basic (any user name). */
export function carriesSecret(headers: IncomingHttpHeaders, secret: string): boolean {
  const [scheme = '', credentials = ''] = (headers.authorization ?? '').split(/ +(.*)/s);
  switch (scheme.toLowerCase()) {
    case 'bearer':
      return isSameSecret(credentials.trim(), secret);
    case 'basic': {
      const decoded = Buffer.from(credentials.trim(), 'base64').toString('utf8');
      const colon = decoded.indexOf(':');
      return colon >= 0 && isSameSecret(decoded.slice(colon + 1), secret);
    }
    default:
      return false;
  }
}

/** Whether two secrets, bytes or text, are the same. Takes the same time wherever they differ. */
export function isSameSecret(a: Uint8Array | string, b: Uint8Array | string): boolean {
  const digest = (secret: Uint8Array | string): Buffer => createHash('sha256').update(secret).digest();
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
