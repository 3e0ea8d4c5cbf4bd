// node scripts/bench.mjs NAME [options]: bundles bench/NAME.bench.ts and runs it. Without a name: says which there are.
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { ensureInstalled, root, run } from './ready.mjs';

const [name, ...options] = process.argv.slice(2);
const names = readdirSync(join(root, 'bench'))
  .filter((file) => file.endsWith('.bench.ts'))
  .map((file) => file.replace('.bench.ts', ''));
if (!name || !names.includes(name)) {
  console.error(`usage: npm run bench -- NAME [--large]\nbenches: ${names.join(', ')}`);
  process.exit(2);
}
ensureInstalled();
// As deep as the sources, so that what these look for beside themselves is found.
const outDir = join(root, 'node_modules', '.keyfleet-bench');
mkdirSync(outDir, { recursive: true });
const out = join(outDir, `${name}.mjs`);
const { build } = await import('esbuild');
await build({
  entryPoints: [join(root, 'bench', `${name}.bench.ts`)],
  outfile: out,
  bundle: true,
  packages: 'external',
  platform: 'node',
  format: 'esm',
  target: 'node20',
});
run(process.execPath, ['--expose-gc', out, ...options], { UV_THREADPOOL_SIZE: '16' });
