// What does a durable command cost in process, at 1, 64, 256 and 1,024 in flight, over 1 and 8 shards, and what a query; and how much of
// it is the storage's own? The storage alone does the same reads and writes, without shards, entries, hashes or modules.
//
//   npm run bench -- store [--large] [--memory] [--seconds N] [--keys N]
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { freshBytes, utf8 } from '../src/base/bytes.ts';
import { showCount } from '../src/base/units.ts';
import type { ReplySink } from '../src/node/keyspace-handle.ts';
import type { KeyspaceRuntime } from '../src/node/keyspace-runtime.ts';
import { StoreNode } from '../src/node/store-node.ts';
import { type PlainAnswer, type PlainCommand, type PlainQuery, type PlainReply, plain, plainBytes } from '../src/shard/plain-bytes.ts';
import { openStorage } from '../src/storage/lmdb.ts';
import { MemoryStorage } from '../src/storage/memory.ts';
import type { Storage } from '../src/storage/storage.ts';

const { values: flags } = parseArgs({
  options: {
    large: { type: 'boolean', default: false },
    memory: { type: 'boolean', default: false },
    seconds: { type: 'string' },
    keys: { type: 'string' },
    only: { type: 'string' },
  },
});
const seconds = Number(flags.seconds ?? (flags.large ? 5 : 0.3));
const keyCount = Number(flags.keys ?? (flags.large ? 1_000_000 : 20_000));
const IN_FLIGHT = [1, 64, 256, 1_024];
const VALUE = new Uint8Array(100).fill(120);
/** A value of its own for each command, as a door reads it from its socket. */
const newValue = (): Uint8Array => {
  const value = freshBytes(100);
  value.set(VALUE);
  return value;
};

type Users = KeyspaceRuntime<Uint8Array, PlainCommand, PlainReply, PlainQuery, PlainAnswer>;

const keys = Array.from({ length: keyCount }, (_, i) => utf8(`user:${String(i).padStart(11, '0')}`));
let chance = 1;
const nextKey = (): Uint8Array => {
  chance = (Math.imul(chance, 1_664_525) + 1_013_904_223) >>> 0;
  return keys[Math.floor((chance / 0x1_0000_0000) * keyCount)]!;
};

interface Rate {
  readonly perSecond: number;
  /** Of all threads of the process. */
  readonly cpuUs: number;
}

/** Keeps `inFlight` going for `seconds`. */
async function pump(inFlight: number, start: (sink: ReplySink<unknown>, token: number) => void): Promise<Rate> {
  const cpu = process.cpuUsage();
  let done = 0;
  let running = inFlight;
  const began = performance.now();
  const until = began + seconds * 1_000;
  await new Promise<void>((resolve, reject) => {
    // As doors do: what an answer sets off comes a little later, all of a turn together.
    const ready: number[] = [];
    let due = false;
    const go = (): void => {
      due = false;
      for (const token of ready.splice(0)) start(sink, token);
    };
    const sink: ReplySink<unknown> = {
      settled(token) {
        done++;
        if ((done & 63) === 0 && performance.now() >= until) running = -1;
        if (running < 0 || (inFlight === 1 && performance.now() >= until)) {
          resolve();
          return;
        }
        ready.push(token);
        if (due) return;
        due = true;
        queueMicrotask(go);
      },
      failed: (_token, error) => reject(error),
    };
    for (let token = 0; token < inFlight; token++) start(sink, token);
  });
  return rate(done, began, cpu);
}

function rate(done: number, beganMs: number, cpuBefore: NodeJS.CpuUsage): Rate {
  const { user, system } = process.cpuUsage(cpuBefore);
  return { perSecond: done / ((performance.now() - beganMs) / 1_000), cpuUs: (user + system) / done };
}

/** The storage alone: read, write, one commit for all that came in a turn, answered when durable. */
function rawSubmitter(storage: Storage): (sink: ReplySink<unknown>, token: number) => void {
  let waiting: { sink: ReplySink<unknown>; token: number }[] = [];
  let syncing = false;
  let due = false;
  const commit = (): void => {
    due = false;
    if (syncing || waiting.length === 0) return;
    const batch = waiting;
    waiting = [];
    syncing = true;
    storage.whenDurable(storage.commit()).then(() => {
      syncing = false;
      for (const { sink, token } of batch) sink.settled(token, undefined);
      setImmediate(commit);
    });
  };
  return (sink, token) => {
    const key = nextKey();
    storage.get(key);
    storage.put(key, newValue());
    waiting.push({ sink, token });
    if (due || syncing) return;
    due = true;
    setImmediate(commit);
  };
}

async function openDir(): Promise<{ storage: Storage; remove: () => void }> {
  if (flags.memory) return { storage: new MemoryStorage(), remove: () => {} };
  const dir = mkdtempSync(join(tmpdir(), 'keyfleet-bench-'));
  return { storage: await openStorage({ dir }), remove: () => rmSync(dir, { recursive: true, force: true }) };
}

async function openUsers(shards: number): Promise<{ node: StoreNode; users: Users; close: () => Promise<void> }> {
  const { storage, remove } = await openDir();
  const node = await StoreNode.open({ storage });
  const users = await node.registerKeyspace('users', { module: plainBytes, shards });
  return {
    node,
    users,
    close: async () => {
      await node.close();
      remove();
    },
  };
}

async function fill(users: Users): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    let left = keyCount;
    const sink: ReplySink<unknown> = {
      settled() {
        if (--left === 0) resolve();
      },
      failed: (_token, error) => reject(error),
    };
    for (const key of keys) users.submit(key, plain.set(VALUE), sink, 0);
  });
}

const machine = `${cpus().length} × ${cpus()[0]?.model.trim() ?? 'unknown'}, Node ${process.version}`;
console.log(`${machine}; ${showCount(keyCount)} keys, 100-byte values, ${seconds} s each, ${flags.memory ? 'in memory' : 'fsynced'}`);
const rates = new Map<string, Rate>();
const wanted = (name: string): boolean => flags.only === undefined || name.includes(flags.only);

if (wanted('raw')) {
  const { storage, remove } = await openDir();
  const submit = rawSubmitter(storage);
  for (const inFlight of IN_FLIGHT) {
    rates.set(`raw ${inFlight}`, await pump(inFlight, submit));
    // What the clock cut off finds its end.
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await storage.close();
  remove();
}
let checksum = 0;
for (const shards of [1, 8]) {
  if (!wanted(`shards-${shards}`)) continue;
  const { node, users, close } = await openUsers(shards);
  await fill(users);
  for (const inFlight of IN_FLIGHT) {
    const submit = (sink: ReplySink<unknown>, token: number): void => users.submit(nextKey(), plain.set(newValue()), sink, token);
    rates.set(`${shards} ${inFlight}`, await pump(inFlight, submit));
  }
  await node.flush();
  const sink: ReplySink<PlainAnswer> = {
    settled: (_token, answer) => {
      checksum += answer.value?.length ?? 0;
    },
    failed: (_token, error) => {
      throw error;
    },
  };
  const began = performance.now();
  let asked = 0;
  const cpu = process.cpuUsage();
  while (performance.now() - began < seconds * 1_000) for (let i = 0; i < 100; i++, asked++) users.ask(nextKey(), plain.get(), sink, 0);
  rates.set(`${shards} queries`, rate(asked, began, cpu));
  if (users.keyCount !== keyCount || checksum % (asked * 100) !== 0)
    throw new Error(`counted ${users.keyCount} keys, checksum ${checksum}`);
  checksum = 0;
  await close();
}

const cell = (name: string): string => {
  const one = rates.get(name);
  return one ? `${showCount(one.perSecond).padStart(9)} ${one.cpuUs.toFixed(2).padStart(6)}` : ' '.repeat(16);
};
console.log('each: a second, and microseconds of processor time (all threads)');
console.log('                      storage alone          1 shard         8 shards   8 shards / storage: rate, processor');
for (const inFlight of IN_FLIGHT) {
  const raw = rates.get(`raw ${inFlight}`);
  const eight = rates.get(`8 ${inFlight}`);
  const ratio = raw && eight ? `${(eight.perSecond / raw.perSecond).toFixed(2)} ×, +${(eight.cpuUs - raw.cpuUs).toFixed(2)} us` : '';
  console.log(
    `commands, ${String(inFlight).padStart(5)} ${cell(`raw ${inFlight}`)} ${cell(`1 ${inFlight}`)} ${cell(`8 ${inFlight}`)}   ${ratio}`,
  );
}
console.log(`queries         ${cell('raw queries')} ${cell('1 queries')} ${cell('8 queries')}`);
const quoted = showCount(rates.get('8 64')?.perSecond ?? 0);
console.log(`quote: ${quoted} commands/s at 64 in flight, ${showCount(rates.get('8 queries')?.perSecond ?? 0)} queries/s, 8 shards`);
