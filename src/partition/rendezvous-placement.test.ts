import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Keyspace } from './keyspace.ts';
import type { PartitionNode } from './node.ts';
import { anyNodes, distinctZones } from './placement/replica-rule.ts';
import { tableChecksum } from './placement/slot-table.ts';
import { rendezvousPlacement } from './rendezvous-placement.ts';

const options = { placement: rendezvousPlacement, slotCount: 512 };
const ids = (keyspace: Keyspace<PartitionNode>): string[][] =>
  Array.from({ length: keyspace.slotCount }, (_, slot) => keyspace.replicasOfSlot(slot).map(({ id }) => id));

describe('rendezvousPlacement', () => {
  const someNodes = fc
    .uniqueArray(fc.tuple(fc.integer({ min: 0, max: 99 }), fc.constantFrom(1, 1, 2, 0.5)), {
      selector: ([n]) => n,
      minLength: 4,
      maxLength: 9,
    })
    .map((list): PartitionNode[] => list.map(([n, weight]) => ({ id: `node-${n}`, weight })));

  test('a changed table is the one made anew from the nodes, whatever their order and weights', () => {
    fc.assert(
      fc.property(someNodes, fc.constantFrom(1, 3), fc.constantFrom(0.25, 1, 3), ([first, second, ...nodes], replicaCount, weight) => {
        const settings = { ...options, replicaCount, ...(nodes.length < replicaCount ? { replicaCount: nodes.length } : {}) };
        const keyspace = new Keyspace<PartitionNode>([first!, ...nodes], settings);
        keyspace.apply({ add: [second!], remove: [first!.id], change: [{ id: nodes[0]!.id, weight }] });
        const expected = [{ ...nodes[0]!, weight }, ...nodes.slice(1), second!].reverse();
        expect(ids(keyspace)).toEqual(ids(new Keyspace<PartitionNode>(expected, settings)));
      }),
      { numRuns: 40 },
    );
  });

  test('so is one with zones and racks, also when they change', () => {
    const somewhere = fc.record({
      weight: fc.constantFrom(1, 1, 2, 0.5),
      zone: fc.constantFrom(undefined, 'a', 'b', 'c'),
      rack: fc.constantFrom(undefined, '1', '2'),
    });
    const node = (
      id: number,
      { weight, zone, rack }: { weight: number; zone: string | undefined; rack: string | undefined },
    ): PartitionNode => ({
      id: `node-${id}`,
      weight,
      ...(zone === undefined ? {} : { zone }),
      ...(rack === undefined ? {} : { rack }),
    });
    fc.assert(
      fc.property(
        fc.array(somewhere, { minLength: 6, maxLength: 12 }),
        somewhere,
        fc.integer({ min: 1, max: 4 }),
        (places, now, replicaCount) => {
          const [gone, first, comer, ...nodes] = places.map((place, id) => node(id, place));
          const settings = { ...options, replicaCount };
          const keyspace = new Keyspace<PartitionNode>([gone!, first!, ...nodes], settings);
          keyspace.apply({ remove: [gone!.id, first!.id], add: [node(1, now), comer!] });
          expect(ids(keyspace)).toEqual(ids(new Keyspace<PartitionNode>([node(1, now), comer!, ...nodes], settings)));
        },
      ),
      { numRuns: 60 },
    );
  });

  test('a node that joins takes slots only to itself, and shares follow the weights', () => {
    const nodes = Array.from({ length: 10 }, (_, i): PartitionNode => ({ id: `n${i}`, weight: i < 5 ? 1 : 2 }));
    const keyspace = new Keyspace<PartitionNode>(nodes, { placement: rendezvousPlacement, replicaCount: 1 });
    for (const { held, share } of keyspace.balance().nodes) expect(Math.abs(held / share - 1)).toBeLessThan(0.08);
    const plan = keyspace.add({ id: 'more', weight: 3 });
    expect([...plan.nodes.values()].filter(({ pulls }) => pulls.length > 0).map(({ node }) => node)).toEqual(['more']);
  });

  test('is the same table on every engine and in every version: pinned', () => {
    const nodes = Array.from({ length: 20 }, (_, i): PartitionNode => ({ id: `node-${i}`, weight: 1 + (i % 3) }));
    const zoned = nodes.map((node, i): PartitionNode => ({ ...node, zone: `z${i % 4}` }));
    expect([nodes, zoned].map((list) => tableChecksum(new Keyspace(list, options).table))).toEqual([1_676_456_465, 1_907_521_242]);
  });

  test('spreads over zones unless the rule is anyNodes; refuses other rules', () => {
    const nodes = Array.from({ length: 9 }, (_, i): PartitionNode => ({ id: `n${i}`, zone: `z${i % 3}` }));
    const zones = (keyspace: Keyspace<PartitionNode>): number =>
      Math.min(...Array.from({ length: 512 }, (_, slot) => new Set(keyspace.replicasOfSlot(slot).map(({ zone }) => zone)).size));
    const spread = new Keyspace<PartitionNode>(nodes, options);
    expect(zones(spread)).toBe(3);
    spread.remove('n0');
    expect(ids(spread)).toEqual(ids(new Keyspace<PartitionNode>(nodes.slice(1), options)));
    expect(zones(new Keyspace<PartitionNode>(nodes, { ...options, rule: anyNodes() }))).toBeLessThan(3);
    expect(() => new Keyspace<PartitionNode>(nodes, { ...options, rule: distinctZones() })).toThrow(
      expect.objectContaining({ code: 'KF_BAD_REPLICA_RULE' }),
    );
    expect(() => new Keyspace<PartitionNode>(nodes.slice(7), options)).toThrow(expect.objectContaining({ code: 'KF_TOO_FEW_NODES' }));
  });
});
