import { expect, test } from 'vitest';
import { ForwardClock } from './forward-clock.ts';

const HOUR = 3_600_000;

function clockAt(wallMs: number) {
  const time = { steadyMs: 0, wallMs };
  const clock = new ForwardClock({ steadyMs: () => time.steadyMs, wallMs: () => time.wallMs });
  const pass = (ms: number): number => {
    time.steadyMs += ms;
    time.wallMs += ms;
    return clock.now();
  };
  return { time, pass };
}

test('the time by which keys expire is that of the wall clock', () => {
  const { time, pass } = clockAt(HOUR);
  expect([pass(0), pass(1), pass(10 * HOUR)]).toEqual([HOUR, HOUR + 1, 11 * HOUR + 1]);
  time.wallMs += HOUR;
  expect(pass(0)).toBe(12 * HOUR + 1);
});

test('it neither goes back nor stands still when the wall clock is set back, and they meet again', () => {
  const { time, pass } = clockAt(10 * HOUR);
  expect(pass(0)).toBe(10 * HOUR);
  time.wallMs -= HOUR;
  expect(pass(0)).toBe(10 * HOUR);
  expect(pass(20_000)).toBe(10 * HOUR + 10_000);
  let last = 0;
  for (let minutes = 0; minutes < 150; minutes++) {
    const now = pass(60_000);
    expect(now - last).toBeGreaterThanOrEqual(30_000);
    last = now;
  }
  expect(last).toBe(time.wallMs);
});
