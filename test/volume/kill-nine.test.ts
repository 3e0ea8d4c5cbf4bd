import { afterAll, describe, expect, test } from 'vitest';
import { killLoop } from './kill-loop.ts';

// Real processes, killed with SIGKILL at random moments of a move, under writers that know what they were told. Longer, and with other seeds: npm run
// soak:volumes.

const seed = Number(process.env['KEYFLEET_SEED'] ?? 416_203);
afterAll(() => console.log(`volumes kill -9: seed ${seed}`));

describe('killing masters and volumes while values move', () => {
  test('loses no answered write and brings back no answered delete', async () => {
    const report = await killLoop({ seed, seconds: 20, keys: 60 });
    expect(report.wrong).toEqual([]);
    expect(report.kills).toBeGreaterThan(3);
    expect(report.answered).toBeGreaterThan(50);
    expect(report.moves).toBeGreaterThan(0);
  }, 120_000);
});
