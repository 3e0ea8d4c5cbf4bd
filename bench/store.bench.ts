// What does a durable command cost in process, at 1, 64, 256 and 1,024 in flight, over 1 and 16 shards, and what a query; with the plain-bytes
// module and with one as a user writes it; and how much of it is the storage's own? The storage alone does the same reads and writes, without
// shards, entries, hashes or modules.
//
//   npm run bench -- store [--large] [--memory] [--seconds N] [--keys N] [--rounds N] [--only raw|plain|user]
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Bytes, freshBytes, utf8 } from '../src/base/bytes.ts';
import { showCount } from '../src/base/units.ts';
import type { ReplySink } from '../src/node/keyspace-handle.ts';
import { StoreNode } from '../src/node/store-node.ts';
import { defineModule } from '../src/shard/define-module.ts';
import { type PlainAnswer, type PlainCommand, type PlainQuery, type PlainReply, plain, plainBytes } from '../src/shard/plain-bytes.ts';
import type { ValueModule } from '../src/shard/value-module.ts';
import { openStorage } from '../src/storage/lmdb.ts';
import { MemoryStorage } from '../src/storage/memory.ts';
import type { Storage } from '../src/storage/storage.ts';

const { values: flags } = parseArgs({
  options: {
    large: { type: 'boolean', default: false },
    memory: { type: 'boolean', default: false },
    seconds: { type: 'string' },
    keys: { type: 'string' },
    rounds: { type: 'string', default: '1' },
    only: { type: 'string' },
  },
});
const seconds = Number(flags.seconds ?? (flags.large ? 5 : 0.3));
const keyCount = Number(flags.keys ?? (flags.large ? 1_000_000 : 20_000));
const IN_FLIGHT = [1, 64, 256, 1_024];
const SHARDS = [1, 16];
const FILLED_AT_ONCE = 1_024;
const VALUE = new Uint8Array(100).fill(120);
/** A value of its own for each command, as a door reads it from its socket. */
const newValue = (): Bytes => {
  const value = freshBytes(VALUE.length);
  value.set(VALUE);
  return value;
};

const keys = Array.from({ length: keyCount }, (_, i) => utf8(`user:${String(i).padStart(11, '0')}`));
let chance = 1;
const nextKey = (): Bytes => {
  chance = (Math.imul(chance, 1_664_525) + 1_013_904_223) >>> 0;
  return keys[Math.floor((chance / 0x1_0000_0000) * keyCount)]!;
};

interface Visitor {
  readonly name: string;
  readonly city: string;
  readonly visits: number;
  readonly lastMs: number;
  readonly page: string;
}

type VisitorCommand = { readonly kind: 'visit'; readonly page: string } | { readonly kind: 'forget' };

/** As docs/modules.md shows it: values and commands as MessagePack, some 100 bytes a value, and nothing made for speed. */
const visitors = defineModule({
  name: 'visitors',
  command(ctx, visitor: Visitor | undefined, command: VisitorCommand) {
    if (command.kind === 'forget') return { reply: 0, value: undefined };
    const { name, city, visits } = visitor ?? { name: 'Anna Beispiel', city: 'Berlin', visits: 0 };
    return { reply: visits + 1, value: { name, city, visits: visits + 1, lastMs: ctx.nowMs, page: command.page } };
  },
  query: (_ctx, visitor: Visitor | undefined, _query: 'get') => ({ answer: visitor }),
});

/** A module, and what is asked of it. */
interface Subject<V, C, R, Q, A> {
  readonly name: string;
  readonly module: ValueModule<V, C, R, Q, A>;
  readonly command: () => C;
  readonly query: Q;
  /** What all commands together have left, as a number for each key: their sum is checked. */
  readonly weigh: (answer: A) => number;
  readonly expected: (commandCount: number) => number;
}

const plainSubject: Subject<Uint8Array, PlainCommand, PlainReply, PlainQuery, PlainAnswer> = {
  name: 'plain bytes',
  module: plainBytes,
  command: () => plain.set(newValue()),
  query: plain.get(),
  weigh: ({ value }) => value?.length ?? 0,
  expected: () => keyCount * VALUE.length,
};

const userSubject: Subject<Visitor, VisitorCommand, number, 'get', Visitor | undefined> = {
  name: 'user-written',
  module: visitors,
  command: () => ({ kind: 'visit', page: '/shop/tea/green' }),
  query: 'get',
  weigh: (visitor) => visitor?.visits ?? 0,
  expected: (commandCount) => commandCount,
};

interface Rate {
  readonly perSecond: number;
  /** Of all threads of the process. */
  readonly cpuUs: number;
}

/** Keeps `inFlight` going as long as `goesOn` says so of the number of those begun. Resolves when all are answered. */
async function pump(
  inFlight: number,
  start: (sink: ReplySink<unknown>, token: number, index: number) => void,
  goesOn: (begun: number) => boolean,
): Promise<Rate> {
  const cpu = process.cpuUsage();
  const beganMs = performance.now();
  let begun = 0;
  let running = 0;
  await new Promise<void>((resolve, reject) => {
    // As doors do: what an answer sets off comes a little later, all of a turn together.
    let ready: number[] = Array.from({ length: inFlight }, (_, token) => token);
    let due = false;
    const go = (): void => {
      due = false;
      const tokens = ready;
      ready = [];
      for (const token of tokens) {
        if (!goesOn(begun)) continue;
        running++;
        start(sink, token, begun++);
      }
      if (running === 0 && ready.length === 0) resolve();
    };
    const sink: ReplySink<unknown> = {
      settled(token) {
        running--;
        ready.push(token);
        if (due) return;
        due = true;
        queueMicrotask(go);
      },
      failed: (_token, error) => reject(error),
    };
    go();
  });
  const { user, system } = process.cpuUsage(cpu);
  done = begun;
  return { perSecond: begun / ((performance.now() - beganMs) / 1_000), cpuUs: (user + system) / begun };
}

/** What the last pump has done. */
let done = 0;

/** For `seconds`; looks at the clock now and then. */
function forSeconds(): (begun: number) => boolean {
  const until = performance.now() + seconds * 1_000;
  let isOver = false;
  return (begun) => {
    isOver ||= (begun & 63) === 0 && performance.now() >= until;
    return !isOver;
  };
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

const rates = new Map<string, Rate>();
/** The best of all rounds. */
function note(name: string, rate: Rate): void {
  const best = rates.get(name);
  if (!best || rate.cpuUs < best.cpuUs) rates.set(name, rate);
}

async function measureStorage(): Promise<void> {
  const { storage, remove } = await openDir();
  const submit = rawSubmitter(storage);
  for (const inFlight of IN_FLIGHT) note(`storage commands ${inFlight}`, await pump(inFlight, submit, forSeconds()));
  await storage.close();
  remove();
}

/** Returns what the values come to, which does not depend on the speed. @throws when that is not what the commands must have left. */
async function measure<V, C, R, Q, A>(
  { name, module, command, query, weigh, expected }: Subject<V, C, R, Q, A>,
  shards: number,
): Promise<void> {
  const { storage, remove } = await openDir();
  const node = await StoreNode.open({ storage });
  const keyspace = await node.registerKeyspace('users', { module, shards });
  let commands = 0;
  await pump(
    FILLED_AT_ONCE,
    (sink, token, index) => keyspace.submit(keys[index]!, command(), sink, token),
    (begun) => begun < keyCount,
  );
  commands += done;
  for (const inFlight of IN_FLIGHT) {
    const submit = (sink: ReplySink<unknown>, token: number): void => keyspace.submit(nextKey(), command(), sink, token);
    note(`${name} ${shards} commands ${inFlight}`, await pump(inFlight, submit, forSeconds()));
    commands += done;
  }
  await node.flush();
  for (const inFlight of IN_FLIGHT) {
    const ask = (sink: ReplySink<unknown>, token: number): void => keyspace.ask(nextKey(), query, sink, token);
    note(`${name} ${shards} queries ${inFlight}`, await pump(inFlight, ask, forSeconds()));
  }
  let weight = 0;
  const sink: ReplySink<A> = {
    settled: (_token, answer) => {
      weight += weigh(answer);
    },
    failed: (_token, error) => {
      throw error;
    },
  };
  for (const key of keys) keyspace.ask(key, query, sink, 0);
  if (keyspace.keyCount !== keyCount || weight !== expected(commands))
    throw new Error(`${name}: ${keyspace.keyCount} keys of ${keyCount}, which weigh ${weight} and not ${expected(commands)}`);
  checksum = (Math.imul(checksum, 31) + keyspace.keyCount + shards) >>> 0;
  await node.close();
  remove();
}

let checksum = 0;
const wanted = (name: string): boolean => flags.only === undefined || name.includes(flags.only);
const machine = `${cpus().length} × ${cpus()[0]?.model.trim() ?? 'unknown'}, load ${loadavg()[0]!.toFixed(1)}, Node ${process.version}`;
console.log(`${machine}; ${showCount(keyCount)} keys, 100-byte values, ${seconds} s each, ${flags.memory ? 'in memory' : 'fsynced'}`);
for (let round = 0; round < Number(flags.rounds); round++) {
  if (wanted('raw')) await measureStorage();
  for (const shards of SHARDS) {
    if (wanted('plain')) await measure(plainSubject, shards);
    if (wanted('user')) await measure(userSubject, shards);
  }
}

const COLUMNS = ['storage', ...[plainSubject, userSubject].flatMap(({ name }) => SHARDS.map((shards) => `${name} ${shards}`))];
const titles = COLUMNS.map((name) => (name === 'storage' ? 'storage alone' : name.replace(/ (\d+)$/, ', $1')));
console.log('each: a second, and microseconds of processor time (all threads); the columns say how many shards');
console.log(
  `${' '.repeat(15)}${titles.map((title) => title.padStart(22)).join('')}   ${'16 / 1'.padStart(7)} ${'user / plain'.padStart(13)}`,
);
for (const kind of ['commands', 'queries']) {
  for (const inFlight of IN_FLIGHT) {
    const all = COLUMNS.map((name) => rates.get(`${name} ${kind} ${inFlight}`));
    const cells = all.map((one) => (one ? `${showCount(one.perSecond)} ${one.cpuUs.toFixed(2).padStart(6)}` : '').padStart(22));
    console.log(
      `${kind.padEnd(9)} ${String(inFlight).padStart(5)}${cells.join('')}   ${ratio(all[2], all[1]).padStart(7)} ${ratio(all[4], all[2]).padStart(13)}`,
    );
  }
}
/** Of two rates. */
function ratio(one: Rate | undefined, other: Rate | undefined): string {
  return one && other ? `${(one.perSecond / other.perSecond).toFixed(2)} ×` : '';
}
const quoted = (name: string): string => showCount(rates.get(name)?.perSecond ?? 0);
console.log(
  `quote: user-written module, 16 shards: ${quoted('user-written 16 commands 64')} commands/s at 64 in flight, ${quoted('user-written 16 commands 256')} at 256, ${quoted('user-written 16 queries 64')} queries/s`,
);
console.log(`checksum ${checksum.toString(16)}; every command answered is in the values`);
