import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { operation, WRITERS } from './workload.ts';

// Start writers, kill -9 at a moment of chance, open the store again: every acknowledged write is there, and of each writer's one
// unacknowledged operation either all or nothing. The same directory goes through all cycles.

export interface KillLoopResult {
  readonly cycles: number;
  readonly acknowledged: number;
  /** Unacknowledged operations found done, and found not done. */
  readonly unknownDone: number;
  readonly unknownNotDone: number;
  /** The writers split and merge shards all the time: so many were found at once. */
  readonly mostShards: number;
  /** What should not be; empty in a good run. */
  readonly faults: readonly string[];
}

export interface KillLoopOptions {
  /** The root of a project that has been built. */
  readonly root: string;
  /** Asked before each cycle. */
  readonly goOn: (cyclesDone: number) => boolean;
  /** A number in [0, 1). */
  readonly chance: () => number;
  readonly minRunMs: number;
  readonly maxRunMs: number;
  readonly onCycle?: (result: KillLoopResult) => void;
}

export async function killLoop(options: KillLoopOptions): Promise<KillLoopResult> {
  const { root, goOn, chance, minRunMs, maxRunMs, onCycle } = options;
  const distUrl = pathToFileURL(join(root, 'dist', 'node', 'index.js')).href;
  const store = (await import(distUrl)) as typeof import('../../src/node/index.ts');
  const writerPath = await bundleWriter(root);
  const dir = mkdtempSync(join(tmpdir(), 'keyfleet-kill-'));
  /** What each key must hold. */
  const expected = new Map<string, Uint8Array>();
  const nextOf = new Array<number>(WRITERS).fill(0);
  const faults: string[] = [];
  let cycles = 0;
  let acknowledged = 0;
  let unknownDone = 0;
  let unknownNotDone = 0;
  let mostShards = 0;
  const result = (): KillLoopResult => ({ cycles, acknowledged, unknownDone, unknownNotDone, mostShards, faults });
  try {
    while (faults.length === 0 && goOn(cycles)) {
      const runMs = minRunMs + chance() * (maxRunMs - minRunMs);
      const acknowledgedUpto = await runAndKill({ writerPath, distUrl, dir, nextOf, runMs });
      for (let writer = 0; writer < WRITERS; writer++) {
        const upto = acknowledgedUpto[writer]!;
        for (let n = nextOf[writer]!; n <= upto; n++) apply(expected, writer, n);
        acknowledged += upto - nextOf[writer]! + 1;
        nextOf[writer] = upto + 1;
      }
      const opened = await store.openStore({
        dir,
        keyspaces: { known: { module: store.plainBytes, shards: 5, policy: { minShards: 1 } } },
      });
      const known = opened.keyspace('known');
      // The one operation of each writer that nobody was told of: all or nothing, and from now on known.
      for (let writer = 0; writer < WRITERS; writer++) {
        const { key, value } = operation(writer, nextOf[writer]!);
        const { value: found } = await known.query(key, store.plain.get());
        const done = same(found, value);
        if (!done && !same(found, expected.get(key)))
          faults.push(`cycle ${cycles}: ${key} holds neither what it held nor what writer ${writer} wrote`);
        if (done && !same(expected.get(key), value)) unknownDone++;
        else if (!done) unknownNotDone++;
        if (done) apply(expected, writer, nextOf[writer]!);
        nextOf[writer]!++;
      }
      faults.push(...(await compare(known, expected)).map((fault) => `cycle ${cycles}: ${fault}`));
      // What was under way is done to its end.
      await opened.node.lookAtShards();
      const shards = known.shards();
      mostShards = Math.max(mostShards, shards.length);
      for (const { id, from, to, keyCount, status } of shards) {
        let keys = 0;
        for await (const _ of known.keysInShard({ from, to })) keys++;
        if (keys !== keyCount || status !== 'serving')
          faults.push(`cycle ${cycles}: shard ${id} is ${status}, counts ${keyCount} keys and has ${keys}`);
      }
      await opened.close();
      cycles++;
      onCycle?.(result());
    }
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
  return result();
}

/** Everything in the store against everything expected, and the counts against what a scan finds. */
async function compare(
  known: AsyncIterable<{ readonly key: Uint8Array; readonly value: Uint8Array }> & {
    readonly keyCount: number;
    readonly sizeBytes: number;
  },
  expected: ReadonlyMap<string, Uint8Array>,
): Promise<string[]> {
  const faults: string[] = [];
  let keys = 0;
  let bytes = 0;
  for await (const { key, value } of known) {
    const name = Buffer.from(key).toString();
    keys++;
    bytes += key.length + value.length;
    if (!same(expected.get(name), value)) faults.push(`${name} holds ${value.length} bytes that it should not`);
  }
  if (keys !== expected.size) {
    faults.push(`${keys} keys instead of ${expected.size}`);
  }
  if (known.keyCount !== keys || known.sizeBytes !== bytes) {
    faults.push(`it counts ${known.keyCount} keys, ${known.sizeBytes} bytes, and has ${keys}, ${bytes}`);
  }
  return faults;
}

/** Runs the writers for about `runMs` and kills them; returns the last acknowledged operation of each. */
async function runAndKill(options: {
  readonly writerPath: string;
  readonly distUrl: string;
  readonly dir: string;
  readonly nextOf: readonly number[];
  readonly runMs: number;
}): Promise<number[]> {
  const { writerPath, distUrl, dir, nextOf, runMs } = options;
  const upto = nextOf.map((next) => next - 1);
  const child = spawn(process.execPath, [writerPath, distUrl, dir, ...nextOf.map(String)], { stdio: ['ignore', 'pipe', 'pipe'] });
  let complaint = '';
  child.stderr.on('data', (text: Buffer) => {
    complaint += text.toString();
  });
  const giveUp = setTimeout(() => child.kill('SIGKILL'), 60_000 + runMs);
  let rest = '';
  let killed = false;
  await new Promise<void>((resolve, reject) => {
    child.on('error', reject);
    child.stdout.on('data', (text: Buffer) => {
      const lines = (rest + text.toString()).split('\n');
      rest = lines.pop()!;
      for (const line of lines) {
        const [writer, n] = line.split(' ').map(Number) as [number, number];
        upto[writer] = n;
      }
      if (killed) return;
      killed = true;
      // From the first acknowledgement on, so that a slow start does not shorten the run.
      setTimeout(() => child.kill('SIGKILL'), runMs);
    });
    child.on('close', (code, signal) => {
      clearTimeout(giveUp);
      if (signal === 'SIGKILL' && killed) resolve();
      else reject(new Error(`the writers ended by themselves: code ${code}, signal ${signal}\n${complaint}`));
    });
  });
  return upto;
}

function apply(expected: Map<string, Uint8Array>, writer: number, n: number): void {
  const { key, value } = operation(writer, n);
  if (value) expected.set(key, value);
  else expected.delete(key);
}

function same(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return Buffer.compare(a, b) === 0;
}

/** One of the scripts beside this file, as something that Node runs. */
export async function bundleWriter(root: string, name = 'writer'): Promise<string> {
  const outDir = join(root, 'node_modules', '.cache', 'keyfleet-kill-nine');
  mkdirSync(outDir, { recursive: true });
  const outfile = join(outDir, `${name}.mjs`);
  const entry = fileURLToPath(pathToFileURL(join(root, 'test', 'kill-nine', `${name}.ts`)));
  await build({ entryPoints: [entry], outfile, bundle: true, packages: 'external', platform: 'node', format: 'esm', target: 'node20' });
  return outfile;
}
