// npm run soak:cluster -- [--seconds N] [--seed N]: faults by chance on a cluster of real processes, and every answer judged. test/cluster/soak.ts does it.
import { bundle } from './bundle.mjs';
import { ensureBuilt, run } from './ready.mjs';

ensureBuilt();
const outfile = await bundle('test/cluster/soak.ts', 'node_modules/.cache/keyfleet-soak/cluster.mjs', { isBesideEntry: true });
run(process.execPath, [outfile, ...process.argv.slice(2)]);
