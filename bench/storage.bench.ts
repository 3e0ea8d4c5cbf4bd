// What does the storage cost? Durable read-modify-write commands of 100 bytes at 1 … 1,024 in flight, reads, scans, memory, opening; each
// beside raw LMDB in the same run. Options: --large (10 M keys), --seconds N per measurement, --dir PATH (a disk, not a RAM disk).
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay, performance } from 'node:perf_hooks';
import { open, type RootDatabase } from 'lmdb';
import { Prng } from '../src/base/prng.ts';
import { showBytes, showCount } from '../src/base/units.ts';
import { type LmdbStorage, openStorage } from '../src/storage/lmdb.ts';

const args = process.argv.slice(2);
const option = (name: string): string | undefined => (args.includes(name) ? args[args.indexOf(name) + 1] : undefined);
const large = args.includes('--large');
const only = option('--only');
const seconds = Number(option('--seconds') ?? (large ? 5 : 0.5));
const keyCount = Number(option('--keys') ?? (large ? 10_000_000 : 100_000));
const scratch = mkdtempSync(join(option('--dir') ?? tmpdir(), 'keyfleet-bench-'));
const chance = new Prng(42);
let checksum = 0;

/** As the store makes them: keyspace, position, key. */
function keyOf(n: number): Buffer {
  const key = Buffer.allocUnsafe(24);
  key.writeUInt32BE(1, 0);
  key.writeUInt32BE(Math.imul(n + 1, 0x9e3779b1) >>> 0, 4);
  key.write(`key:${String(n).padStart(12, '0')}`, 8, 'latin1');
  return key;
}

function hundredBytes(n: number): Buffer {
  const value = Buffer.alloc(100, 0x61);
  value.writeUInt32LE(n >>> 0, 0);
  return value;
}

interface Engine {
  readonly name: string;
  /** One command: read the key, write it anew. */
  command(key: Buffer): void;
  /** Resolves when the commands so far are durable. */
  durable(): Promise<void>;
}

/** `inFlight` clients, each issuing its next command when its last is durable. */
async function commands(engine: Engine, inFlight: number): Promise<number> {
  const untilMs = performance.now() + seconds * 1_000;
  const startedMs = performance.now();
  let count = 0;
  while (performance.now() < untilMs) {
    for (let i = 0; i < inFlight; i++) engine.command(keyOf(chance.below(keyCount)));
    await engine.durable();
    count += inFlight;
  }
  return count / ((performance.now() - startedMs) / 1_000);
}

function storageEngine(storage: LmdbStorage): Engine {
  let wake: (() => void) | undefined;
  let awaited = 0;
  storage.onDurable((durable) => {
    if (durable < awaited || !wake) return;
    const resolve = wake;
    wake = undefined;
    resolve();
  });
  return {
    name: 'keyfleet',
    command(key) {
      const old = storage.get(key);
      storage.put(key, hundredBytes((old?.[0] ?? 0) + 1));
      awaited = storage.commit();
    },
    durable: () =>
      new Promise((resolve) => {
        wake = resolve;
      }),
  };
}

function lmdbEngine(db: RootDatabase<Buffer, Buffer>): Engine {
  let last: Promise<boolean> = Promise.resolve(true);
  return {
    name: 'lmdb',
    command(key) {
      const old = db.getBinary(key);
      last = db.put(key, hundredBytes((old?.readUInt32LE(0) ?? 0) + 1));
    },
    durable: async () => {
      await last;
      await db.flushed;
    },
  };
}

const rate = (perSecond: number): string => `${showCount(perSecond)}/s`.padStart(12);
const row = (what: string, ours: number, theirs?: number): void =>
  console.log(
    `${what.padEnd(44)} ${rate(ours)}${theirs === undefined ? '' : `   lmdb ${rate(theirs)}   ratio ${(ours / theirs).toFixed(2)}`}`,
  );

async function timed(what: () => number | Promise<number>): Promise<number> {
  const startedMs = performance.now();
  const count = await what();
  return count / ((performance.now() - startedMs) / 1_000);
}

function memory(): number {
  globalThis.gc?.();
  const { rss } = process.memoryUsage();
  return rss;
}

console.log(
  `storage: ${cpus().length} x ${cpus()[0]?.model ?? 'cpu'}, node ${process.version}, load ${loadavg()[0]!.toFixed(1)}, ${scratch}`,
);
const dir = join(scratch, 'keyfleet');
let storage = await openStorage({ dir });
const db = open<Buffer, Buffer>({ path: join(scratch, 'lmdb'), keyEncoding: 'binary', encoding: 'binary', cache: false });

if (only === undefined || only === 'load') {
  const before = memory();
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const ours = await timed(async () => {
    for (let n = 0; n < keyCount; n++) {
      storage.put(keyOf(n), hundredBytes(n));
      if (n % 16 === 15) storage.commit();
      if (n % 256 === 255) await storage.whenDurable(storage.committed);
    }
    await storage.whenDurable(storage.commit());
    return keyCount;
  });
  const beforeFlush = storage.stats();
  await storage.flush();
  delay.disable();
  const theirs = await timed(async () => {
    for (let n = 0; n < keyCount; n++) {
      const done = db.put(keyOf(n), hundredBytes(n));
      if (n % 256 === 255) await done;
    }
    await db.flushed;
    return keyCount;
  });
  row('load, 256 in flight, durable', ours, theirs);
  const ms = (ns: number): string => (ns / 1e6).toFixed(1);
  console.log(
    `  event loop delay while loading and flushing: p50 ${ms(delay.percentile(50))} p99 ${ms(delay.percentile(99))} max ${ms(delay.max)} ms (1 ms is the timer itself)`,
  );
  console.log(
    `  memtables held ${showCount(beforeFlush.memtableEntries)} keys in ${showBytes(beforeFlush.memtableBytes)}; flushes ${storage.stats().flushCount}; resident ${showBytes(memory() - before)} more after`,
  );
}
if (only === undefined || only === 'commands') {
  for (const inFlight of [1, 64, 256, 1_024]) {
    const ours = await commands(storageEngine(storage), inFlight);
    const theirs = await commands(lmdbEngine(db), inFlight);
    row(`durable read-modify-write, ${inFlight} in flight`, ours, theirs);
  }
}
if (only === undefined || only === 'memtable') {
  for (let n = 0; n < keyCount; n++) {
    storage.put(keyOf(n), hundredBytes(n));
    if (n % 16 === 15) storage.commit();
    if (n % 1_024 === 1_023) await storage.whenDurable(storage.committed);
  }
  storage.commit();
  const { memtableEntries } = storage.stats();
  const keys = Array.from({ length: 1_000 }, () => keyOf(chance.below(keyCount)));
  const reads = Math.min(keyCount, 300_000);
  const hot = await timed(() => {
    for (let i = 0; i < reads; i++) checksum += storage.get(keys[i % 1_000]!)!.length;
    return reads;
  });
  row(`get, memtable (${showCount(memtableEntries)} keys), hot`, hot);
}
if (only === undefined || only === 'reads') {
  await storage.flush();
  const reads = Math.min(keyCount, 300_000);
  const keys = Array.from({ length: reads }, () => keyOf(chance.below(keyCount)));
  const get = (source: { get(key: Buffer): Uint8Array | undefined }) => (): number => {
    for (const key of keys) checksum += source.get(key)?.length ?? 0;
    return reads;
  };
  row('get, flushed, random', await timed(get(storage)), await timed(get({ get: (key) => db.getBinary(key) })));
  const missing = keys.map((key) => Buffer.concat([key, Buffer.of(1)]));
  row(
    'get of a missing key',
    await timed(() => {
      for (const key of missing) if (storage.get(key)) checksum++;
      return reads;
    }),
    await timed(() => {
      for (const key of missing) if (db.getBinary(key)) checksum++;
      return reads;
    }),
  );
  const start = Buffer.alloc(4);
  row(
    'ordered scan, pairs',
    await timed(() => {
      let count = 0;
      for (const { value } of storage.scan({ from: start })) {
        checksum += value.length;
        count++;
      }
      return count;
    }),
    await timed(() => {
      let count = 0;
      for (const { value } of db.getRange({ start })) {
        checksum += value.length;
        count++;
      }
      return count;
    }),
  );
  row(
    'short scans, 1 pair each',
    await timed(() => {
      for (let i = 0; i < reads / 10; i++) for (const { value } of storage.scan({ from: keys[i]!, limit: 1 })) checksum += value.length;
      return reads / 10;
    }),
    await timed(() => {
      for (let i = 0; i < reads / 10; i++) for (const { value } of db.getRange({ start: keys[i]!, limit: 1 })) checksum += value.length;
      return reads / 10;
    }),
  );
}
if (only === undefined || only === 'open') {
  await storage.close();
  const startedMs = performance.now();
  storage = await openStorage({ dir });
  console.log(
    `open after a clean close: ${(performance.now() - startedMs).toFixed(0)} ms with ${showCount(keyCount)} keys, ${showBytes(storage.stats().diskBytes)} on disk`,
  );
}
await storage.close();
await db.close();
rmSync(scratch, { recursive: true, force: true });
console.log(`checksum ${checksum}`);
