// How fast do values go through a master of volumes, and how much faster than one key at a time does it rebalance?
//
// Each volume is a process of its own, as it would be; master and client share this one, and all share one disk and one machine. So the
// figures say how the parts compare, not what a fleet of machines gives.
// The peer of the rebalancing is the straightforward mover of the original design: read a key from its old volume, delete it there, write it
// to its new one, note where it is, one after the other, over the same volume servers. (It is also the one that loses data when it dies in the
// middle.) The original leaves the answers to its DELETE and PUT unread, for which Go ends their connections, and its database does not sync;
// so does the peer. It is measured with connections kept and nothing noted, too.
//
//   npm run bench -- volumes [--large] [--only throughput|rebalancing|memory]

import { type ChildProcess, fork } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Pool } from 'undici';
import { MIB } from '../src/base/units.ts';
import { openStorage } from '../src/storage/lmdb.ts';
import { inParallel } from '../src/volume/in-turns.ts';
import { Master } from '../src/volume/master.ts';
import { MasterClient } from '../src/volume/master-client.ts';
import { type MasterServer, startMasterServer } from '../src/volume/master-server.ts';
import { Metakeys } from '../src/volume/metakeys.ts';
import { VolumeClient } from '../src/volume/volume-client.ts';
import { startVolumeServer } from '../src/volume/volume-server.ts';

const large = process.argv.includes('--large');
const SMALL_COUNT = large ? 20_000 : 1_000;
const BIG_COUNT = large ? 64 : 6;
const MOVE_COUNT = large ? 100_000 : 2_000;
const NAIVE_COUNT = large ? 2_000 : 200;
const MASTER_KEYS = large ? 1_000_000 : 20_000;
const IN_FLIGHT = 64;

const dirs: string[] = [];
const freshDir = async (): Promise<string> => {
  const dir = await mkdtemp(join(tmpdir(), 'keyfleet-bench-'));
  dirs.push(dir);
  return dir;
};
interface Volume {
  readonly address: string;
  readonly process: ChildProcess;
}
/** Starts a volume in a process of its own. */
const startVolume = async (): Promise<Volume> => {
  const child = fork(process.argv[1]!, ['--as-volume', await freshDir()]);
  running.push(child);
  const [port] = (await once(child, 'message')) as [number];
  return { address: `http://127.0.0.1:${port}`, process: child };
};
/** Microseconds of processor time that a volume has taken so far, of this process when none is named. */
const processorTime = async (volume?: Volume): Promise<number> => {
  volume?.process.send('usage');
  const [{ user, system }] = volume === undefined ? [process.cpuUsage()] : ((await once(volume.process, 'message')) as [NodeJS.CpuUsage]);
  return user + system;
};
const keyOf = (index: number): Buffer => Buffer.from(`object/${index}`);
const sum = createHash('sha256');
const running: ChildProcess[] = [];

async function timed(work: () => Promise<unknown>): Promise<number> {
  const startMs = performance.now();
  await work();
  return (performance.now() - startMs) / 1_000;
}

function row(what: string, ...cells: string[]): void {
  console.log(`${what.padEnd(44)}${cells.map((cell) => cell.padStart(16)).join('')}`);
}

async function throughput(volume: string, master: MasterServer): Promise<void> {
  const direct = new VolumeClient(volume);
  const client = new MasterClient(`http://127.0.0.1:${master.port}`, { connections: IN_FLIGHT });
  const small = Buffer.alloc(1_024, 'keyfleet ');
  const big = Buffer.alloc(16 * MIB, 'keyfleet ');
  row(`${IN_FLIGHT} in flight`, 'volume', 'through master');
  const perSecond = (count: number, seconds: number): string => `${Math.round(count / seconds)}/s`;
  const rate = (count: number, seconds: number): string => `${((count * 16) / seconds).toFixed(0)} MiB/s`;
  const drain = async (body: AsyncIterable<unknown>): Promise<void> => {
    for await (const piece of body) sum.update(piece as Buffer);
  };
  const put = [
    await timed(() =>
      inParallel(SMALL_COUNT, IN_FLIGHT, async (i) => void (await direct.put(keyOf(i), small, { contentType: 'x/y', version: 1 }))),
    ),
    await timed(() => inParallel(SMALL_COUNT, IN_FLIGHT, async (i) => void (await client.put(keyOf(i), small, small.length)))),
  ];
  row('PUT 1 KiB, on disk', ...put.map((seconds) => perSecond(SMALL_COUNT, seconds)));
  const get = [
    await timed(() => inParallel(SMALL_COUNT, IN_FLIGHT, async (i) => drain((await direct.get(keyOf(i), {}))!.body))),
    await timed(() => inParallel(SMALL_COUNT, IN_FLIGHT, async (i) => drain(await client.get(keyOf(i))))),
  ];
  row('GET 1 KiB', ...get.map((seconds) => perSecond(SMALL_COUNT, seconds)));
  const bigKey = (i: number): Buffer => Buffer.from(`big/${i}`);
  const putBig = [
    await timed(() => inParallel(BIG_COUNT, 4, async (i) => void (await direct.put(bigKey(i), big, { contentType: 'x/y', version: 1 })))),
    await timed(() => inParallel(BIG_COUNT, 4, async (i) => void (await client.put(bigKey(i), big, big.length)))),
  ];
  row('PUT 16 MiB, 4 in flight, on disk', ...putBig.map((seconds) => rate(BIG_COUNT, seconds)));
  const getBig = [
    await timed(() => inParallel(BIG_COUNT, 4, async (i) => drain((await direct.get(bigKey(i), {}))!.body))),
    await timed(() => inParallel(BIG_COUNT, 4, async (i) => drain(await client.get(bigKey(i))))),
  ];
  row('GET 16 MiB, 4 in flight', ...getBig.map((seconds) => rate(BIG_COUNT, seconds)));
  await direct.close();
  await client.close();
}

/** The mover of the original, written as it is: read, delete, write, note; one key after the other. */
async function originalMove(from: Volume, to: Volume, count: number): Promise<void> {
  const source = new Pool(from.address);
  const target = new Pool(to.address);
  const metakeys = new Metakeys(await openStorage({ dir: await freshDir(), durability: 'os' }));
  for (let i = 0; i < count; i++) {
    const path = encodeURIComponent(keyOf(i).toString());
    const got = await source.request({ method: 'GET', path: `/get/${path}` });
    const body = Buffer.from(await got.body.arrayBuffer());
    const deleted = await source.request({ method: 'DELETE', path: `/delete/${path}`, reset: true });
    await deleted.body.dump();
    const put = await target.request({ method: 'PUT', path: `/set/${path}`, body, reset: true });
    await put.body.dump();
    if (got.statusCode + deleted.statusCode + put.statusCode !== 600) throw new Error(`key ${i} did not move`);
    metakeys.set({ key: keyOf(i), version: 1, sizeBytes: body.length, sha256: '0'.repeat(64), volumes: [2], deleting: false });
    await metakeys.commit();
  }
  await source.close();
  await target.close();
  await metakeys.close();
}

/** The same with connections that are kept, and without a note of where a key is. */
async function barestMove(from: Volume, to: Volume, count: number): Promise<void> {
  const source = new VolumeClient(from.address);
  const target = new VolumeClient(to.address);
  for (let i = 0; i < count; i++) {
    const value = await source.get(keyOf(i), {});
    const body = Buffer.concat((await value!.body.toArray()) as Buffer[]);
    await source.delete(keyOf(i), Number.MAX_SAFE_INTEGER - 1);
    await target.put(keyOf(i), body, { contentType: value!.contentType, version: 1 });
  }
  await source.close();
  await target.close();
}

async function oneByOne(what: string, move: typeof originalMove, body: Buffer): Promise<number> {
  const [from, to] = [await startVolume(), await startVolume()];
  const source = new VolumeClient(from.address);
  await inParallel(NAIVE_COUNT, IN_FLIGHT, async (i) => void (await source.put(keyOf(i), body, { contentType: 'x/y', version: 1 })));
  await source.close();
  const rate = NAIVE_COUNT / (await timed(() => move(from, to, NAIVE_COUNT)));
  row(what, rate.toFixed(0), ((rate * body.length) / MIB).toFixed(2));
  return rate;
}

async function rebalancing(): Promise<void> {
  const body = Buffer.alloc(1_024, 'moving ');
  row('', 'keys/s', 'MiB/s');
  const original = await oneByOne('read, delete, write, note, one at a time', originalMove, body);
  const barest = await oneByOne('the same, connections kept, nothing noted', barestMove, body);

  const sources = [await startVolume(), await startVolume(), await startVolume()];
  const master = await startMasterServer({
    storage: await openStorage({ dir: await freshDir() }),
    port: 0,
    volumes: sources.map(({ address }) => address),
  });
  const client = new MasterClient(`http://127.0.0.1:${master.port}`, { connections: IN_FLIGHT });
  await inParallel(MOVE_COUNT, IN_FLIGHT, async (i) => void (await client.put(keyOf(i), body, body.length)));
  const target = await startVolume();
  const volumes = [...sources, target];
  const before = await Promise.all([processorTime(), ...volumes.map(processorTime)]);
  const seconds = await timed(async () => {
    await master.admin.add(target.address);
    await master.mover.settled();
  });
  const after = await Promise.all([processorTime(), ...volumes.map(processorTime)]);
  const { keysMoved, bytesMoved } = master.mover.progress;
  sum.update(String(keysMoved));
  const rate = keysMoved / seconds;
  row(`3 -> 4 volumes, ${keysMoved} of ${MOVE_COUNT} keys`, rate.toFixed(0), (bytesMoved / MIB / seconds).toFixed(2));
  row('  as many times as one at a time', `${(rate / original).toFixed(1)}`, `(bare: ${(rate / barest).toFixed(1)})`);
  const [ofMaster = 0, ...ofVolumes] = after.map((total, index) => (total - before[index]!) / keysMoved);
  const ofTarget = ofVolumes.pop() ?? 0;
  const ofSources = ofVolumes.reduce((all, one) => all + one, 0);
  const micros = (time: number, of: string): string => `${time.toFixed(0)} us ${of}`;
  row('  processor time a key', micros(ofMaster, 'master'), micros(ofSources, 'sources'), micros(ofTarget, 'target'));
  await client.close();
  await master.close();
}

/** What a master holds in memory for its keys: they lie in its database, so little but that database's caches. */
async function memoryOfMaster(): Promise<void> {
  const dir = await freshDir();
  const writing = new Metakeys(await openStorage({ dir }));
  const digest = '0'.repeat(64);
  for (let i = 0; i < MASTER_KEYS; i++) {
    writing.set({ key: keyOf(i), version: 1_024 * i, sizeBytes: 1_024, sha256: digest, volumes: [1 + (i % 4)], deleting: false });
    if (i % 5_000 === 4_999) await writing.commit();
  }
  await writing.commit();
  await writing.close();
  global.gc?.();
  const before = process.memoryUsage();
  let master: Master | undefined;
  const seconds = await timed(async () => {
    master = await Master.open({ metakeys: new Metakeys(await openStorage({ dir })) });
  });
  global.gc?.();
  const after = process.memoryUsage();
  row(
    `master of ${MASTER_KEYS} keys, opened`,
    `${seconds.toFixed(2)} s`,
    `${((after.heapUsed - before.heapUsed) / MIB).toFixed(0)} MiB heap`,
    `${((after.rss - before.rss) / MIB).toFixed(0)} MiB rss`,
  );
  sum.update(String(master!.ledger.keyCount));
  await master!.close();
}

async function throughputOfBoth(): Promise<void> {
  const volume = await startVolume();
  const behind = await startVolume();
  const master = await startMasterServer({ storage: await openStorage({ dir: await freshDir() }), port: 0, volumes: [behind.address] });
  await throughput(volume.address, master);
  await master.close();
}

const parts: Readonly<Record<string, () => Promise<void>>> = { throughput: throughputOfBoth, rebalancing, memory: memoryOfMaster };

async function compare(): Promise<void> {
  const only = process.argv.indexOf('--only');
  const names = only < 0 ? Object.keys(parts) : [process.argv[only + 1] ?? ''];
  console.log(`${cpus().length} x ${cpus()[0]?.model ?? 'unknown processor'}, Node ${process.versions.node}`);
  for (const name of names) {
    const part = parts[name];
    if (part === undefined) throw new Error(`--only wants one of ${Object.keys(parts).join(', ')}`);
    await part();
  }
  console.log(`checksum ${sum.digest('hex').slice(0, 16)}`);
}

const asVolume = process.argv.indexOf('--as-volume');
if (asVolume > 0) {
  const volume = await startVolumeServer({ path: process.argv[asVolume + 1]!, port: 0 });
  process.send!(volume.port);
  process.on('message', () => process.send!(process.cpuUsage()));
  process.once('disconnect', () => void volume.close());
} else {
  try {
    await compare();
  } finally {
    for (const child of running) {
      child.disconnect();
      await once(child, 'exit');
    }
    for (const dir of dirs) await rm(dir, { recursive: true, force: true });
  }
}
