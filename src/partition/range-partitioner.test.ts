import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compareBytes, utf8 } from '../base/bytes.ts';
import type { PartitionNode } from './node.ts';
import { RangePartitioner } from './range-partitioner.ts';

const [a, b, c] = ['a', 'b', 'c'].map((id): PartitionNode => ({ id })) as [PartitionNode, PartitionNode, PartitionNode];

describe('ranges of ordered keys', () => {
  test('own every key once, whatever is split, merged and moved; a change touches the keys it says', () => {
    const text = fc.string({ unit: 'binary', maxLength: 3 });
    const change = fc.record({ kind: fc.constantFrom('split', 'merge', 'assign'), at: text, node: fc.constantFrom(a, b, c) });
    fc.assert(
      fc.property(fc.array(change, { maxLength: 30 }), fc.uniqueArray(text, { minLength: 30, maxLength: 30 }), (changes, keys) => {
        const placed = new RangePartitioner(a);
        for (const { kind, at, node } of changes) {
          const before = keys.map((key) => placed.owner(key));
          const starts = placed.ranges.map((range) => range.from as Uint8Array | undefined);
          const isSplit = starts.some((from) => from && compareBytes(from, utf8(at)) === 0);
          if (kind === 'split' && isSplit) continue;
          if (kind === 'merge' && !isSplit) continue;
          const { moved, source } =
            kind === 'split' ? placed.split(at, node) : kind === 'merge' ? placed.merge(at) : placed.assign(at, node);
          keys.forEach((key, i) => {
            const inside =
              moved !== undefined &&
              (moved.from === undefined || compareBytes(moved.from as Uint8Array, utf8(key)) <= 0) &&
              (moved.to === undefined || compareBytes(utf8(key), moved.to as Uint8Array) < 0);
            if (inside) expect(before[i]).toBe(source);
            expect(placed.owner(key)).toBe(inside ? moved.node : before[i]);
          });
        }
        for (const key of keys) {
          const holders = placed.ranges.filter(
            ({ from, to }) =>
              (from === undefined || compareBytes(from as Uint8Array, utf8(key)) <= 0) &&
              (to === undefined || compareBytes(utf8(key), to as Uint8Array) < 0),
          );
          expect(holders).toHaveLength(1);
          expect(placed.rangeOf(utf8(key))).toEqual(holders[0]);
          expect(placed.owner(key)).toBe(holders[0]!.node);
        }
      }),
      { numRuns: 40 },
    );
  });

  test('order text as its bytes, where UTF-16 would not', () => {
    const placed = RangePartitioner.of([{ node: a }, { from: '\u{1f600}', node: b }]);
    expect(placed.owner('\uff5e').id).toBe('a');
    expect(placed.owner(utf8('\u{1f601}')).id).toBe('b');
    expect(placed.owner('\ud800').id).toBe('a');
  });

  test('may be numbers', () => {
    const placed = RangePartitioner.of([{ node: a }, { from: -5, node: b }, { from: 10.5, node: c }], { keys: 'numbers' });
    expect([-6, -5, 10, 10.5, Number.POSITIVE_INFINITY].map((key) => placed.owner(key).id)).toEqual(['a', 'b', 'b', 'c', 'c']);
    expect(placed.split(0)).toEqual({ moved: undefined, source: b });
    expect(placed.overlapping(-1, 1).map(({ from }) => from)).toEqual([-5, 0]);
    expect(placed.overlapping(undefined, -5).map(({ from }) => from)).toEqual([undefined]);
    expect(placed.replicas(11, 5).map((node) => node.id)).toEqual(['c', 'a', 'b']);
    expect(placed.nodes).toEqual([a, b, c]);
    placed.split(Number.POSITIVE_INFINITY, a);
    expect(placed.owner(Number.POSITIVE_INFINITY).id).toBe('a');
    expect(placed.owner(Number.MAX_VALUE).id).toBe('c');
    for (const wrong of ['x', Number.NaN, new Uint8Array(1)])
      expect(() => placed.owner(wrong)).toThrow(expect.objectContaining({ code: 'KF_BAD_KEY' }));
  });

  test('keep their split points when the caller changes the bytes', () => {
    const at = utf8('m');
    const placed = new RangePartitioner(a);
    placed.split(at, b);
    at[0] = 0;
    expect(placed.owner('b').id).toBe('a');
  });

  test('are refused what makes no sense, and are as they were', () => {
    const placed = RangePartitioner.of([{ node: a }, { from: 'm', node: b }]);
    const before = placed.ranges;
    expect(() => placed.split('m', c)).toThrow(expect.objectContaining({ code: 'KF_BAD_SPLIT' }));
    expect(() => placed.merge('n')).toThrow(expect.objectContaining({ code: 'KF_BAD_SPLIT' }));
    expect(() => placed.overlapping('z', 'a')).toThrow(expect.objectContaining({ code: 'KF_BAD_SPLIT' }));
    expect(() => placed.owner(7)).toThrow(expect.objectContaining({ code: 'KF_BAD_KEY' }));
    expect(() => placed.replicas('x', 0)).toThrow(expect.objectContaining({ code: 'KF_BAD_REPLICA_COUNT' }));
    expect(placed.ranges).toEqual(before);
    expect(() => RangePartitioner.of([])).toThrow(expect.objectContaining({ code: 'KF_NO_NODES' }));
    for (const ranges of [
      [{ from: 'a', node: a }],
      [{ node: a }, { node: b }],
      [{ node: a }, { from: 'b', node: b }, { from: 'b', node: c }],
    ])
      expect(() => RangePartitioner.of(ranges)).toThrow(expect.objectContaining({ code: 'KF_BAD_SPLIT' }));
  });
});
