// `npm test`: everything, from nothing. Installs, sets up the real servers the tests talk to, checks, builds, runs every test,
// and ends with one plain line: N passed, N failed, N skipped.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bin, ensureBuilt, ensureInstalled, root, run } from './ready.mjs';
import { setUpServers } from './servers.mjs';

ensureInstalled();
const missing = setUpServers();
run(bin('biome'), ['ci', '--error-on-warnings', '.']);
run(bin('tsc'), ['--noEmit']);
ensureBuilt();

const scratch = mkdtempSync(join(tmpdir(), 'keyfleet-test-'));
const report = join(scratch, 'report.json');
const vitest = spawnSync(
  bin('vitest'),
  ['run', '--reporter=default', '--reporter=json', `--outputFile.json=${report}`, ...process.argv.slice(2)],
  {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, KEYFLEET_MISSING: missing.join(',') },
  },
);

let counts;
try {
  counts = JSON.parse(readFileSync(report, 'utf8'));
} catch {
  console.error('keyfleet: the test runner left no report');
  process.exit(vitest.status || 1);
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
const skipped = counts.numPendingTests + counts.numTodoTests;
if (missing.length > 0) console.log(`not on this machine, so their tests were skipped: ${missing.join(', ')} (see CONTRIBUTING.md)`);
console.log(`${counts.numPassedTests} passed, ${counts.numFailedTests} failed, ${skipped} skipped`);
if (process.env.CI && skipped > 0) {
  console.error('keyfleet: a CI run may not skip tests');
  process.exit(1);
}
process.exit(vitest.status ?? 1);
