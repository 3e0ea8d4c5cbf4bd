import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BoundedLoad } from './bounded-load.ts';
import { HashRing } from './hash-ring.ts';
import type { PartitionNode } from './node.ts';
import type { Partitioner } from './partitioner.ts';
import { Rendezvous } from './rendezvous.ts';

const nodes = [1, 1, 2, 0.5, 3].map((weight, i): PartitionNode => ({ id: `n${i}`, weight }));
const WRAPPED: readonly { readonly name: string; readonly make: () => Partitioner<PartitionNode> }[] = [
  { name: 'rendezvous', make: () => new Rendezvous(nodes) },
  { name: 'a ring', make: () => new HashRing(nodes) },
];

describe.each(WRAPPED)('bounded loads over $name', ({ make }) => {
  test('never put a node above its bound, and keep a key with its owner while that has room', () => {
    const step = fc.oneof({ weight: 3, arbitrary: fc.string() }, { weight: 1, arbitrary: fc.constant(undefined) });
    fc.assert(
      fc.property(fc.constantFrom(1, 1.1, 1.25, 2), fc.array(step, { maxLength: 300 }), (factor, steps) => {
        const inner = make();
        const bounded = new BoundedLoad(inner, { factor });
        const held: PartitionNode[] = [];
        for (const key of steps) {
          if (key === undefined) {
            const last = held.pop();
            if (last) bounded.release(last.id);
            continue;
          }
          const bounds = new Map(nodes.map((node) => [node.id, bounded.capacityOf(node)]));
          const owner = inner.owner(key);
          const fits = bounded.loadOf(owner.id) < bounds.get(owner.id)!;
          const foretold = bounded.owner(key);
          const node = bounded.acquire(key);
          expect(node).toBe(foretold);
          if (fits) expect(node).toBe(owner);
          expect(bounded.loadOf(node.id)).toBeLessThanOrEqual(bounds.get(node.id)!);
          held.push(node);
        }
        expect(bounded.totalLoad).toBe(held.length);
      }),
      { numRuns: 30 },
    );
  });

  test('spread one hot key over nodes in the order of the key', () => {
    const bounded = new BoundedLoad(make());
    const order = make()
      .replicas('hot', nodes.length)
      .map((node) => node.id);
    const used = Array.from({ length: 100 }, () => bounded.acquire('hot').id);
    expect(used[0]).toBe(order[0]);
    const reached = [...new Set(used)];
    expect(reached).toEqual(order.slice(0, reached.length));
    expect(reached.length).toBeGreaterThan(1);
    for (const node of nodes) expect(bounded.loadOf(node.id)).toBeLessThanOrEqual(Math.ceil((1.25 * 100 * node.weight!) / 7.5));
  });
});

describe('bounded loads', () => {
  test('follow the nodes of what they wrap, and keep what a node carried until it is back', () => {
    const inner = new Rendezvous(nodes);
    const bounded = new BoundedLoad(inner);
    for (let i = 0; i < 50; i++) bounded.acquire(`k${i}`);
    const carried = bounded.loadOf('n2');
    inner.remove('n2');
    expect(bounded.totalLoad).toBe(50 - carried);
    bounded.release('n2');
    inner.add(nodes[2]!);
    expect(bounded.totalLoad).toBe(49);
  });

  test('take measured loads, and offer replicas with room only', () => {
    const inner = new Rendezvous(nodes);
    const bounded = new BoundedLoad(inner);
    bounded.setLoad('n0', 1_000);
    expect(bounded.totalLoad).toBe(1_000);
    for (let i = 0; i < 50; i++) {
      expect(bounded.owner(`k${i}`).id).not.toBe('n0');
      expect(bounded.replicas(`k${i}`, 5)).toEqual(inner.replicas(`k${i}`, 5).filter((node) => node.id !== 'n0'));
    }
  });

  test('are refused what makes no sense', () => {
    for (const factor of [0.99, Number.NaN, Number.POSITIVE_INFINITY])
      expect(() => new BoundedLoad(new Rendezvous(nodes), { factor })).toThrow(expect.objectContaining({ code: 'KF_BAD_OPTION' }));
    const bounded = new BoundedLoad(new Rendezvous(nodes));
    expect(() => bounded.release('n0')).toThrow(expect.objectContaining({ code: 'KF_UNKNOWN_NODE' }));
    expect(() => bounded.setLoad('x', 1)).toThrow(expect.objectContaining({ code: 'KF_UNKNOWN_NODE' }));
    expect(() => bounded.setLoad('n0', -1)).toThrow(expect.objectContaining({ code: 'KF_BAD_OPTION' }));
    expect(() => new BoundedLoad(new Rendezvous()).owner('x')).toThrow(expect.objectContaining({ code: 'KF_NO_NODES' }));
  });
});
