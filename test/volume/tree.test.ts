import { describe, expect, test } from 'vitest';
import { treeRun } from './tree-run.ts';

// Through real processes. Larger: npm run soak:volumes -- --files 100000 --large-mib 2048

describe('a tree of files', () => {
  test('goes in by import --dir and comes back the same by export --dir, in bounded memory', async () => {
    const report = await treeRun({ files: 200, largeBytes: 500 * 1024 * 1024 + 7 });
    expect(report.same).toBe(true);
    expect(report.importOutput).toContain('201 stored and compared');
    // The large value is larger than either process ever was.
    for (const peak of [report.masterPeakBytes, report.volumePeakBytes]) expect(peak ?? 0).toBeLessThan(450 * 1024 * 1024);
  }, 120_000);
});
