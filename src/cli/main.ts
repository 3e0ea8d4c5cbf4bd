#!/usr/bin/env node
import { runCommandLine } from './command-line.ts';

const line = process.argv.slice(2);
const SERVERS = ['serve', 'up', 'pool', 'master', 'volume'];

// A reader that goes away (`| head`) ends a command without a word; a server goes on.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  if (!SERVERS.includes(line[0] ?? '') || line.includes('--help')) process.exit(0);
});

process.exitCode = await runCommandLine(line);
