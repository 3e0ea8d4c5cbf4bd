import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import hrw from '../../test/vectors/hrw_rust_weighted.json' with { type: 'json' };
import goRendezvous from '../../test/vectors/rendezvous_dgryski.json' with { type: 'json' };
import tysonmote from '../../test/vectors/rendezvous_tysonmote.json' with { type: 'json' };
import { utf8 } from '../base/bytes.ts';
import { fixedLog2 } from './fixed-log.ts';
import { crc32Of } from './hash/crc32.ts';
import type { PartitionNode } from './node.ts';
import { Rendezvous } from './rendezvous.ts';

const keys = Array.from({ length: 1_500 }, (_, i) => `key:${i}`);
const someNodes = fc
  .uniqueArray(fc.tuple(fc.integer({ min: 0, max: 500 }), fc.constantFrom(1, 1, 2, 0.5, 10)), {
    selector: ([n]) => n,
    minLength: 2,
    maxLength: 14,
  })
  .map((list): PartitionNode[] => list.map(([n, weight]) => ({ id: `node-${n}`, weight })));

describe('agreement with other libraries', () => {
  test('go-rendezvous', () => {
    for (const { nodes, owner } of goRendezvous.cases) {
      const placed = new Rendezvous(
        nodes.map((id) => ({ id })),
        { compat: 'go-rendezvous' },
      );
      expect(goRendezvous.keys.map((key) => placed.owner(key).id)).toEqual(owner);
    }
  });

  test('tysonmote/rendezvous, the first three', () => {
    for (const { nodes, top3 } of tysonmote.cases) {
      const placed = new Rendezvous(
        nodes.map((id) => ({ id })),
        { compat: 'tysonmote' },
      );
      expect(tysonmote.keys.map((key) => placed.replicas(key, 3).map((node) => node.id))).toEqual(top3);
    }
  });

  test('the Rust crate hrw-hash, all nodes in order, weighted', () => {
    for (const { capacities, order } of hrw.cases) {
      const nodes = capacities.map((weight, i) => ({ id: `node${i}`, weight }));
      const placed = new Rendezvous(nodes, { compat: 'hrw-hash' });
      expect(order.map((_, i) => placed.replicas(`key${i}`, nodes.length).map((node) => nodes.indexOf(node)))).toEqual(order);
    }
  });
});

describe('the logarithm of the scores', () => {
  test('is log2 to eight digits and never falls', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 1n, max: 2n ** 53n - 1n }), (big) => {
        const value = Number(big);
        expect(Math.abs(fixedLog2(value) - Math.log2(value))).toBeLessThan(1.2e-8);
        expect(fixedLog2(value + 1)).toBeGreaterThanOrEqual(fixedLog2(value));
      }),
      { numRuns: 5_000 },
    );
    for (let exponent = 0; exponent <= 53; exponent++) expect(fixedLog2(2 ** exponent)).toBe(exponent);
  });
});

describe('rendezvous hashing', () => {
  test('places keys the same on every engine: pinned', () => {
    const nodes = Array.from({ length: 20 }, (_, i): PartitionNode => ({ id: `node-${i}`, weight: 1 + (i % 7) / 3, zone: `z${i % 4}` }));
    const placed = new Rendezvous(nodes);
    const text = Array.from({ length: 5_000 }, (_, i) => placed.replicas(`key:${i}`, 3).map((node) => node.id)).join();
    expect(crc32Of(utf8(text)).toString(16)).toBe('b70b55f');
  });

  test('gives an answer that does not depend on the order of nodes or of changes', () => {
    fc.assert(
      fc.property(someNodes, (nodes) => {
        const whole = new Rendezvous(nodes);
        const grown = new Rendezvous<PartitionNode>();
        for (const node of [...nodes].reverse()) grown.add(node);
        for (const key of keys.slice(0, 200)) {
          expect(grown.owner(key)).toBe(whole.owner(key));
          expect(grown.replicas(key, 3)).toEqual(whole.replicas(key, 3));
          expect(whole.replicas(utf8(key), 3)).toEqual(whole.replicas(key, 3));
        }
      }),
      { numRuns: 20 },
    );
  });

  test('moves keys only to a node that joins, and only from one that leaves, as many as it says', () => {
    fc.assert(
      fc.property(someNodes, ([newcomer, ...nodes]) => {
        const placed = new Rendezvous(nodes);
        const before = keys.map((key) => placed.owner(key));
        const { movedShare } = placed.add(newcomer!);
        const after = keys.map((key) => placed.owner(key));
        const moved = after.filter((owner, i) => owner !== before[i]);
        expect(moved.every((owner) => owner === newcomer)).toBe(true);
        expect(Math.abs(moved.length / keys.length - movedShare)).toBeLessThan(0.08);
        expect(placed.remove(newcomer!.id).movedShare).toBe(movedShare);
        expect(keys.map((key) => placed.owner(key))).toEqual(before);
      }),
      { numRuns: 20 },
    );
  });

  test('moves keys only to a node that gains weight, and only from one that loses weight', () => {
    fc.assert(
      fc.property(someNodes, fc.constantFrom(0.1, 0.9, 1.1, 5), ([node, ...others], factor) => {
        const heavier: PartitionNode = { ...node!, weight: node!.weight! * factor };
        const placed = new Rendezvous([node!, ...others]);
        const before = keys.map((key) => placed.owner(key).id);
        placed.update(heavier);
        const after = keys.map((key) => placed.owner(key).id);
        after.forEach((id, i) => {
          if (id !== before[i]) expect(factor > 1 ? id : before[i]).toBe(node!.id);
        });
      }),
      { numRuns: 20 },
    );
  });

  test('gives nodes keys in proportion to their weights', () => {
    const nodes = [1, 2, 3, 4, 10].map((weight, i) => ({ id: `n${i}`, weight }));
    const placed = new Rendezvous(nodes);
    const counts = new Map<string, number>();
    const total = 40_000;
    for (let i = 0; i < total; i++) counts.set(placed.owner(`user:${i}`).id, (counts.get(placed.owner(`user:${i}`).id) ?? 0) + 1);
    for (const { id, weight } of nodes) {
      const expected = (total * weight) / 20;
      expect(Math.abs(counts.get(id)! - expected)).toBeLessThan(5 * Math.sqrt(expected));
    }
  });

  test('agrees with itself: equal weights, written or not, by the quick way or the long one', () => {
    const ids = Array.from({ length: 30 }, (_, i) => `n${i}`);
    const quick = new Rendezvous(ids.map((id) => ({ id })));
    const halves = new Rendezvous(ids.map((id) => ({ id, weight: 0.5 })));
    for (const key of keys) {
      expect(halves.owner(key).id).toBe(quick.owner(key).id);
      expect(quick.replicas(key, 12)[0]).toBe(quick.owner(key));
      expect(quick.replicas(key, 12).slice(0, 4)).toEqual(quick.replicas(key, 4));
    }
  });

  test('finds the best few of weighted nodes as the whole order has them', () => {
    const weights = [1, 1, 2, 0.001, 50, 3, 3, 1e6, 7, 0.5];
    const placed = new Rendezvous(Array.from({ length: 40 }, (_, i): PartitionNode => ({ id: `n${i}`, weight: weights[i % 10]! })));
    for (const key of keys) {
      const all = placed.replicas(key, 40);
      expect(placed.owner(key)).toBe(all[0]);
      for (const count of [1, 3, 8]) expect(placed.replicas(key, count)).toEqual(all.slice(0, count));
    }
  });

  test('spreads replicas over zones, then over racks', () => {
    const nodes = Array.from({ length: 24 }, (_, i): PartitionNode => ({ id: `n${i}`, zone: `z${i % 3}`, rack: `r${(i >> 2) % 2}` }));
    const placed = new Rendezvous(nodes);
    const plain = new Rendezvous(nodes, { spread: false });
    let samePlain = 0;
    for (const key of keys) {
      const replicas = placed.replicas(key, 6);
      expect(replicas[0]).toBe(plain.owner(key));
      expect(new Set(replicas.slice(0, 3).map((node) => node.zone)).size).toBe(3);
      expect(new Set(replicas.map((node) => `${node.zone}${node.rack}`)).size).toBe(6);
      if (new Set(plain.replicas(key, 3).map((node) => node.zone)).size === 3) samePlain++;
    }
    expect(samePlain).toBeLessThan(keys.length / 2);
  });

  test('finds the best of each zone as the whole order has them', () => {
    for (const weightOf of [() => 1, (i: number) => 1 + (i % 7) / 2]) {
      for (const zoneCount of [2, 3, 5, 40]) {
        const nodes = Array.from({ length: 40 }, (_, i) => ({
          id: `node-${i}`,
          weight: weightOf(i),
          zone: `zone-${i % zoneCount}`,
          rack: `rack-${i % 11}`,
        }));
        const ring = new Rendezvous(nodes);
        for (const key of keys.slice(0, 200)) {
          // More than there are zones: every node is scored.
          const whole = ring.replicas(key, nodes.length).map(({ id }) => id);
          for (const count of [2, Math.min(zoneCount, 9)])
            expect(ring.replicas(key, count).map(({ id }) => id)).toEqual(whole.slice(0, count));
        }
      }
    }
  });

  test('gives every node once when more replicas are asked for than there are', () => {
    const nodes = Array.from({ length: 5 }, (_, i) => ({ id: `n${i}` }));
    expect(new Set(new Rendezvous(nodes).replicas('x', 99))).toEqual(new Set(nodes));
  });

  test('is as it was after a refused change', () => {
    const placed = new Rendezvous<PartitionNode>([{ id: 'a' }]);
    expect(() => placed.add({ id: 'a' })).toThrow(expect.objectContaining({ code: 'KF_DUPLICATE_NODE' }));
    for (const weight of [0, -1, Number.NaN, Number.POSITIVE_INFINITY])
      expect(() => placed.add({ id: 'b', weight })).toThrow(expect.objectContaining({ code: 'KF_BAD_WEIGHT' }));
    expect(() => placed.add({ id: 'b', weight: Number.MAX_VALUE }).movedShare).not.toThrow();
    expect(() => placed.add({ id: 'c', weight: Number.MAX_VALUE })).toThrow(expect.objectContaining({ code: 'KF_BAD_WEIGHT' }));
    placed.remove('b');
    expect(() => placed.update({ id: 'b' })).toThrow(expect.objectContaining({ code: 'KF_UNKNOWN_NODE' }));
    expect(() => placed.remove('b')).toThrow(expect.objectContaining({ code: 'KF_UNKNOWN_NODE' }));
    expect(() => placed.remove('a')).toThrow(expect.objectContaining({ code: 'KF_NO_NODES' }));
    expect(() => placed.replicas('x', 0.5)).toThrow(expect.objectContaining({ code: 'KF_BAD_REPLICA_COUNT' }));
    expect(() => new Rendezvous().owner('x')).toThrow(expect.objectContaining({ code: 'KF_NO_NODES' }));
    expect(placed.nodes).toEqual([{ id: 'a' }]);
  });
});
