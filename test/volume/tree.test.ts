import { describe, expect, test } from 'vitest';
import { streamRun } from './stream-run.ts';
import { treeRun } from './tree-run.ts';

// Through real processes. Larger: npm run soak:volumes -- --files 100000 --large-mib 2048, and -- --value-mib 5120

describe('a tree of files', () => {
  test('goes in by import --dir and comes back the same by export --dir, in bounded memory', async () => {
    const report = await treeRun({ files: 200, largeBytes: 500 * 1024 * 1024 + 7 });
    expect(report.same).toBe(true);
    expect(report.importOutput).toContain('201 stored and compared');
    // The large value is larger than either process ever was.
    for (const peak of [report.masterPeakBytes, report.volumePeakBytes]) expect(peak ?? 0).toBeLessThan(450 * 1024 * 1024);
  }, 120_000);
});

test('a value that is made up as it is sent goes through a master and back, byte for byte', async () => {
  const report = await streamRun({ sizeBytes: 40 * 1024 * 1024 + 3 });
  expect(report).toMatchObject({ same: true, sizeBytes: 40 * 1024 * 1024 + 3 });
}, 60_000);
