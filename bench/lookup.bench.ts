// What does a look-up cost, first owner and three replicas, from a string and from a Buffer, as nodes grow; what does it cost to build,
// to change, and in memory; and how do the packages people use today compare, in the same run?
//
// 10,000 different keys of 16 bytes in turn; each figure is the best of three rounds of about 60 ms (300 with --large). Time
// is that of the processor, not of the clock, for other work on the machine slows the clock's. npm hashring remembers the last 5,000 keys it was asked: with more keys than that in turn its memory does not help.
import { createRequire } from 'node:module';
import { availableParallelism, cpus, loadavg } from 'node:os';
import { HashRing } from '../src/partition/hash-ring.ts';
import { JumpBackHash } from '../src/partition/jump-back-hash.ts';
import { JumpHash } from '../src/partition/jump-hash.ts';
import { Ketama } from '../src/partition/ketama.ts';
import { Keyspace } from '../src/partition/keyspace.ts';
import { Maglev } from '../src/partition/maglev.ts';
import { redisSlot } from '../src/partition/redis-slot.ts';
import { Rendezvous } from '../src/partition/rendezvous.ts';
import { SharedRing } from '../src/partition/shared-ring.ts';

const require = createRequire(import.meta.url);
const SIZES = [10, 100, 1_000, 10_000];
const KEY_COUNT = 10_000;
const ROUND_MS = process.argv.includes('--large') ? 300 : 60;
const ROUNDS = 3;

const strings = Array.from({ length: KEY_COUNT }, (_, i) => `user:${String(i * 7919).padStart(11, '0')}`);
const buffers = strings.map((key) => Buffer.from(key));

type Look = (i: number) => number;

interface Contender {
  readonly name: string;
  /** Sizes above this are left out. */
  readonly most?: number;
  readonly build: (ids: readonly string[]) => Built;
}

interface Built {
  readonly owner: Look;
  readonly ownerOfBuffer?: Look;
  readonly replicas?: Look;
  /** Adds one node. */
  readonly change?: () => unknown;
  readonly keep: unknown;
}

interface Node {
  readonly id: string;
}

/** Ours: anything with `owner` and `replicas`. */
function ours(
  name: string,
  make: (nodes: Node[]) => {
    owner(key: string | Uint8Array): Node;
    replicas(key: string, count: number, out?: Node[]): Node[];
    add?(node: Node): unknown;
  },
): Contender {
  return {
    name,
    build: (ids) => {
      const partitioner = make(ids.map((id) => ({ id })));
      const out: Node[] = [];
      return {
        owner: (i) => partitioner.owner(strings[i]!).id.length,
        ownerOfBuffer: (i) => partitioner.owner(buffers[i]!).id.length,
        replicas: (i) => partitioner.replicas(strings[i]!, 3, out)[2]!.id.length,
        ...(partitioner.add ? { change: () => partitioner.add!({ id: 'one-more' }) } : {}),
        keep: partitioner,
      };
    },
  };
}

function numbered(
  name: string,
  make: (count: number) => {
    owner(key: string | Uint8Array): number;
    replicas(key: string, count: number, out?: number[]): number[];
    add(): unknown;
  },
): Contender {
  return {
    name,
    build: (ids) => {
      const buckets = make(ids.length);
      const out: number[] = [];
      return {
        owner: (i) => buckets.owner(strings[i]!),
        ownerOfBuffer: (i) => buckets.owner(buffers[i]!),
        replicas: (i) => buckets.replicas(strings[i]!, 3, out)[2]!,
        change: () => buckets.add(),
        keep: buckets,
      };
    },
  };
}

interface NpmHashRing {
  get(key: string | Buffer): string;
  range(key: string, count: number): string[];
  add(server: string): void;
}
interface NpmConsistentHash {
  add(node: string): void;
  get(key: string): string;
  get(key: string, count: number): string[];
}
interface NpmSkeleton {
  findSite(key: string): string;
  addSites(sites: readonly string[]): void;
}

const CONTENDERS: readonly Contender[] = [
  ours('Keyspace (sticky)', (nodes) => new Keyspace(nodes)),
  ours('Keyspace (fair)', (nodes) => new Keyspace(nodes, { placement: 'fair' })),
  ours('Rendezvous', (nodes) => new Rendezvous(nodes)),
  ours('HashRing', (nodes) => new HashRing(nodes)),
  ours('SharedRing reader', (nodes) => {
    const reader = SharedRing.open<Node>(new SharedRing(nodes, { maxBytes: 2 ** 30 }).share());
    return { owner: (key) => reader.owner(key), replicas: (key, count, out) => reader.replicas(key, count, out) };
  }),
  ours('Ketama (twemproxy)', (nodes) => new Ketama(nodes)),
  { ...ours('Maglev', (nodes) => new Maglev(nodes)), most: 1_000 },
  numbered('JumpHash', (count) => new JumpHash(count)),
  numbered('JumpBackHash', (count) => new JumpBackHash(count)),
  {
    name: 'npm hashring 3.2.0',
    build: (ids) => {
      const ring = new (require('hashring') as new (servers: readonly string[]) => NpmHashRing)(ids);
      return {
        owner: (i) => ring.get(strings[i]!).length,
        ownerOfBuffer: (i) => ring.get(buffers[i]!).length,
        replicas: (i) => ring.range(strings[i]!, 3).length,
        change: () => ring.add('one-more'),
        keep: ring,
      };
    },
  },
  {
    name: 'npm consistent-hash 1.2.2',
    // With some ten thousand it gives up: "unable to find an unused control point".
    most: 1_000,
    build: (ids) => {
      const ring = new (require('consistent-hash') as new () => NpmConsistentHash)();
      for (const id of ids) ring.add(id);
      ring.get('x');
      return {
        owner: (i) => ring.get(strings[i]!).length,
        replicas: (i) => ring.get(strings[i]!, 3).length,
        change: () => {
          ring.add('one-more');
          ring.get('x');
        },
        keep: ring,
      };
    },
  },
  {
    name: 'npm skeleton-rendezvous 1.1.3',
    build: (ids) => {
      const hasher = new (require('skeleton-rendezvous') as new (options: { sites: readonly string[] }) => NpmSkeleton)({ sites: ids });
      return { owner: (i) => hasher.findSite(strings[i]!).length, change: () => hasher.addSites(['one-more']), keep: hasher };
    },
  },
  {
    name: 'npm @subspace/jump 1.1.1',
    build: (ids) => {
      const { jumpConsistentHash } = require('@subspace/jump-consistent-hash') as {
        jumpConsistentHash(key: Uint8Array, count: number): number;
      };
      // It takes 8 bytes already hashed; we give it the key's first 8.
      return { owner: (i) => jumpConsistentHash(buffers[i]!.subarray(5, 13), ids.length), keep: undefined };
    },
  },
];

let checksum = 0;

function processorMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
}

/** Millions of calls a second, the best round. */
function rateOf(look: Look | undefined): number {
  if (!look) return Number.NaN;
  let best = 0;
  for (let round = 0; round < ROUNDS; round++) {
    let done = 0;
    const startMs = processorMs();
    let endMs = startMs;
    while (endMs - startMs < ROUND_MS) {
      // As many again as so far: a peer that hashes every node for each key takes a millisecond a look-up at 10,000 nodes.
      const batch = Math.min(KEY_COUNT, Math.max(1, done));
      for (let i = 0; i < batch; i++) checksum = (checksum + look((done + i) % KEY_COUNT)) % 1_000_003;
      done += batch;
      endMs = processorMs();
    }
    best = Math.max(best, done / (endMs - startMs) / 1_000);
  }
  return best;
}

function usedBytes(): number {
  (globalThis as { gc?: () => void }).gc?.();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

const cell = (value: number, digits: number): string => (Number.isNaN(value) ? '-' : value.toFixed(digits));

console.log(`${cpus()[0]?.model} × ${availableParallelism()}, Node ${process.version}, load ${loadavg()[0]!.toFixed(1)}`);
for (const size of SIZES) {
  const ids = Array.from({ length: size }, (_, i) => `node-${i}.example:6379`);
  console.log(`\n${size} nodes: million look-ups a second (times npm hashring), milliseconds, memory`);
  const rows: { name: string; owner: number; buffer: number; three: number; buildMs: number; changeMs: number; kib: number }[] = [];
  for (const { name, build, most = Number.POSITIVE_INFINITY } of CONTENDERS) {
    if (size > most) continue;
    const before = usedBytes();
    const startMs = processorMs();
    const built = build(ids);
    const buildMs = processorMs() - startMs;
    const kib = (usedBytes() - before) / 1024;
    const owner = rateOf(built.owner);
    const buffer = rateOf(built.ownerOfBuffer);
    const three = rateOf(built.replicas);
    const changeMs = built.change ? timeOf(built.change) : Number.NaN;
    rows.push({ name, owner, buffer, three, buildMs, changeMs, kib });
  }
  const peer = rows.find(({ name }) => name.startsWith('npm hashring'))!;
  console.log('                               owner string    owner Buffer    3 replicas      build    change     memory');
  for (const { name, owner, buffer, three, buildMs, changeMs, kib } of rows) {
    const times = (value: number, of: number): string =>
      Number.isNaN(value) ? ''.padStart(8) : `(${(value / of).toFixed(1)}×)`.padStart(8);
    console.log(
      [
        name.padEnd(30),
        `${cell(owner, 2).padStart(6)}${times(owner, peer.owner)}`,
        `${cell(buffer, 2).padStart(8)}${times(buffer, peer.buffer)}`,
        `${cell(three, 2).padStart(7)}${times(three, peer.three)}`,
        `${cell(buildMs, 1).padStart(8)} ms`,
        `${cell(changeMs, 1).padStart(7)} ms`,
        `${Math.max(0, kib).toFixed(0).padStart(8)} KiB`,
      ].join(''),
    );
  }
}

const slotOf = require('cluster-key-slot') as (key: string | Buffer) => number;
const own = rateOf((i) => redisSlot(strings[i]!));
const ownBuffer = rateOf((i) => redisSlot(buffers[i]!));
const peerSlot = rateOf((i) => slotOf(strings[i]!));
const peerBuffer = rateOf((i) => slotOf(buffers[i]!));
console.log(
  `\nRedis slot: string ${own.toFixed(1)} M/s, ${(own / peerSlot).toFixed(2)}× npm cluster-key-slot 1.1.2; Buffer ${ownBuffer.toFixed(1)} M/s, ${(ownBuffer / peerBuffer).toFixed(2)}×`,
);
console.log(`checksum ${checksum}`);

function timeOf(work: () => unknown): number {
  const startMs = processorMs();
  work();
  return processorMs() - startMs;
}
