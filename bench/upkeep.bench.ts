// What does the upkeep of a cluster cost, and those who use it meanwhile? Three nats-servers that sync every write and three nodes, real processes; 8 clients ask
// the node that leads the one shard, by turns a SET and a GET of 1,000 bytes each, with a pause of 5 ms after each two: what they wait is told for a while
// without and for the time of
//
//   a replica moves     a node that follows is drained, and another one brought all that it had
//   a backup            of all keys, to a folder
//   a restore           of that backup, into another keyspace of the same cluster
//
// and what many shards cost that nobody uses: resident memory, and processor time at rest, of nodes and nats-servers with 1 and with 256 shards.
//
//   npm run bench -- upkeep [--large] [--mib N] [--shards N] [--only move,backup,shards]
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { MIB, showBytes, showCount } from '../src/base/units.ts';
import type { ClusterReport } from '../src/http/cluster-admin.ts';
import { findNatsServer } from '../src/nats/find-server.ts';
import { keyfleet } from '../test/cli/keyfleet-process.ts';
import { ClusterProcesses } from '../test/cluster/cluster-processes.ts';
import { RespClient } from '../test/resp/resp-client.ts';
import { LatencyProbe } from './latency-probe.ts';
import { processorMs } from './processor-time.ts';

const { values: flags } = parseArgs({
  options: {
    large: { type: 'boolean', default: false },
    mib: { type: 'string' },
    shards: { type: 'string' },
    only: { type: 'string', default: 'move,backup,shards' },
  },
});
const mib = Number(flags.mib ?? (flags.large ? 512 : 16));
const manyShards = Number(flags.shards ?? (flags.large ? 256 : 16));
const wanted = new Set(flags.only.split(','));
const VALUE_BYTES = 1_000;
const keyCount = Math.ceil((mib * MIB) / VALUE_BYTES);
const QUIET_MS = flags.large ? 10_000 : 2_000;

const binary = await findNatsServer();
console.log(
  `${cpus().length} × ${cpus()[0]?.model.trim() ?? 'unknown'}, Node ${process.version}, load ${loadavg()[0]!.toFixed(1)}; nats-server ${binary.version}; ${showCount(keyCount)} keys of ${VALUE_BYTES} bytes`,
);
if (wanted.has('move') || wanted.has('backup')) await withData();
if (wanted.has('shards')) await emptyShards();

async function withData(): Promise<void> {
  const cluster = await ClusterProcesses.start({ binary: binary.path, shards: 1, hasLedger: false });
  const dir = mkdtempSync(join(tmpdir(), 'keyfleet-upkeep-'));
  try {
    await waitUntil('three copies', async () => {
      const { workflows, shards } = keyspaceOf(await report(cluster));
      return workflows.length === 0 && shards[0]!.replicas.length === 3;
    });
    const [leader, follower] = keyspaceOf(await report(cluster)).shards[0]!.replicas as [string, string];
    const port = cluster.respPort(cluster.ids.indexOf(leader));
    const beganMs = performance.now();
    await fill(port);
    console.log(`filled in ${showCount(performance.now() - beganMs)} ms`);
    const probe = new LatencyProbe({ port, clients: 8, pauseMs: 5, valueBytes: VALUE_BYTES });
    const during = async (what: string, event: () => Promise<unknown>, moves = false): Promise<void> => {
      await sleep(2_000);
      probe.lap();
      const startedMs = performance.now();
      await event();
      const ms = performance.now() - startedMs;
      const { set, get } = probe.lap();
      const rate = moves ? `, ${(mib / (ms / 1_000)).toFixed(1)} MiB/s` : '';
      console.log(`${what.padEnd(18)} ${showCount(ms).padStart(8)} ms${rate}`);
      for (const [op, seen] of [
        ['SET', set],
        ['GET', get],
      ] as const)
        console.log(
          `  ${op} p50 ${seen.p50.toFixed(1)}, p99 ${seen.p99.toFixed(1)}, max ${seen.max.toFixed(1)} ms (${showCount(seen.count)})`,
        );
    };
    const tell = async (...args: readonly string[]): Promise<void> => {
      const { code, stderr } = await keyfleet([...args, '--url', cluster.urlOf(cluster.ids.indexOf(leader))]);
      if (code !== 0) throw new Error(`keyfleet ${args.join(' ')} ended with ${code}: ${stderr}`);
    };
    await during('nothing else', () => sleep(QUIET_MS));
    if (wanted.has('move')) {
      // Nothing moves to it of itself: there is only one shard, and three have it.
      await cluster.addNode();
      await during('a replica moves', () => tell('node', 'drain', follower), true);
    }
    if (wanted.has('backup')) {
      await during('a backup', () => tell('backup', join(dir, 'backup')), true);
      await during('a restore', () => tell('restore', join(dir, 'backup'), '--keyspace', 'default', '--as', 'copy'), true);
    }
    await during('nothing else', () => sleep(QUIET_MS));
    await probe.stop();
    const client = await RespClient.connect({ port });
    const size = Number(String(await client.call('DBSIZE')).replace(/\D/g, ''));
    client.close();
    if (size !== keyCount + 8) throw new Error(`${size} keys are there`);
    console.log(`checksum: ${size} keys`);
    console.log(`nodes ${residents(cluster.pids)}; nats-servers ${residents(cluster.nats.pids)}`);
  } finally {
    await cluster.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}

async function emptyShards(): Promise<void> {
  for (const shards of [1, manyShards]) {
    const beganMs = performance.now();
    const cluster = await ClusterProcesses.start({ binary: binary.path, shards, hasLedger: false });
    try {
      await waitUntil('three copies', async () => {
        const { workflows, shards: all } = keyspaceOf(await report(cluster));
        return workflows.length === 0 && all.length === shards && all.every(({ replicas }) => replicas.length === 3);
      });
      const readyMs = performance.now() - beganMs;
      await sleep(QUIET_MS);
      const [nodes, servers] = [cluster.pids, cluster.nats.pids];
      const [nodesMs, serversMs] = [allProcessorMs(nodes), allProcessorMs(servers)];
      await sleep(QUIET_MS);
      const share = (ms: number): string => `${((100 * ms) / QUIET_MS).toFixed(0)} %`;
      console.log(
        `${showCount(shards)} shards, nobody asks: three copies of each after ${showCount(readyMs)} ms
  nodes         ${residents(nodes)}; processor, all three, of one core: ${share(allProcessorMs(nodes) - nodesMs)}
  nats-servers  ${residents(servers)}; ${share(allProcessorMs(servers) - serversMs)}`,
      );
    } finally {
      await cluster.stop();
    }
  }
}

async function fill(port: number): Promise<void> {
  const client = await RespClient.connect({ port });
  const value = 'x'.repeat(VALUE_BYTES);
  for (let from = 0; from < keyCount; from += 500) {
    const count = Math.min(500, keyCount - from);
    for (let i = 0; i < count; i++) client.send('SET', `key:${from + i}`, value);
    for (let i = 0; i < count; i++) await client.next();
  }
  client.close();
}

async function report(cluster: ClusterProcesses): Promise<ClusterReport> {
  return (await (await fetch(`${cluster.urlOf(0)}/v1/nodes`)).json()) as ClusterReport;
}

function keyspaceOf({ keyspaces }: ClusterReport): ClusterReport['keyspaces'][number] {
  return keyspaces.find(({ name }) => name === 'default')!;
}

async function waitUntil(what: string, isTrue: () => Promise<boolean>): Promise<void> {
  const endMs = Date.now() + 300_000;
  while (!(await isTrue().catch(() => false))) {
    if (Date.now() > endMs) throw new Error(`waited five minutes for ${what}`);
    await sleep(50);
  }
}

function residents(pids: readonly number[]): string {
  const rss = pids.map((pid) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1024);
  return rss.map(showBytes).join(', ');
}

/** Of all of them so far. */
function allProcessorMs(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + processorMs(pid), 0);
}
