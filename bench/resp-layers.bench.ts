// Where does the processor time of a small GET and SET go, layer by layer, without sockets? Requests as redis-benchmark sends them, 16 in a
// chunk, 32-byte values; each row does what the one before it does and one layer more. Once with random keys of 100,000, where memory is
// what a look-up waits for, and once with 100, which stay in the processor's caches.
//
//   npm run bench -- resp-layers [--large]
//
// The best of many short rounds counts: other work on the machine only ever makes one longer. What sockets add, `resp` shows (`bare`).
import { EventEmitter } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import type { Socket } from 'node:net';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Bytes } from '../src/base/bytes.ts';
import { Prng } from '../src/base/prng.ts';
import type { ReplySink } from '../src/node/keyspace-handle.ts';
import { StoreNode } from '../src/node/store-node.ts';
import { REQUEST, RequestScanner } from '../src/resp/codec/request-scanner.ts';
import { Connection } from '../src/resp/connection.ts';
import { Door } from '../src/resp/door.ts';
import { respSettings } from '../src/resp/settings.ts';
import { RespStats } from '../src/resp/stats.ts';
import { FIRST_TABLE, recordKey } from '../src/shard/key-layout.ts';
import { createRedisModule } from '../src/shard/redis/redis-module.ts';
import type { Reply } from '../src/shard/redis/reply.ts';
import { SizedBytes } from '../src/shard/sized-bytes.ts';
import { openStorage } from '../src/storage/lmdb.ts';

const DEPTH = 16;
const CHUNKS = 500;
const rounds = process.argv.includes('--large') ? 300 : 40;
const VALUE = 'x'.repeat(32);

const chance = new Prng(1);
const nameOf = (key: number): string => `key:${String(key).padStart(12, '0')}`;
const encoded = (...args: string[]): string => `*${args.length}\r\n${args.map((arg) => `$${arg.length}\r\n${arg}\r\n`).join('')}`;

/** Chunks of 16 requests each, for keys chosen by `next`. */
function chunksOf(count: number, request: (key: string) => string, next: () => number): Buffer[] {
  return Array.from({ length: count }, () => Buffer.from(Array.from({ length: DEPTH }, () => request(nameOf(next()))).join(''), 'latin1'));
}

/** Counts answers, and keeps nothing. */
class Counter implements ReplySink<Reply> {
  count = 0;

  settled(): void {
    this.count++;
  }

  failed(_token: number, error: Error): void {
    throw error;
  }
}

/** A client whose requests come from memory, and whose answers go nowhere. */
class NoSocket extends EventEmitter {
  readonly writableLength = 0;
  readonly remoteAddress = '127.0.0.1';
  readonly remotePort = 1;
  readonly localAddress = '127.0.0.1';
  readonly localPort = 2;
  bytesWritten = 0;

  write(bytes: Bytes): boolean {
    this.bytesWritten += bytes.length;
    return true;
  }

  pause(): void {}
  resume(): void {}
  destroy(): void {}
  end(): void {}
}

const dir = mkdtempSync(join(tmpdir(), 'keyfleet-bench-'));
const storage = await openStorage({ dir, durability: 'none' });
const node = await StoreNode.open({ storage });
const keyspace = await node.registerKeyspace('default', { module: createRedisModule(), scheme: 'redis' });
const info = { version: 'bench', typeOf: () => 'string' };
const door = new Door({ keyspace, settings: respSettings(), stats: new RespStats(), info });
const socket = new NoSocket();
door.connections.set(1, new Connection(door, socket as unknown as Socket, 1));

const turnEnd = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const scanner = new RequestScanner();
const keys = new SizedBytes();
const counter = new Counter();
const viewer = { seen: 0, view: (_bytes: Bytes, from: number, to: number) => void (viewer.seen += to - from) };

/** Frames all chunks and does `work` with the arguments of each request. */
function requests(chunks: readonly Buffer[], work: (args: Bytes[]) => void): void {
  for (const chunk of chunks) {
    scanner.push(chunk);
    while (scanner.next() === REQUEST) work(scanner.args());
  }
}

const storageKeyOf = (key: Bytes): Bytes => recordKey(FIRST_TABLE, keyspace.scheme.position(key), key, keys);
const OF_A_READ: readonly (readonly [string, (chunks: readonly Buffer[]) => void])[] = [
  [
    'finding requests',
    (chunks) => {
      for (const chunk of chunks) {
        scanner.push(chunk);
        while (scanner.next() === REQUEST) counter.count++;
      }
    },
  ],
  ['… their arguments', (chunks) => requests(chunks, (args) => void (counter.count += args.length))],
  ['… position and storage key', (chunks) => requests(chunks, (args) => void (counter.count += storageKeyOf(args[1]!).length))],
  ['… looking at the value', (chunks) => requests(chunks, (args) => void storage.show(storageKeyOf(args[1]!), viewer))],
  ['… shard, record, Redis module', (chunks) => requests(chunks, (args) => keyspace.ask(args[1]!, args, counter, 0))],
];
const OF_A_WRITE = [
  ...OF_A_READ.slice(0, 4),
  ['… shard, record, Redis module', (chunks: readonly Buffer[]) => requests(chunks, (args) => keyspace.submit(args[1]!, args, counter, 0))],
] as const;
const OF_A_DOOR = [
  '… all, with the door',
  (chunks: readonly Buffer[]): void => {
    for (const chunk of chunks) socket.emit('data', chunk);
  },
] as const;

/** One round. 50 clients' worth of chunks at a time, as much as comes in one turn of a busy server. */
async function run(work: (chunks: readonly Buffer[]) => void, chunks: readonly Buffer[]): Promise<void> {
  for (let at = 0; at < chunks.length; at += 50) {
    work(chunks.slice(at, at + 50));
    await turnEnd();
  }
}

/** Microseconds a request, in the best round. */
async function best(work: (chunks: readonly Buffer[]) => void, chunks: readonly Buffer[]): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let round = 0; round < rounds; round++) {
    const startedMs = performance.now();
    await run(work, chunks);
    least = Math.min(least, performance.now() - startedMs);
  }
  return (least * 1_000) / (chunks.length * DEPTH);
}

let filled = 0;
const set = (key: string): string => encoded('SET', key, VALUE);
await run(
  OF_A_DOOR[1],
  chunksOf(100_000 / DEPTH, set, () => filled++),
);

console.log(`${cpus()[0]!.model}, load ${loadavg()[0]!.toFixed(1)}, Node ${process.versions.node}; microseconds a request`);
const many = (): number => chance.below(100_000);
const few = (): number => chance.below(100);
for (const [command, layers, request] of [
  ['GET', OF_A_READ, (key: string) => encoded('GET', key)],
  ['SET', OF_A_WRITE, set],
] as const) {
  console.log(`\n${command.padEnd(34)}${'100,000 keys'.padStart(14)}${'100 keys'.padStart(12)}`);
  const ofMany = chunksOf(CHUNKS, request, many);
  const ofFew = chunksOf(CHUNKS, request, few);
  for (const [name, work] of [...layers, OF_A_DOOR]) {
    const cells = [await best(work, ofMany), await best(work, ofFew)];
    console.log(`${name.padEnd(34)}${cells[0]!.toFixed(2).padStart(14)}${cells[1]!.toFixed(2).padStart(12)}`);
  }
}
console.log(`\nchecksum ${keyspace.keyCount} keys, ${keyspace.sizeBytes} bytes`);
await node.close();
rmSync(dir, { recursive: true, force: true });
process.exit(0);
