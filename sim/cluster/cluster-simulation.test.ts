import { describe, expect, test } from 'vitest';
import { simulateCluster } from './cluster-simulation.ts';

describe('a simulated cluster', () => {
  test('of the nodes that ship keeps its promises in fixed seeds, through splits and moves', { timeout: 300_000 }, async () => {
    let answered = 0;
    const workflows = new Set<string>();
    for (const run of [{ seed: 3 }, { seed: 9 }, { seed: 2, hunt: 'workflows' as const }]) {
      const result = await simulateCluster({ ...run, seconds: 10 });
      expect(`seed ${run.seed}: ${result.failure ?? 'good'}`).toBe(`seed ${run.seed}: good`);
      answered += result.answered;
      for (const kind of result.workflows?.keys() ?? []) workflows.add(kind);
    }
    expect(answered).toBeGreaterThan(300);
    expect([...workflows]).toContain('move');
    expect([...workflows]).toContain('split');
  });

  test('is decided by its seed', { timeout: 120_000 }, async () => {
    const traces: string[] = [];
    for (let run = 0; run < 2; run++) traces.push((await simulateCluster({ seed: 8, seconds: 5 })).traceHash);
    expect(traces[0]).toBe(traces[1]);
  });
});
