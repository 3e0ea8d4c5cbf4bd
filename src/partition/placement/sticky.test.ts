import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Prng } from '../../base/prng.ts';
import { fair } from './fair.ts';
import {
  aRule,
  fewestMoves,
  fewestMovesByFlow,
  fewestPrimaryChanges,
  obeys,
  possible,
  rowsOf,
  someNodes,
} from './placement-oracle.conformance.ts';
import { diffTables } from './plan-diff.ts';
import { anyNodes, spreadOut } from './replica-rule.ts';
import { heldCounts, primaryCounts, type SlotTable } from './slot-table.ts';
import { sticky } from './sticky.ts';
import { shares } from './targets.ts';
import { Topology } from './topology.ts';

/** Different nodes in each slot, by chance. */
function tableOfChance(nodeIds: readonly string[], slotCount: number, replicaCount: number, seed: number): SlotTable {
  const random = new Prng(seed);
  const cells = new Uint16Array(slotCount * replicaCount);
  for (let at = 0; at < cells.length; at++)
    do cells[at] = random.below(nodeIds.length);
    while (cells.subarray(at - (at % replicaCount), at).includes(cells[at]!));
  return { slotCount, replicaCount, nodeIds, cells };
}

describe('sticky placement', () => {
  test('small clusters: no table with its counts copies less (all tables tried)', () => {
    fc.assert(
      fc.property(
        someNodes(6),
        someNodes(6),
        aRule,
        fc.integer({ min: 1, max: 7 }),
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 1, max: 3 }),
        (old, now, rule, slotCount, oldCount, count) => {
          fc.pre(possible(old, oldCount, rule) !== undefined);
          const topology = possible(now, count, rule);
          if (topology === undefined) return;
          const before = fair(old, { slotCount, replicaCount: oldCount, rule });
          const after = sticky(before, now, { replicaCount: count, rule });
          expect(diffTables(before, after).totals.replicasMoved).toBe(fewestMoves(topology, rowsOf(before), [...heldCounts(after)]));
        },
      ),
      { numRuns: 1500 },
    );
  });

  test('any table before, racks and zones: no table with its counts copies less (a flow of least cost)', () => {
    fc.assert(
      fc.property(
        someNodes(12),
        aRule,
        fc.integer({ min: 1, max: 30 }),
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 1, max: 4 }),
        fc.integer(),
        (now, rule, slotCount, oldCount, count, seed) => {
          const topology = possible(now, count, rule);
          fc.pre(topology !== undefined);
          if (topology === undefined) return;
          const before = tableOfChance([...now.map(({ id }) => id), 'gone-1', 'gone-2', 'gone-3'], slotCount, oldCount, seed);
          const after = sticky(before, now, { replicaCount: count, rule });
          expect(after.isLeast).toBe(true);
          const { replicasMoved } = diffTables(before, after).totals;
          expect(replicasMoved).toBe(fewestMovesByFlow(topology, rowsOf(before), [...heldCounts(after)]));
        },
      ),
      { numRuns: 150 },
    );
  });

  test('small clusters: no even choice of primaries among these replicas changes fewer owners (all choices tried)', () => {
    fc.assert(
      fc.property(
        someNodes(6),
        someNodes(6),
        fc.integer({ min: 1, max: 10 }),
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 1, max: 3 }),
        (old, now, slotCount, oldCount, count) => {
          fc.pre(old.length >= oldCount && now.length >= count);
          const before = fair(old, { slotCount, replicaCount: oldCount, rule: anyNodes() });
          const after = sticky(before, now, { replicaCount: count, rule: anyNodes() });
          const led = rowsOf(before).map((row) => row[0]!);
          const { primariesChanged, minimumPrimaryChanges } = diffTables(before, after).totals;
          expect(primariesChanged).toBe(fewestPrimaryChanges(rowsOf(after), led));
          expect(primariesChanged).toBeGreaterThanOrEqual(minimumPrimaryChanges);
        },
      ),
      { numRuns: 600 },
    );
  });

  test('a node more or less among equal ones changes no more owners than the new balance asks for, or a few', () => {
    const nodes = (count: number) => Array.from({ length: count }, (_, i) => ({ id: `node-${i}` }));
    for (const count of [3, 4, 10, 40]) {
      const before = sticky(fair(nodes(count), { slotCount: 8_192 }), nodes(count));
      const more = sticky(before, nodes(count + 1));
      for (const { totals } of [diffTables(before, more), diffTables(more, sticky(more, nodes(count)))]) {
        expect(totals.minimumPrimaryChanges).toBeLessThanOrEqual(Math.ceil(8_192 / (count + 1)));
        expect(totals.primariesChanged).toBeLessThanOrEqual(totals.minimumPrimaryChanges * 1.05 + 1);
      }
    }
  });

  test('zones introduced at once move little but the replicas the new rule forbids', () => {
    const nodes = (zones: number) => Array.from({ length: 60 }, (_, i) => ({ id: `node-${i}`, zone: `z${i % zones}` }));
    const before = fair(nodes(1), { slotCount: 4_096 });
    const zoneOf = new Map(nodes(3).map((node) => [node.id, node.zone]));
    const forbidden = rowsOf(before).reduce((sum, row) => sum + 3 - new Set(row.map((id) => zoneOf.get(id))).size, 0);
    const moved = diffTables(before, sticky(before, nodes(3))).totals.replicasMoved;
    expect(moved).toBeGreaterThanOrEqual(forbidden);
    expect(moved).toBeLessThan(forbidden * 1.02);
  });

  /** 100 nodes in zones and racks of very different sizes, weights 1 to 10, and a table that knows nothing of them. */
  const scrambled = (slotCount: number) => {
    const random = new Prng(4);
    const zones = 'aaaaabbbcd';
    const list = Array.from({ length: 100 }, (_, i) => {
      const zone = zones[random.below(zones.length)]!;
      return { id: `node-${i}`, weight: 1 + random.below(10), zone, rack: `r${random.below(1 + random.below(6))}` };
    });
    const ids = list.map(({ id }) => id);
    return { list, before: tableOfChance(ids, slotCount, 3, 4) };
  };

  test('a table of chance is put in order at the least, balanced to a slot', () => {
    const { list, before } = scrambled(16_384);
    const after = sticky(before, list);
    const held = heldCounts(after);
    for (const [node, share] of shares(new Topology(list, 3, spreadOut()), 16_384).entries())
      expect(Math.abs(held[node]! - share)).toBeLessThan(1);
    expect(after.isLeast).toBe(true);
  });

  test('of 100 weighted nodes in zones one is swapped for another at the least, though the sum of what nodes lack is out of reach', () => {
    const node = (number: number) => ({ id: `node-${number}`, weight: 1 + (number % 10), zone: `zone-${number % 4}` });
    const list = Array.from({ length: 100 }, (_, number) => node(number));
    const settled = sticky(fair(list, { slotCount: 4_096 }), list);
    for (const [out, into] of [
      [0, 1000],
      [1, 1000],
      [3, 1000],
      [7, 1009],
    ] as const) {
      const after = sticky(settled, [...list.filter((_, number) => number !== out), node(into)]);
      const { replicasMoved, minimumMoves } = diffTables(settled, after).totals;
      expect(after.isLeast).toBe(true);
      expect(replicasMoved).toBeGreaterThanOrEqual(minimumMoves);
      if (out === 0) expect(replicasMoved).toBe(minimumMoves);
    }
  });

  test('a node of a zone comes to 100 and goes again at the least', () => {
    for (const cluster of ['0', '1']) {
      const list = Array.from({ length: 100 }, (_, i) => ({ id: `node-${cluster}-${i}`, zone: `zone-${i % 4}` }));
      const settled = sticky(fair(list, { slotCount: 16_384 }), list);
      const more = sticky(settled, [...list, { id: 'comer', zone: 'zone-0' }]);
      const back = sticky(more, list);
      for (const { totals } of [diffTables(settled, more), diffTables(more, back)]) expect(totals.replicasMoved).toBe(totals.minimumMoves);
      expect([more.isLeast, back.isLeast]).toEqual([true, true]);
    }
  });

  test('with the same nodes nothing moves and no owner changes', () => {
    fc.assert(
      fc.property(
        someNodes(12),
        someNodes(12),
        aRule,
        fc.integer({ min: 1, max: 300 }),
        fc.integer({ min: 1, max: 4 }),
        (old, now, rule, slotCount, count) => {
          fc.pre(possible(old, count, rule) !== undefined && possible(now, count, rule) !== undefined);
          const after = sticky(fair(old, { slotCount, replicaCount: count, rule }), now, { rule });
          const { replicasMoved, primariesChanged } = diffTables(after, sticky(after, now, { rule })).totals;
          expect([replicasMoved, primariesChanged]).toEqual([0, 0]);
        },
      ),
      { numRuns: 150 },
    );
  });

  test('every node ends within one slot of its share and of its part of the primaries, and every slot obeys the rule', () => {
    fc.assert(
      fc.property(
        someNodes(12),
        someNodes(12),
        aRule,
        fc.integer({ min: 1, max: 300 }),
        fc.integer({ min: 1, max: 4 }),
        (old, now, rule, slotCount, count) => {
          const topology = possible(now, count, rule);
          fc.pre(possible(old, count, rule) !== undefined && topology !== undefined);
          if (topology === undefined) return;
          const after = sticky(fair(old, { slotCount, replicaCount: count, rule }), now, { rule });
          const held = heldCounts(after);
          const led = primaryCounts(after);
          for (const [node, share] of shares(topology, slotCount).entries()) {
            expect(Math.abs(held[node]! - share)).toBeLessThan(1);
            expect(Math.abs(led[node]! - held[node]! / count)).toBeLessThan(1);
          }
          for (const row of rowsOf(after)) expect(obeys(topology, row)).toBe(true);
        },
      ),
      { numRuns: 150 },
    );
  });
});
