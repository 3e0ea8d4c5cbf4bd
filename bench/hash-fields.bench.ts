// What does HSET cost as a hash grows from 10 fields to a million? The Redis module in process, 256 in flight, over memory and over the journal
// with LMDB (every answer fsynced), beside a real redis-server without persistence, over its socket, 256 pipelined.
//
// A million fields are also more to hold in memory and on disk than ten, in one hash or in many. So the numbers to quote are the last columns:
// the cost on the largest hash in terms of that on the smallest, and in terms of that on as many fields in hashes of ten.
//
//   npm run bench -- hash-fields [--large] [--seconds N] [--dir PATH]
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Bytes, utf8 } from '../src/base/bytes.ts';
import { Prng } from '../src/base/prng.ts';
import { showCount } from '../src/base/units.ts';
import { StoreNode } from '../src/node/store-node.ts';
import { createRedisModule } from '../src/shard/redis/redis-module.ts';
import type { Reply } from '../src/shard/redis/reply.ts';
import { openStorage } from '../src/storage/lmdb.ts';
import { MemoryStorage } from '../src/storage/memory.ts';
import type { Storage } from '../src/storage/storage.ts';
import { hasRealRedis, startRealRedis } from '../test/redis-differential/real-redis.ts';

const { values: flags } = parseArgs({
  options: { large: { type: 'boolean', default: false }, seconds: { type: 'string' }, dir: { type: 'string' } },
});
const seconds = Number(flags.seconds ?? (flags.large ? 3 : 0.3));
const MOST = flags.large ? 1_000_000 : 20_000;
/** Which hashes there are, of how many fields. */
const LAYOUTS = [
  { hashes: 1, fields: 10 },
  { hashes: 1, fields: 1_000 },
  { hashes: 1, fields: MOST },
  { hashes: MOST / 10, fields: 10 },
];
const IN_FLIGHT = 256;
const MAX_SETTLE_MS = 120_000;

const HSET = utf8('HSET');
const nameOf = (n: number): Bytes => utf8(`field:${n}`);
let checksum = 0;

/** Runs commands that are under way together; resolves when all are answered. */
interface Engine {
  readonly name: string;
  runAll(commands: readonly (readonly Bytes[])[]): Promise<readonly Reply[]>;
  /** Resolves when the work in the background that the loading left is done, so that it is not measured. */
  settle(): Promise<void>;
  close(): Promise<void>;
}

async function storeEngine(name: string, storage: Storage): Promise<Engine> {
  const node = await StoreNode.open({ storage });
  const keyspace = await node.registerKeyspace('redis', { module: createRedisModule(), scheme: 'redis', shards: 1 });
  return {
    name,
    runAll: (commands) =>
      new Promise((resolve, reject) => {
        const replies = new Array<Reply>(commands.length);
        let missing = commands.length;
        const sink = {
          settled: (token: number, reply: Reply) => {
            replies[token] = reply;
            if (--missing === 0) resolve(replies);
          },
          failed: (_token: number, error: Error) => reject(error),
        };
        commands.forEach((command, token) => {
          keyspace.submit(command[1]!, command, sink, token);
        });
      }),
    async settle() {
      let [last, sinceMs] = [-1, performance.now()];
      for (const startedMs = performance.now(); performance.now() < startedMs + MAX_SETTLE_MS; ) {
        const { memtableBytes } = storage.stats();
        if (memtableBytes !== last) [last, sinceMs] = [memtableBytes, performance.now()];
        else if (performance.now() > sinceMs + (flags.large ? 3_000 : 100)) return;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    },
    close: () => node.close(),
  };
}

async function redisEngine(): Promise<Engine> {
  const redis = await startRealRedis();
  const connection = await redis.connect();
  return {
    name: 'redis 7 (socket)',
    runAll: (commands) => Promise.all(commands.map((command) => connection.send(command))),
    settle: async () => {},
    close: async () => {
      connection.close();
      await redis.stop();
    },
  };
}

/** Microseconds for an HSET that changes one field, any of those there are. */
async function measure(engine: Engine, { hashes, fields }: (typeof LAYOUTS)[number]): Promise<number> {
  const prng = new Prng(fields);
  const keyOf = (n: number): Bytes => utf8(`hash:${hashes}:${fields}:${n}`);
  let commands: Bytes[][] = [];
  for (let hash = 0; hash < hashes; hash++) {
    for (let from = 0; from < fields; from += 64) {
      const command = [HSET, keyOf(hash)];
      for (let j = from; j < Math.min(fields, from + 64); j++) command.push(nameOf(j), utf8(`value ${j}`));
      commands.push(command);
      if (commands.length < IN_FLIGHT) continue;
      await engine.runAll(commands);
      commands = [];
    }
  }
  await engine.runAll(commands);
  await engine.settle();
  const change = (): Bytes[] => [HSET, keyOf(prng.below(hashes)), nameOf(prng.below(fields)), utf8(`changed ${prng.u32()}`)];
  for (let i = 0; i < 20; i++) await engine.runAll(Array.from({ length: IN_FLIGHT }, change));
  const startedMs = performance.now();
  let count = 0;
  while (performance.now() < startedMs + seconds * 1_000) {
    const replies = await engine.runAll(Array.from({ length: IN_FLIGHT }, change));
    for (const reply of replies) checksum = (checksum * 31 + Number(reply) + 1) >>> 0;
    count += IN_FLIGHT;
  }
  return ((performance.now() - startedMs) * 1_000) / count;
}

const dir = mkdtempSync(join(flags.dir ?? tmpdir(), 'keyfleet-bench-'));
try {
  const engines: (() => Promise<Engine>)[] = [
    () => storeEngine('keyfleet, memory', new MemoryStorage()),
    async () => storeEngine('keyfleet, journal + LMDB, fsynced', await openStorage({ dir, durability: 'sync' })),
    ...(hasRealRedis ? [redisEngine] : []),
  ];
  const model = cpus()[0]?.model ?? 'unknown processor';
  console.log(`${model}, ${cpus().length} cores, load ${loadavg()[0]!.toFixed(1)}, Node ${process.versions.node}; ${IN_FLIGHT} in flight`);
  const titles = LAYOUTS.map(({ hashes, fields }) => (hashes === 1 ? `one of ${showCount(fields)}` : `${showCount(hashes)} of ${fields}`));
  console.log(
    `${'microseconds per HSET, hashes:'.padEnd(36)}${titles.map((title) => title.padStart(18)).join('')}   growth   beside as many`,
  );
  for (const open of engines) {
    const engine = await open();
    const costs: number[] = [];
    for (const layout of LAYOUTS) costs.push(await measure(engine, layout));
    await engine.close();
    const [smallest, , largest, many] = costs as [number, number, number, number];
    const ratios = [largest / smallest, largest / many].map((ratio) => `${ratio.toFixed(2)}x`);
    console.log(
      `${engine.name.padEnd(36)}${costs.map((cost) => cost.toFixed(2).padStart(18)).join('')}   ${ratios[0]!.padStart(6)}   ${ratios[1]!.padStart(14)}`,
    );
  }
  console.log(`checksum ${checksum.toString(16)} (of the replies; their number depends on the speed)`);
} finally {
  rmSync(dir, { recursive: true, force: true });
}
