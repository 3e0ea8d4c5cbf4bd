import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { newPolicy } from '../policy.ts';
import { decide, excessOf, type ShardSize } from './decide.ts';
import { changedMap, KEPT_MS, type MapContext, REST_MS, type ShardMap, shardIdsOf } from './shard-map.ts';

const SLOT = 2 ** 16;
const END = 0x1_0000_0000;
const one: ShardMap = { shards: [{ id: 1, range: { from: 0, to: END } }], workflows: [] };
const size = (id: number, keyCount: number, more: Partial<ShardSize> = {}): ShardSize => ({
  id,
  keyCount,
  sizeBytes: keyCount * 10,
  loadPerSecond: 0,
  cutAt: END / 2,
  ...more,
});

function numbers(nowMs = 0): MapContext & { ops: number[]; ids: number[] } {
  const ops: number[] = [];
  const ids: number[] = [];
  return {
    nowMs,
    slotShift: 16,
    ops,
    ids,
    newOp: () => ops[ops.push(ops.length + 1) - 1]!,
    newShardId: () => ids[ids.push(ids.length + 2) - 1]!,
  };
}

describe('deciding what to split and merge', () => {
  test('splits a shard beyond any limit of its policy, and leaves one within all of them alone', () => {
    const policy = newPolicy({ maxKeysPerShard: 100, maxBytesPerShard: 5_000, maxLoadPerShard: 50, minShards: 1 }, 1);
    const asked = (given: Partial<ShardSize>) => decide({ map: one, policy, sizes: [size(1, 100, given)], nowMs: 0 });
    expect(asked({})).toEqual([]);
    for (const given of [{ keyCount: 101 }, { sizeBytes: 5_001 }, { loadPerSecond: 51 }]) {
      expect(asked(given)).toEqual([{ kind: 'split', shard: 1, at: END / 2 }]);
    }
    expect(asked({ keyCount: 1_000, cutAt: undefined })).toEqual([]);
  });

  test('without limits does nothing but keep the number of shards within its bounds', () => {
    const grown = newPolicy({ minShards: 2 }, 1);
    expect(decide({ map: one, policy: grown, sizes: [size(1, 0)], nowMs: 0 })).toEqual([{ kind: 'split', shard: 1, at: END / 2 }]);
    const free = newPolicy({ minShards: 1 }, 1);
    const two = changedMap(changedMap(one, { kind: 'split', shard: 1, at: END / 2 }, numbers()), { kind: 'split-done', op: 1 }, numbers());
    expect(decide({ map: two, policy: free, sizes: [size(1, 0), size(2, 0)], nowMs: REST_MS })).toEqual([]);
  });

  test('leaves alone what was split just now, and what takes part in a workflow', () => {
    const policy = newPolicy({ maxKeysPerShard: 10, minShards: 1 }, 1);
    const splitting = changedMap(one, { kind: 'split', shard: 1, at: END / 2 }, numbers(5));
    expect(decide({ map: splitting, policy, sizes: [size(1, 100)], nowMs: 5 })).toEqual([]);
    const done = changedMap(splitting, { kind: 'split-done', op: 1 }, numbers(5));
    const sizes = [size(1, 50, { cutAt: END / 4 }), size(2, 0)];
    expect(decide({ map: done, policy, sizes, nowMs: 4 + REST_MS })).toEqual([]);
    expect(decide({ map: done, policy, sizes, nowMs: 5 + REST_MS })).toEqual([{ kind: 'split', shard: 1, at: END / 4 }]);
  });

  test('merges what was cut by hand only after an hour', () => {
    const policy = newPolicy({ maxKeysPerShard: 10, minShards: 1 }, 1);
    const cut = changedMap(one, { kind: 'split', shard: 1, at: END / 2, isByHand: true }, numbers());
    const map = changedMap(cut, { kind: 'split-done', op: 1 }, numbers());
    const sizes = [size(1, 0), size(2, 0)];
    expect(decide({ map, policy, sizes, nowMs: KEPT_MS - 1 })).toEqual([]);
    expect(decide({ map, policy, sizes, nowMs: KEPT_MS })).toEqual([{ kind: 'merge', shard: 1 }]);
    const tooLarge = [size(1, 11, { cutAt: END / 4 }), size(2, 0)];
    expect(decide({ map, policy, sizes: tooLarge, nowMs: REST_MS })).toEqual([{ kind: 'split', shard: 1, at: END / 4 }]);
  });

  test('comes to rest: within all limits, no two neighbours small enough to merge, and never out of bounds on the way', () => {
    const keysAt = fc.array(fc.tuple(fc.nat(65_535), fc.nat(40)), { maxLength: 60 });
    const policies = fc.record({
      maxKeysPerShard: fc.integer({ min: 5, max: 60 }),
      minShards: fc.integer({ min: 1, max: 5 }),
      maxShards: fc.integer({ min: 5, max: 24 }),
    });
    fc.assert(
      fc.property(policies, keysAt, keysAt, (given, first, second) => {
        const policy = newPolicy(given, 1);
        let map = one;
        let nowMs = 0;
        const context = numbers();
        const ids = new Set([1]);
        for (const held of [first, second]) {
          const keysIn = (from: number, to: number): number =>
            held.reduce((sum, [slot, keys]) => (slot * SLOT >= from && slot * SLOT < to ? sum + keys : sum), 0);
          const sizeOf = ({ id, range: { from, to } }: ShardMap['shards'][number]): ShardSize => {
            let cutAt = from + SLOT;
            while (cutAt + SLOT < to && 2 * keysIn(from, cutAt) < keysIn(from, to))
              cutAt += SLOT * Math.max(1, Math.floor((to - cutAt) / SLOT / 64));
            return size(id, keysIn(from, to), { cutAt: to - from > SLOT ? cutAt : undefined });
          };
          for (let round = 0; ; round++) {
            expect(round).toBeLessThan(100);
            nowMs += REST_MS;
            const changes = decide({ map, policy, sizes: map.shards.map(sizeOf), nowMs });
            for (const change of changes) map = changedMap(map, change, { ...context, nowMs });
            for (const workflow of map.workflows) {
              const { op } = workflow;
              map = changedMap(map, { kind: workflow.kind === 'split' ? 'split-done' : 'merge-done', op }, { ...context, nowMs });
              map = changedMap(map, { kind: 'retired', op }, { ...context, nowMs });
            }
            // The ranges cover it all, and no number was ever given twice.
            expect(map.shards.map(({ range }) => range.from)).toEqual([0, ...map.shards.slice(0, -1).map(({ range }) => range.to)]);
            expect(map.shards.at(-1)!.range.to).toBe(END);
            expect(map.shards.length).toBeLessThanOrEqual(policy.maxShards);
            for (const id of shardIdsOf(map)) ids.add(id);
            if (changes.length === 0) break;
          }
          expect(map.shards.length).toBeGreaterThanOrEqual(policy.minShards);
          const sizes = map.shards.map(sizeOf);
          if (map.shards.length < policy.maxShards)
            for (const one of sizes) expect(one.cutAt === undefined || excessOf(one, policy) <= 1).toBe(true);
        }
        expect(ids.size).toBe(context.ids.length + 1);
        expect(new Set(context.ops).size).toBe(context.ops.length);
      }),
      { numRuns: 60, seed: 3 },
    );
  });
});

describe('a map', () => {
  test('refuses what cannot be: an unknown shard, a busy one, the last one with its right neighbour, a cut outside or inside a slot', () => {
    const context = numbers();
    const refused = (code: string, map: ShardMap, change: Parameters<typeof changedMap>[1]) =>
      expect(() => changedMap(map, change, context)).toThrow(expect.objectContaining({ code }));
    refused('KF_NO_SHARD', one, { kind: 'split', shard: 9, at: END / 2 });
    refused('KF_NO_SHARD', one, { kind: 'merge', shard: 1 });
    for (const at of [0, END, SLOT + 1, -SLOT, Number.NaN]) refused('KF_BAD_SPLIT_POINT', one, { kind: 'split', shard: 1, at });
    const busy = changedMap(one, { kind: 'split', shard: 1, at: END / 2 }, context);
    refused('KF_SHARD_BUSY', busy, { kind: 'split', shard: 1, at: END / 4 });
  });

  test('is the same after the end of a workflow was told twice', () => {
    const context = numbers();
    const splitting = changedMap(one, { kind: 'split', shard: 1, at: END / 2 }, context);
    const done = changedMap(splitting, { kind: 'split-done', op: 1 }, context);
    expect(changedMap(done, { kind: 'split-done', op: 1 }, context)).toBe(done);
    expect(changedMap(done, { kind: 'merge-done', op: 1 }, context)).toBe(done);
  });
});
