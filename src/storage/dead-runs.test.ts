import fc from 'fast-check';
import { expect, test } from 'vitest';
import { after, DeadRuns } from './dead-runs.ts';

const KEYS = 60;
const nameOf = (n: number): string => String(n).padStart(2, '0');

test('says of no key that lives that it is dead, and of all that were noted and not cut that they are', () => {
  const key = fc.nat(KEYS - 1);
  const step = fc.oneof(
    { weight: 2, arbitrary: fc.record({ do: fc.constant('note' as const), from: key, to: key }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('cut' as const), at: key }) },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const runs = new DeadRuns();
      const dead = new Array<boolean>(KEYS).fill(false);
      for (const one of steps) {
        if (one.do === 'note') {
          runs.note(nameOf(one.from), nameOf(one.to));
          dead.fill(true, one.from, Math.max(one.from, one.to));
        } else {
          runs.cut(nameOf(one.at));
          dead[one.at] = false;
        }
        for (let n = 0; n < KEYS; n++) {
          let end = n;
          while (end < KEYS && dead[end]) end++;
          const found = runs.endFrom(nameOf(n));
          // An end is the first key behind the stretch, whether a key of ours or the next possible one after the last dead.
          expect(found === undefined ? n : [nameOf(end), after(nameOf(end - 1))].includes(found) ? end : found).toBe(end);
          let start = n;
          while (start > 0 && dead[start - 1]) start--;
          const below = runs.startBelow(nameOf(n));
          expect(below === undefined ? n : [nameOf(start), after(nameOf(start - 1))].includes(below) ? start : below).toBe(start);
        }
        expect(runs.isEmpty).toBe(!dead.includes(true));
      }
    }),
    { numRuns: 300, seed: 11 },
  );
});

test('keeps a bounded number, and loses nothing but notes by it', () => {
  const runs = new DeadRuns();
  runs.note('', 'z');
  for (let n = 0; n < 20_000; n++) runs.cut(`k${String(n).padStart(5, '0')}`);
  for (let n = 0; n < 20_000; n++) expect(runs.endFrom(`k${String(n).padStart(5, '0')}`)).toBeUndefined();
  for (let n = 0; n < 5_000; n++) runs.note(`n${String(n * 2).padStart(5, '0')}`, `n${String(n * 2 + 1).padStart(5, '0')}`);
  expect(runs.endFrom('n09998')).toBe('n09999');
});
