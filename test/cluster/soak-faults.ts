import { setTimeout as sleep } from 'node:timers/promises';
import { jetstreamManager } from '@nats-io/jetstream';
import type { Prng } from '../../src/base/prng.ts';
import { KeyfleetProcess } from '../cli/keyfleet-process.ts';
import type { NatsServers } from '../nats/nats-servers.ts';
import type { SmallDisk } from '../small-disk.ts';
import type { ClusterProcesses } from './cluster-processes.ts';
import { forgetLogs } from './forget-logs.ts';
import type { LedgerClients } from './ledger-clients.ts';
import type { ClientDoor } from './ledger-doors.ts';

// What happens to a cluster of real processes in a soak.

const MOST_NODES = 5;
/** Until all nodes that run have run, and have on disk, what the logs have now. */
const APPLIED_MS = 3_000;
/** Which node and which nats-server have a small disk, if there are any. */
export const SMALL_NODE = 2;
export const SMALL_NATS = 1;

export interface Fault {
  readonly name: string;
  readonly weight: number;
  /** Makes it happen to one of the first three, and ends it; `work` goes on meanwhile. */
  run(index: number, work: LedgerClients): Promise<void>;
}

export interface FaultsOptions {
  readonly cluster: ClusterProcesses;
  readonly chance: Prng;
  /** Clients that are not the nodes' own. */
  readonly doors: readonly ClientDoor[];
  readonly nodeDisk: SmallDisk | undefined;
  readonly natsDisk: SmallDisk | undefined;
}

/** All that may happen. Those that need a small disk are there when there is one. */
export function faultsOf({ cluster, chance, doors, nodeDisk, natsDisk }: FaultsOptions): Fault[] {
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
  const inBursts = async (tell: (signal: 'SIGSTOP' | 'SIGCONT') => void): Promise<void> => {
    for (let burst = 5 + chance.below(15); burst > 0; burst--) {
      tell('SIGSTOP');
      await some(100, 600);
      tell('SIGCONT');
      await some(10, 150);
    }
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
      name: 'a node is slow: it stands still most of the time',
      weight: 1,
      run: (index) => inBursts((signal) => cluster.signal(index, signal)),
    },
    {
      name: 'a nats-server is slow: it stands still most of the time',
      weight: 1,
      run: (index) => inBursts((signal) => nats.signal(index, signal)),
    },
    {
      name: 'a node comes back when the logs have forgotten what it missed',
      weight: 1,
      run: async (index, work) => {
        await cluster.kill(index);
        await work.answers(100, 120_000);
        await forgetLogs(nats, () => sleep(APPLIED_MS));
        await work.answers(20, 120_000);
        await cluster.startNode(index);
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
      name: 'a client hears nothing of any nats-server',
      weight: 1,
      run: async () => {
        const { links } = chance.pick(doors);
        for (const link of links) link.silence();
        await some(500, 12_000);
        for (const link of links) link.open();
      },
    },
    {
      name: 'all clients are cut off from a nats-server, and come back by and by',
      weight: 1,
      run: async (index) => {
        for (const { links } of doors) links[index]!.cut();
        for (const { links } of doors) {
          await some(200, 2_000);
          links[index]!.open();
        }
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
    { name: 'two nats-servers lose all that they have', weight: 1, run: (index) => nats.wipe([index, (index + 1) % 3]) },
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
    ...(nodeDisk === undefined ? [] : [fullNodeDisk(nodeDisk, some)]),
    ...(natsDisk === undefined ? [] : [fullNatsDisk(natsDisk, nats, some)]),
  ];
}

/** It refuses what it cannot keep, and takes more as soon as there is room. */
function fullNodeDisk(disk: SmallDisk, some: (least: number, most: number) => Promise<void>): Fault {
  return {
    name: "a node's disk is full",
    weight: 1,
    run: async () => {
      disk.fill();
      await some(1_000, 6_000);
      disk.free();
    },
  };
}

/** It gives up its streams, and has them again when it is started with some room. */
function fullNatsDisk(disk: SmallDisk, nats: NatsServers, some: (least: number, most: number) => Promise<void>): Fault {
  return {
    name: "a nats-server's disk is full",
    weight: 1,
    run: async () => {
      disk.fill();
      await some(1_000, 8_000);
      disk.free();
      await some(0, 2_000);
      await nats.kill(SMALL_NATS);
      nats.startOne(SMALL_NATS);
      await nats.ready();
    },
  };
}
