// npm run soak:kill -- [--seconds N]: kills a writing store again and again, and looks for lost writes.
import { bundle } from './bundle.mjs';
import { ensureBuilt, root, run } from './ready.mjs';

ensureBuilt();
const outfile = await bundle('test/kill-nine/soak.ts', 'node_modules/.cache/keyfleet-kill-nine/soak.mjs');
run(process.execPath, [outfile, ...process.argv.slice(2)], { KEYFLEET_ROOT: root });
