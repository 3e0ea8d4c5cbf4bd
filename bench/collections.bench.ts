// What do commands on lists, sets and sorted sets cost as they grow from a thousand members to a million? The Redis module in process, 256 in
// flight, over memory and over the journal with LMDB (every answer fsynced), beside a real redis-server without persistence, over its socket,
// 256 pipelined. The number to quote is the growth: the cost on the large collection in terms of that on the small one.
//
//   npm run bench -- collections [--large] [--seconds N] [--dir PATH]
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Bytes, utf8 } from '../src/base/bytes.ts';
import { KeyfleetError } from '../src/base/errors.ts';
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
const seconds = Number(flags.seconds ?? (flags.large ? 2 : 0.15));
const SIZES = [1_000, flags.large ? 1_000_000 : 10_000];
const IN_FLIGHT = 256;
const PER_LOAD = 64;

let checksum = 0;
type Command = readonly Bytes[];

interface Engine {
  readonly name: string;
  runAll(commands: readonly Command[]): Promise<readonly Reply[]>;
  close(): Promise<void>;
}

async function storeEngine(name: string, storage: Storage): Promise<Engine> {
  const node = await StoreNode.open({ storage });
  const keyspace = await node.registerKeyspace('redis', { module: createRedisModule(), scheme: 'redis', shards: 1 });
  const READS = ['ZRANK', 'LINDEX'];
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
          failed: (token: number, error: Error) => {
            // The disk falls behind while a million members are loaded: the same command is taken a little later.
            if (error instanceof KeyfleetError && error.code === 'KF_STORAGE_BEHIND') setTimeout(() => submit(commands[token]!, token), 20);
            else reject(error);
          },
        };
        const submit = (command: Command, token: number): void => {
          if (READS.includes(Buffer.from(command[0]!).toString())) keyspace.ask(command[1]!, command, sink, token);
          else keyspace.submit(command[1]!, command, sink, token);
        };
        commands.forEach(submit);
      }),
    close: () => node.close(),
  };
}

async function redisEngine(): Promise<Engine> {
  const redis = await startRealRedis();
  const connection = await redis.connect();
  return {
    name: 'redis 7 (socket)',
    runAll: (commands) => Promise.all(commands.map((command) => connection.send(command))),
    close: async () => {
      connection.close();
      await redis.stop();
    },
  };
}

const bytesOf = (words: readonly (string | number)[]): Command => words.map((word) => utf8(String(word)));
const memberOf = (n: number): string => `member:${n}`;

/** What is measured, on a collection that `load` builds of so many members. */
const CASES: readonly {
  readonly name: string;
  readonly load: (from: number, to: number, size: number) => Command;
  readonly make: (prng: Prng, size: number) => Command;
}[] = [
  {
    name: 'ZADD, a new score',
    load: loadScores,
    make: (prng, size) => bytesOf(['ZADD', `z:${size}`, prng.below(1e6), memberOf(prng.below(size))]),
  },
  { name: 'ZRANK', load: loadScores, make: (prng, size) => bytesOf(['ZRANK', `z:${size}`, memberOf(prng.below(size))]) },
  {
    name: 'LPUSH',
    load: (from, to, size) => bytesOf(['RPUSH', `l:${size}`, ...numbered(from, to)]),
    make: (prng, size) => bytesOf(['LPUSH', `l:${size}`, memberOf(prng.below(size))]),
  },
  {
    name: 'LINDEX, anywhere',
    load: (from, to, size) => bytesOf(['RPUSH', `i:${size}`, ...numbered(from, to)]),
    make: (prng, size) => bytesOf(['LINDEX', `i:${size}`, prng.below(size)]),
  },
  {
    name: 'SADD, half of them new',
    load: (from, to, size) => bytesOf(['SADD', `s:${size}`, ...numbered(from, to)]),
    make: (prng, size) => bytesOf(['SADD', `s:${size}`, memberOf(prng.below(2 * size))]),
  },
];

function numbered(from: number, to: number): string[] {
  return Array.from({ length: to - from }, (_, i) => memberOf(from + i));
}

function loadScores(from: number, to: number, size: number): Command {
  return bytesOf(['ZADD', `z:${size}`, ...numbered(from, to).flatMap((member, i) => [((from + i) * 7_919) % 1_000_003, member])]);
}

async function loadAll(engine: Engine, load: (typeof CASES)[number]['load'], size: number): Promise<void> {
  for (let from = 0; from < size; from += PER_LOAD * IN_FLIGHT) {
    const commands: Command[] = [];
    for (let i = from; i < Math.min(size, from + PER_LOAD * IN_FLIGHT); i += PER_LOAD)
      commands.push(load(i, Math.min(size, i + PER_LOAD), size));
    await engine.runAll(commands);
  }
}

/** Microseconds a command. */
async function measure(engine: Engine, one: (typeof CASES)[number], size: number): Promise<number> {
  const prng = new Prng(size);
  const batch = (): Command[] => Array.from({ length: IN_FLIGHT }, () => one.make(prng, size));
  for (let i = 0; i < 4; i++) await engine.runAll(batch());
  const startedMs = performance.now();
  let count = 0;
  while (performance.now() < startedMs + seconds * 1_000) {
    for (const reply of await engine.runAll(batch())) if (typeof reply === 'number') checksum = (checksum * 31 + reply) >>> 0;
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
  for (const open of engines) {
    const engine = await open();
    console.log(`${engine.name.padEnd(36)}${SIZES.map((size) => `${showCount(size)} members`.padStart(18)).join('')}   growth`);
    const loaded = new Set<unknown>();
    for (const one of CASES) {
      const costs: number[] = [];
      for (const size of SIZES) if (!loaded.has(one.load)) await loadAll(engine, one.load, size);
      loaded.add(one.load);
      for (const size of SIZES) costs.push(await measure(engine, one, size));
      const growth = costs.at(-1)! / costs[0]!;
      console.log(`  ${one.name.padEnd(26)}us each ${costs.map((cost) => cost.toFixed(2).padStart(18)).join('')}   ${growth.toFixed(2)}x`);
    }
    await engine.close();
  }
  console.log(`checksum ${checksum.toString(16)} (of the replies; their number depends on the speed)`);
} finally {
  rmSync(dir, { recursive: true, force: true });
}
