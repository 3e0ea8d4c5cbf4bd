// npm run sim -- [--seeds N] [--seconds S] [--seed SEED]: bundles sim/main.ts and runs it; with --mutants sim/mutants/main.ts. See docs/simulation.md.
import { spawnSync } from 'node:child_process';
import { bundle } from './bundle.mjs';
import { ensureInstalled, root, run } from './ready.mjs';

ensureInstalled();
const [entry, name] = process.argv.includes('--mutants') ? ['sim/mutants/main.ts', 'mutants'] : ['sim/main.ts', 'main'];
const outfile = await bundle(entry, `node_modules/.cache/keyfleet-sim/${name}.mjs`);
const git = spawnSync('git', ['describe', '--always', '--dirty'], { cwd: root, encoding: 'utf8' });
run(process.execPath, ['--enable-source-maps', outfile, ...process.argv.slice(2)], {
  KEYFLEET_ROOT: root,
  KEYFLEET_COMMIT: git.stdout?.trim() || 'unknown',
});
