// npm run soak:volumes -- [--seconds N] [--seed N]: kills masters and volumes while values move, for as long as asked, and prints what it saw.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ensureBuilt, root } from './ready.mjs';

const option = (name, otherwise) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? otherwise : Number(process.argv[at + 1]);
};
ensureBuilt();
const { build } = await import('esbuild');
const outDir = join(root, 'test', 'volume');
const out = join(root, 'node_modules', '.cache', 'keyfleet-soak', 'kill-loop.mjs');
mkdirSync(join(out, '..'), { recursive: true });
await build({
  entryPoints: [join(outDir, 'kill-loop.ts')],
  outfile: out,
  bundle: true,
  packages: 'external',
  platform: 'node',
  format: 'esm',
  target: 'node20',
  define: { 'import.meta.url': JSON.stringify(pathToFileURL(join(outDir, 'kill-loop.ts')).href) },
});
const { killLoop } = await import(pathToFileURL(out).href);
const seconds = option('seconds', 60);
let seed = option('seed', Math.floor(Math.random() * 1_000_000));
for (let left = seconds; left > 0; left -= 60) {
  const report = await killLoop({ seed, seconds: Math.min(60, left), keys: 120 });
  console.log(JSON.stringify({ ...report, wrong: report.wrong.length }));
  if (report.wrong.length > 0) {
    console.log(report.wrong.join('\n'));
    console.log(`again: npm run soak:volumes -- --seconds 60 --seed ${seed}`);
    process.exit(1);
  }
  seed++;
}
