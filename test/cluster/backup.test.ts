import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { fromUtf8 } from '../../src/base/bytes.ts';
import { type BackupHost, type BackupSource, StoreBackupSource } from '../../src/node/backup/backup-source.ts';
import { type BackupTarget, type RestoreHost, StoreBackupTarget } from '../../src/node/backup/backup-target.ts';
import { restoreBackup } from '../../src/node/backup/restore-backup.ts';
import { takeBackup } from '../../src/node/backup/take-backup.ts';
import type { ClusterNode } from '../../src/node/cluster/cluster-node.ts';
import { openStore } from '../../src/node/open-store.ts';
import { counterModule } from '../../src/shard/counter.ts';
import { recountSlots } from '../../src/shard/slot-recount.ts';
import { MemoryStorage } from '../../src/storage/memory.ts';
import { add, type Counters, InProcessCluster, read, waitFor } from './in-process-cluster.ts';

// Backups of a cluster, and restores into one, while its nodes are killed.

const hostOf = (node: ClusterNode): BackupHost & RestoreHost => ({
  cluster: node.cluster,
  nodeId: node.nodeId,
  keyspaces: () => node.keyspaces(),
  keyspaceRecords: () => node.keyspaceRecords(),
  moduleNamed: (name) => (name === 'counter' ? (counterModule as never) : undefined),
  registerKeyspace: (name, options) => node.registerKeyspace(name, options),
});

describe('a backup of a cluster', () => {
  let dir: string;
  let clusters: InProcessCluster[];
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'keyfleet-backup-'));
    clusters = [];
  });
  afterEach(async () => {
    for (const cluster of clusters) await cluster.stopAll();
    rmSync(dir, { recursive: true, force: true });
  });

  const started = async (...ids: string[]): Promise<InProcessCluster> => {
    const cluster = new InProcessCluster();
    clusters.push(cluster);
    for (const id of ids) await cluster.start(id, { heartbeatMs: 50, limits: { digestEvery: 20 } });
    return cluster;
  };
  const leaders = (node: ClusterNode) => node.view().keyspaces[0]!.shards.map(({ leader }) => leader);
  const fill = async (counters: Counters, keys: number): Promise<void> => {
    await Promise.all(Array.from({ length: keys }, (_, i) => add(counters, `key ${i}`, i + 1)));
  };
  /** The replicas of each shard have the same, and count it rightly. */
  const checkReplicas = async (cluster: InProcessCluster, keys: number): Promise<void> => {
    const [some] = cluster.nodes.values();
    await waitFor('replicas that agree', () => {
      const [keyspace] = some!.view().keyspaces;
      if (keyspace!.shards.reduce((sum, { keyCount }) => sum + keyCount, 0) !== keys) return false;
      return keyspace!.shards.every((shard) =>
        [...cluster.nodes.values()].every(
          (node) => (node.view().keyspaces[0]!.shards.find(({ id }) => id === shard.id)?.applied ?? -1) >= shard.applied,
        ),
      );
    });
    expect(cluster.errors.filter((error) => 'code' in error && error.code === 'KF_REPLICA_DIFFERS')).toEqual([]);
  };

  test('is taken at any node, and restored into one machine and into a cluster of other nodes and shards', async () => {
    const cluster = await started('a', 'b', 'c');
    const counters = await cluster.counters(cluster.nodes.get('a')!, { shards: 4 });
    await fill(counters, 400);
    await takeBackup(dir, new StoreBackupSource(hostOf(cluster.nodes.get('c')!)));
    const single = await openStore({ storage: new MemoryStorage(), keyspaces: { counters: { module: counterModule, shards: 3 } } });
    expect(await single.restore(dir)).toMatchObject([{ keyCount: 400 }]);
    expect(await single.query('counters', 'key 17', null)).toBe(18);
    await single.close();
    const other = await started('x', 'y');
    const node = other.nodes.get('y')!;
    expect(await restoreBackup(dir, new StoreBackupTarget(hostOf(node)), { shards: 7 })).toMatchObject([{ keyCount: 400 }]);
    const restored = await other.counters(other.nodes.get('x')!);
    expect(restored.shardStats()).toHaveLength(7);
    for (const i of [0, 17, 399]) expect(await read(restored, `key ${i}`)).toBe(i + 1);
    expect(await add(restored, 'key 17')).toBe(19);
    await checkReplicas(other, 400);
  }, 40_000);

  test('goes on when the leaders die that it reads from, and misses nothing that was answered before', async () => {
    const cluster = await started('a', 'b', 'c');
    for (const node of cluster.nodes.values()) await cluster.counters(node, { shards: 6 });
    const asked = cluster.nodes.get('a')!;
    const counters = await cluster.counters(asked);
    await waitFor('copies of all on all nodes', () => asked.view().keyspaces[0]!.shards.every(({ replicas }) => replicas.length === 3));
    await fill(counters, 300);
    let stop = false;
    const busy = (async () => {
      for (let i = 0; !stop; i++) await add(counters, `key ${i % 300}`, 1_000).catch(() => {});
    })();
    const inner = new StoreBackupSource(hostOf(asked));
    let parts = 0;
    const source: BackupSource = {
      origin: () => inner.origin(),
      part: async (...part) => {
        const bytes = await inner.part(...part);
        if (++parts === 2) {
          const victim = leaders(asked).find((leader) => leader !== undefined && leader !== 'a') ?? 'b';
          await cluster.stop(victim, false);
        }
        return bytes;
      },
    };
    await takeBackup(dir, source, { concurrency: 2 });
    stop = true;
    await busy;
    const single = await openStore({ storage: new MemoryStorage(), keyspaces: { counters: { module: counterModule } } });
    expect(await single.restore(dir)).toMatchObject([{ keyCount: 300 }]);
    for (let i = 0; i < 300; i++) {
      const value = (await single.query('counters', `key ${i}`, null))!;
      expect(value % 1_000).toBe(i + 1);
      expect(value).toBeLessThanOrEqual((await read(counters, `key ${i}`))!);
    }
    await single.close();
  }, 40_000);

  test('is restored though leaders die, and each replica has the same', async () => {
    const single = await openStore({ storage: new MemoryStorage(), keyspaces: { counters: { module: counterModule, shards: 3 } } });
    for (let i = 0; i < 300; i++) void single.command('counters', `key ${i}`, { kind: 'add', by: i + 1 });
    await single.command('counters', 'last', { kind: 'add', by: 1 });
    await single.backup(dir);
    await single.close();
    const cluster = await started('a', 'b', 'c');
    const inner = new StoreBackupTarget(hostOf(cluster.nodes.get('a')!));
    let puts = 0;
    const target: BackupTarget = {
      check: (...check) => inner.check(...check),
      begin: (...begin) => inner.begin(...begin),
      put: async (...put) => {
        if (++puts === 2) await cluster.stop('b', false);
        await inner.put(...put);
        await inner.put(...put);
      },
      end: (...end) => inner.end(...end),
    };
    expect(await restoreBackup(dir, target, { concurrency: 1, shards: 5 })).toMatchObject([{ keyCount: 301 }]);
    await cluster.start('b', { heartbeatMs: 50, limits: { digestEvery: 20 } });
    const counters = await cluster.counters(cluster.nodes.get('b')!);
    for (let i = 0; i < 300; i++) expect(await read(counters, `key ${i}`)).toBe(i + 1);
    await Promise.all(Array.from({ length: 200 }, (_, i) => add(counters, `key ${i}`)));
    await checkReplicas(cluster, 301);
    const keys: string[] = [];
    for (let cursor: number | undefined = 0; cursor !== undefined; ) {
      const page = await counters.scan({ cursor, limit: 100 });
      keys.push(...page.records.map(({ key }) => fromUtf8(key)));
      cursor = page.next;
    }
    expect(new Set(keys).size).toBe(301);
    expect(keys).toHaveLength(301);
    for (const [id] of cluster.nodes) {
      const storage = cluster.storageOf(id);
      const record = cluster.nodes.get(id)!.keyspaceRecords()[0]!;
      const counted = recountSlots(storage, { table: record.table, range: { from: 0, to: 0x1_0000_0000 }, shift: 16 });
      expect(counted.sum().keys).toBe(301);
    }
  }, 40_000);
});
