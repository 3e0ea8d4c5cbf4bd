import { expect, test } from 'vitest';
import { utf8 } from '../../src/base/bytes.ts';
import { StoreNode } from '../../src/node/store-node.ts';
import { REST_MS } from '../../src/shard/meta/shard-map.ts';
import { plain, plainBytes } from '../../src/shard/plain-bytes.ts';
import { MemoryStorage } from '../../src/storage/memory.ts';

test('a shard with more work than its policy allows is cut where the work is halved, and merged again when that is over', async () => {
  let nowMs = 1_000;
  const node = await StoreNode.open({ storage: new MemoryStorage(), now: () => nowMs, workflowEveryMs: 0 });
  const policy = { minShards: 1, maxLoadPerShard: 100, loadPerQueryToMissingKey: 0 };
  const users = await node.registerKeyspace('users', { module: plainBytes, shards: 1, policy });
  const sink = { settled: () => {}, failed: (_: number, error: Error) => expect.fail(error.message) };
  // Most keys lie below 80000000, and all the work is above: mango, melon, olive and grape.
  for (const key of ['apple', 'fig', 'kiwi', 'peach', 'plum', 'sloe', 'mango', 'melon', 'olive', 'grape'])
    users.submit(utf8(key), plain.set(utf8('v')), sink, 0);
  const second = async (key: (i: number) => string, count: number): Promise<number> => {
    await node.lookAtShards();
    for (let i = 0; i < count; i++) users.ask(utf8(key(i)), plain.get(), sink, 0);
    nowMs += 1_000 + REST_MS;
    await node.lookAtShards();
    return users.shards.length;
  };
  expect(await second((i) => `missing ${i}`, 10_000)).toBe(1);
  const busy = ['mango', 'melon', 'olive', 'grape'];
  expect(await second((i) => busy[i % 4]!, 1_000)).toBe(2);
  const cut = users.shards[1]!.machine.state.range.from;
  expect(cut).toBeGreaterThan(0x8000_0000);
  expect(cut).toBeLessThan(0xc000_0000);
  // A rate halves with each second without work.
  for (let i = 0; i < 12; i++) await second(() => 'apple', 1);
  expect(users.shards.length).toBe(1);
  expect(users.keyCount).toBe(10);
  await node.close();
});
