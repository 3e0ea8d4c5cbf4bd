import { expect, test } from 'vitest';
import { Prng } from '../src/base/prng.ts';
import { root } from './house/tree.ts';
import { killLoop } from './kill-nine/kill-loop.ts';

// The long form: npm run soak:kill -- --seconds 600
test('a store that is killed while it writes has every acknowledged write when it opens again', { timeout: 120_000 }, async () => {
  const prng = new Prng(Date.now());
  const result = await killLoop({ root, goOn: (cycles) => cycles < 4, chance: () => prng.unit(), minRunMs: 50, maxRunMs: 700 });
  expect(result.faults).toEqual([]);
  expect(result.cycles).toBe(4);
  expect(result.mostShards).toBeGreaterThan(1);
  expect(result.acknowledged).toBeGreaterThan(4 * 48);
});
