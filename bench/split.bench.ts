// How long do clients stand still while shards split and merge? 64 commands are in flight all the time, fsynced, while one shard splits into 16 and
// they merge into one again. Two numbers for each split and merge: how long its turn of the event loop took, and the longest answer among the commands
// that were under way then; beside it the longest answers in as many windows of the same length without any.
//
//   npm run bench -- split [--large] [--keys N] [--rounds N]
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { utf8 } from '../src/base/bytes.ts';
import { showCount } from '../src/base/units.ts';
import { StoreNode } from '../src/node/store-node.ts';
import { plain, plainBytes } from '../src/shard/plain-bytes.ts';
import { openStorage } from '../src/storage/lmdb.ts';

const { values: flags } = parseArgs({
  options: { large: { type: 'boolean', default: false }, keys: { type: 'string' }, rounds: { type: 'string' } },
});
const keyCount = Number(flags.keys ?? (flags.large ? 1_000_000 : 20_000));
const rounds = Number(flags.rounds ?? (flags.large ? 20 : 2));
const IN_FLIGHT = 64;
const MOST = 16;
const WINDOW_MS = 20;

const dir = mkdtempSync(join(tmpdir(), 'keyfleet-bench-'));
const node = await StoreNode.open({ storage: await openStorage({ dir }), workflowEveryMs: 0 });
const users = await node.registerKeyspace('users', { module: plainBytes, shards: 1, policy: { maxShards: MOST } });
const keys = Array.from({ length: keyCount }, (_, i) => utf8(`user:${String(i).padStart(11, '0')}`));
await new Promise<void>((resolve, reject) => {
  let left = keyCount;
  const sink = { settled: () => --left === 0 && resolve(), failed: (_: number, error: Error) => reject(error) };
  for (const key of keys) users.submit(key, plain.set(new Uint8Array(100)), sink, 0);
});

let chance = 1;
let answered = 0;
let isOver = false;
/** The longest answer since it was last asked for. */
let longestMs = 0;
const startedAt = new Float64Array(IN_FLIGHT);
const loaded = new Promise<void>((resolve, reject) => {
  let running = IN_FLIGHT;
  const ready: number[] = [];
  const go = (): void => {
    for (const token of ready.splice(0)) submit(token);
  };
  const sink = {
    settled(token: number) {
      longestMs = Math.max(longestMs, performance.now() - startedAt[token]!);
      answered++;
      if (isOver && --running === 0) resolve();
      if (isOver) return;
      if (ready.push(token) === 1) queueMicrotask(go);
    },
    failed: (_token: number, error: Error) => reject(error),
  };
  const submit = (token: number): void => {
    chance = (Math.imul(chance, 1_664_525) + 1_013_904_223) >>> 0;
    startedAt[token] = performance.now();
    users.submit(keys[Math.floor((chance / 0x1_0000_0000) * keyCount)]!, plain.set(new Uint8Array(100)), sink, token);
  };
  for (let token = 0; token < IN_FLIGHT; token++) submit(token);
});

const turns: Record<string, number[]> = { split: [], merge: [] };
/** What of it was our own work: on a machine with other things to do, the rest is waiting for a processor. */
const works: Record<string, number[]> = { split: [], merge: [] };
const answers: Record<string, number[]> = { split: [], merge: [], none: [] };
const window = async (): Promise<number> => {
  await new Promise((resolve) => setTimeout(resolve, WINDOW_MS));
  const longest = longestMs;
  longestMs = 0;
  return longest;
};

async function measure(kind: 'split' | 'merge', shard: number): Promise<void> {
  await window();
  answers['none']!.push(await window());
  const began = performance.now();
  const cpu = process.cpuUsage();
  // All its steps are taken before it first waits.
  const done = kind === 'split' ? node.workflows('users').split(shard) : node.workflows('users').merge(shard);
  turns[kind]!.push(performance.now() - began);
  const { user, system } = process.cpuUsage(cpu);
  works[kind]!.push((user + system) / 1_000);
  answers[kind]!.push(await window());
  if (!(await done).isOver) throw new Error(`${kind} of shard ${shard} is not over`);
}

await window();
const beganMs = performance.now();
for (let round = 0; round < rounds; round++) {
  while (users.shards.length < MOST) {
    const largest = [...users.shards].sort((a, b) => b.machine.state.keyCount - a.machine.state.keyCount)[0]!;
    await measure('split', largest.machine.state.id);
  }
  while (users.shards.length > 1) {
    const index = (users.shards.length * 7 + round) % (users.shards.length - 1);
    await measure('merge', users.shards[index]!.machine.state.id);
  }
}
const seconds = (performance.now() - beganMs) / 1_000;
isOver = true;
await loaded;
await node.flush();
if (users.keyCount !== keyCount) throw new Error(`${users.keyCount} keys instead of ${keyCount}`);
await node.close();
rmSync(dir, { recursive: true, force: true });

const at = (values: readonly number[], share: number): string => {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!.toFixed(2).padStart(8);
};
const line = (name: string, values: readonly number[]): string =>
  `${name.padEnd(46)} ${at(values, 0.5)} ${at(values, 0.99)} ${at(values, 1)}   of ${values.length}`;
console.log(
  `${cpus().length} × ${cpus()[0]?.model.trim() ?? 'unknown'}, Node ${process.version}; ${showCount(keyCount)} keys, 100-byte values, 1 to ${MOST} shards and back, ${rounds} times`,
);
console.log(`${showCount(answered / seconds)} commands/s meanwhile, ${IN_FLIGHT} in flight, fsynced; checksum ${keyCount}`);
console.log(`milliseconds${' '.repeat(40)}p50      p99      max`);
console.log(line('turn of the event loop, a split', turns['split']!));
console.log(line('the same without the first, whose code is cold', turns['split']!.slice(1)));
console.log(line('turn of the event loop, a merge', turns['merge']!));
console.log(line('its processor time, a split', works['split']!));
console.log(line('its processor time, a merge', works['merge']!));
console.log(line(`longest answer in ${WINDOW_MS} ms with a split`, answers['split']!));
console.log(line(`longest answer in ${WINDOW_MS} ms with a merge`, answers['merge']!));
console.log(line(`longest answer in ${WINDOW_MS} ms without`, answers['none']!));
