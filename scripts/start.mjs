// `npm start`: installs and builds when needed, then serves the store. Arguments after `--` go to `keyfleet serve`.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { ensureBuilt, root } from './ready.mjs';

ensureBuilt();
const server = spawn(process.execPath, [join(root, 'dist', 'cli', 'main.js'), 'serve', ...process.argv.slice(2)], { stdio: 'inherit' });
// The terminal sends Ctrl-C to both of us; a supervisor's SIGTERM reaches only us, so we pass it on. The server decides when to end.
process.on('SIGINT', () => {});
process.on('SIGTERM', () => server.kill('SIGTERM'));
// npm stands behind a shell that dies of a SIGTERM without passing it on: our parent going away means the same to us.
const parent = process.ppid;
if (process.env.npm_lifecycle_event !== undefined) {
  setInterval(() => {
    if (process.ppid !== parent) server.kill('SIGTERM');
  }, 200).unref();
}
server.on('exit', (code, signal) => process.exit(code ?? (signal ? 1 : 0)));
