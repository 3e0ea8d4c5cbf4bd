// How fast do values go through a master of volumes, and how much faster than one key at a time does it rebalance?
//
// Each volume is a process of its own, as it would be; master and client share this one, and all share one disk and one machine. So the
// figures say how the parts compare, not what a fleet of machines gives.
// The peer of the rebalancing is the straightforward mover of the original design: read a key from its old volume, delete it there, write it
// to its new one, one after the other, over the same volume servers. (It is also the one that loses data when it dies in the middle.)

import { type ChildProcess, fork } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
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
const MOVE_COUNT = large ? 40_000 : 2_000;
const NAIVE_COUNT = large ? 1_000 : 200;
const MASTER_KEYS = large ? 1_000_000 : 20_000;
const IN_FLIGHT = 64;

const dirs: string[] = [];
const freshDir = async (): Promise<string> => {
  const dir = await mkdtemp(join(tmpdir(), 'keyfleet-bench-'));
  dirs.push(dir);
  return dir;
};
/** Starts a volume in a process of its own; resolves to its address. */
const startVolume = async (): Promise<string> => {
  const child = fork(process.argv[1]!, ['--as-volume', await freshDir()]);
  running.push(child);
  const [port] = (await once(child, 'message')) as [number];
  return `http://127.0.0.1:${port}`;
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

/** The mover of the original, written as it is: read, delete, write, one key after the other. */
async function naiveMove(from: VolumeClient, to: VolumeClient, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    const value = await from.get(keyOf(i), {});
    const body = Buffer.concat((await value!.body.toArray()) as Buffer[]);
    await from.delete(keyOf(i), Number.MAX_SAFE_INTEGER - 1);
    await to.put(keyOf(i), body, { contentType: value!.contentType, version: 1 });
  }
}

async function rebalancing(): Promise<void> {
  const body = Buffer.alloc(1_024, 'moving ');
  const source = new VolumeClient(await startVolume());
  const target = new VolumeClient(await startVolume());
  await inParallel(NAIVE_COUNT, IN_FLIGHT, async (i) => void (await source.put(keyOf(i), body, { contentType: 'x/y', version: 1 })));
  const naiveSeconds = await timed(() => naiveMove(source, target, NAIVE_COUNT));
  const naiveRate = NAIVE_COUNT / naiveSeconds;

  const volumes = [await startVolume(), await startVolume(), await startVolume()];
  const master = await startMasterServer({
    storage: await openStorage({ dir: await freshDir() }),
    port: 0,
    volumes,
  });
  const client = new MasterClient(`http://127.0.0.1:${master.port}`, { connections: IN_FLIGHT });
  await inParallel(MOVE_COUNT, IN_FLIGHT, async (i) => void (await client.put(keyOf(i), body, body.length)));
  const added = await startVolume();
  const seconds = await timed(async () => {
    await master.admin.add(added);
    await master.mover.settled();
  });
  const { keysMoved, bytesMoved } = master.mover.progress;
  row('', 'keys/s', 'MiB/s', 'ratio');
  row('read, delete, write, one at a time', naiveRate.toFixed(0), ((naiveRate * 1_024) / MIB).toFixed(2), '1.0');
  row(
    `3 -> 4 volumes, ${keysMoved} of ${MOVE_COUNT} keys`,
    (keysMoved / seconds).toFixed(0),
    (bytesMoved / MIB / seconds).toFixed(2),
    (keysMoved / seconds / naiveRate).toFixed(1),
  );
  await client.close();
  await source.close();
  await target.close();
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

async function compare(): Promise<void> {
  console.log(`${cpus().length} x ${cpus()[0]?.model ?? 'unknown processor'}, Node ${process.versions.node}`);
  const volume = await startVolume();
  const behind = await startVolume();
  const master = await startMasterServer({ storage: await openStorage({ dir: await freshDir() }), port: 0, volumes: [behind] });
  await throughput(volume, master);
  await master.close();
  await rebalancing();
  await memoryOfMaster();
  console.log(`checksum ${sum.digest('hex').slice(0, 16)}`);
}

const asVolume = process.argv.indexOf('--as-volume');
if (asVolume > 0) {
  const volume = await startVolumeServer({ path: process.argv[asVolume + 1]!, port: 0 });
  process.send!(volume.port);
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
