import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { root } from '../house/tree.ts';

let scratch: string;
let npm: ChildProcess | undefined;

beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'keyfleet-npm-'));
});
afterAll(() => {
  if (npm?.exitCode === null) npm.kill('SIGKILL');
  rmSync(scratch, { recursive: true, force: true });
});

test('npm start serves, and a SIGTERM to npm ends the server too, gracefully', async () => {
  npm = spawn('npm', ['start', '--', '--dir', scratch, '--resp', '0', '--http', '0'], { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
  let out = '';
  for (const stream of [npm.stdout!, npm.stderr!]) {
    stream.on('data', (chunk: Buffer) => {
      out += chunk.toString();
    });
  }
  // The pipes close when the last process that holds them has ended: npm, its shell, our script and the server.
  const allEnded = new Promise<void>((resolve) => npm!.once('close', () => resolve()));
  await expect.poll(() => out, { timeout: 25_000 }).toContain('Ctrl-C ends it.');
  const url = /http:\/\/127\.0\.0\.1:\d+/.exec(out)![0];
  expect((await fetch(`${url}/readyz`)).status).toBe(200);
  npm.kill('SIGTERM');
  await allEnded;
  expect(out).toContain('ended; everything acknowledged is on disk');
  await expect(fetch(`${url}/healthz`)).rejects.toThrow();
}, 60_000);
