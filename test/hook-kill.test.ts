import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import { Prng } from '../src/base/prng.ts';
import type { CommittedCommand } from '../src/node/leader-hook.ts';
import type { CounterCommand } from '../src/shard/counter.ts';
import { root } from './house/tree.ts';
import { bundleWriter } from './kill-nine/kill-loop.ts';

/** Runs the writer and kills it some lines after its first; what it said, whole lines only. */
function runAndKill(args: readonly string[], lines: number): Promise<string[]> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    const giveUp = setTimeout(() => child.kill('SIGKILL'), 60_000);
    let said = '';
    child.stdout.on('data', (text: Buffer) => {
      said += text.toString();
      if (said.split('\n').length > lines) child.kill('SIGKILL');
    });
    child.on('error', reject);
    child.on('close', (_code, signal) => {
      clearTimeout(giveUp);
      if (signal === 'SIGKILL') resolve(said.split('\n').slice(0, -1));
      else reject(new Error('the writer ended by itself'));
    });
  });
}

test('a hook is told of every acknowledged command, however often its process is killed', { timeout: 120_000 }, async () => {
  const distUrl = pathToFileURL(join(root, 'dist', 'node', 'index.js')).href;
  const { counterModule, openStore } = (await import(distUrl)) as typeof import('../src/node/index.ts');
  const writer = await bundleWriter(root, 'hook-writer');
  const dir = mkdtempSync(join(tmpdir(), 'keyfleet-hook-kill-'));
  const done = new Set<string>();
  const told = new Map<string, string>();
  let toldTwice = 0;
  const hear = (n: string, place: string): void => {
    if (told.has(n)) toldTwice++;
    // The same commit, under the same token.
    expect(told.get(n) ?? place).toBe(place);
    told.set(n, place);
  };
  const chance = new Prng(11);
  try {
    for (let cycle = 0; cycle < 4; cycle++) {
      const lines = await runAndKill([writer, distUrl, dir, `${cycle * 1_000_000}`], 100 + chance.below(400));
      for (const line of lines) {
        const [kind, n, ...place] = line.split(' ') as [string, string, ...string[]];
        if (kind === 'done') done.add(n);
        else hear(n, place.join(' '));
      }
    }
    const store = await openStore({
      dir,
      keyspaces: {
        visits: {
          module: counterModule,
          hook: {
            onCommandCommitted: ({ key, token, index }: CommittedCommand<CounterCommand>) =>
              hear(Buffer.from(key).toString(), `${token.shard} ${token.epoch} ${token.seq} ${index}`),
          },
        },
      },
    });
    await expect.poll(() => [...done].filter((n) => !told.has(n)).length, { timeout: 60_000, interval: 20 }).toBe(0);
    expect(done.size).toBeGreaterThan(100);
    // Nothing was told that did not happen.
    for (const n of told.keys()) expect(await store.query('visits', n, null)).toBe(1);
    expect(toldTwice).toBeLessThanOrEqual(4 * 128 * 16);
    await store.close();
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
