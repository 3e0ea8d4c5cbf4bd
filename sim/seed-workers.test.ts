import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bundleWithEdits } from './mutants/bundle.ts';
import { MUTANTS } from './mutants/mutants.ts';

// Inside the project, where its packages are found.
const cache = fileURLToPath(new URL('../node_modules/.cache/keyfleet-seed-workers', import.meta.url));
let scratch = '';
beforeAll(() => {
  mkdirSync(cache, { recursive: true });
  scratch = mkdtempSync(join(cache, 'run-'));
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** What the program says at the end, but for how long it took. */
function run(bundle: string, options: readonly string[]): Promise<{ readonly code: unknown; readonly report: object }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [bundle, '--json', ...options], { timeout: 100_000 }, (error, stdout) => {
      const { wallMs: _, speed: __, ...report } = JSON.parse(stdout) as Record<string, unknown>;
      resolve({ code: error?.code ?? 0, report });
    });
  });
}

describe('seeds run on several threads', () => {
  test('come to what they come to on one, event for event', { timeout: 120_000 }, async () => {
    const bundle = join(scratch, 'main.mjs');
    await bundleWithEdits({ name: 'none', edits: [], entry: 'sim/main.ts', outfile: bundle });
    const options = ['--first', '1', '--seeds', '6', '--seconds', '3'];
    const alone = await run(bundle, [...options, '--workers', '1']);
    expect(alone).toMatchObject({ code: 0, report: { seeds: 6 } });
    expect(await run(bundle, [...options, '--workers', '3'])).toEqual(alone);
  });

  test('stop at the first seed that fails, whoever is done first', { timeout: 120_000 }, async () => {
    const mutant = MUTANTS.find(({ name }) => name === 'session not looked at')!;
    const bundle = join(scratch, 'mutant.mjs');
    await bundleWithEdits({ ...mutant, entry: 'sim/main.ts', outfile: bundle });
    const options = ['--first', '1', '--seeds', '12', '--seconds', '10', '--hunt', mutant.hunt];
    const alone = await run(bundle, [...options, '--workers', '1']);
    expect(alone).toMatchObject({ code: 1, report: { failed: { failure: expect.any(String) } } });
    expect(await run(bundle, [...options, '--workers', '3'])).toEqual(alone);
  });
});
