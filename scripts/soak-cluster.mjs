// npm run soak:cluster -- [--seconds N] [--seed N] [--only TEXT]: faults by chance on a cluster of real processes, and every answer judged. test/cluster/soak.ts does it.
import { spawnSync } from 'node:child_process';
import { bundle } from './bundle.mjs';
import { ensureBuilt, run } from './ready.mjs';

ensureBuilt();
const outfile = await bundle('test/cluster/soak.ts', 'node_modules/.cache/keyfleet-soak/cluster.mjs', { isBesideEntry: true });
const command = [process.execPath, outfile, ...process.argv.slice(2)];
// Small disks are mounted where nobody else sees them, and are gone with the processes.
const hasNamespace =
  process.platform === 'linux' && process.getuid() === 0 && spawnSync('unshare', ['--mount', 'true'], { stdio: 'ignore' }).status === 0;
if (hasNamespace) run('unshare', ['--mount', ...command]);
else run(command[0], command.slice(1));
