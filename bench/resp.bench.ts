// What does a SET and a GET cost through RESP, layer by layer, beside redis-server? redis-benchmark with 50 connections, 32-byte values and
// random keys, one request at a time (-P 1) and 16 in flight on each connection (-P 16), against
//
//   bare      a Node server that frames requests and answers +OK: what the sockets alone cost
//   memory    our server on storage in memory
//   sync      our server on the real storage, every answer fsynced
//   os        the same, answered when the operating system has the bytes
//   redis-…   redis-server with appendfsync always, everysec, and without persistence
//
// Several short rounds, servers taking turns, each warmed up first; the best round of each counts, since other work on the machine only ever
// slows one down. --large: more requests a round; --rounds N; KEYFLEET_BENCH=sync,redis-always: only these.
// CPU is that of the server process per request, all its threads: it moves less than the rate when the machine is busy.
import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { availableParallelism, cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Redis } from 'ioredis';
import { StoreNode } from '../src/node/store-node.ts';
import { murmur3_x86_128 } from '../src/partition/hash/murmur3-x86-128.ts';
import { BROKEN, REQUEST, RequestScanner } from '../src/resp/codec/request-scanner.ts';
import { startRespServer } from '../src/resp/server.ts';
import { createRedisModule } from '../src/shard/redis/redis-module.ts';
import { openStorage } from '../src/storage/lmdb.ts';
import { MemoryStorage } from '../src/storage/memory.ts';
import type { Durability, Storage } from '../src/storage/storage.ts';

const run = promisify(execFile);

// ── the servers, each a process of its own ──

async function serve(kind: string, dir: string): Promise<void> {
  const port = kind === 'bare' ? await serveBare() : await serveStore(kind, dir);
  console.log(`port ${port}`);
}

/** Frames requests with our scanner, and answers each with +OK. */
function serveBare(): Promise<number> {
  const OK = Buffer.from('+OK\r\n');
  const replies = Buffer.concat(Array.from({ length: 1_024 }, () => OK));
  const server = createServer({ noDelay: true }, (socket: Socket) => {
    const scanner = new RequestScanner();
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk: Buffer) => {
      scanner.push(chunk);
      let count = 0;
      let scanned = scanner.next();
      for (; scanned === REQUEST; scanned = scanner.next()) count++;
      if (scanned === BROKEN) socket.destroy();
      else if (count > 0) socket.write(replies.subarray(0, OK.length * Math.min(count, 1_024)));
    });
  });
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve((server.address() as { port: number }).port)));
}

async function serveStore(kind: string, dir: string): Promise<number> {
  const storage: Storage = kind === 'memory' ? new MemoryStorage() : await openStorage({ dir, durability: kind as Durability });
  const node = await StoreNode.open({ storage });
  const keyspace = await node.registerKeyspace('default', { module: createRedisModule(), scheme: 'redis' });
  const server = await startRespServer({ keyspace, port: 0, info: { version: 'bench', typeOf: () => 'string' } });
  // For `node --cpu-prof`, which writes its file when the process ends by itself.
  process.on('SIGTERM', () => process.exit(0));
  return server.address.port;
}

interface Target {
  readonly name: string;
  readonly port: number;
  readonly pid: number;
  readonly isStore: boolean;
  stop(): Promise<void>;
}

async function start(name: string): Promise<Target> {
  const dir = mkdtempSync(join(tmpdir(), 'keyfleet-bench-'));
  const child = name.startsWith('redis-') ? redisServer(name, dir) : ourServer(name, dir);
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const port = await new Promise<number>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${name} did not start`)), 20_000);
    let text = '';
    child.stdout!.on('data', (chunk: Buffer) => {
      text += chunk;
      const found = /port (\d+)|(Ready to accept connections)/.exec(text);
      if (found) {
        clearTimeout(timer);
        resolve(found[1] ? Number(found[1]) : REDIS_PORT);
      }
    });
  });
  return {
    name,
    port,
    pid: child.pid!,
    isStore: name !== 'bare',
    stop: async () => {
      child.kill('SIGTERM');
      await exited;
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** redis-server cannot be told to choose a port itself; only one of them runs at a time. */
const REDIS_PORT = 20_000 + (process.pid % 20_000);

function redisServer(name: string, dir: string): ReturnType<typeof spawn> {
  const fsync = name.replace('redis-', '');
  const persistence = fsync === 'none' ? ['--appendonly', 'no'] : ['--appendonly', 'yes', '--appendfsync', fsync];
  return spawn('redis-server', ['--port', String(REDIS_PORT), '--bind', '127.0.0.1', '--save', '', '--dir', dir, ...persistence]);
}

function ourServer(name: string, dir: string): ReturnType<typeof spawn> {
  const profile = process.env['KEYFLEET_CPU_PROF'] === name ? ['--cpu-prof', `--cpu-prof-dir=${tmpdir()}`] : [];
  return spawn(process.execPath, [...profile, fileURLToPath(import.meta.url), '--serve', name, dir], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

// ── measuring ──

interface Cell {
  /** Requests a second, of the best round. */
  rate: number;
  /** Microseconds of CPU a request, of the cheapest round. */
  micros: number;
}

async function measure(isLarge: boolean): Promise<void> {
  const names = (process.env['KEYFLEET_BENCH'] ?? 'bare,memory,sync,os,redis-always,redis-everysec,redis-none').split(',');
  const at = process.argv.indexOf('--rounds');
  const rounds = at > 0 ? Number(process.argv[at + 1]) : isLarge ? 5 : 2;
  const cases = [1, 16].flatMap((depth) => (['set', 'get'] as const).map((command) => ({ depth, command })));
  const cells = new Map<string, Cell>();
  const checksums = new Map<string, string>();
  console.log(`${cpus()[0]!.model}, ${availableParallelism()} cores, load ${loadavg()[0]!.toFixed(1)}, Node ${process.versions.node}`);
  for (let round = 0; round < rounds; round++) {
    for (const name of names) {
      const target = await start(name);
      try {
        for (const command of ['set', 'get'] as const) await benchmark(target, command, 16, isLarge ? 300_000 : 20_000);
        for (const { depth, command } of cases) {
          const requests = (depth === 1 ? 20_000 : 100_000) * (isLarge ? 5 : 1);
          const one = await benchmark(target, command, depth, requests);
          const key = `${name} ${command} ${depth}`;
          const best = cells.get(key) ?? { rate: 0, micros: Number.POSITIVE_INFINITY };
          cells.set(key, { rate: Math.max(best.rate, one.rate), micros: Math.min(best.micros, one.micros) });
        }
        if (target.isStore) checksums.set(name, await checksum(target.port));
      } finally {
        await target.stop();
      }
    }
  }
  show(names, cases, cells);
  const sums = [...new Set(checksums.values())];
  console.log(`checksum of 1,000 values set and read back: ${sums.join(' ')}${sums.length > 1 ? ' (THEY DIFFER)' : ''}`);
}

async function benchmark(target: Target, command: 'set' | 'get', depth: number, requests: number): Promise<Cell> {
  const before = cpuSeconds(target.pid);
  const args = ['-p', target.port, '-c', 50, '-n', requests, '-P', depth, '-d', 32, '-r', 100_000, '-t', command, '--csv'];
  const { stdout } = await run('redis-benchmark', args.map(String), { timeout: 300_000 });
  const rate = Number(/^"(?:SET|GET)","([\d.]+)"/m.exec(stdout)?.[1]);
  return { rate, micros: ((cpuSeconds(target.pid) - before) * 1e6) / requests };
}

/** User and system time of a process so far; NaN where there is no /proc. */
function cpuSeconds(pid: number): number {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
    return (Number(fields[11]) + Number(fields[12])) / 100;
  } catch {
    return Number.NaN;
  }
}

async function checksum(port: number): Promise<string> {
  const client = new Redis({ port });
  try {
    const write = client.pipeline();
    const read = client.pipeline();
    for (let i = 0; i < 1_000; i++) {
      write.set(`check:${i}`, `value ${i * 7}`);
      read.get(`check:${i}`);
    }
    await write.exec();
    const values = (await read.exec())!.map(([, value]) => value);
    return Buffer.from(murmur3_x86_128.digest(values.join('\n')))
      .toString('hex')
      .slice(0, 16);
  } finally {
    client.disconnect();
  }
}

function show(
  names: readonly string[],
  cases: readonly { readonly depth: number; readonly command: string }[],
  cells: ReadonlyMap<string, Cell>,
): void {
  const columns = cases.map(({ depth, command }) => `${command.toUpperCase()} -P ${depth}`);
  console.log(`\n${''.padEnd(15)}${columns.map((column) => column.padStart(34)).join('')}`);
  const unit = 'req/s  × always  × none  CPU µs';
  console.log(`${''.padEnd(15)}${columns.map(() => unit.padStart(34)).join('')}`);
  for (const name of names) {
    const row = cases.map(({ depth, command }) => {
      const cell = cells.get(`${name} ${command} ${depth}`)!;
      const ratio = (peer: string): string => {
        const of = cells.get(`${peer} ${command} ${depth}`);
        return of ? (cell.rate / of.rate).toFixed(2) : '-';
      };
      return [
        Math.round(cell.rate).toLocaleString('en').padStart(13),
        ratio('redis-always').padStart(8),
        ratio('redis-none').padStart(6),
        cell.micros.toFixed(1).padStart(7),
      ].join('');
    });
    console.log(`${name.padEnd(15)}${row.join('')}`);
  }
}

if (process.argv[2] === '--serve') await serve(process.argv[3]!, process.argv[4]!);
else await measure(process.argv.includes('--large'));
