// npm run soak:kill -- [--seconds N]: kills a writing store again and again, and looks for lost writes.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { ensureBuilt, ensureInstalled, root, run } from './ready.mjs';

ensureInstalled();
ensureBuilt();
const outDir = join(root, 'node_modules', '.cache', 'keyfleet-kill-nine');
mkdirSync(outDir, { recursive: true });
const outfile = join(outDir, 'soak.mjs');
const { build } = await import('esbuild');
await build({
  entryPoints: [join(root, 'test', 'kill-nine', 'soak.ts')],
  outfile,
  bundle: true,
  packages: 'external',
  platform: 'node',
  format: 'esm',
  target: 'node20',
});
run(process.execPath, [outfile, ...process.argv.slice(2)], { KEYFLEET_ROOT: root });
