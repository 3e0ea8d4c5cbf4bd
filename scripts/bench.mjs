// node scripts/bench.mjs NAME [options]: bundles bench/NAME.bench.ts and runs it. Without a name: says which there are.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { bundle } from './bundle.mjs';
import { ensureBuilt, root, run } from './ready.mjs';

const [name, ...options] = process.argv.slice(2);
const names = readdirSync(join(root, 'bench'))
  .filter((file) => file.endsWith('.bench.ts'))
  .map((file) => file.replace('.bench.ts', ''));
if (!name || !names.includes(name)) {
  console.error(`usage: npm run bench -- NAME [--large]\nbenches: ${names.join(', ')}`);
  process.exit(2);
}
// Some start the servers that are shipped.
ensureBuilt();
// As deep as the sources, so that what these look for beside themselves is found.
const out = await bundle(`bench/${name}.bench.ts`, `node_modules/.keyfleet-bench/${name}.mjs`);
run(process.execPath, ['--expose-gc', out, ...options], { UV_THREADPOOL_SIZE: '16' });
