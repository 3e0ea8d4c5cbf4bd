import type { Bytes } from '../../base/bytes.ts';

/** A key for messages: the beginning of a long one. */
export function showKey(key: Bytes): string {
  const text = Buffer.from(key).toString('utf8');
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
}
