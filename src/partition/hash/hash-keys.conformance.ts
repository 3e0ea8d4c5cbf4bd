import fc from 'fast-check';
import { expect } from 'vitest';
import { toHex, utf8 } from '../../base/bytes.ts';
import type { Hasher } from '../hasher.ts';

/** Strings of every kind a hash meets: ASCII of all lengths around the block sizes, any Unicode, lone surrogates, long ones. */
export const anyText = fc.oneof(
  fc.string({ unit: 'binary-ascii', maxLength: 80 }),
  fc.string({ unit: 'binary', maxLength: 80 }),
  fc.string({ unit: fc.constantFrom('a', 'é', '\ud800', '\udc00', '\u{1f600}', '\0'), maxLength: 40 }),
  fc.string({ unit: 'binary-ascii', minLength: 1000, maxLength: 1200 }),
);

/** What every {@link Hasher} promises, checked with `numRuns` random keys. */
export function expectHasherPromises(hasher: Hasher, numRuns = 200): void {
  const out = new Uint32Array(2);
  const outOfBytes = new Uint32Array(2);
  fc.assert(
    fc.property(anyText, fc.constantFrom(0, 1, 0x9e3779b1), (text, seed) => {
      const bytes = utf8(text);
      const digest = hasher.digest(text, seed);
      expect(digest.length).toBe(hasher.digestBytes);
      expect(toHex(hasher.digest(bytes, seed))).toBe(toHex(digest));
      hasher.lanes(text, seed, out);
      hasher.lanes(bytes, seed, outOfBytes);
      expect([...outOfBytes]).toEqual([...out]);
      const lanesHex = [...out].map((lane) => lane.toString(16).padStart(8, '0')).join('');
      const shared = Math.min(16, 2 * digest.length);
      expect(lanesHex.slice(0, shared)).toBe(toHex(digest).slice(0, shared));
      hasher.lanes(text, 0, out);
      expect(hasher.position(text)).toBe(out[0]);
      expect(hasher.position(bytes)).toBe(out[0]);
    }),
    { numRuns },
  );
}
