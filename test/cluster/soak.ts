import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { jetstreamManager } from '@nats-io/jetstream';
import { Prng } from '../../src/base/prng.ts';
import { showDuration } from '../../src/base/units.ts';
import { findNatsServer } from '../../src/nats/find-server.ts';
import { KeyfleetProcess } from '../cli/keyfleet-process.ts';
import { ClusterProcesses } from './cluster-processes.ts';
import { LedgerClients } from './ledger-clients.ts';

// npm run soak:cluster -- [--seconds N] [--seed N]: faults by chance on a cluster of real processes, one or two at a time, while clients write. After each
// the cluster must answer again; every minute or so the answers of all clients are judged. A seed repeats what chance decided, not what the machine's timing did.

const ROUND_MS = 45_000;
const CLIENTS = 8;
const ANSWERS_AFTER = 40;
const MOST_NODES = 5;
/** Room for a node's data with a small disk of its own. */
const SMALL_DISK_BYTES = 160 * 1024 * 1024;

interface Fault {
  readonly name: string;
  readonly weight: number;
  run(index: number): Promise<void>;
}

interface Tally {
  count: number;
  slowestMs: number;
}

export async function soak(options: {
  readonly seconds: number;
  readonly seed: number;
  readonly say: (text: string) => void;
}): Promise<string[]> {
  const { seconds, seed, say } = options;
  const chance = new Prng(seed);
  const ofThisClone = join(process.cwd(), 'node_modules', '.cache', 'nats-server', 'nats-server');
  const binary = await findNatsServer({ path: existsSync(ofThisClone) ? ofThisClone : undefined });
  const disk = smallDisk();
  const cluster = await ClusterProcesses.start({
    binary: binary.path,
    hasLinks: true,
    dirOf: (index) => (index === 2 ? disk?.dir : undefined),
  });
  // Ended by hand, it leaves nothing behind either.
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.once(name, () => {
      void cluster.stop().then(() => {
        disk?.remove();
        process.exit(130);
      });
    });
  }
  const tallies = new Map<string, Tally>();
  let [answered, retried] = [0, 0];
  let wrong: string[] = [];
  try {
    const faults = faultsOf(cluster, chance, disk?.dir);
    const endMs = Date.now() + seconds * 1_000;
    while (Date.now() < endMs && wrong.length === 0) {
      const work = new LedgerClients({ urls: () => cluster.urls, clients: CLIENTS, chance });
      const roundEndMs = Math.min(endMs, Date.now() + ROUND_MS);
      try {
        await work.answers(ANSWERS_AFTER, 120_000);
        while (Date.now() < roundEndMs) {
          const fault = choose(faults, chance);
          work.lap();
          await fault.run(chance.below(3));
          await work.answers(ANSWERS_AFTER, 120_000).catch((error: Error) => {
            throw new Error(`after ${fault.name}: ${error.message}`);
          });
          const tally = tallies.get(fault.name) ?? { count: 0, slowestMs: 0 };
          const slowestMs = work.lap();
          tallies.set(fault.name, { count: tally.count + 1, slowestMs: Math.max(tally.slowestMs, slowestMs) });
          say(`${fault.name}: slowest request ${showDuration(slowestMs)}`);
        }
        wrong = await work.judge();
      } catch (error) {
        wrong = [error instanceof Error ? error.message : String(error)];
        await work.abandon();
      }
      answered += work.counts.answered;
      retried += work.counts.retried;
      say(`judged: ${work.counts.answered} answers, ${work.counts.retried} asked again, ${wrong.length} wrong`);
    }
    if (wrong.length > 0) for (const [i, id] of cluster.ids.entries()) wrong.push(`${id}: ${cluster.logOf(i).slice(-2_000)}`);
  } finally {
    await cluster.stop();
    disk?.remove();
  }
  say(`${answered} answers, ${retried} asked again; the slowest request with each fault:`);
  for (const [name, { count, slowestMs }] of tallies) say(`  ${String(count).padStart(4)} × ${name.padEnd(44)} ${showDuration(slowestMs)}`);
  return wrong;
}

function faultsOf(cluster: ClusterProcesses, chance: Prng, smallDir: string | undefined): Fault[] {
  const { nats } = cluster;
  const some = (least: number, most: number): Promise<void> => sleep(least + chance.below(most - least));
  const keyfleet = async (...args: readonly string[]): Promise<void> => {
    // What cannot be done now, such as a second split of one shard, is refused; that is all right.
    const command = new KeyfleetProcess([...args, '--url', cluster.urls[0]!]);
    await Promise.race([command.ended, sleep(30_000).then(() => command.kill('SIGKILL'))]);
  };
  const shard = async (): Promise<string> => {
    const response = await fetch(`${cluster.urls[0]}/v1/keyspaces/ledger/shards`);
    const { shards } = (await response.json()) as { readonly shards: readonly { readonly id: number }[] };
    return String(shards[chance.below(shards.length)]!.id);
  };
  const backAgain = async (index: number, away: () => Promise<unknown>): Promise<void> => {
    await away();
    await some(0, 6_000);
    await cluster.startNode(index);
  };
  return [
    { name: 'a node is killed with -9', weight: 3, run: (index) => backAgain(index, () => cluster.kill(index)) },
    { name: 'a node is ended', weight: 2, run: (index) => backAgain(index, () => cluster.end(index)) },
    {
      name: 'two nodes are killed with -9',
      weight: 1,
      run: async (index) => {
        const other = (index + 1) % 3;
        await Promise.all([cluster.kill(index), cluster.kill(other)]);
        await some(0, 3_000);
        cluster.launchNode(other);
        await cluster.startNode(index);
        await cluster.ready(other);
      },
    },
    {
      name: 'a node stands still',
      weight: 3,
      run: async (index) => {
        cluster.signal(index, 'SIGSTOP');
        await some(500, 8_000);
        cluster.signal(index, 'SIGCONT');
      },
    },
    {
      name: 'a node hears nothing of any nats-server',
      weight: 2,
      run: async (index) => {
        for (const link of cluster.linksOf(index)) link.silence();
        await some(500, 8_000);
        for (const link of cluster.linksOf(index)) link.open();
      },
    },
    {
      name: 'a node is cut off from one nats-server',
      weight: 1,
      run: async (index) => {
        const link = cluster.linksOf(index)[chance.below(3)]!;
        link.cut();
        await some(500, 4_000);
        link.open();
      },
    },
    {
      name: 'a node is far away: 60 ms each way',
      weight: 1,
      run: async (index) => {
        for (const link of cluster.linksOf(index)) link.open(60);
        await some(2_000, 6_000);
        for (const link of cluster.linksOf(index)) link.open();
      },
    },
    {
      name: 'a nats-server is killed with -9',
      weight: 2,
      run: async (index) => {
        await nats.kill(index);
        await some(0, 8_000);
        nats.startOne(index);
        await nats.ready();
      },
    },
    {
      name: 'a nats-server is ended',
      weight: 1,
      run: async (index) => {
        await nats.end(index);
        await some(0, 2_000);
        nats.startOne(index);
        await nats.ready();
      },
    },
    {
      name: 'a nats-server stands still',
      weight: 1,
      run: async (index) => {
        nats.signal(index, 'SIGSTOP');
        await some(500, 8_000);
        nats.signal(index, 'SIGCONT');
      },
    },
    {
      name: 'a nats-server is cut off from the others',
      weight: 1,
      run: async (index) => {
        nats.isolate(index);
        await some(500, 15_000);
        nats.rejoin(index);
      },
    },
    {
      name: 'most nats-servers are killed with -9',
      weight: 1,
      run: async (index) => {
        const both = [index, (index + 1) % 3];
        await Promise.all(both.map((one) => nats.kill(one)));
        await some(500, 5_000);
        for (const one of both) nats.startOne(one);
        await nats.ready();
      },
    },
    {
      name: 'a stream is deleted',
      weight: 1,
      run: async () => {
        const connection = await nats.connect();
        const manager = await jetstreamManager(connection);
        const names: string[] = [];
        for await (const name of manager.streams.names()) names.push(name);
        if (names.length > 0) await manager.streams.delete(names[chance.below(names.length)]!);
        await connection.close();
      },
    },
    { name: 'all nats-servers lose all that they have', weight: 1, run: () => nats.wipe([0, 1, 2]) },
    { name: 'a shard is split', weight: 2, run: async () => keyfleet('split', await shard(), '--keyspace', 'ledger') },
    { name: 'two shards are merged', weight: 2, run: async () => keyfleet('merge', await shard(), '--keyspace', 'ledger') },
    {
      name: 'a node more, or all data leave one',
      weight: 1,
      run: async () => {
        if (cluster.ids.length < MOST_NODES) await cluster.addNode();
        else await keyfleet('node', 'drain', cluster.ids.at(-1)!);
      },
    },
    ...(smallDir === undefined ? [] : [fullDisk(smallDir, some)]),
  ];
}

function fullDisk(dir: string, some: (least: number, most: number) => Promise<void>): Fault {
  const filler = join(dir, 'filler');
  return {
    name: "a node's disk is full",
    weight: 1,
    run: async () => {
      try {
        writeFileSync(filler, Buffer.alloc(SMALL_DISK_BYTES));
      } catch {
        // As meant: what fitted was written.
      }
      await some(1_000, 6_000);
      rmSync(filler, { force: true });
    },
  };
}

function choose(faults: readonly Fault[], chance: Prng): Fault {
  let at = chance.below(faults.reduce((sum, { weight }) => sum + weight, 0));
  return faults.find(({ weight }) => (at -= weight) < 0)!;
}

/** A small file system of its own; only root on Linux may mount one. */
function smallDisk(): { readonly dir: string; remove(): void } | undefined {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return undefined;
  const dir = mkdtempSync(join(tmpdir(), 'keyfleet-small-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${SMALL_DISK_BYTES}`, 'tmpfs', dir]);
  return {
    dir,
    remove: () => {
      execFileSync('umount', ['-l', dir]);
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

const { values } = parseArgs({
  options: { seconds: { type: 'string', default: '60' }, seed: { type: 'string', default: String(Math.floor(Math.random() * 1e9)) } },
});
const [seconds, seed] = [Number(values.seconds), Number(values.seed)];
if (!(seconds > 0) || !Number.isInteger(seed)) {
  console.error('--seconds and --seed are numbers above 0');
  process.exit(2);
}
console.log(`seed ${seed}`);
const wrong = await soak({ seconds, seed, say: (text) => console.log(text) });
for (const one of wrong) console.error(one);
if (wrong.length > 0) console.error(`again: npm run soak:cluster -- --seconds ${seconds} --seed ${seed}`);
process.exit(wrong.length === 0 ? 0 : 1);
