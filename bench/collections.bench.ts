// What do commands on lists, sets and sorted sets cost as they grow from a thousand members to a million? The Redis module in process, 256 in
// flight, over memory and over the journal with LMDB (every answer fsynced), beside a real redis-server without persistence, over its socket,
// 256 pipelined. The number to quote is the growth: the cost on the large collection in terms of that on the small one. What takes members out
// is followed by what puts others in, so that a collection keeps its size; both are counted.
//
//   npm run bench -- collections [--large] [--seconds N] [--dir PATH] [--only NAME] [--engine memory|lmdb|redis]
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { type Bytes, utf8 } from '../src/base/bytes.ts';
import { Prng } from '../src/base/prng.ts';
import { MIB, showCount } from '../src/base/units.ts';
import { StoreNode } from '../src/node/store-node.ts';
import { findCommand } from '../src/shard/redis/command-table.ts';
import { createRedisModule } from '../src/shard/redis/redis-module.ts';
import type { Reply } from '../src/shard/redis/reply.ts';
import { openStorage } from '../src/storage/lmdb.ts';
import { MemoryStorage } from '../src/storage/memory.ts';
import type { Storage } from '../src/storage/storage.ts';
import { hasRealRedis, startRealRedis } from '../test/redis-differential/real-redis.ts';

const { values: flags } = parseArgs({
  options: {
    large: { type: 'boolean', default: false },
    seconds: { type: 'string' },
    dir: { type: 'string' },
    only: { type: 'string' },
    engine: { type: 'string' },
  },
});
const seconds = Number(flags.seconds ?? (flags.large ? 2 : 0.15));
const SIZES = [1_000, flags.large ? 1_000_000 : 10_000];
const IN_FLIGHT = 256;
const PER_LOAD = 64;
/** More than so much on its way to LMDB is waited for. */
const MEMTABLE_BYTES = 192 * MIB;
/** The best of so many counts, since with millions of keys in memory the garbage collector takes a second at times. */
const STRETCHES = 4;
const MAX_SCORE = 1_000_003;

type Command = readonly Bytes[];

interface Engine {
  readonly name: string;
  runAll(commands: readonly Command[]): Promise<readonly Reply[]>;
  /** Processor time of the process that runs the commands, all threads. */
  cpuMicroseconds(): Promise<number>;
  close(): Promise<void>;
}

async function storeEngine(name: string, storage: Storage): Promise<Engine> {
  const node = await StoreNode.open({ storage });
  const keyspace = await node.registerKeyspace('redis', { module: createRedisModule(), scheme: 'redis', shards: 1 });
  return {
    name,
    async runAll(commands) {
      // What came in one order is to be in that order: nothing is refused for a disk that is behind.
      while (storage.stats().memtableBytes > MEMTABLE_BYTES && !(storage instanceof MemoryStorage)) await sleep(20);
      return new Promise((resolve, reject) => {
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
          if (findCommand(command[0]!)?.access === 'read') keyspace.ask(command[1]!, command, sink, token);
          else keyspace.submit(command[1]!, command, sink, token);
        });
      });
    },
    async cpuMicroseconds() {
      const { user, system } = process.cpuUsage();
      return user + system;
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
    async cpuMicroseconds() {
      const info = Buffer.from((await connection.send(bytesOf(['INFO', 'cpu']))) as Uint8Array).toString();
      const secondsOf = (name: string): number => Number(new RegExp(`^${name}:([0-9.]+)`, 'm').exec(info)![1]);
      return (secondsOf('used_cpu_user') + secondsOf('used_cpu_sys')) * 1e6;
    },
    close: async () => {
      connection.close();
      await redis.stop();
    },
  };
}

const bytesOf = (words: readonly (string | number)[]): Command => words.map((word) => utf8(String(word)));
const memberOf = (n: number): string => `member:${n}`;

interface Case {
  readonly name: string;
  readonly load: (from: number, to: number, size: number) => Command;
  readonly make: (prng: Prng, size: number, index: number) => Command;
  /** Every engine answers the same, so that the answers are summed up. */
  readonly isExact?: boolean;
}

/** What is measured, on collections that `load` builds of so many members: what only reads comes first. */
const CASES: readonly Case[] = [
  { name: 'ZRANK', load: loadScores, isExact: true, make: (prng, size) => bytesOf(['ZRANK', `z:${size}`, memberOf(prng.below(size))]) },
  { name: 'ZRANGE, 10 from any rank', load: loadScores, isExact: true, make: rankRange('ZRANGE') },
  { name: 'ZREVRANGE, 10 from any rank', load: loadScores, isExact: true, make: rankRange('ZREVRANGE') },
  {
    name: 'ZRANGEBYSCORE, 10 from any',
    load: loadScores,
    isExact: true,
    make: (prng, size) => bytesOf(['ZRANGEBYSCORE', `z:${size}`, prng.below(MAX_SCORE), '+inf', 'LIMIT', 0, 10]),
  },
  {
    name: 'ZCOUNT between any two scores',
    load: loadScores,
    isExact: true,
    make: (prng, size) => bytesOf(['ZCOUNT', `z:${size}`, prng.below(MAX_SCORE), prng.below(MAX_SCORE)]),
  },
  { name: 'ZADD, a new score', load: loadScores, make: (prng, size) => score(size, prng, memberOf(prng.below(size))) },
  {
    name: 'ZPOPMIN and ZADD',
    load: loadScores,
    make: (prng, size, index) => (index % 2 ? score(size, prng, `again:${index}`) : bytesOf(['ZPOPMIN', `z:${size}`])),
  },
  { name: 'LINDEX, anywhere', load: loadItems, isExact: true, make: (prng, size) => bytesOf(['LINDEX', `l:${size}`, prng.below(size)]) },
  { name: 'LRANGE, 10 from anywhere', load: loadItems, isExact: true, make: (prng, size) => placeRange(prng, size) },
  {
    name: 'LSET, anywhere',
    load: loadItems,
    make: (prng, size) => bytesOf(['LSET', `l:${size}`, prng.below(size), memberOf(prng.below(size))]),
  },
  {
    name: 'RPOP and LPUSH',
    load: loadItems,
    make: (_prng, size, index) => bytesOf(index % 2 ? ['LPUSH', `l:${size}`, memberOf(index)] : ['RPOP', `l:${size}`]),
  },
  {
    name: 'SISMEMBER, half of them',
    load: loadMembers,
    isExact: true,
    make: (prng, size) => bytesOf(['SISMEMBER', `s:${size}`, memberOf(prng.below(2 * size))]),
  },
  { name: 'SRANDMEMBER', load: loadMembers, make: (_prng, size) => bytesOf(['SRANDMEMBER', `s:${size}`]) },
  {
    name: 'SPOP and SADD',
    load: loadMembers,
    make: (_prng, size, index) => bytesOf(index % 2 ? ['SADD', `s:${size}`, `again:${index}`] : ['SPOP', `s:${size}`]),
  },
];

function rankRange(name: string): Case['make'] {
  return (prng, size) => {
    const from = prng.below(size - 10);
    return bytesOf([name, `z:${size}`, from, from + 9]);
  };
}

function placeRange(prng: Prng, size: number): Command {
  const from = prng.below(size - 10);
  return bytesOf(['LRANGE', `l:${size}`, from, from + 9]);
}

function score(size: number, prng: Prng, member: string): Command {
  return bytesOf(['ZADD', `z:${size}`, prng.below(MAX_SCORE), member]);
}

function numbered(from: number, to: number): string[] {
  return Array.from({ length: to - from }, (_, i) => memberOf(from + i));
}

function loadScores(from: number, to: number, size: number): Command {
  return bytesOf(['ZADD', `z:${size}`, ...numbered(from, to).flatMap((member, i) => [((from + i) * 7_919) % MAX_SCORE, member])]);
}

function loadItems(from: number, to: number, size: number): Command {
  return bytesOf(['RPUSH', `l:${size}`, ...numbered(from, to)]);
}

function loadMembers(from: number, to: number, size: number): Command {
  return bytesOf(['SADD', `s:${size}`, ...numbered(from, to)]);
}

async function loadAll(engine: Engine, load: Case['load'], size: number): Promise<void> {
  for (let from = 0; from < size; from += PER_LOAD * IN_FLIGHT) {
    const commands: Command[] = [];
    for (let i = from; i < Math.min(size, from + PER_LOAD * IN_FLIGHT); i += PER_LOAD)
      commands.push(load(i, Math.min(size, i + PER_LOAD), size));
    await engine.runAll(commands);
  }
}

interface Cost {
  readonly microseconds: number;
  readonly cpuMicroseconds: number;
}

/** Of a command. Adds the answers of the first ones to `sum`, if they are to be. */
async function measure(engine: Engine, one: Case, size: number, sum: Checksum): Promise<Cost> {
  const prng = new Prng(size);
  let index = 0;
  const batch = (): Command[] => Array.from({ length: IN_FLIGHT }, () => one.make(prng, size, index++));
  for (let i = 0; i < 4; i++) {
    const replies = await engine.runAll(batch());
    if (one.isExact) for (const reply of replies) sum.add(reply);
  }
  let best: Cost | undefined;
  for (let stretch = 0; stretch < STRETCHES; stretch++) {
    const startedMs = performance.now();
    const cpuBefore = await engine.cpuMicroseconds();
    let count = 0;
    for (; performance.now() < startedMs + (seconds * 1_000) / STRETCHES; count += IN_FLIGHT) await engine.runAll(batch());
    const microseconds = ((performance.now() - startedMs) * 1_000) / count;
    const cost = { microseconds, cpuMicroseconds: ((await engine.cpuMicroseconds()) - cpuBefore) / count };
    if (best === undefined || cost.cpuMicroseconds < best.cpuMicroseconds) best = cost;
  }
  return best!;
}

class Checksum {
  #hash = createHash('sha256');

  add(reply: Reply): void {
    if (Array.isArray(reply)) for (const item of reply) this.add(item);
    else this.#hash.update(reply instanceof Uint8Array ? reply : String(reply)).update(' ');
  }

  digest(): string {
    return this.#hash.digest('hex').slice(0, 16);
  }
}

const dir = mkdtempSync(join(flags.dir ?? tmpdir(), 'keyfleet-bench-'));
try {
  const known: readonly (readonly [string, () => Promise<Engine>])[] = [
    ['memory', () => storeEngine('keyfleet, memory', new MemoryStorage())],
    ['lmdb', async () => storeEngine('keyfleet, journal + LMDB, fsynced', await openStorage({ dir, durability: 'sync' }))],
    ...(hasRealRedis ? [['redis', redisEngine] as const] : []),
  ];
  const engines = known.filter(([name]) => flags.engine === undefined || flags.engine === name).map(([, open]) => open);
  const model = cpus()[0]?.model ?? 'unknown processor';
  console.log(`${model}, ${cpus().length} cores, load ${loadavg()[0]!.toFixed(1)}, Node ${process.versions.node}; ${IN_FLIGHT} in flight`);
  console.log(
    'each: microseconds a command, and processor time for it: of this process, which makes up the commands too, or of the redis-server',
  );
  const sums = new Set<string>();
  for (const open of engines) {
    const engine = await open();
    console.log(`${engine.name.padEnd(36)}${SIZES.map((size) => `${showCount(size)} members`.padStart(20)).join('')}   growth`);
    const loaded = new Set<unknown>();
    const sum = new Checksum();
    for (const one of CASES) {
      if (flags.only !== undefined && !one.name.includes(flags.only)) continue;
      const costs: Cost[] = [];
      for (const size of SIZES) if (!loaded.has(one.load)) await loadAll(engine, one.load, size);
      loaded.add(one.load);
      for (const size of SIZES) costs.push(await measure(engine, one, size, sum));
      const cells = costs.map(({ microseconds, cpuMicroseconds }) =>
        `${microseconds.toFixed(2)} ${cpuMicroseconds.toFixed(2).padStart(7)}`.padStart(20),
      );
      const growth = costs.at(-1)!.microseconds / costs[0]!.microseconds;
      const cpuGrowth = costs.at(-1)!.cpuMicroseconds / costs[0]!.cpuMicroseconds;
      console.log(`  ${one.name.padEnd(34)}${cells.join('')}   ${growth.toFixed(2)}x ${cpuGrowth.toFixed(2)}x`);
    }
    sums.add(sum.digest());
    await engine.close();
  }
  if (sums.size > 1) throw new Error(`the engines answered differently: ${[...sums].join(', ')}`);
  console.log(`checksum ${[...sums].join()} of what can only be answered in one way, the same from all of these`);
} finally {
  rmSync(dir, { recursive: true, force: true });
}
