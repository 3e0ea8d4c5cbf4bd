import type { Bytes } from '../../base/bytes.ts';
import { errorReply, type TaggedReply } from './reply.ts';

export const INVALID_CURSOR: TaggedReply = errorReply('ERR invalid cursor');

const UINT64_END = 2n ** 64n;
const CURSOR = /^[+-]?\d+$/;

/** A cursor as C's `strtoul` reads one, no space before it; undefined when it is none. */
export function parseScanCursor(text: Bytes): bigint | undefined {
  if (text.length === 0) return 0n;
  let digits = '';
  for (let i = 0; i < text.length && i < 64; i++) digits += String.fromCharCode(text[i]!);
  if (text.length > 64 || !CURSOR.test(digits)) return undefined;
  const value = BigInt(digits.replace(/^[+-]/, ''));
  if (value >= UINT64_END) return undefined;
  return digits.startsWith('-') ? BigInt.asUintN(64, -value) : value;
}
