import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import vectors from '../../test/vectors/redis_keyslot.json' with { type: 'json' };
import { fromHex } from '../base/bytes.ts';
import type { PartitionNode } from './node.ts';
import { REDIS_SLOT_COUNT } from './redis-slot.ts';
import { RedisSlots } from './redis-slots.ts';

const someNodes = fc
  .uniqueArray(fc.tuple(fc.integer({ min: 0, max: 99 }), fc.constantFrom(1, 1, 2, 0.5)), {
    selector: ([n]) => n,
    minLength: 1,
    maxLength: 9,
  })
  .map((list): PartitionNode[] => list.map(([n, weight]) => ({ id: `n${n}`, weight })));

const countsOf = (slots: RedisSlots): Map<string, number> => new Map(slots.nodes.map((node) => [node.id, slots.slotCount(node.id)]));

describe('the slots of a Redis cluster', () => {
  test('of keys are those of a real server, and belong to the node whose range they are in', () => {
    const slots = new RedisSlots([{ id: 'a' }, { id: 'b' }, { id: 'c' }]);
    for (const row of vectors.rows) {
      const key = fromHex(row.key_hex)!;
      expect(slots.slot(key)).toBe(row.slot);
      const range = slots.ranges.find(({ from, to }) => from <= row.slot && row.slot < to)!;
      expect(slots.owner(key)).toBe(range.node);
      expect(slots.ownerOfSlot(row.slot)).toBe(range.node);
    }
  });

  test('start as one even range a node', () => {
    const slots = new RedisSlots([{ id: 'a' }, { id: 'b' }, { id: 'c' }]);
    expect(slots.ranges.map(({ from, to, node }) => [from, to, node.id])).toEqual([
      [0, 5462, 'a'],
      [5462, 10923, 'b'],
      [10923, 16384, 'c'],
    ]);
  });

  test('move no more than they must, to within one slot of the shares of the weights', () => {
    fc.assert(
      fc.property(fc.array(someNodes, { minLength: 2, maxLength: 5 }), ([first, ...rest]) => {
        const slots = new RedisSlots(first!);
        for (const nodes of rest) {
          const before = countsOf(slots);
          const owners = Array.from({ length: REDIS_SLOT_COUNT }, (_, slot) => slots.ownerOfSlot(slot).id);
          const { moves, movedShare } = slots.change(nodes);
          const total = nodes.reduce((sum, node) => sum + node.weight!, 0);
          const after = countsOf(slots);
          for (const node of nodes) expect(Math.abs(after.get(node.id)! - (REDIS_SLOT_COUNT * node.weight!) / total)).toBeLessThan(1);
          const least = [...after].reduce((sum, [id, count]) => sum + Math.max(0, count - (before.get(id) ?? 0)), 0);
          expect(moves.reduce((sum, { from, to }) => sum + to - from, 0)).toBe(least);
          expect(movedShare).toBe(least / REDIS_SLOT_COUNT);
          let wrongSources = 0;
          for (const { from, to, source, target } of moves)
            for (let slot = from; slot < to; slot++) {
              if (owners[slot] !== source.id) wrongSources++;
              owners[slot] = target.id;
            }
          expect(wrongSources).toBe(0);
          expect(owners).toEqual(Array.from({ length: REDIS_SLOT_COUNT }, (_, slot) => slots.ownerOfSlot(slot).id));
        }
      }),
      { numRuns: 15 },
    );
  });

  test('can be moved by hand, and read from a cluster', () => {
    const slots = new RedisSlots<PartitionNode>([{ id: 'a' }, { id: 'b' }]);
    expect(slots.move({ from: 0, to: 100 }, 'b').moves).toEqual([{ from: 0, to: 100, source: { id: 'a' }, target: { id: 'b' } }]);
    const assigned = slots.ranges.map(({ from, to, node }) => ({ from, to, id: node.id }));
    const read = new RedisSlots(slots.nodes, assigned);
    expect(read.ranges).toEqual(slots.ranges);
    expect(read.remove('b').movedShare).toBe(slots.slotCount('b') / REDIS_SLOT_COUNT);
    expect(read.replicas('x', 3)).toEqual([{ id: 'a' }]);
  });

  test('are refused what makes no sense, and are as they were', () => {
    const slots = new RedisSlots<PartitionNode>([{ id: 'a' }, { id: 'b' }]);
    const before = slots.ranges;
    expect(() => slots.add({ id: 'a' })).toThrow(expect.objectContaining({ code: 'KF_DUPLICATE_NODE' }));
    expect(() => slots.remove('c')).toThrow(expect.objectContaining({ code: 'KF_UNKNOWN_NODE' }));
    expect(() => slots.change([])).toThrow(expect.objectContaining({ code: 'KF_NO_NODES' }));
    for (const range of [
      { from: 0, to: 0 },
      { from: -1, to: 4 },
      { from: 5, to: 16_385 },
      { from: 0.5, to: 2 },
    ])
      expect(() => slots.move(range, 'a')).toThrow(expect.objectContaining({ code: 'KF_SLOTS_INVALID' }));
    expect(slots.ranges).toEqual(before);
    const twice = [
      { from: 0, to: 16_384, id: 'a' },
      { from: 7, to: 8, id: 'b' },
    ];
    expect(() => new RedisSlots(slots.nodes, twice)).toThrow(expect.objectContaining({ code: 'KF_SLOTS_INVALID' }));
    expect(() => new RedisSlots(slots.nodes, [{ from: 0, to: 16_000, id: 'a' }])).toThrow(
      expect.objectContaining({ code: 'KF_SLOTS_INVALID' }),
    );
  });
});
