import { expect, test } from 'vitest';
import { SystemClock } from './node-clock.ts';

test('the system clock counts suspends, never goes back, and does not mind a wall clock that does', () => {
  let steadyMs = 0;
  let wallMs = 1_000_000;
  const clock = new SystemClock({ steadyMs: () => steadyMs, wallMs: () => wallMs });
  const pass = (steady: number, wall: number): number => {
    steadyMs += steady;
    wallMs += wall;
    return clock.now().monoMs;
  };
  expect(pass(0, 0)).toBe(0);
  expect(pass(100, 100)).toBe(100);
  // The machine slept for ten seconds.
  expect(pass(1, 10_001)).toBe(10_101);
  // Somebody set the wall clock back an hour, and forward again.
  expect(pass(50, 50 - 3_600_000)).toBe(10_151);
  expect(pass(50, 50)).toBe(10_201);
  expect(pass(50, 50 + 3_600_000)).toBeGreaterThanOrEqual(10_251);
});
