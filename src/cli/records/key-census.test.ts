import { expect, test } from 'vitest';
import { KeyCensus } from './key-census.ts';

test('a census counts keys that differ, however often each comes', () => {
  const census = new KeyCensus();
  const keys = Array.from({ length: 20_000 }, (_, i) => Buffer.from(`key ${i}`));
  expect(keys.every((key) => census.add(key))).toBe(true);
  expect(keys.some((key) => census.add(key))).toBe(false);
  expect(census.add(Buffer.alloc(0))).toBe(true);
  expect(census.add(Buffer.alloc(0))).toBe(false);
  expect(census.distinctCount).toBe(20_001);
});
