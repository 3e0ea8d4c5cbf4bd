import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { expect, test } from 'vitest';
import { root } from '../house/tree.ts';

test('the example of docs/shards.md prints what it says', { timeout: 120_000 }, async () => {
  const code = /```ts\n(import[\s\S]*?)```/.exec(readFileSync(join(root, 'docs', 'shards.md'), 'utf8'))![1]!;
  const said = [...code.matchAll(/^console\.log\(.*\); \/\/ (.*)$/gm)].map((match) => match[1]!);
  expect(said.length).toBeGreaterThan(6);

  const cache = join(root, 'node_modules', '.cache');
  mkdirSync(cache, { recursive: true });
  const dir = mkdtempSync(join(cache, 'keyfleet-example-'));
  try {
    const outfile = join(dir, 'example.mjs');
    await build({
      stdin: { contents: code, loader: 'ts', resolveDir: root },
      outfile,
      bundle: true,
      alias: { 'keyfleet/store': join(root, 'src', 'node', 'index.ts') },
      external: ['lmdb', 'msgpackr', '@noble/*'],
      platform: 'node',
      format: 'esm',
      target: 'node20',
    });
    expect((await printed(outfile, dir)).trim().split('\n')).toEqual(said);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

function printed(script: string, cwd: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [script], { cwd, timeout: 90_000 });
    let out = '';
    let complaint = '';
    child.stdout.on('data', (text: Buffer) => {
      out += text.toString();
    });
    child.stderr.on('data', (text: Buffer) => {
      complaint += text.toString();
    });
    child.on('error', reject);
    child.on('close', (code) => (code === 0 ? resolve(out) : reject(new Error(`code ${code}\n${out}\n${complaint}`))));
  });
}
