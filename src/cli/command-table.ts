import type { Command } from 'commander';

/** A command of `keyfleet`. Its module is loaded only when it is the one that runs, so that `--help` is quick. */
export interface CliCommand {
  readonly name: string;
  readonly summary: string;
  readonly load: () => Promise<{ readonly define: (command: Command) => void }>;
}

/** All commands, in the order of `--help`. */
export const COMMANDS: readonly CliCommand[] = [
  { name: 'serve', summary: 'serve the store over the Redis protocol and HTTP', load: () => import('./serve/serve.ts') },
  { name: 'up', summary: 'run a whole cluster on this machine, for development', load: () => import('./up/up.ts') },
  {
    name: 'doctor',
    summary: 'look what is wrong or at risk with a running server or cluster, and say what to do',
    load: () => import('./cluster/doctor.ts'),
  },
  { name: 'nats', summary: 'write good configuration files for the nats-servers of a cluster', load: () => import('./cluster/nats.ts') },
  {
    name: 'status',
    summary: 'show the shards, keys, balance and durability of a running server',
    load: () => import('./cluster/status.ts'),
  },
  {
    name: 'shards',
    summary: 'show the shards of a running server: ranges, sizes, load, splits and merges',
    load: () => import('./shards/shards.ts'),
  },
  { name: 'split', summary: 'cut a shard of a running server in two', load: () => import('./shards/split.ts') },
  { name: 'merge', summary: 'have a shard of a running server take over its right neighbour', load: () => import('./shards/merge.ts') },
  {
    name: 'policy',
    summary: 'show or change when the shards of a running server are split and merged',
    load: () => import('./shards/policy.ts'),
  },
  {
    name: 'nodes',
    summary: 'show the nodes of a cluster: status, zones, what each leads and has',
    load: () => import('./cluster/nodes.ts'),
  },
  { name: 'node', summary: 'drain a node of a cluster, or remove it', load: () => import('./cluster/node.ts') },
  { name: 'shard', summary: 'have a shard of a cluster go on whose log is lost', load: () => import('./cluster/shard.ts') },
  { name: 'import', summary: 'load records from a file into a running server', load: () => import('./records/import.ts') },
  { name: 'export', summary: 'write the records of a running server to a file', load: () => import('./records/export.ts') },
  {
    name: 'backup',
    summary: 'write all keyspaces of a running server or cluster to a folder, or verify one',
    load: () => import('./backup/backup.ts'),
  },
  { name: 'restore', summary: 'restore a backup into a running server or cluster', load: () => import('./backup/restore.ts') },
  { name: 'locate', summary: 'say which nodes hold a key, for any number of keys', load: () => import('./placement/locate.ts') },
  { name: 'plan', summary: 'say what must move when the nodes change', load: () => import('./placement/plan.ts') },
  {
    name: 'simulate',
    summary: 'show balance and movement of a change, and compare algorithms',
    load: () => import('./placement/simulate.ts'),
  },
  { name: 'hash', summary: 'hash keys', load: () => import('./placement/hash.ts') },
  {
    name: 'pool',
    summary: 'serve pools of Redis-like servers through a proxy, from a twemproxy file',
    load: () => import('./pool/pool.ts'),
  },
  { name: 'volume', summary: 'serve one volume: values as files in a directory', load: () => import('./volume/volume.ts') },
  {
    name: 'master',
    summary: 'serve keys over volumes, and move values when volumes come and go',
    load: () => import('./volume/master.ts'),
  },
  {
    name: 'volumes',
    summary: 'list, add, drain, remove and verify the volumes of a running master',
    load: () => import('./volume/volumes.ts'),
  },
];
