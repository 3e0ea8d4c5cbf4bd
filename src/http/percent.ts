import type { Bytes } from '../base/bytes.ts';

const PLAIN = /^[A-Za-z0-9\-._~]$/;

/** The bytes that a percent-encoded part of a URL stands for; undefined when a `%` is not followed by two hex digits. */
export function percentDecode(text: string): Bytes | undefined {
  if (!text.includes('%')) return Buffer.from(text, 'utf8');
  const bytes = Buffer.from(text, 'utf8');
  const decoded = Buffer.allocUnsafe(bytes.length);
  let length = 0;
  for (let i = 0; i < bytes.length; i++) {
    let byte = bytes[i]!;
    if (byte === 0x25) {
      const high = hexDigit(bytes[i + 1]);
      const low = hexDigit(bytes[i + 2]);
      if (high < 0 || low < 0) return undefined;
      byte = high * 16 + low;
      i += 2;
    }
    decoded[length++] = byte;
  }
  return decoded.subarray(0, length);
}

/** `bytes` as one segment of a URL's path: what is not unreserved (RFC 3986) is written as %XX. */
export function percentEncode(bytes: Bytes): string {
  let text = '';
  for (const byte of bytes) {
    const letter = String.fromCharCode(byte);
    text += PLAIN.test(letter) ? letter : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return text;
}

function hexDigit(byte: number | undefined): number {
  if (byte === undefined) return -1;
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}
