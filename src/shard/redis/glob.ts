import type { Bytes } from '../../base/bytes.ts';

// Glob patterns as KEYS, SCAN MATCH, HSCAN MATCH and CONFIG GET have them: `*` any bytes, `?` one byte, `[a-c]` `[^a-c]` one of a class,
// `\` before a byte taken literally. The odd cases (an open class, a closing backslash) are read as Redis 7.0 reads them.

const STAR = 0x2a;
const QUESTION = 0x3f;
const OPEN = 0x5b;
const CLOSE = 0x5d;
const CARET = 0x5e;
const BACKSLASH = 0x5c;
const DASH = 0x2d;

/**
 * Whether all of `text` matches `pattern`. Cost: O(pattern × text) whatever the pattern: of several stars only the last is ever
 * tried again, since what an earlier one could take differently, the later one can make up for.
 */
export function matchesGlob(pattern: Bytes, text: Bytes): boolean {
  // Redis tries nothing on an empty text, so that `**` does not match it; `*` alone it never tries at all.
  if (text.length === 0) return pattern.length === 0 || (pattern.length === 1 && pattern[0] === STAR);
  let p = 0;
  let t = 0;
  let starPattern = -1;
  let starText = 0;
  for (;;) {
    if (p < pattern.length && pattern[p] === STAR) {
      while (pattern[p + 1] === STAR) p++;
      p++;
      if (p === pattern.length) return true;
      starPattern = p;
      starText = t;
      continue;
    }
    if (t === text.length) return p === pattern.length;
    const next = p < pattern.length ? matchOne(pattern, p, text[t]!) : -1;
    if (next >= 0) {
      p = next;
      t++;
      continue;
    }
    if (starPattern < 0) return false;
    starText++;
    p = starPattern;
    t = starText;
  }
}

/** Where the pattern goes on when its part at `p` (not a star) takes `byte`; -1 when it does not. */
function matchOne(pattern: Bytes, p: number, byte: number): number {
  switch (pattern[p]) {
    case QUESTION:
      return p + 1;
    case OPEN:
      return matchClass(pattern, p + 1, byte);
    case BACKSLASH:
      if (p + 1 < pattern.length) p++;
      return pattern[p] === byte ? p + 1 : -1;
    default:
      return pattern[p] === byte ? p + 1 : -1;
  }
}

/** `p` is just after the bracket. An unclosed class ends with the pattern. */
function matchClass(pattern: Bytes, p: number, byte: number): number {
  const isNegated = pattern[p] === CARET;
  if (isNegated) p++;
  let isMember = false;
  for (;;) {
    if (p >= pattern.length) break;
    if (pattern[p] === BACKSLASH && p + 1 < pattern.length) {
      p++;
      if (pattern[p] === byte) isMember = true;
    } else if (pattern[p] === CLOSE) {
      p++;
      break;
    } else if (pattern[p + 1] === DASH && p + 2 < pattern.length) {
      const one = asSigned(pattern[p]!);
      const other = asSigned(pattern[p + 2]!);
      const wanted = asSigned(byte);
      p += 2;
      if (wanted >= Math.min(one, other) && wanted <= Math.max(one, other)) isMember = true;
    } else if (pattern[p] === byte) {
      isMember = true;
    }
    p++;
  }
  return isMember === isNegated ? -1 : p;
}

/** Ranges are ranges of C's `char`, which is signed where Redis mostly runs: bytes from 0x80 stand before 0x00. */
function asSigned(byte: number): number {
  return (byte << 24) >> 24;
}
