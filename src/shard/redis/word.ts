import type { Bytes } from '../../base/bytes.ts';

/**
 * Whether an option is `word` (given in upper case), in any case. Like Redis, which compares C strings, it looks no further than a zero byte.
 * Allocates nothing.
 */
export function isWord(bytes: Bytes, word: string): boolean {
  const length = word.length;
  if (bytes.length < length || (bytes.length > length && bytes[length] !== 0)) return false;
  for (let i = 0; i < length; i++) {
    const byte = bytes[i]!;
    if ((byte >= 0x61 && byte <= 0x7a ? byte - 0x20 : byte) !== word.charCodeAt(i)) return false;
  }
  return true;
}
