import { expect, test } from 'vitest';
import type { ShardsReport } from '../../http/shard-admin.ts';
import { shardsText } from './shards.ts';

test('shards are shown as people count them, with what splits them', () => {
  const shard = { id: 1, from: 0, to: 0x1_0000_0000, keyCount: 1, sizeBytes: 20, loadPerSecond: 0, status: 'serving' } as const;
  const policy = {
    ...{ maxShards: 256, minShards: 1, maxKeysPerShard: null, maxBytesPerShard: null, maxLoadPerShard: null },
    ...{ loadPerQueryToMissingKey: 0, mergeThresholdRatio: 0.5 },
  };
  const report: ShardsReport = { keyspace: 'carts', shards: [shard], workflows: [], policy };
  expect(shardsText(report).split('\n')).toEqual([
    'keyspace carts: 1 shard (1 to 256), 1 key',
    'no shard is split for its size or load: keyfleet policy set --keyspace carts maxKeysPerShard=…',
    '',
    'shard  positions        keys  bytes  load/s',
    '    1  [00000000, end)     1  20 B        0  ████████████████████████',
    '',
  ]);
  const cut = { kind: 'split', op: 4, sinceMs: 0, parent: 1, at: 0x8000_0000, child: 2 } as const;
  const limited = { ...report, shards: [shard, { ...shard, id: 2 }], workflows: [cut], policy: { ...policy, maxKeysPerShard: 5_000 } };
  const lines = shardsText(limited).split('\n');
  expect(lines.slice(0, 2)).toEqual(['keyspace carts: 2 shards (1 to 256), 2 keys', 'a shard is split beyond 5,000 keys']);
  expect(lines.at(-2)).toBe('4: shard 1 is being cut at 80000000; what is above becomes shard 2');
});
