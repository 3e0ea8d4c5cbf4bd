import { expect, test } from 'vitest';
import { closest, editDistance } from './closest.ts';

test('the closest word is the one that was probably meant', () => {
  expect(closest('imoprt', ['import', 'export'])).toBe('import');
  expect(closest('prot', ['port', 'host'])).toBe('port');
  expect(closest('zebra', ['import', 'export'])).toBeUndefined();
});

test('the distance counts insertions, deletions, replacements and swaps', () => {
  expect([editDistance('', 'ab'), editDistance('abc', 'abc'), editDistance('abc', 'acb'), editDistance('kitten', 'sitting')]).toEqual([
    2, 0, 1, 3,
  ]);
});
