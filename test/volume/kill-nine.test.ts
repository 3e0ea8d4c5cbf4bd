import { afterAll, describe, expect, test } from 'vitest';
import { killLoop } from './kill-loop.ts';

// Real processes, killed with SIGKILL at random moments of a move, under writers that know what they were told. Longer, and with other seeds: npm run
// soak:volumes.

const seed = Number(process.env['KEYFLEET_SEED'] ?? 416_203);
afterAll(() => console.log(`volumes kill -9: seed ${seed}`));

describe('killing masters and volumes while values move', () => {
  test('loses no answered write and brings back no answered delete', async () => {
    const report = await killLoop({ seed, seconds: 90, keys: 60, enough: { kills: 10, answered: 150, moves: 3 } });
    expect(report.wrong).toEqual([]);
    expect(report.kills).toBeGreaterThanOrEqual(10);
    expect(report.answered).toBeGreaterThanOrEqual(150);
    expect(report.moves).toBeGreaterThanOrEqual(3);
  }, 240_000);
});
