import { isMainThread } from 'node:worker_threads';
import { runCommandLine } from './command-line.ts';
import { serveSeeds } from './seed-workers.ts';

if (isMainThread) await runCommandLine(new URL(import.meta.url));
else serveSeeds();
