// How long does the store take to start, and how much memory does a million keys take? A process of its own fills the Redis keyspace (100-byte
// values, 256 in flight, every answer fsynced) and is killed with SIGKILL as soon as the last answer is in; another one opens the directory, journal
// tail and all, closes it, and a third opens what was closed cleanly.
//
//   npm run bench -- start [--large] [--keys N] [--dir PATH]
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { utf8 } from '../src/base/bytes.ts';
import { showBytes, showCount } from '../src/base/units.ts';
import { StoreNode } from '../src/node/store-node.ts';
import { createRedisModule } from '../src/shard/redis/redis-module.ts';
import type { Reply } from '../src/shard/redis/reply.ts';
import { openStorage } from '../src/storage/lmdb.ts';

const { values: flags } = parseArgs({
  options: {
    large: { type: 'boolean', default: false },
    keys: { type: 'string' },
    dir: { type: 'string' },
    child: { type: 'string' },
  },
});
const keyCount = Number(flags.keys ?? (flags.large ? 1_000_000 : 20_000));
const IN_FLIGHT = 256;
const VALUE = new Uint8Array(100).fill(120);
const SET = utf8('SET');

/** What a child process found. */
interface Report {
  readonly ms: number;
  readonly rssBytes: number;
  readonly keyCount: number;
  readonly diskBytes: number;
}

async function child(task: string, dir: string): Promise<void> {
  const startedMs = performance.now();
  const storage = await openStorage({ dir });
  const node = await StoreNode.open({ storage });
  const keyspace = await node.registerKeyspace('default', { module: createRedisModule(), scheme: 'redis' });
  if (task === 'fill') {
    await new Promise<void>((resolve, reject) => {
      let next = 0;
      let missing = keyCount;
      const one = (): void => {
        if (next === keyCount) return;
        const key = utf8(`user:${String(next++).padStart(11, '0')}`);
        keyspace.submit(key, [SET, key, VALUE], sink, 0);
      };
      const sink = {
        settled: (_token: number, _reply: Reply) => {
          if (--missing === 0) resolve();
          else queueMicrotask(one);
        },
        failed: (_token: number, error: Error) => reject(error),
      };
      for (let i = 0; i < IN_FLIGHT; i++) one();
    });
  }
  const ms = performance.now() - startedMs;
  const rssBytes = process.memoryUsage().rss;
  const report: Report = { ms, rssBytes, keyCount: keyspace.keyCount, diskBytes: storage.stats().diskBytes };
  console.log(JSON.stringify(report));
  if (task === 'fill') process.kill(process.pid, 'SIGKILL');
  await node.close();
}

function run(task: string, dir: string): Promise<Report & { readonly processMs: number }> {
  const startedMs = performance.now();
  const args = [fileURLToPath(import.meta.url), '--child', task, '--dir', dir, '--keys', String(keyCount)];
  const process_ = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  return new Promise((resolve, reject) => {
    let text = '';
    let processMs = 0;
    process_.stdout.on('data', (chunk: Buffer) => {
      processMs ||= performance.now() - startedMs;
      text += chunk;
    });
    process_.once('exit', (code, signal) => {
      if (code === 0 || signal === 'SIGKILL') resolve({ ...(JSON.parse(text) as Report), processMs });
      else reject(new Error(`${task} ended with ${code ?? signal}`));
    });
  });
}

async function measure(): Promise<void> {
  const model = cpus()[0]?.model ?? 'unknown processor';
  console.log(`${model}, ${availableParallelism()} cores, load ${loadavg()[0]!.toFixed(1)}, Node ${process.versions.node}`);
  const dir = mkdtempSync(join(flags.dir ?? tmpdir(), 'keyfleet-bench-'));
  try {
    const empty = await run('open', dir);
    const filled = await run('fill', dir);
    const row = (what: string, report: Report & { readonly processMs: number }): void =>
      console.log(
        `${what.padEnd(28)} ${report.ms.toFixed(0).padStart(8)} ms  (${report.processMs.toFixed(0)} ms with Node's own start)  ${showCount(report.keyCount)} keys, ` +
          `resident ${showBytes(report.rssBytes)}, on disk ${showBytes(report.diskBytes)}`,
      );
    row('open, nothing there', empty);
    row('fill, then SIGKILL', filled);
    row('open after SIGKILL', await run('open', dir));
    row('open after a clean close', await run('open', dir));
    console.log(
      `while filling: ${showBytes(filled.rssBytes - empty.rssBytes)} more than with nothing there, for ${showCount(filled.keyCount)} keys`,
    );
    console.log(`checksum ${filled.keyCount}`);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

if (flags.child === undefined) await measure();
else await child(flags.child, flags.dir!);
