import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bundleWithEdits } from './bundle.ts';
import { CLUSTER_MUTANTS, MUTANTS, optionsOf } from './mutants.ts';

// Inside the project, where its packages are found.
const cache = fileURLToPath(new URL('../../node_modules/.cache/keyfleet-mutants', import.meta.url));
let scratch = '';
beforeAll(() => {
  mkdirSync(cache, { recursive: true });
  scratch = mkdtempSync(join(cache, 'run-'));
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

describe('the simulator finds a seeded bug', () => {
  test('of which there are twenty in one shard, and six in a cluster', () => {
    expect([MUTANTS.length, CLUSTER_MUTANTS.length]).toEqual([20, 6]);
    expect(new Set([...MUTANTS, ...CLUSTER_MUTANTS].map(({ name }) => name)).size).toBe(26);
  });

  for (const [index, mutant] of [...MUTANTS, ...CLUSTER_MUTANTS].entries()) {
    test(`${mutant.name}, within ${mutant.withinSeeds} seeds from ${mutant.firstSeed}`, { timeout: 300_000 }, async () => {
      const bundle = join(scratch, `${index}.mjs`);
      await bundleWithEdits({ ...mutant, entry: 'sim/main.ts', outfile: bundle });
      const run = promisify(execFile)(
        process.execPath,
        [bundle, '--first', String(mutant.firstSeed), '--seeds', String(mutant.withinSeeds), ...optionsOf(mutant)],
        { timeout: 290_000 },
      );
      const { foundAs = /./ } = mutant;
      const found = new RegExp(`^seed \\d+ at commit .* FAILED .*${foundAs.source}`, 'm');
      await expect(run).rejects.toMatchObject({ code: 1, stderr: expect.stringMatching(found) });
    });
  }
});
