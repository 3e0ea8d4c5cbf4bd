import type { Bytes } from '../../base/bytes.ts';

/** Bytes as text of one byte a character: a key of maps that tells all byte strings apart. */
export function asLatin1(bytes: Bytes): string {
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}
