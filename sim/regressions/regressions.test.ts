import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bundleWithEdits } from '../mutants/bundle.ts';
import { SCENARIOS } from './all-scenarios.ts';

// Inside the project, where its packages are found.
const cache = fileURLToPath(new URL('../../node_modules/.cache/keyfleet-regressions', import.meta.url));
let scratch = '';
beforeAll(() => {
  mkdirSync(cache, { recursive: true });
  scratch = mkdtempSync(join(cache, 'run-'));
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

describe('what was found once', () => {
  for (const [index, scenario] of SCENARIOS.entries()) {
    test(`${scenario.name}`, { timeout: 120_000 }, () => scenario.play());

    test(`and its scenario fails without the mend: ${scenario.name}`, { timeout: 120_000 }, async () => {
      const outfile = join(scratch, `${index}.mjs`);
      await bundleWithEdits({ name: scenario.name, edits: scenario.mendTakenBack, entry: 'sim/regressions/main.ts', outfile });
      const run = promisify(execFile)(process.execPath, [outfile, scenario.name], { timeout: 110_000 });
      await expect(run).rejects.toMatchObject({ code: 1, stderr: expect.stringMatching(scenario.failsWith) });
    });
  }
});
