// npm run sim -- [--seeds N] [--seconds S] [--seed SEED]: bundles sim/main.ts and runs it; with --mutants sim/mutants/main.ts. See docs/simulation.md.
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { ensureInstalled, root, run } from './ready.mjs';

ensureInstalled();
const outDir = join(root, 'node_modules', '.cache', 'keyfleet-sim');
mkdirSync(outDir, { recursive: true });
const isMutants = process.argv.includes('--mutants');
const outfile = join(outDir, isMutants ? 'mutants.mjs' : 'main.mjs');
const { build } = await import('esbuild');
await build({
  entryPoints: [join(root, 'sim', ...(isMutants ? ['mutants'] : []), 'main.ts')],
  outfile,
  bundle: true,
  packages: 'external',
  platform: 'node',
  format: 'esm',
  target: 'node20',
});
const git = spawnSync('git', ['describe', '--always', '--dirty'], { cwd: root, encoding: 'utf8' });
run(process.execPath, ['--enable-source-maps', outfile, ...process.argv.slice(2)], {
  KEYFLEET_ROOT: root,
  KEYFLEET_COMMIT: git.stdout?.trim() || 'unknown',
});
