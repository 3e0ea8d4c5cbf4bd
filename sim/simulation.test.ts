import { describe, expect, test } from 'vitest';
import { simulate } from './simulation.ts';

describe('the simulator', () => {
  test('finds nothing wrong in 25 fixed seeds', { timeout: 120_000 }, async () => {
    let answered = 0;
    const faults = new Set<string>();
    for (let seed = 1; seed <= 25; seed++) {
      const result = await simulate({ seed, seconds: 20 });
      expect(`seed ${seed}: ${result.failure ?? 'good'}`).toBe(`seed ${seed}: good`);
      answered += result.answered;
      for (const kind of result.faults.keys()) faults.add(kind);
    }
    expect(answered).toBeGreaterThan(5_000);
    expect(faults.size).toBeGreaterThan(12);
  });

  test('is decided by its seed: the same one gives the same trace, another one another', async () => {
    const traces: string[] = [];
    for (const seed of [31, 31, 32]) traces.push((await simulate({ seed, seconds: 20 })).traceHash);
    expect(traces[0]).toBe(traces[1]);
    expect(traces[2]).not.toBe(traces[0]);
  });
});
