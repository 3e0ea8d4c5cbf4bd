// npm run soak:cluster -- [--seconds N] [--seed N]: faults by chance on a cluster of real processes, and every answer judged. test/cluster/soak.ts does it.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ensureBuilt, root, run } from './ready.mjs';

ensureBuilt();
const source = join(root, 'test', 'cluster', 'soak.ts');
const outfile = join(root, 'node_modules', '.cache', 'keyfleet-soak', 'cluster.mjs');
mkdirSync(join(outfile, '..'), { recursive: true });
const { build } = await import('esbuild');
await build({
  entryPoints: [source],
  outfile,
  bundle: true,
  packages: 'external',
  platform: 'node',
  format: 'esm',
  target: 'node20',
  // What is looked for beside the sources is found from there: all of them are two folders deep.
  define: { 'import.meta.url': JSON.stringify(pathToFileURL(source).href) },
});
run(process.execPath, [outfile, ...process.argv.slice(2)]);
